import keras
import numpy as np
import pytest
from helpers import (
    PaddedNonCartesian,
    acquire,
    acquire_noncartesian,
    ndft_matrix,
    recorded_noncartesian_batch,
    relative_error,
)

from mri_zoo import import_checkpoint
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.layers.vnet import VNetBlock
from mri_zoo.models import DealiasingNet
from mri_zoo.physics.noncartesian import NonCartesian

CONFIG = {"compensated": True, "residual": True}


@pytest.mark.parametrize("dimensions, expected", [(2, 481_950), (3, 1_605_298)])
def test_published_number_of_parameters(dimensions, expected):
    model = DealiasingNet(physics=NonCartesian(dimensions=dimensions))
    model.build()
    assert model.count_params() == expected


@pytest.mark.parametrize(
    "case, transform_size, network, num_filters",
    [
        ("unet_complex_nc", (64, 48), UNetBlock, (4, 8, 16, 32)),
        ("vnet_complex_nc", (16, 16, 20), VNetBlock, (4, 8, 12)),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_equals_the_recorded_network(reference, case, transform_size, network, num_filters, exact):
    folder = reference / "tensorflow" / case
    batch, size = recorded_noncartesian_batch(folder / "io.npz", transform_size)
    model = import_checkpoint(folder / "checkpoint.h5", "fastmri-reproducible-benchmark", "DealiasingNet", CONFIG)
    assert isinstance(model.network.network, network) and model.network.network.num_filters == num_filters
    model.physics = NonCartesian(size, len(size)) if exact else PaddedNonCartesian(size, transform_size)
    with np.load(folder / "io.npz") as io:
        assert relative_error(model(batch), io["output_complex"][..., 0]) < (1e-3 if exact else 1e-5)


def test_without_a_correction_the_image_is_the_adjoint(rng):
    model = DealiasingNet(UNetBlock(2, (3, 4)))
    batch, _ = acquire(rng)
    model.build()
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    np.testing.assert_allclose(model(batch), model.physics.adjoint(batch["kspace"], batch), rtol=1e-6)


def test_a_network_must_be_a_layer():
    with pytest.raises(ValueError, match="`network` must be a Keras layer, got 'unet'"):
        DealiasingNet("unet")


@pytest.mark.parametrize("size", [(15, 13), (7, 6, 5)])
def test_without_compensation_all_samples_weigh_the_same(rng, size):
    """The adjoint of transforms that are divided by the square root of the doubled grid, each."""
    batch, _ = acquire_noncartesian(rng, size)
    model = DealiasingNet(keras.layers.Identity(), compensated=False, physics=NonCartesian(size, len(size)))
    matrix = ndft_matrix(batch["trajectory"][0], size)
    adjoint = 0.5 ** len(size) * (batch["kspace"][:, 0] @ np.conj(matrix)).reshape(2, *size)
    assert relative_error(model(batch), 2 * adjoint) < 1e-5  # the network is residual
    assert DealiasingNet.from_config(model.get_config()).compensated is False
