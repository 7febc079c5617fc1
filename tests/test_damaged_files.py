"""Whatever damage a file has, its reader ends soon, in bounded memory, with the file or with one line that names it."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import damage
import numpy as np
import pytest
from conftest import ROOT

from mri_zoo.data import DataError, PercentileScaling, RandomMask, hdf5_probe
from mri_zoo.data.files import image_datasets, open_volume
from mri_zoo.data.hdf5 import is_hdf5
from mri_zoo.data.prepared import PreparedBatches, write_batches
from mri_zoo.evaluation.results import Example, Row, read_rows, write_rows
from mri_zoo.evaluation.unfinished import UnfinishedRun
from mri_zoo.models import UNet
from mri_zoo.presets.importers import import_checkpoint
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.registry import load_preset, save_preset
from mri_zoo.training.checkpoints import Checkpoints
from mri_zoo.training.settings import read_settings

SEEDS, SEEDS_OF_MODELS = 12, 4  # of damage to each kind of file; where there is a model, each takes a second
SCANS = damage.scans()
MEMORY = 300_000  # kB that reading a file of some kB may take


def read_scan(folder, names):
    """What the commands do with a file."""
    path = folder / names[0]
    for dataset in (image_datasets(path) if is_hdf5(path) else []) or [None]:
        source = open_volume(path, dataset)
        for index in range(source.info.num_slices):
            source.read([index])


def tiny_model():
    model = UNet(num_filters=(2,), num_convolutions=1)
    model.build()
    return model


def preset(folder):
    metadata = {"quality": [{"data": "x", "PSNR (dB)": 30.0}], "limits": "none"}
    save_preset(folder / "mine", tiny_model(), PercentileScaling(), RandomMask(4), metadata)
    (folder / "mine" / "README.md").unlink()
    return folder / "mine"


def read_preset(folder, names):
    """Damage to the weights is that of somebody who gives their SHA-256, too."""
    metadata = folder / "metadata.json"
    try:
        told = json.loads(metadata.read_text())
        told["sha256"] = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
        metadata.write_text(json.dumps(told))
    except (ValueError, TypeError, RecursionError):
        pass
    load_preset(folder)


def training(folder):
    model, checkpoints = tiny_model(), Checkpoints(folder)
    history = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    checkpoints.save(model, checkpoints.last, history[:1])
    checkpoints.save(model, checkpoints.last, history)
    checkpoints.save(model, checkpoints.best, history)
    (folder / "settings.json").write_bytes(damage.as_json({"epochs": "2", "name": "'x'"}))
    return folder


def read_training(folder, names):
    read_settings(folder)
    checkpoints, model = Checkpoints(folder), tiny_model()
    found = checkpoints.newest(lambda text: None)
    found.restore(model)
    checkpoints.best_of(model, found, found.epoch, lambda text: None)


def batches(folder):
    arrays = {"kspace": np.ones((2, 1, 8, 6), "c8"), "trajectory": np.ones((1, 8, 2), "f4")}
    write_batches([(arrays, np.ones((2, 8, 6), "f4"))] * 2, folder / "batches")
    return folder / "batches"


def read_batches(folder, names):
    prepared = PreparedBatches(folder)
    for index in range(len(prepared)):
        prepared[index]


ROWS = [Row(f"{index}.h5", "T1", "m", 0.1, 30.0, 0.9, 1.5, 2, 4.0) for index in range(3)]


def volumes(folder):
    with open(folder / "volumes.csv", "w", newline="") as file:
        write_rows(file, ROWS)
    return folder


def unfinished(folder):
    run, image = UnfinishedRun(folder, "settings"), np.ones((4, 4), "f4")
    for row in ROWS:
        run.append(row.volume, [row], Example(row.volume, "T1", 0, 2, image, {"m": image}, {"m": image[:1]}), "file")
    return folder


def read_unfinished(folder, names):
    """A line is taken as it was written, or not at all."""

    class Judged:
        name = "m"

    run = UnfinishedRun(folder, "settings")
    for row in ROWS:
        if run.knows(row.volume, [Judged]):
            assert run.take(row.volume, [Judged], "file")[0] in ([], [row])


def keras_2(folder):
    shutil.copy(ROOT / "tests" / "reference" / "tensorflow" / "cascade_net" / "checkpoint.h5", folder / "a.h5")
    return folder


def tensors(name):
    def write(folder):
        torch, saved = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
        arrays = {"a.weight": torch.arange(12.0).reshape(3, 4), "b.x": torch.ones(2, dtype=torch.bfloat16)}
        content = io.BytesIO(saved.save(arrays))
        if not name.endswith(".safetensors"):
            content = io.BytesIO()
            torch.save({"state_dict": arrays}, content, _use_new_zipfile_serialization=name.endswith(".ckpt"))
        (folder / name).write_bytes(content.getvalue())
        return folder

    return write


def options(folder):
    (folder / "config.json").write_bytes(damage.as_json({"num_filters": 3, "network.activation": "relu", "x": [1, {}]}))
    return folder


def read_options(folder, names):
    """The checkpoint is missing, which is told after the options were read."""
    import_checkpoint(folder / "absent.pt", "fastmri", "VarNet", folder / "config.json")


OTHERS = {  # what writes the files, and what reads them
    "preset": (preset, read_preset),
    "training": (training, read_training),
    "batches": (batches, read_batches),
    "volumes": (volumes, lambda folder, names: read_rows(folder / "volumes.csv")),
    "unfinished": (unfinished, read_unfinished),
    "keras_2": (keras_2, lambda folder, names: Checkpoint(folder / "a.h5")),
    "safetensors": (tensors("a.safetensors"), lambda folder, names: Checkpoint(folder / "a.safetensors")),
    "torch": (tensors("a.ckpt"), lambda folder, names: Checkpoint(folder / "a.ckpt")),
    "older_torch": (tensors("a.pt"), lambda folder, names: Checkpoint(folder / "a.pt")),
    "options": (options, read_options),
}


def files_and_reader(kind, folder):
    if kind in SCANS:
        return SCANS[kind], read_scan
    write, read = OTHERS[kind]
    folder.mkdir()
    folder = write(folder)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}, read


def try_damages(kind, folder, seeds):
    files, read = files_and_reader(kind, folder / "whole")
    for seed in seeds:
        broken = damage.damaged_files(files, np.random.default_rng((seed, 7)), hdf5=True)
        place = folder / str(seed)
        for name, content in broken.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        before = peak()
        try:
            read(place, list(broken))
        except DataError as error:
            text = str(error)
            assert str(place) in text and "\n" not in text and len(text) < 1100, (kind, seed, text)
        except Exception as error:
            raise AssertionError((kind, seed, type(error).__name__, str(error)[:300])) from error
        assert peak() - before < MEMORY, (kind, seed)
        shutil.rmtree(place)


def peak():
    """The most memory so far in kB, 0 where Linux does not tell; `getrusage` would begin with the parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@pytest.fixture(autouse=True)
def short_limit(monkeypatch):
    monkeypatch.setattr(hdf5_probe, "SECONDS", 2)
    monkeypatch.setattr("mri_zoo.presets.config.ReconstructionModel.build_size", 8)


@pytest.mark.parametrize("kind", [*SCANS, *OTHERS])
def test_damage_ends_in_one_line_that_names_the_file(kind, tmp_path):
    try_damages(kind, tmp_path, range(SEEDS_OF_MODELS if kind in ("preset", "training") else SEEDS))


def test_what_hangs_hdf5_is_one_line(tmp_path):
    files, read = files_and_reader("keras_2", tmp_path / "whole")
    broken = damage.damaged_files(files, np.random.default_rng((163, 7)), hdf5=True)
    (tmp_path / "a.h5").write_bytes(broken["a.h5"])
    with pytest.raises(DataError, match="a.h5: is .*damaged"):
        read(tmp_path, list(broken))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*SCANS, *OTHERS])
def test_much_damage_ends_in_one_line_that_names_the_file(kind, tmp_path):
    try_damages(kind, tmp_path, range(100, 2100 if kind in SCANS else 400))


@pytest.mark.parametrize("kind", SCANS)
def test_whole_files_are_read(kind, tmp_path):
    for name, content in SCANS[kind].items():
        (tmp_path / name).write_bytes(content)
    read_scan(tmp_path, list(SCANS[kind]))
