import csv
import dataclasses
import runpy
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from helpers import random_complex

from mri_zoo.data import DataError, EquispacedMask, GaussianSplit
from mri_zoo.data.fourier import ifft2c, root_sum_of_squares
from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.models import VSHARP, DataConsistent, RefinedMaps
from mri_zoo.optimizers import WarmupStepDecay
from mri_zoo.presets import load_preset
from mri_zoo.presets.registry import save_preset
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.seeds import seeds_table, train_with_seeds
from mri_zoo.training.supervised import prepare, train

RECIPE = Path(__file__).with_name("tiny_joint_recipe.py")
RECIPES = Path(__file__).parents[2] / "train" / "recipes"
PUBLISHED = sorted([*RECIPES.glob("jssl_fastmri_*.py"), *RECIPES.glob("low_field_*sl.py")])
FIXED = EquispacedMask(3, 0.3, offset=1)  # the same for every seed


def silent(line):
    pass


def arrays(path):
    """All arrays of a weights file, the optimizer's included."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_equal_weights(folder, other):
    ours, theirs = arrays(folder / "last.weights.h5"), arrays(other / "last.weights.h5")
    assert ours.keys() == theirs.keys() and ours
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    train(load_recipe(RECIPE), folder, report=silent)
    return folder


def test_joint_training_lowers_the_loss_and_gives_a_preset(finished):
    with open(finished / "log.csv") as file:
        log = list(csv.DictReader(file))
    assert len(log) == 2 and float(log[1]["loss"]) < float(log[0]["loss"])
    preset = load_preset(finished / "preset" / "pdnet-joint-blobs")
    assert isinstance(preset.model, DataConsistent)
    assert "WarmupStepDecay (learning_rate 0.01, warmup_steps 4" in preset.metadata["training"]


def test_mixed_batches_lower_the_loss_and_are_blind_too(tmp_path):
    recipe = load_recipe(RECIPE, ["mixed_batches=True", "batch_size=5"])
    for name, root in [("run", "nowhere"), ("blind", 1e30)]:
        train({**recipe, "root": root}, tmp_path / name, report=silent)
    assert_equal_weights(tmp_path / "run", tmp_path / "blind")
    with open(tmp_path / "run" / "log.csv") as file:
        log = list(csv.DictReader(file))
    assert float(log[1]["loss"]) < float(log[0]["loss"])


def test_unsampled_kspace_and_reference_of_the_target_have_no_influence(finished, tmp_path):
    """They are huge constants here, and the weights are equal to the bit."""
    train({**load_recipe(RECIPE), "root": 1e30}, tmp_path, report=silent)
    assert_equal_weights(tmp_path, finished)
    with open(finished / "log.csv") as file, open(tmp_path / "log.csv") as other:
        pairs = zip(csv.DictReader(file), csv.DictReader(other), strict=True)
        assert all(row[key] == same[key] for row, same in pairs for key in row if key != "seconds")


def test_resumed_equals_uninterrupted(finished, tmp_path):
    recipe = load_recipe(RECIPE)
    train({**recipe, "epochs": 1}, tmp_path, report=silent)
    lines = []
    train(recipe, tmp_path, resume=True, report=lines.append)
    assert lines[:2] == ["`epochs` 1 becomes 2", "resuming after epoch 1 of 2"]
    assert_equal_weights(tmp_path, finished)


def test_prepared_batches_are_those_of_the_pipeline(tmp_path):
    recipe = {**load_recipe(RECIPE, ["steps_per_epoch=3", "epochs=1"])}
    assert prepare(recipe, tmp_path / "batches") == (3, 2)
    with np.load(tmp_path / "batches" / "train" / "batch-00000.npz") as batch:
        assert {"kspace", "mask", "target_kspace", "target_mask", "self_supervised", "target"} == set(batch)
    train(recipe, tmp_path / "prepared", prepared=tmp_path / "batches", report=silent)
    assert all(np.all(np.isfinite(a)) for a in arrays(tmp_path / "prepared" / "last.weights.h5").values())


@pytest.mark.slow
def test_seeds_are_compared_and_finished_trainings_kept(tmp_path):
    recipe = load_recipe(RECIPE.with_name("tiny_recipe.py"), ["epochs=1"])
    other = {**recipe, "name": "other", "learning_rate": 0.001}
    results = train_with_seeds([recipe, other], tmp_path, [0, 1], silent)
    names = [(name, seed) for name, seed, _ in results]
    assert names[1:] == [(name, seed) for seed in (0, 1) for name in ("pdnet-blobs", "other")]
    table = seeds_table(results)
    assert [cells[:2] for cells in table] == [["zero-filled", "1"], ["pdnet-blobs", "2"], ["other", "2"]]
    psnr = [np.mean([row.psnr for row in rows]) for name, _, rows in results if name == "other"]
    assert table[2][2] == f"{np.mean(psnr):.2f} ± {np.std(psnr, ddof=1):.2f}" and "±" not in table[0][2]
    lines = []
    again = train_with_seeds([recipe, other], tmp_path, [0, 1], lines.append)
    assert not lines and seeds_table(again) == table
    for told in tmp_path.glob("*/*/settings.json"):
        told.unlink()  # without it a training is taken as it is
    unreadable = recipe["sources"](None, "test")[0]
    unreadable.read = None
    with pytest.raises(DataError, match="No test volume could be judged; the last one: blobs9.h5"):
        train_with_seeds([{**recipe, "sources": lambda root, split: [unreadable]}], tmp_path, [0], silent)
    with pytest.raises(ValueError, match="Expected recipes with different names"):
        train_with_seeds([recipe, recipe], tmp_path, [0])


def test_trainings_of_other_settings_are_refused(tmp_path, monkeypatch):
    def untrained(recipe, folder, **_):
        model = recipe["model"](**recipe["model_arguments"])
        model.build()
        save_preset(folder / "preset" / recipe["name"], model, recipe["scaling"], recipe["sampling"], {"summary": ""})

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mri_zoo.training.seeds.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_with_seeds([load_recipe(RECIPE)], tmp_path / "begun", [0], silent)
    with pytest.raises(ValueError, match="seed-0 holds a training with another `epochs` 2 instead of 7"):
        train_with_seeds([load_recipe(RECIPE, ["epochs=7"])], tmp_path / "begun", [0], silent)
    monkeypatch.setattr("mri_zoo.training.seeds.train", untrained)
    lines = []
    train_with_seeds([load_recipe(RECIPE)], tmp_path, [0], lines.append)
    assert lines == ["pdnet-joint-blobs, seed 0"]
    train_with_seeds([load_recipe(RECIPE, ["seed=3", "card.summary=other"])], tmp_path, [0], lines.append)
    assert len(lines) == 1
    for override, message in [
        ("epochs=7", "`epochs` 2 instead of 7: choose another output folder"),
        ("model_arguments.num_filters=5", "`model_arguments` {num_iterations: 1, num_filters: 4"),
        ("datasets.proxy.sampling.acceleration=2", "`datasets`: choose another"),
    ]:
        with pytest.raises(ValueError, match=f"seed-0 holds a training with another {message}"):
            train_with_seeds([load_recipe(RECIPE, [override])], tmp_path, [0], lines.append)
    recipe = {**load_recipe(RECIPE), "learning_rate": WarmupStepDecay(0.02, warmup_steps=4, decay_steps=10)}
    with pytest.raises(ValueError, match=r"`learning_rate` WarmupStepDecay\{learning_rate: 0.01"):
        train_with_seeds([recipe], tmp_path, [0], lines.append)
    (tmp_path / "pdnet-joint-blobs" / "seed-0" / "settings.json").unlink()
    train_with_seeds([recipe], tmp_path, [0], lines.append)
    assert len(lines) == 1


def test_compare_seeds_tells_errors_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare_seeds.py", str(tmp_path / "no.py"), "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(RECIPES.parent / "compare_seeds.py", run_name="__main__")
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"compare_seeds.py: {tmp_path / 'no.py'}: no such recipe file.\n"


class Undersampled:
    """Another source, measured undersampled and without a reference."""

    def __init__(self, source):
        self.source = source
        self.info = dataclasses.replace(source.info, mask=FIXED(source.info.height, source.info.width))

    def read(self, slices=None):
        volume = self.source.read(slices)
        return dataclasses.replace(volume, info=self.info, kspace=volume.kspace * self.info.mask)


def test_training_where_no_scan_has_ground_truth(tmp_path, monkeypatch):
    """Validation by a partition, too; without one it fails before the first epoch, not behind it."""
    recipe = load_recipe(RECIPE, ["epochs=1"])
    scans = [Undersampled(source) for source in recipe["datasets"]["target"]["sources"](None)]
    recipe["datasets"] = {"scans": {"sources": lambda root: scans, "sampling": None, "split": GaussianSplit(0.4, 2)}}
    recipe["sources"] = lambda root, split: scans[:1]
    recipe["metrics"] = []
    with monkeypatch.context() as patch, pytest.raises(DataError, match="blobs0.h5: undersampled and without a ref"):
        patch.setattr("mri_zoo.models.base.ReconstructionModel.fit", None)  # no epoch begins
        train(recipe, tmp_path / "run", report=silent)
    options = {"validation_options": {"split": GaussianSplit(0.4, 2)}, "monitor": "val_loss", "mode": "min"}
    train(recipe | options, tmp_path / "run", report=silent)
    assert (tmp_path / "run" / "preset" / "pdnet-joint-blobs").is_dir()


def test_bad_recipes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a `DualDomainLoss`, got the loss 'mae'"):
        train(load_recipe(RECIPE, ["loss=mae"]), tmp_path, report=silent)
    for override, message in [
        ("datasets=3", "`datasets` must be a dict of one dict or more, got 3"),
        ("datasets={}", "`datasets` must be a dict of one dict or more, got {}"),
        ("datasets.target={}", "`datasets.target.sources` must be a function, got None"),
        ("datasets.target.sources=3", "`datasets.target.sources` must be a function, got 3"),
        (
            "datasets.target.split=gaussian",
            "`datasets.target.split` must be of type Split or FullTarget, got 'g",
        ),
        ("datasets.target.split.std_scale=wide", "`std_scale` must be a number > 0, got 'wide'"),
        ("datasets.proxy.split.ratio=0.5", "a recipe has no `ratio`. There is nothing to set"),
        ("datasets.proxy.sampling.acceleration=four", "`acceleration` must be >= 1, got 'four'"),
        ("sources=3", "`sources` must be a class or a function, got 3"),
        ("datasets.target.sampling=random", "`datasets.target.sampling` must be of type SamplingMask or"),
        ("train_options.crop=(9, 9)", "`train_options` must be empty"),
        ("mixed_batches=3", "`mixed_batches` must be a bool, and needs `datasets`; got 3"),
        ("steps_per_epoch=0", "`steps_per_epoch` must be a whole number >= 1"),
        ("datasets.target.split.ratio=1.5", r"`ratio` must be in \(0, 1\).*, got 1.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_recipe(RECIPE, [override])
    with pytest.raises(ValueError, match="must be a mask or a trajectory, as blobs3.h5 is fully sampled; got None"):
        train(load_recipe(RECIPE, ["datasets.proxy.sampling=None"]), tmp_path, report=silent)
    with pytest.raises(ValueError, match="`learning_rate` is a schedule already"):
        train(load_recipe(RECIPE, ["schedule=cosine"]), tmp_path, report=silent)
    recipe = load_recipe(RECIPE, ["datasets.target.split.ratio=0.4", "datasets.target.repeats=10"])
    assert recipe["datasets"]["target"]["split"].ratio == 0.4 and recipe["datasets"]["target"]["repeats"] == 10


def scan(path, coils=2, hidden=None):
    """Two slices in fastMRI's layout; `hidden` replaces the reference and the k-space that `FIXED` leaves out."""
    kspace = random_complex(np.random.default_rng(len(path.stem)), (2, coils, 20, 26))
    target = root_sum_of_squares(ifft2c(kspace), axis=1)
    if hidden is not None:
        kspace[..., FIXED(20, 26)[0] == 0] = hidden
        target[:] = hidden
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"], file["reconstruction_rss"] = kspace, target


@pytest.fixture
def fastmri_folder(tmp_path):
    """As `jssl_fastmri.py` asks for it, with small scans."""
    lists = {
        "train_prostate_2_coils": ["training/prostate_a.h5", "training/prostate_aa.h5"],
        "train_prostate_3_coils": ["training/prostate_aaa.h5"],
        "train_knee": ["training/knee.h5"],
        "train_brain_2_coils_20x26": ["training/brain.h5"],
        "val_prostate": ["validation/prostate.h5"],
        "train_brain_16_coils_640x320": [],
    }
    for name, files in lists.items():
        (tmp_path / "lists").mkdir(exist_ok=True)
        names = [file.partition("/")[2] for file in files] or ["left_out.h5"]
        (tmp_path / "lists" / f"{name}.lst").write_text("\n".join(names) + "\n")
        for file in files:
            scan(tmp_path / file, coils=3 if name == "train_prostate_3_coils" else 2)
    return tmp_path


def small_network(model, data_consistent):
    """vSHARP and a network for the maps, as published but for the numbers."""
    vsharp = VSHARP(ConvNet(2, 3, 1), 2, 2, initializer_filters=(3,), initializer_dilations=(2,))
    refined = RefinedMaps(vsharp, SensitivityRefiner(ComplexNet(InstanceUNet(2, 2, 1), residual=False)))
    return DataConsistent(refined) if data_consistent else refined


@pytest.fixture
def eagerly():
    """Without a trace, which takes longer than these small trainings."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    "name, blind",
    [
        ("ssl", True),
        pytest.param("jssl", True, marks=pytest.mark.slow),
        pytest.param("sl", False, marks=pytest.mark.slow),
    ],
)
def test_published_recipes_see_nothing_of_the_target_that_was_not_sampled(fastmri_folder, eagerly, name, blind):
    """From files with huge constants in its place, they train weights that are equal to the bit; the supervised not."""
    recipe = load_recipe(RECIPES / f"jssl_fastmri_{name}.py", ["steps_per_epoch=3", "epochs=1"])
    for data in recipe["datasets"].values():
        data["sampling"] = FIXED
    recipe |= {"model": small_network, "root": fastmri_folder, "sampling": FIXED}
    found = []
    for hidden in (None, 1e30 if blind else 1.0):
        for path in (fastmri_folder / "training").glob("prostate*.h5"):
            scan(path, 3 if path.stem == "prostate_aaa" else 2, hidden)
        output = fastmri_folder / f"run-{hidden}"
        train(recipe, output, report=silent)
        found.append(arrays(output / "last.weights.h5"))
    plain, other = found
    assert plain.keys() == other.keys() and len(plain) > 20
    assert all(np.isfinite(array).all() for array in plain.values())
    assert all(np.array_equal(array, other[key]) for key, array in plain.items()) == blind


def test_published_recipes_take_the_volumes_of_the_lists(fastmri_folder):
    recipe = load_recipe(RECIPES / "jssl_fastmri_jssl.py")
    data = recipe["datasets"]
    names = {key: [source.info.name for source in part["sources"](fastmri_folder)] for key, part in data.items()}
    prostates = ["prostate_a.h5", "prostate_aa.h5", "prostate_aaa.h5"]
    assert names == {"prostate": prostates, "knee": ["knee.h5"], "brain": ["brain.h5"]}
    assert [source.info.name for source in recipe["sources"](fastmri_folder, "validation")] == ["prostate.h5"]
    (fastmri_folder / "training" / "knee.h5").unlink()
    with pytest.raises(DataError, match="training/knee.h5"):
        data["knee"]["sources"](fastmri_folder)


@pytest.mark.slow
def test_published_recipes_differ_in_what_their_names_say():
    recipes = {path.stem: load_recipe(path) for path in PUBLISHED}
    assert len(recipes) == 21 and len({recipe["name"] for recipe in recipes.values()}) == 21
    for name, recipe in recipes.items():
        parts = name.removeprefix("jssl_fastmri_").removeprefix("low_field_").split("_")
        splits = {key: data["split"] for key, data in recipe["datasets"].items()}
        target, *proxies = splits.values()
        assert target.self_supervised == ("sl" not in parts)
        assert bool(proxies) == ("all" in parts or "jssl" in parts)
        assert all(proxy.self_supervised == ("ssl" in parts) for proxy in proxies)
        assert ("half" in parts) == (getattr(target, "ratio", None) == 0.5)
        assert ("window10" in parts) == (getattr(target, "window", None) == 10)
        if name.startswith("jssl_fastmri"):
            steps = 250_000 if {"unet", "varnet"} & set(parts) else 500_000 if name == "jssl_fastmri_ssl" else 1_000_000
            assert recipe["epochs"] * recipe["steps_per_epoch"] == steps
            repeats = 10 if "oversampled" in parts else 2 if proxies else 1
            assert recipe["datasets"]["prostate"]["repeats"] == repeats
        kept = "ssl" in parts or {"unet", "varnet"} & set(parts)
        assert isinstance(recipe["model"](**recipe["model_arguments"]), DataConsistent) == bool(kept)
    with pytest.raises(DataError, match="has no list of file names train_knee.lst"):
        recipes["jssl_fastmri_jssl"]["datasets"]["knee"]["sources"]("nowhere")


def test_low_field_recipes_keep_subjects_apart(shared_data):
    recipe = load_recipe(RECIPES / "low_field_jssl.py")
    splits = {split: recipe["sources"](shared_data, split) for split in ("train", "validation", "test")}
    assert [len(sources) for sources in splits.values()] == [9, 3, 3]
    subjects = [{source.info.patient_id for source in sources} for sources in splits.values()]
    assert not subjects[0] & subjects[1] and not (subjects[0] | subjects[1]) & subjects[2] and all(map(all, subjects))
    data = recipe["datasets"]
    assert len(data["target"]["sources"](shared_data)) == 9
    proxy = data["proxy"]["sources"](shared_data)[0]
    middle = proxy.info.num_slices // 2
    volume = proxy.read([middle])
    assert volume.kspace.shape == (1, 1, 128, 126) and volume.target.shape == (1, 128, 126)
