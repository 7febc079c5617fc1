import numpy as np
import pytest
from helpers import relative_error

from mri_zoo.physics.density import _cell_volumes, pipe_density, radial_density, voronoi_density
from mri_zoo.physics.nufft import nufft, nufft_adjoint

CASES = {
    "radial_48x40_af4": (48, 40),
    "radial_33x28_af4": (33, 28),
    "spiral_64x48_af2": (64, 48),
    "radial_stacks_8x12x12_af4": (8, 12, 12),
    "radial_3d_10x12x16_af4": (10, 12, 16),
}
OTHERS = {"radial2d": (32, 32), "spiral2d": (32, 32), "random2d": (32, 32)}


def gain(weights, trajectory, size):
    samples = weights * nufft(np.ones((1, 1, *size), "complex64"), trajectory[None])
    return np.mean(np.abs(nufft_adjoint(samples, trajectory[None], size)))


@pytest.fixture
def recorded(reference):
    with np.load(reference / "tensorflow" / "numeric" / "density_compensation.npz") as file:
        return dict(file)


@pytest.mark.parametrize("case, size", CASES.items())
def test_equals_the_recorded_predecessor(recorded, case, size):
    trajectory = recorded[f"{case}__trajectory"][0].T
    for iterations in (1, 10):
        weights = pipe_density(trajectory, size, iterations)
        assert weights.dtype == np.float32
        assert gain(weights, trajectory, size) == pytest.approx(1, rel=1e-4)
        # The predecessor's transform, squared, has 2**-dim of our gain. Its kernel is a table.
        expected = recorded[f"{case}__pipe_{iterations}it"] / 2 ** len(size)
        assert relative_error(weights, expected) < 5e-3
    if "stacks" not in case:  # there the predecessor takes the wrong axes
        weights, expected = radial_density(trajectory, size, power=1), recorded[f"{case}__radial_dcomp"]
        np.testing.assert_allclose(weights, expected / gain(expected, trajectory, size), rtol=2e-3)


@pytest.mark.parametrize("case, size", [*OTHERS.items(), ("random3d", (20, 20, 20))])
def test_iteration_equals_that_of_torchkbnufft(reference, case, size):
    with np.load(reference / "pytorch" / "numeric" / "mrinufft_density.npz") as file:
        trajectory, expected = file[f"traj_{case}"], file[f"torchkbnufft_{case}"]
    weights = pipe_density(2 * np.pi * trajectory.reshape(-1, len(size)), size)
    # Its scale is another, and its kernel is a table.
    assert relative_error(weights / np.linalg.norm(weights), expected / np.linalg.norm(expected)) < 2e-3


@pytest.mark.parametrize("case, size", OTHERS.items())
def test_cells_equal_those_of_mri_nufft(reference, case, size):
    with np.load(reference / "pytorch" / "numeric" / "mrinufft_density.npz") as file:
        trajectory, voronoi = file[f"traj_{case}"], file[f"voronoi_{case}"]
    trajectory = 2 * np.pi * trajectory.reshape(-1, 2)
    weights = voronoi_density(trajectory, size)
    ratio = weights / voronoi
    # It has other values for open cells and cells of samples that coincide away from the centre.
    assert np.mean(np.abs(ratio / np.median(ratio) - 1) < 1e-3) > 0.9
    assert np.all(weights >= 0) and gain(weights, trajectory.astype("float32"), size) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("case", ["random3d", "cones3d"])
def test_cells_of_mri_nufft_in_space_are_ours_with_another_sum(reference, case):
    """It adds the determinants of every vertex with every edge, which are no tetrahedra: no volume of the cell."""
    from scipy.spatial import Voronoi

    with np.load(reference / "pytorch" / "numeric" / "mrinufft_density.npz") as file:
        trajectory, expected = file[f"traj_{case}"], file[f"voronoi_{case}"]
    points, inverse, counts = np.unique(trajectory.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    cells = Voronoi(points)
    regions = [cells.regions[region] for region in cells.point_region]
    closed = np.array([-1 not in region for region in regions])
    sums = np.ones(len(points))
    for index in np.flatnonzero(closed):
        first, *rest = cells.vertices[regions[index]]
        rest = np.array(rest) - first
        sums[index] = np.sum(np.abs(np.cross(rest[:-1], rest[1:]) @ rest[:-2].T))
    ratio = ((sums / counts)[inverse] / expected)[closed[inverse]]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)


def test_volumes_of_cells_are_those_of_their_hulls(rng):
    from scipy.spatial import ConvexHull, Voronoi

    for dimensions in (2, 3):
        points = rng.uniform(-3, 3, (200, dimensions))
        cells, volumes = Voronoi(points), _cell_volumes(points)
        regions = [cells.regions[region] for region in cells.point_region]
        closed = np.array([-1 not in region for region in regions])
        hulls = np.array([ConvexHull(cells.vertices[r]).volume for r in np.array(regions, object)[closed]])
        kept = hulls < np.quantile(hulls, 0.5)  # the largest are replaced
        np.testing.assert_allclose(volumes[closed][kept], hulls[kept], rtol=1e-6)


def test_full_cartesian_grid_has_weights_of_one():
    size = (12, 9)
    axes = [2 * np.pi * (np.arange(n) - n // 2) / n for n in size]
    trajectory = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(pipe_density(trajectory, size), 1, rtol=1e-3)
    np.testing.assert_allclose(voronoi_density(trajectory, size), 1, rtol=1e-3)


def test_density_of_a_ball_grows_with_the_square_of_the_radius(rng):
    directions = rng.standard_normal((400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    trajectory = (directions[:, None] * np.linspace(0.2, 1, 9)[:, None] * 3).reshape(-1, 3)
    weights = radial_density(trajectory, (8, 10, 9)).reshape(400, 9)
    shells = [((r + 0.05) ** 3 - (r - 0.05) ** 3) for r in (1, 0.6)]
    np.testing.assert_allclose(weights[:, -1] / weights[:, 4], shells[0] / shells[1], rtol=1e-4)


@pytest.mark.parametrize("shift", [0, 0.5])  # with a sample in the centre, and without
def test_spokes_show_an_object_as_sharp_as_their_cells_do(shift):
    size, angles = (48, 48), np.pi * np.arange(76) / 76
    radius = 2 * np.pi / 96 * (np.arange(96) - 48 + shift)
    trajectory = np.stack([radius * np.sin(angles)[:, None], radius * np.cos(angles)[:, None]], axis=-1)
    trajectory = trajectory.reshape(-1, 2).astype("float32")
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    image = ((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1) - 0.5 * ((x - 0.2) ** 2 + y**2 < 0.04)
    samples = nufft(image[None, None].astype("complex64"), trajectory[None])

    def error(weights):
        shown = np.asarray(nufft_adjoint(weights * samples, trajectory[None], size))[0, 0]
        return relative_error(shown * (np.vdot(shown, image) / np.vdot(shown, shown)), image)

    best = error(voronoi_density(trajectory, size))
    assert best < 0.2 and error(radial_density(trajectory, size)) < 1.05 * best
    if not shift:
        assert error(radial_density(trajectory, size, power=1)) > 1.5 * best  # the predecessor's centre


def test_samples_at_one_point_are_no_spokes():
    with pytest.raises(ValueError, match="no spokes"):
        radial_density(np.repeat(np.linspace([-3, 0], [3, 0], 20), 3, axis=0), (8, 8))


def test_batches_and_coinciding_samples(rng):
    trajectory = rng.uniform(-3, 3, (2, 60, 2)).astype("float32")
    trajectory[0, 7] = trajectory[0, 3]
    for density in (pipe_density, radial_density, voronoi_density):
        weights = density(trajectory, (9, 8))
        assert weights.shape == (2, 60) and weights.dtype == np.float32
        np.testing.assert_allclose(weights[1], density(trajectory[1], (9, 8)), rtol=1e-5)
        assert weights[0, 7] == pytest.approx(weights[0, 3], rel=1e-4)


@pytest.mark.parametrize("density", [pipe_density, radial_density, voronoi_density])
def test_bad_trajectories_are_refused(density):
    with pytest.raises(ValueError, match="radians per pixel"):
        density(np.full((30, 2), 5.0), (9, 8))
    with pytest.raises(ValueError, match=r"samples, 2\), got \(30, 3\)"):
        density(np.zeros((30, 3)), (9, 8))


def test_bad_arguments_are_refused(rng):
    with pytest.raises(ValueError, match="`num_iterations` must be >= 1, got 0"):
        pipe_density(np.zeros((30, 2)), (9, 8), 0)
    for power in (np.nan, np.inf, -1):
        with pytest.raises(ValueError, match=f"`power` must be a finite number >= 0, got {power}"):
            radial_density(np.zeros((30, 2)), (8, 8), power)
    with pytest.raises(ValueError, match="lie on one line or plane"):
        voronoi_density(np.linspace([-3, -3], [3, 3], 30), (8, 8))
    with pytest.raises(ValueError, match="lie on one line or plane"):
        voronoi_density(np.random.default_rng(0).uniform(-3, 3, (50, 3)) * [1, 1, 0], (8, 8, 8))
    with pytest.raises(ValueError, match="at least 20 different points, the trajectory has 1"):
        voronoi_density(np.zeros((30, 2)), (9, 8))
