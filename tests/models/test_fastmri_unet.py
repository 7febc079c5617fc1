import numpy as np
import pytest
from helpers import acquire, fft_reference, random_complex, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.models import FastMRIUNet


@pytest.fixture
def recorded(reference):
    return reference / "pytorch" / "fastmri_unet"


def test_published_number_of_parameters():
    """It is quadratic in the number of filters: three small networks tell it, the published one checks it."""
    counts = {}
    for num_filters in (1, 2, 3, 32):
        network = FastMRIUNet(num_filters).network
        network.build((None, None, None, 1))
        counts[num_filters] = network.count_params()
    one, two, three, published = counts.values()
    for n, expected in {32: 7_756_097, 64: 31_023_745, 128: 124_093_697, 256: 496_372_225}.items():
        assert one + (n - 1) * (two - one) + (n - 1) * (n - 2) // 2 * (three - 2 * two + one) == expected
    assert published == 7_756_097


def test_equals_the_recorded_network(recorded):
    model = import_checkpoint(recorded / "checkpoint.pt", "fastmri", "FastMRIUNet")
    assert model.get_config().items() >= {"num_filters": 8, "num_pools": 3, "crop": None}.items()
    with np.load(recorded / "io.npz") as io:
        for size in ("64x48", "61x47", "50x45"):
            found = model.network(np.moveaxis(io[f"input_{size}"], 1, -1))
            assert relative_error(found, np.moveaxis(io[f"output_{size}"], 1, -1)) < 1e-5


def test_image_equals_the_recorded_network(recorded):
    """Of magnitudes with the recorded inputs' contrast, standardised and put back with the unbiased deviation.

    The recorded inputs' mean is not quite zero, to which the network's borders respond with 6e-5; with the biased
    deviation the image would be off by 2e-4.
    """
    model = import_checkpoint(recorded / "checkpoint.pt", "fastmri", "FastMRIUNet")
    with np.load(recorded / "io.npz") as io:
        magnitude, expected = 5 + 0.8 * io["input_64x48"][:, 0], io["output_64x48"][:, 0]
    batch = {"kspace": fft_reference(magnitude[:, None]).astype("complex64"), "mask": np.ones((2, 1, 1, 48), "float32")}
    mean, deviation = magnitude.mean(axis=(1, 2), keepdims=True), magnitude.std(axis=(1, 2), ddof=1, keepdims=True)
    assert relative_error((np.asarray(model(batch)) - mean) / deviation, expected) < 1e-4


@pytest.mark.parametrize("coils", [1, 3])
def test_image_is_the_network_of_the_standardised_magnitude(rng, coils):
    """As fastMRI's transform prepares it: cropped, combined, standardised with the unbiased deviation, clipped."""
    coil_images = random_complex(rng, (2, coils, 17, 15))
    coil_images[0, :, 8, 7] = 1e3  # beyond six deviations
    batch = {"kspace": fft_reference(coil_images).astype("complex64"), "mask": np.ones((2, 1, 1, 15), "float32")}
    model = FastMRIUNet(3, 2, crop=(14, 13))
    found = np.asarray(model(batch))
    magnitude = np.linalg.norm(coil_images, axis=1)[:, 1:15, 1:14]
    mean, deviation = (f(axis=(1, 2), keepdims=True) for f in (magnitude.mean, magnitude.std))
    deviation = deviation * np.sqrt(14 * 13 / (14 * 13 - 1))
    standardised = (magnitude - mean) / deviation
    assert standardised.max() > 6
    expected = np.asarray(model.network(np.clip(standardised, -6, 6)[..., None]))[..., 0] * deviation + mean
    assert relative_error(found.real, expected) < 1e-5
    assert not np.any(found.imag)


def test_image_scales_with_the_data(rng):
    model = FastMRIUNet(3, 2)
    batch, _ = acquire(rng, coils=2)
    image = np.asarray(model(batch))
    for factor in (1e-6, 1e4):
        scaled = model({**batch, "kspace": np.float32(factor) * batch["kspace"]})
        assert relative_error(np.asarray(scaled) / factor, image) < 1e-3


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`num_filters` must be a whole number >= 1, got 0"):
        FastMRIUNet(0)
    with pytest.raises(ValueError, match="`num_pools` must be a whole number >= 1, got 0"):
        FastMRIUNet(num_pools=0)
    for crop in (320, (320,), (1, 2, 3), (0, 5), (4, 2.5)):
        with pytest.raises(ValueError, match=r"`crop` must be two whole numbers >= 1, got \(?\d"):
            FastMRIUNet(crop=crop)
