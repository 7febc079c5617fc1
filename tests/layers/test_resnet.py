import numpy as np
import pytest
from helpers import relative_error

from mri_zoo.layers.resnet import PreActivationResNet, ScaledResNet


def test_published_number_of_parameters():
    network = PreActivationResNet()
    network(np.zeros((1, 4, 4, 2), "float32"))
    assert network.count_params() == 223_744


@pytest.mark.parametrize("network", [PreActivationResNet(3, 4, 2), ScaledResNet(3, 4, 2)])
def test_without_weights_the_input_is_left_or_nothing(rng, network):
    x = rng.standard_normal((2, 5, 4, 3)).astype("float32")
    assert network(x).shape == x.shape
    network.set_weights([0 * weight for weight in network.get_weights()])
    np.testing.assert_array_equal(network(x), x if isinstance(network, PreActivationResNet) else 0 * x)


def test_shortcuts_are_where_channels_change():
    assert [layer is not None for layer in PreActivationResNet(2, 4, 3).shortcuts] == [True, False, True]
    assert not any(PreActivationResNet(4, 4, 3).shortcuts)


def test_borders_are_reflected(rng):
    """Symmetric kernels see the same at the border as in the middle of the image and its mirror image."""
    network = PreActivationResNet(1, 4, 2)
    network(np.zeros((1, 4, 4, 1), "float32"))
    network.set_weights([kernel + kernel[::-1] for kernel in network.get_weights()])
    half = rng.standard_normal((1, 12, 11, 1)).astype("float32")
    whole = np.concatenate([half[:, :0:-1], half], axis=1)
    assert relative_error(network(whole)[:, 11:], network(half)) < 1e-5


def test_batch_normalization_is_that_of_the_training_while_training(rng):
    network = ScaledResNet(2, 4, 1)
    x = rng.standard_normal((2, 5, 4, 2)).astype("float32")
    network(x)
    mean, variance = network.norms[0].moving_mean, network.norms[0].moving_variance
    np.testing.assert_array_equal(mean, np.zeros(4))
    np.testing.assert_array_equal(variance, np.ones(4))
    network(x, training=True)
    assert np.all(np.asarray(mean) != 0) and np.all(np.asarray(variance) != 1)


@pytest.mark.parametrize("network, least", [(PreActivationResNet, 2), (ScaledResNet, 1)])
def test_too_few_blocks_are_refused(network, least):
    with pytest.raises(ValueError, match=f"`num_blocks` must be .*>= {least}, got 0"):
        network(num_blocks=0)
