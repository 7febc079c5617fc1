import dataclasses

import numpy as np
import pytest

from mri_zoo.data import trajectories
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.trajectories import TRAJECTORIES, RadialTrajectory, SpiralTrajectory, as_trajectory
from mri_zoo.data.volume import DataError

PI = np.float32(np.pi)
SIZES = {2: (15, 13), 3: (6, 15, 13)}
SHOTS = {2: 6, 3: 36}  # at acceleration 2


def size_of(name):
    return SIZES[TRAJECTORIES[name].dimensions]


@pytest.mark.parametrize(
    "name, recorded, sizes",
    [
        ("radial", "radial", [(64, 48, 4), (40, 32, 8), (33, 21, 2)]),
        ("spiral", "spiral", [(64, 48, 4), (40, 32, 8)]),
        ("radial_stack", "stacks_of_radial", [(8, 12, 12, 4), (6, 10, 16, 4), (7, 9, 10, 2)]),
        ("spiral_stack", "stacks_of_spiral", [(8, 12, 12, 4), (6, 10, 16, 4)]),
        ("radial_3d", "radial_3d", [(8, 12, 12, 4), (6, 10, 16, 4), (7, 9, 10, 2)]),
    ],
)
def test_benchmark_rules_are_the_recorded_ones(reference, name, recorded, sizes):
    recordings = np.load(reference / "tensorflow" / "numeric" / "trajectories.npz")
    for *size, acceleration in sizes:
        shots = TRAJECTORIES[name](acceleration, benchmark=True)(size)
        if "spiral" in name:  # stored sample by sample
            planes = size[0] if len(size) == 3 else 1
            shots = shots.reshape(planes, -1, *shots.shape[1:]).swapaxes(1, 2)
        expected = recordings[f"{recorded}_{'x'.join(map(str, size))}_af{acceleration}"][0]
        assert shots.dtype == np.float32
        # Equal but for cosines of a right angle, which are not quite zero.
        np.testing.assert_allclose(shots.reshape(-1, len(size)).T, expected, rtol=0, atol=1e-14)


def test_recorded_undersampling_is_a_number_of_shots(reference):
    recordings = np.load(reference / "tensorflow" / "numeric" / "trajectories.npz")
    shots = trajectories.radial(int(50 * np.pi / (2 * 0.5)), 64, endpoint=True)
    np.testing.assert_array_equal(shots.reshape(-1, 2).T, recordings["radial_64x50_us0.5"][0])
    shots = SpiralTrajectory(4, revolutions=5, benchmark=True)((64, 48))
    np.testing.assert_array_equal(shots.swapaxes(0, 1).reshape(-1, 2).T, recordings["spiral_64x48_af4_rev5"][0])


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_shots_samples_units_and_range(name):
    size = size_of(name)
    shots = TRAJECTORIES[name](2)(size)
    assert shots.shape == (SHOTS[len(size)], 15, len(size)) and shots.dtype == np.float32
    assert shots.min() >= -PI and shots.max() < PI
    assert not np.array_equal(shots, TRAJECTORIES[name](2, benchmark=True)(size)[:, :15])
    np.testing.assert_array_equal(shots, TRAJECTORIES[name](2)(size))


def test_acceleration_is_that_of_the_thesis():
    for sampling in (RadialTrajectory(4), SpiralTrajectory(4)):
        assert sampling((640, 400)).shape == (100, 640, 2)
    for name in ("radial_stack", "spiral_stack", "radial_3d"):
        assert TRAJECTORIES[name](4)((12, 16, 20)).shape == (12 * 5, 16, 3)


@pytest.mark.parametrize("num_samples", [8, 15])
def test_every_shot_passes_the_centre_once(num_samples):
    for shots in (
        trajectories.radial(5, num_samples),
        trajectories.spiral(5, num_samples, revolutions=2),
        trajectories.radial_3d(5, num_samples),
        trajectories.radial_3d(5, num_samples, "uniform"),
    ):
        radius = np.linalg.norm(shots.astype(float), axis=-1)
        np.testing.assert_array_equal(np.argmin(radius, axis=1), num_samples // 2)
        np.testing.assert_array_equal(radius[:, num_samples // 2], 0)
        after = shots[:, num_samples // 2 + 1 :]
        np.testing.assert_allclose(after, -shots[:, num_samples // 2 - 1 :: -1][:, : after.shape[1]], atol=1e-6)


def test_radial_lines_lie_at_their_angles():
    shots = trajectories.radial(4, 9, "uniform")
    degrees = np.rad2deg(np.arctan2(shots[:, 5, 1], shots[:, 5, 0]))
    np.testing.assert_allclose(degrees, [0, 45, 90, 135], atol=1e-4)
    golden = trajectories.radial(3, 9)
    degrees = np.rad2deg(np.arctan2(golden[:, 5, 1], golden[:, 5, 0]))
    np.testing.assert_allclose(degrees, [0, -111.2461, 137.5078], atol=1e-3)


def test_spiral_turns_evenly_with_its_radius():
    shots = trajectories.spiral(4, 16, revolutions=2)
    outwards = shots[0, 8:, 0] + 1j * shots[0, 8:, 1]
    np.testing.assert_allclose(np.abs(outwards), np.pi / 8 * np.arange(8), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.exp(1j * np.angle(outwards[1:])), np.exp(0.5j * np.pi * np.arange(1, 8)), atol=1e-6)


@pytest.mark.parametrize("angles", ["golden", "uniform"])
def test_directions_of_3d_lines_cover_the_sphere(angles):
    directions = trajectories.radial_3d(400, 3, angles)[:, 2]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Of lines that are spread evenly, each direction sees a third of the squared length.
    np.testing.assert_allclose(directions.T @ directions / 400, np.eye(3) / 3, atol=0.02)
    cosines = np.abs(directions @ directions.T) - 2 * np.eye(400)
    nearest = np.rad2deg(np.arccos(cosines.max(axis=1)))
    assert nearest.min() > {"golden": 1.5, "uniform": 3}[angles]


def test_stack_fills_each_plane_of_the_grid_once():
    shots = trajectories.RadialStackTrajectory(3)((7, 15, 13)).reshape(7, 4, 15, 3)
    np.testing.assert_allclose(shots[..., 0], np.broadcast_to(trajectories._frequencies(7)[:, None, None], (7, 4, 15)))
    np.testing.assert_allclose(shots[0, ..., 1:], trajectories.radial(4, 15), atol=1e-6)
    angle = np.arctan2(shots[1, 0, 9, 2], shots[1, 0, 9, 1])
    np.testing.assert_allclose(angle, np.pi / 4 * 0.618034, rtol=1e-5)


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5)])
def test_cartesian_is_the_grid_of_the_fourier_transform(size):
    grid = trajectories.cartesian(size).reshape(*size, len(size))
    axes = [2 * np.pi * np.fft.fftshift(np.fft.fftfreq(count)) for count in size]
    np.testing.assert_allclose(grid, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1), atol=1e-6)


def test_trajectories_of_mrinufft_are_accepted(reference):
    recorded = np.load(reference / "pytorch" / "numeric" / "mrinufft_trajectories.npz")
    names = [name for name in recorded if "per_m" not in name]
    assert len(names) == 23
    for name in names:
        samples = recorded[name]
        ours = as_trajectory(samples, wrap=name == "cones2d")  # which leaves the square
        assert ours.shape == samples.shape and ours.dtype == np.float32
        assert ours.min() >= -PI and ours.max() < PI
        inside = np.abs(samples) < 0.4999
        np.testing.assert_allclose(ours[inside], 2 * np.pi * samples[inside], rtol=1e-6)
        # On the edge, pi is -pi.
        np.testing.assert_allclose(np.exp(1j * ours), np.exp(2j * np.pi * samples), atol=1e-6, err_msg=name)


def test_samples_beyond_the_edge_are_an_error_or_wrapped():
    samples = np.array([[[0.0, 0.25], [0.53, -0.5]]])
    with pytest.raises(ValueError, match=r"reaches 0.53 cycles/pixel.*\[-0.5, 0.5\).*right\? Then `wrap=True` takes"):
        as_trajectory(samples)
    wrapped = as_trajectory(samples, wrap=True)
    np.testing.assert_allclose(wrapped, 2 * np.pi * np.array([[[0, 0.25], [-0.47, -0.5]]]), rtol=1e-6)


def test_units_of_the_field_of_view():
    samples = np.array([[[-7.5, 6.0, 0.0], [7.0, -3.25, 1.0]]])
    ours = as_trajectory(samples, "cycles/FOV", (15, 13, 4))
    np.testing.assert_allclose(ours, 2 * np.pi * samples / [15, 13, 4], rtol=1e-6)
    np.testing.assert_array_equal(as_trajectory(ours, "radians/pixel"), ours)
    with pytest.raises(ValueError, match=r"\[-6.5, 6.5\).*more pixels, or `wrap=True` takes"):
        as_trajectory(np.array([[[0.0, 7.0]]]), "cycles/FOV", (15, 13))
    with pytest.raises(ValueError, match="image size of 3 extents, got None"):
        as_trajectory(samples, "cycles/FOV")
    with pytest.raises(ValueError, match="cycles/pixel"):
        as_trajectory(samples, "1/m")


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros((4, 2)), r"\(shot, sample, 2 or 3\).*\(4, 2\)"),
        (np.zeros((4, 5, 4)), r"\(4, 5, 4\)"),
        (np.zeros((0, 5, 2)), r"\(0, 5, 2\)"),
        (np.zeros((4, 5, 2), complex), "complex128"),
        (np.full((4, 5, 2), np.nan), "NaN"),
    ],
)
def test_bad_trajectories_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        as_trajectory(samples)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="acceleration.*0.5"):
        RadialTrajectory(0.5)
    with pytest.raises(ValueError, match=r"acceleration.* got \(4, 8\)"):
        RadialTrajectory((4, 8))
    with pytest.raises(ValueError, match="leaves no shot"):
        RadialTrajectory(14)((15, 13))
    with pytest.raises(ValueError, match="2 extents"):
        RadialTrajectory(4)((15, 15, 13))
    with pytest.raises(ValueError, match="3 extents"):
        TRAJECTORIES["radial_3d"](4, image_size=(15, 13))
    with pytest.raises(ValueError, match='"golden" or "uniform", got \'random\''):
        RadialTrajectory(4, angles="random")
    for value in (np.inf, np.nan):
        with pytest.raises(ValueError, match=f"`acceleration` must be >= 1 and finite, got {value}"):
            RadialTrajectory(value)
    for value in (0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"`revolutions` must be > 0 and finite, got {value}"):
            SpiralTrajectory(4, revolutions=value)
        with pytest.raises(ValueError, match=f"`revolutions` must be > 0 and finite, got {value}"):
            trajectories.spiral(3, 4, value)
    with pytest.raises(ValueError, match="at least one shot"):
        trajectories.spiral(0, 4)


@pytest.mark.parametrize(
    "draw, found",
    [
        (lambda: RadialTrajectory(4)((10**6, 10**6)), r"for images of \(1000000, 1000000\) pixels takes 1.6e.04 GB"),
        (lambda: TRAJECTORIES["radial_3d"](4)((2000, 2000, 2000)), "Radial3DTrajectory for images .* takes 192 GB"),
        (lambda: make_encoding(RadialTrajectory(30_000)((65536, 65536)), (65536, 65536)), "The grid .* takes 68.7 GB"),
    ],
)
def test_samples_without_memory_for_them_are_refused_first(draw, found):
    with pytest.raises(DataError, match=found):
        draw()


def test_trajectories_compare_equal_by_value():
    assert RadialTrajectory(4, image_size=np.array([64, 48])) == RadialTrajectory(4, (64, 48))
    assert RadialTrajectory(4) != dataclasses.replace(RadialTrajectory(4), benchmark=True)
    assert hash(SpiralTrajectory(4, [64, 48]))
