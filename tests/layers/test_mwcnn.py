import numpy as np
import pytest
from helpers import inner, relative_error

from mri_zoo.layers.mwcnn import MWCNN, haar, inverse_haar


def test_wavelets_equal_the_recorded_ones(reference):
    with np.load(reference / "tensorflow" / "numeric" / "layers_wavelets.npz") as recorded:
        assert relative_error(haar(recorded["dwt__x"]), recorded["dwt__y"]) < 1e-6
        assert relative_error(inverse_haar(recorded["iwt__x"]), recorded["iwt__y"]) < 1e-6


def test_wavelets_are_orthonormal(rng):
    x, y = rng.normal(size=(2, 6, 10, 3)).astype("float32"), rng.normal(size=(2, 3, 5, 12)).astype("float32")
    assert relative_error(inverse_haar(haar(x)), x) < 1e-6
    np.testing.assert_allclose(inner(y, haar(x)), inner(inverse_haar(y), x), rtol=1e-5)


@pytest.mark.parametrize("first", [0, 2])
def test_without_weights_only_the_skips_are_left(rng, first):
    """Linear convolutions of zero end the network, whatever comes before."""
    network = MWCNN(2, (3, 5), (1, 1), first, 4, residual=True)
    x = rng.normal(size=(1, 7, 5, 2)).astype("float32")
    network(x)
    last = network.last[-1] if first else network.up[0][-1]
    last.set_weights([0 * weight for weight in last.get_weights()])
    np.testing.assert_allclose(network(x), x, atol=1e-6)


def test_batch_norm_replaces_biases_and_trains(rng):
    network = MWCNN(2, (3, 5), (1, 1), 1, 4, batch_normalization=True)
    x = rng.normal(size=(2, 8, 8, 2)).astype("float32")
    network(x)
    means = [layer.moving_mean for layer in network._flatten_layers() if hasattr(layer, "moving_mean")]
    assert len(means) == 1 + 2 * 2  # one at full resolution, where the other convolution is linear
    before = np.asarray(network(x))
    network(x, training=True)
    assert all(np.any(mean.numpy()) for mean in means)
    assert relative_error(network(x), before) > 1e-3
