import numpy as np
import pytest

from mri_zoo.data.gridding import grid_linearly
from mri_zoo.data.volume import DataError


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
    with pytest.raises(DataError, match=r"`kspace` has the shape \(2, 9\) and `trajectory` \(8, 2\); expected"):
        grid_linearly(np.ones((2, 9)), np.ones((8, 2)), (4, 4))
    with pytest.raises(DataError, match="enclose no area"):
        grid_linearly(np.ones((1, 9)), np.linspace([-1, -1], [1, 1], 9), (4, 4))
