"""Checkpoints that are damaged, or were made to fill the memory, to lead elsewhere or to run code."""

import io
import json
import pickle
import shutil
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from mri_zoo.data import DataError
from mri_zoo.presets.importers.checkpoint import Checkpoint


@pytest.fixture
def keras_file(reference, tmp_path):
    return shutil.copyfile(reference / "tensorflow" / "pdnet" / "checkpoint.h5", tmp_path / "weights.h5")


def first_weight(file):
    layer = next(name for name in file.attrs["layer_names"] if len(file[name].attrs["weight_names"]))
    return file[layer], file[layer].attrs["weight_names"][0]


def test_sizes_are_checked_before_memory_is_taken(keras_file):
    with h5py.File(keras_file, "r+") as file:
        group, name = first_weight(file)
        del group[name]
        group.create_dataset(name, (2**14, 2**14), "f4", chunks=(256, 256))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"weights.h5: declares arrays of 1,07\d,\d+,\d+ bytes in a file of \d+"):
        Checkpoint(keras_file)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_arrays_elsewhere_are_not_read(keras_file, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4000))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kernel"] = np.ones((3, 3, 2, 8), "f4")

    def external_storage(group, name):
        group.create_dataset(name, (1000,), "f4", external=[(str(secret), 0, 4000)])

    def external_link(group, name):
        group[name] = h5py.ExternalLink("other.h5", "kernel")

    def virtual(group, name):
        layout = h5py.VirtualLayout((3, 3, 2, 8), "f4")
        layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "kernel", (3, 3, 2, 8))
        group.create_virtual_dataset(name, layout)

    for change in (external_storage, external_link, virtual):
        path = shutil.copyfile(keras_file, tmp_path / "changed.h5")
        with h5py.File(path, "r+") as file:
            group, name = first_weight(file)
            del group[name]
            change(group, name)
        with pytest.raises(DataError, match="changed.h5: .*(another file|other file)"):
            Checkpoint(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda file: file.attrs.__setitem__("layer_names", 3), "truncated or damaged"),
        (lambda file: file.attrs.__setitem__("layer_names", [1.5]), "truncated or damaged"),
        (lambda file: file.attrs.__setitem__("layer_names", [b"\xff"]), "truncated or damaged"),
        (lambda file: file.attrs.__setitem__("layer_names", ["absent"]), "has no `absent`"),
        (lambda file: file.attrs.__setitem__("layer_names", [*file.attrs["layer_names"]] * 2), "names a layer twice"),
        (
            lambda file: first_weight(file)[0].attrs.__setitem__("weight_names", [first_weight(file)[1]] * 2),
            "names a weight of layer .* twice",
        ),
        (lambda file: first_weight(file)[0].attrs.__setitem__("weight_names", ["/"]), "is a group; expected an array"),
        (lambda file: first_weight(file)[0].attrs.__delitem__("weight_names"), "truncated or damaged"),
    ],
)
def test_attributes_of_another_form_are_refused(keras_file, change, message):
    with h5py.File(keras_file, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=f"weights.h5: .*{message}"):
        Checkpoint(keras_file)


@pytest.mark.parametrize("kind", ["text", "empty", "group"])
def test_weights_that_are_no_numbers_are_refused(keras_file, kind):
    with h5py.File(keras_file, "r+") as file:
        group, name = first_weight(file)
        del group[name]
        if kind == "group":
            group.create_group(name)
        else:
            group[name] = h5py.Empty("f4") if kind == "empty" else "text"
    with pytest.raises(DataError, match="expected (an array|numbers|real floating-point numbers)"):
        Checkpoint(keras_file)


def test_more_arrays_than_any_network_has_are_refused(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w", libver="latest") as file:
        file.attrs["layer_names"] = [f"layer {i}".encode() for i in range(100_000)]
    with pytest.raises(DataError, match="many.h5: holds more than 50,000 arrays"):
        Checkpoint(tmp_path / "many.h5")


def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor(*shape, offsets):
    return {"dtype": "F32", "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**60),
        safetensors({"a": tensor(2**40, offsets=[0, 2**42])}),
        safetensors({"a": tensor(2, offsets=[0, 8]), "b": tensor(2, offsets=[4, 12])}, bytes(12)),
        safetensors({"a": tensor(2, offsets=[0, 4])}, bytes(8)),
        safetensors({"a": tensor(2, offsets=[8, 0])}, bytes(8)),
        safetensors(b"[" * 10_000, bytes(8)),
        safetensors({"a": {"dtype": "F128", "shape": [1], "data_offsets": [0, 16]}}, bytes(16)),
    ],
)
def test_safetensors_that_lie_are_refused(tmp_path, content):
    pytest.importorskip("safetensors")
    path = tmp_path / "lies.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="lies.safetensors: is not a readable"):
        Checkpoint(path)


def torch_file(path, content, compression=zipfile.ZIP_STORED, change=lambda name, data: data):
    torch, stored = pytest.importorskip("torch"), io.BytesIO()
    torch.save(content, stored)
    with zipfile.ZipFile(stored) as archive, zipfile.ZipFile(path, "w", compression) as changed:
        for name in archive.namelist():
            changed.writestr(name, change(name, archive.read(name)))
    return path


def test_archives_that_unpack_to_more_than_themselves_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = torch_file(tmp_path / "bomb.pt", {"a": torch.zeros(2**22)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with pytest.raises(DataError, match=r"bomb.pt: unpacks to 16,77\d,\d+ bytes from a file of"):
        Checkpoint(path)


def test_tensors_that_are_larger_than_what_is_stored_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(1).expand(2**30)}, tmp_path / "view.pt")
    with pytest.raises(DataError, match=r"view.pt: declares arrays of 4,294,967,296 bytes in a file of"):
        Checkpoint(tmp_path / "view.pt")
    torch.save({"a": torch.ones(1).expand(9)}, tmp_path / "small.pt")
    with pytest.raises(DataError, match="small.pt: array `a` repeats its numbers"):
        Checkpoint(tmp_path / "small.pt")
    wide = {b"K\x04": b"M\x00\x04"}  # 4 and 1024 in a pickle

    def longer(name, data):
        return data.replace(*next(iter(wide.items()))) if name.endswith("data.pkl") else data

    path = torch_file(tmp_path / "longer.pt", {"a": torch.ones(4)}, change=longer)
    with pytest.raises(DataError, match="longer.pt: is damaged"):
        Checkpoint(path)


def test_tensors_that_share_their_numbers_are_read(tmp_path):
    """As DIRECT stores a network that it uses in every iteration."""
    torch = pytest.importorskip("torch")
    kernel = torch.arange(6.0)
    torch.save({f"net.{i}.weight": kernel for i in range(15)} | {"row": kernel[2:4]}, tmp_path / "shared.pt")
    arrays = Checkpoint(tmp_path / "shared.pt").arrays
    assert len(arrays) == 16
    np.testing.assert_array_equal(arrays["row"], [2, 3])


def test_dicts_within_themselves_end(tmp_path):
    torch, content = pytest.importorskip("torch"), {}
    content["again"] = content
    torch.save(content, tmp_path / "circle.pt")
    with pytest.raises(DataError, match="circle.pt: "):
        Checkpoint(tmp_path / "circle.pt")


def test_dicts_that_are_in_many_others_end(tmp_path):
    """A file of 40 dicts in which 2**40 paths lead to the last."""
    torch, content = pytest.importorskip("torch"), {}
    for _ in range(40):
        content = {"a": content, "b": content}
    torch.save(content, tmp_path / "paths.pt")
    with pytest.raises(DataError, match="paths.pt: its dicts have more than 500,000 entries"):
        Checkpoint(tmp_path / "paths.pt")
    weight = torch.arange(3.0)
    state = {"weight": weight, "step": 3}
    torch.save({"model": state, "ema": state}, tmp_path / "twice.pt")
    assert list(Checkpoint(tmp_path / "twice.pt").arrays) == ["model.weight", "ema.weight"]


class Hostile:
    def __reduce__(self):
        return (print, ("this was run",))


def test_plain_pickles_are_not_run(tmp_path, capsys):
    pytest.importorskip("torch")
    for name in ("code.pt", "code.ckpt", "code.bin"):
        (tmp_path / name).write_bytes(pickle.dumps({"weight": Hostile()}))
        with pytest.raises(DataError, match=name):
            Checkpoint(tmp_path / name)
    assert "this was run" not in capsys.readouterr().out


FORMS = {
    "tensorflow/cascade_net/checkpoint.h5": 20,
    "pytorch/deepjsense_modl/checkpoint.safetensors": 40,
    "pytorch/fastmri_unet/checkpoint.pt": 25,
}


def damaged(data, rng):
    """Bits flipped, a part missing, or bytes written over, mostly near the beginning or the end."""
    data, kind = bytearray(data), rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    where = rng.choice([min(len(data), 4096), len(data)])
    for _ in range(rng.integers(1, 20)):
        position = int(rng.integers(where))
        position = len(data) - 1 - position if kind == 1 else position
        data[position] = data[position] ^ (1 << rng.integers(8)) if kind < 3 else rng.integers(256)
    return bytes(data)


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_read_or_refused(reference, tmp_path, form):
    """Another error than `DataError` fails. The seeds are those of files that HDF5 itself survives."""
    pytest.importorskip("torch")
    data, path = (reference / form).read_bytes(), tmp_path / form.rpartition("/")[2]
    for seed in range(FORMS[form]):
        path.write_bytes(damaged(data, np.random.default_rng(seed)))
        try:
            arrays = Checkpoint(path).arrays
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert sum(array.nbytes for array in arrays.values()) < 4 * len(data)
