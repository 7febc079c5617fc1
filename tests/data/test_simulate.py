import numpy as np
import pytest
import scipy.fft

from mri_zoo.data.fourier import fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.simulate import SimulatedAcquisition, add_noise, coil_sensitivities, smooth_field, smooth_phase
from mri_zoo.data.volume import DataError, Volume, VolumeInfo


class Magnitudes:
    """A source of magnitude images alone, as a NIfTI file is."""

    def __init__(self, images):
        self._target = images
        self.info = VolumeInfo("scan.nii.gz", len(images), 1, *images.shape[1:], "T1w", "p1", images.shape[1:])

    def read(self, slices=None):
        target = self._target if slices is None else self._target[list(slices)]
        return Volume(self.info, tuple(slices), fft2c(target)[:, None], target)


@pytest.fixture
def magnitudes(rng):
    return np.abs(rng.standard_normal((4, 15, 12))).astype(np.float32)


def energy_outside(images, size):
    """Fraction of the cosine spectrum, which knows no edges, outside the lowest `size` frequencies of each axis."""
    energy = np.abs(scipy.fft.dctn(images, axes=(-2, -1), norm="ortho")) ** 2
    return 1 - energy[..., :size, :size].sum() / energy.sum()


@pytest.mark.parametrize("num_coils", [1, 2, 5, 16])
@pytest.mark.parametrize("height, width", [(64, 48), (45, 77), (1, 1)])
def test_coils_have_unit_root_sum_of_squares(num_coils, height, width):
    maps = coil_sensitivities(num_coils, height, width, seed=0)
    assert maps.shape == (num_coils, height, width) and maps.dtype == np.complex64
    np.testing.assert_allclose(root_sum_of_squares(maps), 1, atol=1e-6)


@pytest.mark.parametrize("num_coils", [1, 4, 12])
@pytest.mark.parametrize("seed", range(3))
def test_coils_are_smooth(num_coils, seed):
    assert energy_outside(coil_sensitivities(num_coils, 96, 81, seed), 8) < 2e-3


def test_each_coil_is_strongest_at_its_own_place():
    maps = np.abs(coil_sensitivities(8, 63, 64, seed=5))
    peaks = {np.unravel_index(coil.argmax(), coil.shape) for coil in maps}
    assert len(peaks) == 8
    assert (maps.max((1, 2)) > 2 * maps.mean((1, 2))).all()


def test_coils_follow_the_seed():
    maps = coil_sensitivities(3, 21, 17, seed=(4, 2))
    np.testing.assert_array_equal(maps, coil_sensitivities(3, 21, 17, np.random.default_rng((4, 2))))
    assert np.abs(maps - coil_sensitivities(3, 21, 17, seed=(4, 3))).max() > 0.1


def test_coils_of_one_seed_agree_between_sizes():
    fine, coarse = coil_sensitivities(4, 45, 33, seed=1), coil_sensitivities(4, 15, 11, seed=1)
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=1e-5)


@pytest.mark.parametrize("num_coils, height, width", [(0, 8, 8), (2, 0, 8), (2, 8, -1)])
def test_coils_refuse_bad_sizes(num_coils, height, width):
    with pytest.raises(ValueError, match="must be at least 1"):
        coil_sensitivities(num_coils, height, width, seed=0)


def test_phase_is_smooth_and_a_few_radians(rng):
    phases = np.stack([smooth_phase(61, 48, rng) for _ in range(100)])
    assert phases.dtype == np.float32
    np.testing.assert_allclose(phases.mean((1, 2)), 0, atol=1e-6)
    assert energy_outside(phases, 4) < 1e-6
    assert 3 < np.median(np.ptp(phases, axis=(1, 2))) < 6


def test_field_has_unit_expected_power(rng):
    fields = np.stack([smooth_field(20, 31, rng) for _ in range(2000)])
    np.testing.assert_allclose((fields**2).mean(), 1, rtol=0.1)


def test_phase_refuses_bad_sizes(rng):
    with pytest.raises(ValueError, match="`width` must be at least 1, got 0"):
        smooth_phase(4, 0, rng)


def test_noise_level_is_per_real_and_imaginary_part(rng):
    kspace = np.full((3, 2, 101, 100), 5 - 2j, np.complex64)
    noise = add_noise(kspace, 0.25, rng) - kspace
    assert noise.dtype == np.complex64
    np.testing.assert_allclose([noise.real.std(), noise.imag.std()], 0.25, rtol=0.02)
    np.testing.assert_allclose(np.mean(noise.real * noise.imag), 0, atol=1e-3)
    image_noise = ifft2c(noise)
    np.testing.assert_allclose([image_noise.real.std(), image_noise.imag.std()], 0.25, rtol=0.02)
    np.testing.assert_array_equal(add_noise(kspace, 0, rng), kspace)
    with pytest.raises(ValueError, match="`level` must not be negative, got -1"):
        add_noise(kspace, -1, rng)


@pytest.mark.parametrize("num_coils", [1, 3])
def test_acquisition_keeps_the_magnitude(magnitudes, num_coils):
    acquisition = SimulatedAcquisition(Magnitudes(magnitudes), num_coils, seed=2)
    volume = acquisition.read([3, 1])
    assert volume.slices == (3, 1) and volume.kspace.shape == (2, num_coils, 15, 12)
    assert volume.kspace.dtype == np.complex64 and volume.target.dtype == np.float32
    np.testing.assert_array_equal(volume.target, magnitudes[[3, 1]])
    coil_images = ifft2c(volume.kspace)
    np.testing.assert_allclose(root_sum_of_squares(coil_images), volume.target, atol=1e-5)
    assert np.ptp(np.angle(coil_images[0, 0])) > 0.5


def test_acquisition_describes_itself(magnitudes):
    source = Magnitudes(magnitudes)
    info = SimulatedAcquisition(source, 3, (11, 8)).info
    assert (info.num_slices, info.num_coils, info.height, info.width) == (4, 3, 11, 8)
    assert (info.name, info.contrast, info.patient_id) == ("scan.nii.gz", "T1w", "p1")
    assert info.target_size == (11, 8) and info.padding == (0, 8) and info.mask is None
    assert SimulatedAcquisition(source).info.name == "scan.nii.gz"


def test_slices_do_not_depend_on_their_company(magnitudes):
    acquisition = SimulatedAcquisition(Magnitudes(magnitudes), 2, seed=7)
    whole, one = acquisition.read(), acquisition.read([2])
    np.testing.assert_array_equal(whole.kspace[2], one.kspace[0])
    again = SimulatedAcquisition(Magnitudes(magnitudes), 2, seed=7).read([2])
    np.testing.assert_array_equal(one.kspace, again.kspace)
    other = SimulatedAcquisition(Magnitudes(magnitudes), 2, seed=8).read([2])
    assert np.abs(one.kspace - other.kspace).max() > 0.1


def test_phase_is_as_many_times_as_asked_for(magnitudes):
    volumes = [SimulatedAcquisition(Magnitudes(magnitudes), phase=phase).read([1]) for phase in (1, 2, 4)]
    once, twice, four = (ifft2c(volume.kspace[0, 0]) for volume in volumes)
    turn = twice * np.conj(once)
    turn /= np.abs(turn)
    assert np.ptp(np.angle(turn)) > 0.1
    np.testing.assert_allclose(four, twice * turn**2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [(10, 9), (15, 7), (9, 12)])
def test_smaller_matrix_measures_the_centre_of_kspace(magnitudes, size):
    full = SimulatedAcquisition(Magnitudes(magnitudes), 2).read([0])
    small = SimulatedAcquisition(Magnitudes(magnitudes), 2, size).read([0])
    scale = np.sqrt(size[0] * size[1] / (15 * 12))
    origin, small_origin = (7, 6), (size[0] // 2, size[1] // 2)
    for offset in [(0, 0), (2, -3), (-4, 3)]:
        row, column = np.add(origin, offset)
        small_row, small_column = np.add(small_origin, offset)
        np.testing.assert_allclose(
            small.kspace[..., small_row, small_column], scale * full.kspace[..., row, column], rtol=1e-6
        )
    np.testing.assert_allclose(small.target, root_sum_of_squares(ifft2c(small.kspace)), rtol=1e-5)


def test_smaller_matrix_keeps_intensities():
    bump = np.exp(-np.sum((np.mgrid[-1:1:60j, -1:1:50j] / 0.4) ** 2, axis=0)).astype(np.float32)[None]
    small = SimulatedAcquisition(Magnitudes(bump), 4, (31, 26)).read()
    np.testing.assert_allclose(small.target.max(), 1, rtol=0.02)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_coils": 0}, "`num_coils` must be at least 1"),
        ({"size": (16, 12)}, r"`size` must be at most that of the images of scan.nii.gz, \(15, 12\), got \(16, 12\)"),
        ({"size": (8, 0)}, "`width` must be at least 1"),
        ({"seed": -1}, "`seed` and `phase` must not be negative, got -1"),
        ({"phase": -2}, "`seed` and `phase` must not be negative, got 0 and -2"),
    ],
)
def test_acquisition_refuses_bad_arguments(magnitudes, arguments, message):
    with pytest.raises(ValueError, match=message):
        SimulatedAcquisition(Magnitudes(magnitudes), **arguments)


def test_acquisition_refuses_missing_slices_and_targets(magnitudes):
    source = Magnitudes(magnitudes)
    with pytest.raises(DataError, match="scan.nii.gz has slices 0 to 3, asked for 4"):
        SimulatedAcquisition(source).read([4])
    source.info = VolumeInfo("raw.h5", 4, 1, 15, 12)
    with pytest.raises(ValueError, match="raw.h5 has no reference images"):
        SimulatedAcquisition(source)
