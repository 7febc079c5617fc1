import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire_noncartesian, random_complex, relative_error

from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.models import PDNet
from mri_zoo.physics import gridded
from mri_zoo.physics.gridded import Gridded, grid_linearly
from mri_zoo.presets import load_preset, save_preset

TINY = {"num_iterations": 2, "num_primal": 2, "num_filters": 4, "primal_only": True, "buffers": "adjoint"}


def frequencies(size):
    axes = [2 * np.pi / n * (np.arange(n) - n // 2) for n in size]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def test_what_varies_linearly_is_met_and_the_outside_is_zero(rng):
    angles = rng.uniform(0, 2 * np.pi, 400)
    trajectory = (rng.uniform(0, 2.5, 400) * [np.cos(angles), np.sin(angles)]).T
    slopes = np.array([[1 + 2j, 3], [-1j, 2]])
    grid = grid_linearly(0.5 + slopes @ trajectory.T, trajectory.astype("float32"), (15, 12))
    assert grid.shape == (2, 15, 12) and grid.dtype == np.complex64
    points = frequencies((15, 12))
    radius = np.linalg.norm(points, axis=-1)
    expected = 0.5 + np.moveaxis(points @ slopes.T, -1, 0)
    np.testing.assert_allclose(grid[:, radius < 2], expected[:, radius < 2], atol=1e-5)
    np.testing.assert_array_equal(grid[:, radius > 2.5], 0)


def test_samples_on_the_grid_stay(rng):
    trajectory = frequencies((6, 5)).reshape(-1, 2)
    kspace = rng.standard_normal((3, 30)) + 1j * rng.standard_normal((3, 30))
    np.testing.assert_allclose(grid_linearly(kspace, trajectory, (6, 5)).reshape(3, -1), kspace, atol=1e-5)


def test_bad_input_is_refused(rng):
    with pytest.raises(ValueError, match=r"`kspace` has the shape \(2, 9\) and `trajectory` \(8, 2\); expected"):
        grid_linearly(np.ones((2, 9)), np.ones((8, 2)), (4, 4))
    with pytest.raises(ValueError, match="enclose no area"):
        grid_linearly(np.ones((1, 9)), np.linspace([-1, -1], [1, 1], 9), (4, 4))


def samples_of(rng, size=(15, 13), coils=1, batch_size=2):
    """A batch along two trajectories, without maps; its size is told by the kernel."""
    batch, _ = acquire_noncartesian(rng, size, coils, batch_size=batch_size)
    batch["trajectory"] = rng.uniform(-np.pi, np.pi, batch["trajectory"].shape).astype("float32")
    return batch | {"kernel": np.ones((batch_size, *(2 * n for n in size)), "float32")}


@pytest.mark.parametrize("coils, shared", [(1, False), (3, False), (3, True)])
def test_complete_grids_each_slice_along_its_own_trajectory(rng, coils, shared):
    batch = samples_of(rng, coils=coils)
    if shared:
        batch |= {"trajectory": batch["trajectory"][:1]}
    physics = Gridded(center_fraction=0.3)
    completed = physics.complete(batch)
    trajectories = np.broadcast_to(batch["trajectory"], (2, *batch["trajectory"].shape[1:]))
    expected = [grid_linearly(*slice_, (15, 13)) for slice_ in zip(batch["kspace"], trajectories, strict=True)]
    np.testing.assert_array_equal(completed["kspace"], expected)
    np.testing.assert_array_equal(completed["mask"], np.ones((1, 1, 1, 13)))
    assert ("sensitivity_maps" in completed) == (coils > 1) and "trajectory" not in completed
    np.testing.assert_array_equal(physics.complete(completed)["kspace"], expected)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("parts", [1, 2])
def test_samples_of_zero_density_are_not_gridded(rng, groups, parts):
    batch = samples_of(rng, coils=3)
    batch |= {"trajectory": batch["trajectory"][:groups], "density": batch["density"][:parts].copy()}
    batch["density"][:, ::3], batch["density"][-1, 1::3] = 0, 0
    trajectories, densities = (np.broadcast_to(batch[k], (2, *batch[k].shape[1:])) for k in ("trajectory", "density"))
    expected = [
        grid_linearly(y[:, d > 0], w[d > 0], (15, 13))
        for y, w, d in zip(batch["kspace"], trajectories, densities, strict=True)
    ]
    batch["kspace"][:, :, ::3] = 1e3
    np.testing.assert_array_equal(Gridded(center_fraction=1).complete(batch)["kspace"], expected)


def test_without_any_sample_there_is_nothing_to_grid(rng):
    batch = samples_of(rng)
    batch["density"][1] = 0
    with pytest.raises(ValueError, match="density compensation is zero everywhere"):
        Gridded().complete(batch)
    with pytest.raises(Exception, match="zero everywhere: there is no sample to grid"):  # TensorFlow wraps it
        tf.function(Gridded().complete)({key: tf.constant(value) for key, value in batch.items()})


def test_pdnet_is_that_of_the_gridded_kspace(rng):
    model, plain = PDNet(**TINY, physics=Gridded()), PDNet(**TINY)
    for size in [(15, 13), (12, 17)]:
        batch = samples_of(rng, size)
        grid = [grid_linearly(*slice_, size) for slice_ in zip(batch["kspace"], batch["trajectory"], strict=True)]
        found = model.predict(batch, verbose=0)
        plain.build()
        plain.set_weights(model.get_weights())
        mask = np.ones((2, 1, 1, size[1]), "float32")
        assert relative_error(found, plain({"kspace": np.stack(grid), "mask": mask})) < 1e-5
    model.compile("adam", loss="mae")
    assert np.isfinite(model.fit(batch, np.ones((2, *size)), verbose=0).history["loss"][0])


def test_a_preset_keeps_the_acquisition(rng, tmp_path):
    model = PDNet(**TINY, physics=Gridded((15, 13), 0.2))
    model.build()
    save_preset(tmp_path / "gridded", model, ConstantScaling(), metadata={"summary": "untrained"})
    copy = load_preset(tmp_path / "gridded").model
    assert copy.physics.get_config() == {"image_size": (15, 13), "center_fraction": 0.2}
    batch = samples_of(rng)
    del batch["kernel"]
    np.testing.assert_array_equal(copy(batch), model(batch))
    assert keras.saving.get_registered_object("mri_zoo>Gridded") is Gridded


def test_triangles_are_kept_for_a_few_trajectories(rng):
    kspace = random_complex(rng, (1, 40))
    before = gridded._triangles.cache_info()
    for _ in range(gridded.NUM_CACHED + 3):
        trajectory = rng.uniform(-3, 3, (40, 2)).astype("float32")
        np.testing.assert_array_equal(*(grid_linearly(kspace, trajectory, (8, 7)) for _ in range(2)))
    after = gridded._triangles.cache_info()
    assert after.currsize == gridded.NUM_CACHED and after.hits - before.hits == gridded.NUM_CACHED + 3


def test_batches_that_do_not_fit_are_refused(rng):
    batch = samples_of(rng)
    with pytest.raises(ValueError, match="radians per pixel"):
        Gridded().complete({**batch, "trajectory": 2 * batch["trajectory"]})
    with pytest.raises(ValueError, match="size of the image is unknown"):
        Gridded().complete({key: value for key, value in batch.items() if key != "kernel"})
    with pytest.raises(ValueError, match="must be 2 positive numbers"):
        Gridded((8, 8, 8))
