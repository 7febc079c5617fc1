import keras
import numpy as np
import pytest
from helpers import random_complex, relative_error
from scipy.signal import correlate

from mri_zoo.layers.convnet import ComplexNet, ConvNet, apply_per_coil


@keras.saving.register_keras_serializable("mri_zoo_tests")
class SwapAndCount(keras.layers.Layer):
    """[a, b, c] of the channels becomes [c, a]."""

    def call(self, x):
        assert x.shape[-1] == 4
        return x[..., 3:0:-2]


def convolve(x, kernel, bias):
    """A same-padded convolution of (height, width, channels) in SciPy."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return np.stack([correlate(padded, k, "valid")[..., 0] for k in np.moveaxis(kernel, -1, 0)], axis=-1) + bias


@pytest.mark.parametrize("num_convolutions", [1, 2])
def test_convnet_is_activated_convolutions_and_a_linear_one(rng, num_convolutions):
    net = ConvNet(3, num_filters=5, num_convolutions=num_convolutions)
    x = rng.standard_normal((2, 7, 4, 2), dtype="float32")
    net(x)
    weights = [rng.standard_normal(w.shape) for w in net.weights]
    net.set_weights(weights)
    assert [w.shape for w in weights[::2]] == [(3, 3, 2, 5), *[(3, 3, 5, 5)] * (num_convolutions - 1), (3, 3, 5, 3)]
    for found, expected in zip(np.asarray(net(x)), x, strict=True):
        for i in range(num_convolutions):
            expected = np.maximum(convolve(expected, *weights[2 * i : 2 * i + 2]), 0)
        assert relative_error(found, convolve(expected, *weights[-2:])) < 1e-5


def test_convnet_refuses_no_hidden_convolution():
    with pytest.raises(ValueError, match="`num_convolutions` must be a whole number >= 1, got 0"):
        ConvNet(2, num_convolutions=0)


@pytest.mark.parametrize("residual", [False, True])
def test_complex_net_maps_real_then_imaginary_channels(rng, residual):
    x = random_complex(rng, (2, 5, 4, 2))
    # Channels are [re 0, re 1, im 0, im 1]: the network gives im 1 as the real part, re 1 as the imaginary one.
    expected = (x[..., 1].imag + 1j * x[..., 1].real)[..., None] + (x[..., :1] if residual else 0)
    found = np.asarray(ComplexNet(SwapAndCount(), residual=residual)(x))
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_lower_precision_stays_inside_the_network(rng):
    x = random_complex(rng, (2, 5, 4, 3))
    exact = ComplexNet(ConvNet(4, num_filters=6), residual=False)
    expected = np.asarray(exact(x))
    mixed = ComplexNet(ConvNet(4, num_filters=6, dtype="mixed_bfloat16"), residual=False, dtype="mixed_bfloat16")
    mixed(x)
    mixed.set_weights(exact.get_weights())
    found = np.asarray(mixed(x))
    assert found.dtype == np.complex64
    assert {layer.compute_dtype for layer in mixed.network.convolutions} == {"bfloat16"}
    assert 0 < relative_error(found, expected) < 0.02


def test_apply_per_coil_treats_each_coil_on_its_own(rng):
    x = random_complex(rng, (2, 3, 7, 5, 2))
    net = ComplexNet(ConvNet(6, num_filters=4), residual=False)
    found = np.asarray(apply_per_coil(net, x))
    assert found.shape == (2, 3, 7, 5, 3)
    for coil in range(3):
        assert relative_error(found[:, coil], net(x[:, coil])) < 1e-5


@pytest.mark.parametrize(
    "layer",
    [
        ConvNet(6, num_filters=5, num_convolutions=3, activation="tanh", dtype="mixed_bfloat16", name="net"),
        ComplexNet(ConvNet(6, num_filters=5, activation="elu", last_kernel_size=1), residual=False, name="complex"),
    ],
    ids=lambda layer: layer.name,
)
def test_serialisation_keeps_the_arguments_and_numbers(rng, layer):
    x = random_complex(rng, (1, 5, 4, 3)) if isinstance(layer, ComplexNet) else np.ones((1, 5, 4, 3), "float32")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    expected = layer(x)
    copy(x)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), expected)
