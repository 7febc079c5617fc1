import csv
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from helpers import acquire_noncartesian, ndft_matrix

from mri_zoo.data.pipeline import joint_batches, slices_of
from mri_zoo.data.splits import FullTarget, GaussianSplit, UniformSplit
from mri_zoo.data.trajectories import Radial3DTrajectory, RadialTrajectory
from mri_zoo.losses import DualDomainLoss, kspace_nmse
from mri_zoo.models import NCPDNet, PDNet, RefinedMaps, ZeroFilled
from mri_zoo.physics.gridded import Gridded
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.presets import load_preset
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.self_supervised import JointTraining
from mri_zoo.training.supervised import prepare, train

RECIPE = Path(__file__).with_name("tiny_samples_recipe.py")


def silent(line):
    pass


def assert_equal_weights(folder, other):
    with h5py.File(folder / "last.weights.h5") as ours, h5py.File(other / "last.weights.h5") as theirs:
        names = []
        ours.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            np.testing.assert_array_equal(ours[name][()], theirs[name][()], err_msg=name)
    assert len(names) > 10


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    train(load_recipe(RECIPE), folder, report=silent)
    return folder


def test_training_lowers_the_loss_and_gives_a_preset(finished):
    with open(finished / "log.csv") as file:
        log = list(csv.DictReader(file))
    assert len(log) == 2 and float(log[1]["loss"]) < 0.9 * float(log[0]["loss"])
    preset = load_preset(finished / "preset" / "ncpdnet-samples")
    assert isinstance(preset.model, NCPDNet) and preset.sampling == RadialTrajectory(1.6)


def test_the_reference_has_no_influence(finished, tmp_path):
    """It is a huge constant here, and the weights are equal to the bit."""
    train({**load_recipe(RECIPE), "root": 1e30}, tmp_path, report=silent)
    assert_equal_weights(tmp_path, finished)


@pytest.mark.slow
def test_resumed_equals_uninterrupted(finished, tmp_path):
    train({**load_recipe(RECIPE), "epochs": 1}, tmp_path, report=silent)
    lines = []
    train(load_recipe(RECIPE), tmp_path, resume=True, report=lines.append)
    assert lines[0] == "resuming after epoch 1 of 2"
    assert_equal_weights(tmp_path, finished)


def test_prepared_batches_are_those_of_the_pipeline(tmp_path):
    recipe = load_recipe(RECIPE, ["steps_per_epoch=2", "epochs=1"])
    prepare(recipe, tmp_path / "batches")
    train(recipe, tmp_path / "run", prepared=tmp_path / "batches", report=silent)
    assert (tmp_path / "run" / "preset").is_dir()


@pytest.mark.parametrize("split", [GaussianSplit(0.4, 3), UniformSplit((0.2, 0.6), 3), FullTarget()])
def test_elements_hold_one_part_each(split):
    recipe = load_recipe(RECIPE)
    sources = recipe["datasets"]["scans"]["sources"]("nowhere")
    data = {"sources": sources, "sampling": None, "split": split}
    if not split.self_supervised:
        data |= {"sources": recipe["sources"]("", "train"), "sampling": RadialTrajectory(1.6)}
    for batch, target in joint_batches([data], 3, seed=1).take(2).as_numpy_iterator():
        mask = batch["target_mask"][:, 0] > 0
        assert batch["kspace"].shape == batch["target_kspace"].shape and target.shape == (3, 17, 14)
        np.testing.assert_array_equal(batch["target_density"] > 0, mask)
        if not split.self_supervised:
            assert mask.all() and not batch["self_supervised"].any()
            np.testing.assert_array_equal(batch["kspace"], batch["target_kspace"])
            continue
        np.testing.assert_array_equal(batch["density"] > 0, ~mask)
        assert np.all(batch["self_supervised"] == 1) and len({row.tobytes() for row in mask}) == 3
        for key, chosen in (("kspace", mask), ("target_kspace", ~mask)):
            assert not (batch[key] * chosen[:, None]).any() and (batch[key] * ~chosen[:, None]).any()
        # Together they are what was measured, but for the scale.
        for samples in batch["kspace"] + batch["target_kspace"]:
            whole = [one / np.linalg.norm(one) for source in sources for one in source.read().kspace]
            likeness = [abs(np.vdot(one, samples)) / np.linalg.norm(samples) for one in whole]
            assert max(likeness) == pytest.approx(1, rel=1e-4)


def test_volumes_are_split_too():
    recipe = load_recipe(RECIPE)
    blobs = recipe["sources"]("", "train")
    dataset = slices_of(blobs, Radial3DTrajectory(2), split=UniformSplit(0.4, 2), partitions=2)
    (batch, target), (other, _) = dataset.as_numpy_iterator()
    assert target.shape == (3, 17, 14) and batch["trajectory"].shape[1] == 3 and len(dataset) == 2
    assert np.any(batch["target_mask"] != other["target_mask"])


def partition(rng, self_supervised=(1, 0)):
    """A batch with targets and maps, its image and the matrix of the transform."""
    batch, image = acquire_noncartesian(rng, coils=3, maps=True, batch_size=len(self_supervised))
    flags = np.array(self_supervised, "float32")
    mask = rng.random(batch["density"].shape) < 0.4
    full, density = batch["kspace"], batch["density"]
    mask[flags == 0] = True
    kept = ~mask | (flags == 0)[:, None]
    batch |= {"kspace": full * kept[:, None], "density": density * kept, "self_supervised": flags}
    batch |= {"target_kspace": full * mask[:, None], "target_mask": mask[:, None].astype("float32")}
    batch["target_density"] = (density[:, ::-1] + 1) * mask
    batch["kernel"] = np.array(NonCartesian((15, 13)).complete(batch)["kernel"])
    return batch, image, ndft_matrix(batch["trajectory"][0], (15, 13))


def test_each_sample_of_a_batch_is_judged_by_its_own_kind(rng):
    """The definition of the loss in NumPy, on a batch of one self-supervised and one supervised sample."""
    batch, _, matrix = partition(rng)
    target = rng.random((2, 15, 13)).astype("float32")
    model = JointTraining(ZeroFilled(NonCartesian()))
    model.compile(loss=DualDomainLoss([(3.0, keras.losses.MeanAbsoluteError())], [(5.0, kspace_nmse)]), metrics=["mae"])
    value, error = model.evaluate(batch, target, batch_size=2, verbose=0)

    maps = batch["sensitivity_maps"].reshape(2, 3, -1)

    def adjoint(samples, density):
        return np.sum(np.conj(maps) * ((samples * density[:, None]) @ np.conj(matrix)), axis=1)

    image = adjoint(batch["kspace"], batch["density"])
    kspace = ((maps * image[:, None]) @ matrix.T) * batch["target_mask"]
    judged = np.stack([adjoint(kspace, batch["target_density"])[0], image[1]]).reshape(2, 15, 13)
    l1 = np.mean(np.abs(np.abs(judged) - target))
    nmse = np.sum(np.abs(kspace - batch["target_kspace"]) ** 2) / np.sum(np.abs(batch["target_kspace"]) ** 2)
    assert value == pytest.approx(3 * l1 + 5 * nmse, rel=1e-4)
    assert error == pytest.approx(l1, rel=1e-4)


def test_maps_come_from_all_samples_of_a_partition_and_the_input_of_others(rng):
    batch, _, _ = partition(rng)
    del batch["sensitivity_maps"]
    physics = NonCartesian(center_fraction=0.4)
    moved = batch["self_supervised"][:, None]
    expected = physics.estimate_maps(
        {
            "kspace": batch["kspace"] + batch["target_kspace"] * moved[:, None],
            "trajectory": batch["trajectory"],
            "density": (batch["density"] + batch["target_density"] * moved).astype("float32"),
            "kernel": batch["kernel"],
        }
    )
    for network in (ZeroFilled(physics), RefinedMaps(ZeroFilled(physics), keras.layers.Identity())):
        maps = JointTraining(network)._maps(batch)["sensitivity_maps"]
        np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_samples_of_weight_zero_stay_out_without_compensation(rng):
    batch, _, _ = partition(rng, (1, 1))
    model = NCPDNet(1, 1, 2, normalized=True)
    expected = np.array(model(batch))
    chosen = [np.flatnonzero(density) for density in batch["density"]]
    for i, index in enumerate(chosen):
        some = {key: batch[key][i : i + 1] for key in ("kspace", "trajectory", "density", "sensitivity_maps")}
        some |= {"kspace": some["kspace"][..., index], "trajectory": some["trajectory"][:, index]}
        np.testing.assert_allclose(model({**some, "density": some["density"][:, index]})[0], expected[i], atol=1e-4)


def test_what_cannot_be_trained_so_is_refused(rng):
    with pytest.raises(ValueError, match="This NCPDNet has a network of its own for the sensitivity maps"):
        JointTraining(NCPDNet(1, 1, 2, refiner_filters=(4,)))
    with pytest.raises(ValueError, match="Gridded k-space has no samples"):
        JointTraining(PDNet(1, 2, 1, 2, True, physics=Gridded()))
    model, (batch, _, _) = JointTraining(ZeroFilled(NonCartesian())), partition(rng)
    with pytest.raises(ValueError, match="`target_mask` must have one coil, .* got the shape"):
        model({**batch, "target_mask": batch["target_mask"][..., 1:]})
    del batch["target_density"]
    with pytest.raises(ValueError, match="needs `target_density`. The batch has"):
        model(batch)
    recipe = load_recipe(RECIPE)
    blobs = {"sources": recipe["sources"]("", "train"), "split": UniformSplit(0.4, 2)}
    other = load_recipe(RECIPE.with_name("tiny_recipe.py"))["sampling"]
    with pytest.raises(ValueError, match="cannot share a training"):
        joint_batches([{**blobs, "sampling": RadialTrajectory(2)}, {**blobs, "sampling": other}], 2)
