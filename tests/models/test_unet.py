import numpy as np
import pytest
from helpers import acquire, recorded_batch, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.models import UNet


def test_published_number_of_parameters():
    model = UNet()
    model.build()
    assert model.count_params() == 481_801


@pytest.mark.parametrize("case, penultimate_activation", [("unet", "relu"), ("unet_old", None)])
def test_equals_the_recorded_network(reference, case, penultimate_activation):
    """Both recordings have the same inputs and weights."""
    folder = reference / "tensorflow"
    config = {"crop": (64, 48), "penultimate_activation": penultimate_activation}
    model = import_checkpoint(folder / "unet" / "checkpoint.h5", "fastmri-reproducible-benchmark", "UNet", config)
    assert model.num_filters == (4, 8, 16, 32)
    image = model(recorded_batch(folder / "unet" / "io.npz"))
    with np.load(folder / case / "io.npz") as io:
        assert relative_error(image, io["output_denormalized"]) < 1e-5


def test_image_scales_with_the_data_and_has_no_phase(rng):
    model = UNet((3, 4))
    batch, _ = acquire(rng)
    image = np.asarray(model(batch))
    assert not np.any(image.imag)
    for factor in (1e-6, 1e4):
        scaled = model({**batch, "kspace": np.float32(factor) * batch["kspace"]})
        assert relative_error(np.asarray(scaled) / factor, image) < 1e-3


def test_without_standardization_the_network_sees_the_magnitude(rng):
    model, (batch, _) = UNet((3, 4), normalized=False), acquire(rng)
    magnitude = np.abs(model.physics.adjoint(batch["kspace"], batch))
    expected = np.asarray(model.network(magnitude[..., None]))[..., 0]
    assert relative_error(np.asarray(model(batch)).real, expected) < 1e-6


def test_coils_are_combined_before_the_network(rng):
    model = UNet((3, 4))
    multi, image = acquire(rng, coils=3, maps=True)
    single, _ = acquire(rng, image=image)
    everything = np.ones_like(single["mask"])
    for batch in (single, multi):
        batch["kspace"] = np.asarray(model.physics.coil_kspace(image, batch))
        batch["mask"] = everything
    assert relative_error(model(multi), model(single)) < 1e-5


def test_crop_larger_than_the_image_is_an_error(rng):
    batch, _ = acquire(rng, (15, 13))
    with pytest.raises(ValueError, match=r"Cannot crop an image of \(15, 13\) pixels to \(12, 14\)"):
        UNet((3, 4), crop=(12, 14))(batch)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_filters": ()}, "`num_filters` must name the channels of at least one scale"),
        ({"num_filters": (4, 0)}, "`num_filters` must be a whole number >= 1, got 0"),
        ({"penultimate_activation": "rleu"}, "rleu"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNet(**arguments)
