"""Trainings that are interrupted, resumed with other settings or from damaged files, or that meet a full disk."""

import csv
import dataclasses
import errno
import os
import shutil
import signal
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from helpers import disk_of

from mri_zoo.data import DataError, PreparedBatches, RandomMask, write_batches
from mri_zoo.interruption import one_line_for_signals
from mri_zoo.metrics import SlicePSNR
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.complex import scale
from mri_zoo.presets import load_preset, save_preset
from mri_zoo.storage import exclusive
from mri_zoo.training.checkpoints import Checkpoints, read_checkpoint
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.settings import _names_and_constants, check_resumable, settings_of, write_settings
from mri_zoo.training.supervised import prepare, train

RECIPES = {name: Path(__file__).with_name(f"tiny_{name}recipe.py") for name in ("", "kiki_", "dip_", "joint_")}
CONSTANT = ["schedule=constant", "patience=9"]
NAME = "pdnet-blobs"


@keras.saving.register_keras_serializable("interruptions")
class Gain(ReconstructionModel):
    """The adjoint image times a weight: a graph is made of it at once."""

    def __init__(self, num_filters=4, **kwargs):
        super().__init__(**kwargs)
        self.num_filters = num_filters
        self.gain = self.add_weight(shape=(num_filters,), initializer="ones", name="gain")

    def call(self, batch):
        image = self.physics.adjoint(batch["kspace"], self.physics.complete(batch))
        return scale(image, keras.ops.mean(self.gain))

    def get_config(self):
        return {**super().get_config(), "num_filters": self.num_filters}


def silent(line):
    pass


def tiny(*overrides):
    recipe = load_recipe(RECIPES[""], ["model_arguments={'num_filters': 4}", *CONSTANT, *overrides])
    blobs = type(recipe["sources"](None, "train")[0])
    recipe["sources"] = lambda root, split: [blobs(seed) for seed in ((9,) if split == "validation" else (0, 1))]
    return {**recipe, "model": Gain, "metrics": [SlicePSNR()]}


def arrays(path):
    """All arrays of a weights file, the optimizer's included."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_training(folder, other):
    """Weights and optimizer to the bit, and all of the log but its seconds."""
    for name in ("last", "best"):
        found, expected = (arrays(path / f"{name}.weights.h5") for path in (folder, other))
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    logs = [[row[:-1] for row in csv.reader(open(path / "log.csv"))] for path in (folder, other)]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    train(tiny(), folder, report=silent)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "override, message",
    [
        ("seed=9", "`seed` 0 instead of 9"),
        ("sampling.acceleration=2", "`sampling` RandomMask.*acceleration: 3.*instead of RandomMask.*acceleration: 2"),
        ("learning_rate=0.02", "`learning_rate` 0.01 instead of 0.02"),
        ("optimizer_arguments.use_ema=True", "`optimizer_arguments`"),
        ("batch_size=2", "`batch_size` 1 instead of 2"),
        ("loss=mse", "`loss` 'mae' instead of 'mse'"),
        ("mode=min", "`mode`"),
        ("train_options.slices=random", "`train_options`"),
        ("model_arguments.num_filters=5", "`model_arguments` .*num_filters: 4"),
        ("epochs=2", "`epochs` 3 instead of 2"),
    ],
)
def test_other_settings_are_refused_by_their_names(tmp_path, override, message):
    write_settings(tmp_path, settings_of(tiny()))
    recipe = tiny(override)
    with pytest.raises(ValueError, match=f"holds a training with another {message}"):
        check_resumable(tmp_path, recipe, settings_of(recipe), 3, silent)


def test_epochs_of_a_schedule_over_all_of_them_cannot_change(tmp_path):
    for schedule in ("cosine", "thirds"):
        write_settings(tmp_path, settings_of(tiny(f"schedule={schedule}")))
        recipe = tiny(f"schedule={schedule}", "epochs=5")
        with pytest.raises(ValueError, match="another `epochs` 3 instead of 5"):
            check_resumable(tmp_path, recipe, settings_of(recipe), 3, silent)


def test_other_settings_and_other_volumes_leave_a_training_as_it_is(run, finished):
    more = tiny()
    more["sources"] = lambda root, split: tiny()["sources"](root, split)[:1]
    for recipe in (tiny("sampling.acceleration=2"), more):
        with pytest.raises(ValueError, match="holds a training with another"):
            train(recipe, run, resume=True, report=silent)
    assert_same_training(run, finished)
    metadata = [load_preset(folder / "preset" / NAME).metadata for folder in (run, finished)]
    assert metadata[0] == metadata[1]


def damaged(content, how):
    if how == "altered":
        return bytes([*content[:2000], content[2000] ^ 8, *content[2001:]])
    return {"empty": b"", "cut off": content[: len(content) // 2], "end missing": content[:-1]}[how]


@pytest.mark.parametrize("how", ["empty", "cut off", "end missing", "missing"])
def test_the_newest_other_checkpoint_is_used(run, how):
    files, lines = Checkpoints(run), []
    files.last.unlink() if how == "missing" else files.last.write_bytes(damaged(files.last.read_bytes(), how))
    files.best.write_bytes(files.previous.read_bytes()[:-1])
    assert files.newest(lines.append).epoch == 2
    assert "last.weights.h5 is" in lines[0] and "using previous.weights.h5 of epoch 2" in lines[0]
    shutil.copy(files.previous, files.best)
    files.previous.unlink()
    assert files.newest(lines.append).path == files.best
    files.best.unlink()
    with pytest.raises(DataError, match="last.weights.h5 is .*: choose another folder.$"):
        files.newest(silent)


def test_the_checkpoint_before_gives_the_same_training(run, finished):
    last, lines = run / "last.weights.h5", []
    last.write_bytes(damaged(last.read_bytes(), "cut off"))
    with pytest.raises(FileExistsError, match="holds a training already"):
        train(tiny(), run, report=silent)
    train(tiny(), run, resume=True, report=lines.append)
    assert "resuming after epoch" in lines[1]
    assert_same_training(run, finished)


def test_a_signal_during_an_epoch_and_one_between_two(finished, tmp_path, monkeypatch):
    """Each ends the training at once with all epochs before, and the resumed one is that which nothing interrupted."""
    monkeypatch.setattr("mri_zoo.interruption._leave", lambda code, at_exit=None: sys.exit(code))
    run, fit, lines = tmp_path / "run", Gain.fit, []

    def interrupt(batch, logs):
        if len(lines) == 1 and batch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def report(line):
        lines.append(line)
        if line.startswith("epoch 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)]
    monkeypatch.setattr(Gain, "fit", lambda model, *args, **kwargs: fit(model, *args, callbacks=callbacks, **kwargs))
    for epoch in (1, 2):
        with pytest.raises(SystemExit) as stop, one_line_for_signals("program"):
            train(tiny(), run, resume=epoch == 2, report=report)
        assert stop.value.code == 143 and read_checkpoint(run / "last.weights.h5").epoch == epoch
        assert not [path for path in run.iterdir() if path.name.startswith(".")]
    train(tiny(), run, resume=True, report=silent)
    assert_same_training(run, finished)


def test_altered_bytes_are_refused_with_a_way_out(run):
    last = run / "last.weights.h5"
    last.write_bytes(damaged(last.read_bytes(), "altered"))
    with pytest.raises(DataError, match="last.weights.h5 is damaged .*or remove the file to go on after epoch") as one:
        train(tiny(), run, resume=True, report=silent)
    assert "\n" not in str(one.value)
    for name in ("previous", "best"):
        (run / f"{name}.weights.h5").unlink()
    with pytest.raises(DataError, match="last.weights.h5 is damaged .*: choose another folder.$"):
        train(tiny(), run, resume=True, report=silent)


def test_a_best_checkpoint_is_made_again_or_refused(run, finished):
    best = run / "best.weights.h5"
    best.write_bytes(b"")
    if read_checkpoint(finished / "best.weights.h5").epoch == 3:  # the last one's
        lines = []
        train(tiny(), run, resume=True, report=lines.append)
        assert_same_training(run, finished)
        assert any("best.weights.h5 is damaged" in line for line in lines)
    else:
        with pytest.raises(DataError, match="best.weights.h5 is damaged .* or remove the file to seek"):
            train(tiny(), run, resume=True, report=silent)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("val_slice_psnr", "psnr"),
        lambda text: text.replace("\n2,", "\nx,"),
        lambda text: "\x00\xff" + text,
    ],
)
def test_a_damaged_log_is_written_anew(run, finished, damage):
    log, lines = run / "log.csv", []
    log.write_text(damage(log.read_text()))
    train(tiny(), run, resume=True, report=lines.append)
    assert any(f"{log} is damaged or incomplete" in line for line in lines)
    assert_same_training(run, finished)


def test_damaged_settings_are_refused(run):
    (run / "settings.json").write_text("{")
    with pytest.raises(DataError, match="settings.json is damaged .*remove it if"):
        train(tiny(), run, resume=True, report=silent)


def test_after_a_full_disk_more_epochs_at_a_constant_rate_go_on(run, finished):
    recipe, lines = tiny("epochs=4", "patience=None", "root=elsewhere", "card.data=blobs"), []
    with pytest.raises(OSError) as caught, disk_of(5_000):
        train(recipe, run, resume=True, report=lines.append)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(run / "last.weights.h5")
    assert "--resume" in caught.value.strerror
    assert {path.name for path in run.iterdir()} == {path.name for path in finished.iterdir()}
    assert read_checkpoint(run / "last.weights.h5").epoch == 3
    train(recipe, run, resume=True, report=lines.append)
    assert lines[:4] == [
        "`epochs` 3 becomes 4",
        "`root` 'nowhere' becomes 'elsewhere'; its volumes have the same names and sizes",
        "resuming after epoch 3 of 4",
        "resuming after epoch 3 of 4",
    ]
    logs = [[row[:-1] for row in csv.reader(open(folder / "log.csv"))] for folder in (run, finished)]
    assert len(logs[0]) == 5 and logs[0][:4] == logs[1]
    metadata = load_preset(run / "preset" / NAME).metadata
    assert metadata["training"].startswith("4 epochs") and metadata["data"] == "blobs"


@pytest.mark.parametrize("name", RECIPES)
def test_two_trainings_in_one_folder_are_refused(tmp_path, name):
    with (
        exclusive(tmp_path, "training"),
        pytest.raises(BlockingIOError, match=f"{tmp_path.name} is in use by another (training|fit)"),
    ):
        train(load_recipe(RECIPES[name]), tmp_path, report=silent)


@dataclasses.dataclass(frozen=True)
class OwnMask(RandomMask):
    pass


class OwnScaling:
    def __call__(self, kspace, adjoint=None):
        return 2.0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sampling": OwnMask(3, 0.2)}, "OwnMask cannot be stored in a preset"),
        ({"scaling": OwnScaling()}, "OwnScaling cannot be stored in a preset"),
        ({"card": {"data": Path("here")}}, "metadata.data cannot be stored"),
        ({"card": {"licence": 3}}, "`licence` must be of type str"),
    ],
)
def test_what_no_preset_can_hold_is_told_before_the_first_epoch(tmp_path, changes, message):
    recipe = {**tiny(), **changes}
    lines = []
    with pytest.raises(ValueError, match=message):
        train(recipe, tmp_path, report=lines.append)
    assert not lines and not list(tmp_path.glob("*.h5"))
    if "scaling" in changes:
        with pytest.raises(ValueError, match=message):
            prepare(recipe, tmp_path / "batches")


def test_prepared_batches_of_other_settings_are_refused(tmp_path):
    prepare(tiny(), tmp_path / "batches")
    with pytest.raises(ValueError, match="holds batches with another `sampling`"):
        train(tiny("sampling.acceleration=2"), tmp_path / "run", prepared=tmp_path / "batches", report=silent)


def test_a_fit_of_which_no_preset_can_be_made_does_not_begin(tmp_path):
    with pytest.raises(ValueError, match="OwnScaling cannot be stored in a preset"):
        train({**load_recipe(RECIPES["dip_"]), "scaling": OwnScaling()}, tmp_path, report=silent)


def test_a_finished_stage_has_its_settings(tmp_path):
    kiki = load_recipe(RECIPES["kiki_"])
    (tmp_path / "stage-1" / "preset" / "kiki-blobs").mkdir(parents=True)
    write_settings(tmp_path / "stage-1", settings_of(kiki))
    with pytest.raises(ValueError, match="another `learning_rate` 0.01 instead of 0.5"):
        train({**kiki, "learning_rate": 0.5}, tmp_path, resume=True, report=silent)


def test_weights_that_are_not_finite_are_refused(finished, tmp_path):
    model = load_preset(finished / "preset" / NAME).model
    file = tmp_path / "nan.weights.h5"
    shutil.copy(finished / "preset" / NAME / "model.weights.h5", file)
    with h5py.File(file, "a") as weights:
        names = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        weights[names[-1]][...] = np.nan
    with pytest.raises(DataError, match="nan.weights.h5 holds NaN or infinity in"):
        model.load_weights(file)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        save_preset(tmp_path / "nan", model, tiny()["scaling"])
    assert not (tmp_path / "nan").exists()


def test_presets_and_batches_meet_a_full_disk(finished, tmp_path):
    preset = load_preset(finished / "preset" / NAME)
    batches = [({"kspace": np.zeros((1, 1, 40, 40), "complex64")}, np.zeros((1, 40, 40), "float32"))]
    for write, name in (
        (lambda: save_preset(tmp_path / "preset", preset.model, preset.scaling), "preset/model.weights.h5"),
        (lambda: write_batches(batches, tmp_path / "train"), "train/batch-00000.npz"),
    ):
        with pytest.raises(OSError) as caught, disk_of(5_000):
            write()
        assert caught.value.errno == errno.EFBIG and caught.value.filename == str(tmp_path / name)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, content",
    [
        ("batches.json", b"{"),
        ("batches.json", b'{"batches": "2"}'),
        ("batch-00000.npz", b"PK"),
        ("batch-00000.npz", b""),
    ],
)
def test_damaged_batches_are_named(tmp_path, name, content):
    batches = [({"kspace": np.zeros((1, 1, 8, 8), "complex64")}, np.zeros((1, 8, 8), "float32"))]
    write_batches(batches, tmp_path / "train")
    (tmp_path / "train" / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is damaged"):
        PreparedBatches(tmp_path / "train")[0]


def test_settings_tell_functions_and_objects_of_one_name_apart():
    class Weighted:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, target, image):
            return self.weight * abs(target - image)

    def function(number, inner):
        def loss(target, image):
            return number * abs(target - image) if inner else 2 * abs(target - image)

        return loss

    def told(loss):
        return settings_of({"loss": loss})

    def one(target, image):
        return abs(target - image)

    def other(target, image):
        return 100 * abs(target - image)

    def of_names(target, image):
        return image if later in {"a", "b", "c", "d", "e"} else later(target, image)

    assert told(of_names) == told(of_names)  # `later` has no value yet
    later = one
    code = of_names.__code__
    (names,) = [const for const in code.co_consts if isinstance(const, frozenset)]
    turned = frozenset(sorted(names, reverse=True))
    same = code.replace(co_consts=tuple(turned if const is names else const for const in code.co_consts))
    assert _names_and_constants(same) == _names_and_constants(code)
    assert all(name in str(_names_and_constants(code)) for name in names)
    other.__qualname__ = one.__qualname__
    assert told(Weighted(1)) == told(Weighted(1)) != told(Weighted(2))
    assert told(function(1, True)) == told(function(1, True)) != told(function(3, True))
    assert told(one) != told(other)


class NoNumber(keras.metrics.Mean):
    """A metric that is none."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(float("nan"))


def test_a_monitor_that_is_no_number_ends_the_training(tmp_path):
    recipe = load_recipe(RECIPES[""], ["epochs=2"])
    recipe |= {"model": Gain, "model_arguments": {}, "metrics": [NoNumber(name="none")], "monitor": "val_none"}
    with pytest.raises(ValueError, match="`val_none`, by which the best epoch is chosen, is nan after epoch 1"):
        train(recipe, tmp_path / "run", report=lambda line: None)
