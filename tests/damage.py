"""Small files of every kind that is read, what reads them, and ways to damage them: the same ones for the same seed."""

import gzip
import io
import json
import re
import struct
import tempfile
from pathlib import Path

import h5py
import nibabel
import numpy as np
from raw_files import ismrmrd_encoding, write_bart, write_cfl, write_ismrmrd

_ODD_NUMBERS = (-1, 0, 1, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62)
_ODD_TEXTS = (
    *("null", "true", "[]", "{}", '""', "-1", "0", "1e999", "NaN", "1e-320", "9" * 30, '"\\u0000\\u001b[2J"', "[[1]]"),
    *("[" * 2000, '{"a":' * 2000, "\x00", "\udcff", ",,,,", "\n\n"),
)


def _fastmri(file):
    file["kspace"] = np.ones((2, 2, 8, 6), "complex64")
    file["reconstruction_rss"] = np.ones((2, 6, 6), "float32")
    file["mask"] = np.ones(6, "float32")
    encoding = ismrmrd_encoding((8, 6, 1), (8, 6, 1), (6, 6, 1), (6, 6, 1))
    file["ismrmrd_header"] = f'<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{encoding}</ismrmrdHeader>'
    file.attrs.update(acquisition="T1", patient_id="p", max=1.0, norm=2.0)


def _compressed(file):
    file.create_dataset("kspace", data=np.ones((2, 1, 8, 6), "c8"), chunks=(1, 1, 8, 6), compression="gzip")


def _images(file):
    file["T1w"] = np.ones((2, 8, 6), "float32")


def _along_trajectory(file):
    file["kspace"] = np.ones((1, 8, 8), "complex64")
    file["trajectory"], file["density"] = spokes(), np.ones((8, 8), "float32")
    file["trajectory"].attrs["units"] = "cycles/pixel"
    file.attrs["matrix_size"] = 8


def spokes():
    """(8, 8, 2) cycles per pixel."""
    angles = np.pi * np.arange(8)[:, None] / 8
    radii = np.linspace(-0.5, 0.49, 8)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)


def _hdf5(write):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file)
    return {"scan.h5": content.getvalue()}


def _written(write):
    """The files that a function writes to a folder, the scan first."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        paths = sorted(Path(folder).iterdir(), key=lambda path: (not path.name.startswith("scan"), path.name))
        return {path.name: path.read_bytes() for path in paths}


def _nifti(name):
    image = nibabel.Nifti1Image(np.arange(8 * 6 * 2, dtype="int16").reshape(8, 6, 2), np.eye(4))
    image.header.set_xyzt_units("mm")
    return {name: image.to_bytes() if name.endswith(".nii") else gzip.compress(image.to_bytes(), mtime=0)}


def _lines(rng, **more):
    samples = (rng.standard_normal((2, 7)) + 1j * rng.standard_normal((2, 7))).astype("complex64")
    return [{"data": samples, "step": step, "slice": index, **more} for index in range(2) for step in range(6)]


def _ismrmrd(name, traj=None):
    def write(folder):
        readouts = _lines(np.random.default_rng(0))
        if traj is not None:
            readouts = [
                {"data": np.ones((2, 8), "complex64"), "traj": shot.astype("float32"), "step": i}
                for i, shot in enumerate(traj)
            ]
        size = (8, 8, 1) if traj is not None else (7, 6, 1)
        encodings = [ismrmrd_encoding(size, size, size, size)]
        write_ismrmrd(folder / name, readouts, encodings=encodings)

    return _written(write)


def _bart_grid(folder):
    write_cfl(folder / "scan.cfl", np.ones((8, 6, 1, 2), "complex64"))


def _bart_spokes(folder):
    trajectory = np.concatenate([8 * spokes(), np.zeros((8, 8, 1))], axis=-1)
    write_bart(folder, np.ones((2, 8, 8), "complex64"), trajectory)


def scans():
    """{kind: {name: content}}; the first name is what is opened."""
    return {
        "fastmri": _hdf5(_fastmri),
        "compressed": _hdf5(_compressed),
        "images": _hdf5(_images),
        "trajectory": _hdf5(_along_trajectory),
        "ismrmrd": _ismrmrd("scan.h5"),
        "ismrmrd_trajectory": _ismrmrd("scan.mrd", spokes()),
        "bart": _written(_bart_grid),
        "bart_trajectory": _written(_bart_spokes),
        "nifti": _nifti("scan.nii"),
        "nifti_gz": _nifti("scan.nii.gz"),
    }


def damaged(content, rng):
    """Bytes with damage of one kind."""
    changed = bytearray(content)
    kinds = ["flip", "head", "cut", "double", "number", "run", "move", "text"]
    kind = kinds[rng.integers(len(kinds))]
    at = int(rng.integers(max(len(changed), 1)))
    if not changed or kind == "cut":
        return bytes(changed[:at])
    if kind == "flip":
        for place in rng.integers(len(changed) * 8, size=rng.integers(1, 64)):
            changed[place // 8] ^= 1 << (place % 8)
    elif kind == "head":  # where the structure is
        for place in rng.integers(min(len(changed), 1024), size=rng.integers(1, 16)):
            changed[place] = rng.integers(256)
    elif kind == "double":
        changed *= 2
    elif kind == "number":
        changed[at : at + 8] = struct.pack("<q", _ODD_NUMBERS[rng.integers(len(_ODD_NUMBERS))])
    elif kind == "run":
        length = int(rng.integers(1, 64))
        changed[at : at + length] = bytes([[0, 255, 32][rng.integers(3)]]) * len(changed[at : at + length])
    elif kind == "move":
        source, length = int(rng.integers(len(changed))), int(rng.integers(1, 128))
        changed[at : at + length] = changed[source : source + length]
    elif kind == "text":
        return _other_text(bytes(changed), rng)
    return bytes(changed)


def _other_text(content, rng):
    """One number or quoted text of a text is another one; of other files, of what looks like one."""
    places = list(re.finditer(rb'-?\d+(\.\d+)?(e-?\d+)?|"[^"\n]{0,200}"', content))
    if not places:
        return content
    place = places[rng.integers(len(places))]
    text = _ODD_TEXTS[rng.integers(len(_ODD_TEXTS))].encode("utf-8", "surrogateescape")
    return content[: place.start()] + text + content[place.end() :]


def another_form(content, rng):
    """An HDF5 file in which one dataset, group or attribute is of another type or form."""
    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        names, attributes = [], [(file, key) for key in file.attrs]
        file.visititems(lambda name, item: (names.append(name), attributes.extend((item, key) for key in item.attrs)))
        odd = _odd_values(rng)
        chosen = rng.integers(len(names) + len(attributes))
        if chosen < len(attributes):
            item, key = attributes[chosen]
            value = odd[rng.integers(len(odd))]
            del item.attrs[key]
            if not isinstance(value, dict | h5py.SoftLink | h5py.ExternalLink | type(None)):
                item.attrs[key] = value
        else:
            name = names[chosen - len(attributes)]
            old = file[name]
            if isinstance(old, h5py.Dataset) and old.shape and rng.random() < 0.5:
                shape = list(old.shape)
                axis = rng.integers(len(shape))
                shape[axis] = [0, 1, shape[axis] + 1, 2 * shape[axis], 10**6][rng.integers(5)]
                shape = shape if rng.random() < 0.7 else shape[:-1] if rng.random() < 0.5 else [1, *shape]
                dtype = old.dtype
                del file[name]
                file.create_dataset(name, shape, dtype, chunks=True)
            else:
                del file[name]
                value = odd[rng.integers(len(odd))]
                if isinstance(value, dict):
                    file.create_dataset(name, **value)
                elif value is None:
                    file.create_group(name)
                else:
                    file[name] = value
    return memory.getvalue()


def _odd_values(rng):
    return [
        *("text", b"bytes\xff\x1b[2J", 1, -1.5, True, np.nan, 2**62, None, h5py.Empty("f")),
        *(np.zeros(0), np.zeros((2, 0, 3)), np.full((2, 8, 6), np.nan, "float32"), np.full((2, 2, 8, 6), np.inf + 0j)),
        *(np.ones((2, 2, 8, 6), "float16"), np.ones((2, 8, 6), "complex128"), np.array([b"a", b"b"])),
        *(
            np.ones((3, 3), bool),
            -np.ones((2, 8, 6), "float32"),
            np.ones(6, [("a", "f4"), ("b", "i4")]),
            rng.standard_normal((1, 1, 1, 1, 1)),
        ),
        *(h5py.SoftLink("/nowhere"), h5py.SoftLink("/kspace"), h5py.ExternalLink("/etc/passwd", "/")),
        {"shape": (10**5, 10**4, 10), "dtype": "c8", "chunks": (1, 100, 10)},
        {"shape": (3,), "dtype": h5py.string_dtype()},
        {"shape": (2, 8, 6), "dtype": h5py.vlen_dtype("f4")},
        {"shape": (2, 8, 6), "dtype": h5py.enum_dtype({"A": 1, "B": 2})},
        {"shape": (2, 8, 6), "dtype": h5py.ref_dtype},
        {"shape": (2, 8, 6), "dtype": "V5"},
        {"shape": (2, 8, 6), "dtype": ">f8"},
    ]


def damaged_files(files, rng, hdf5=False):
    """{name: content} with one of the files damaged; in half of the cases the form of the HDF5 file `hdf5` is."""
    names = list(files)
    name = names[rng.integers(len(names))]
    form = hdf5 and files[name].startswith(b"\x89HDF") and rng.random() < 0.4
    return {**files, name: (another_form if form else damaged)(files[name], rng)}


def as_json(value):
    """Content of a JSON file."""
    return json.dumps(value, indent=1).encode()
