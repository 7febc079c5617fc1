"""What every image network must do: published sizes, recorded outputs, any image size."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import relative_error

from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.didn import DIDN
from mri_zoo.layers.focnet import FocNet, memory_weights
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.importers.image_networks import network_weights

# Small, and with no argument at its default.
SMALL = {
    "mwcnn": (MWCNN, (4, (3, 5), (2, 1), 2, 6), {}),
    "mwcnn_from_wavelets": (MWCNN, (4, (3, 5), (1, 2), 0, 6), {}),
    "mwcnn_normalised": (MWCNN, (4, (3, 5), (2, 2), 1, 6), {"batch_normalization": True, "residual": True}),
    "didn": (DIDN, (4, 4, 2, 3), {"residual": True}),
    "dncnn": (ConvNet, (4, 5, 3), {"activation": 0.1}),
    "focnet": (FocNet, (4, 3, 3), {"beta": 0.3}),
}


@pytest.fixture(params=SMALL, scope="module")
def network(request):
    """A small network whose biases, slopes and switches are random too."""
    rng = np.random.default_rng(0)
    layer_class, arguments, options = SMALL[request.param]
    layer = layer_class(*arguments, **options, name=request.param)
    layer(np.zeros((1, 8, 8, 4), "float32"))
    layer.set_weights(
        [rng.normal(size=w.shape, scale=0.3) ** (2 if "variance" in w.path else 1) for w in layer.weights]
    )
    return layer


# What the predecessor calls big, medium and small; a buffer of 5 images goes in with one more, as real channels.
@pytest.mark.parametrize(
    "layer, parameters",
    [
        (MWCNN(10, (64, 128, 256), num_first_convolutions=2, first_filters=32), 6_221_162),
        (MWCNN(10, (32, 64), (2, 2), 2, 32), 338_762),
        (DIDN(10, 32, 2, 2), 867_642),
        (ConvNet(10, 64, 19), 677_450),
        (ConvNet(10, 16, 4), 10_154),
        (FocNet(10, 32), 621_698),
        (FocNet(10, 32, 3), 455_674),
        (UNetBlock(10, (32, 64, 128, 256)), 1_928_600),
        (UNetBlock(10, (16, 32, 64), 1), 58_536),
    ],
)
def test_published_number_of_parameters(layer, parameters):
    layer(keras.KerasTensor((1, 16, 16, 12)))
    assert layer.count_params() == parameters


@pytest.mark.parametrize(
    "case, layer",
    [
        ("denoiser_mwcnn", MWCNN(4, (6, 8, 10), (2, 3, 2), 2, 6)),
        ("denoiser_mwcnn_bn_res", MWCNN(2, (6, 8), (2, 2), 2, 6, batch_normalization=True, residual=True)),
        ("denoiser_didn", DIDN(2, 4, 2, 3)),
        ("denoiser_dncnn_res", ConvNet(2, 8, 3)),
        ("denoiser_focnet", FocNet(2, 4)),
    ],
)
def test_equals_the_recorded_network(reference, case, layer):
    folder = reference / "tensorflow" / case
    with np.load(folder / "io.npz") as io:
        image, expected = io["image"], io["output"]
    layer(image)
    arrays = Checkpoint(folder / "checkpoint.h5").in_order()
    triples = list(network_weights(layer, arrays, layer.num_outputs // 2))
    assert len(triples) == len(arrays) == len(layer.weights)
    for variable, _, array in triples:
        variable.assign(array)
    found = layer(image) + image if case == "denoiser_dncnn_res" else layer(image)  # there the image is added
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("size", [(15, 13), (3, 17), (1, 1)])
def test_any_size_is_padded_with_zeros_and_cropped_back(rng, network, size):
    x = rng.normal(size=(2, *size, 4)).astype("float32")
    found = np.asarray(network(x))
    assert found.shape == x.shape
    if not isinstance(network, ConvNet):  # which sees where the image ends
        multiple = 8 if isinstance(network, DIDN) else 4
        before, after = [(-n % multiple + 1) // 2 for n in size], [(-n % multiple) // 2 for n in size]
        padded = np.pad(x, ((0, 0), *zip(before, after, strict=True), (0, 0)))
        rows, columns = (slice(start, start + n) for start, n in zip(before, size, strict=True))
        np.testing.assert_allclose(found, np.asarray(network(padded))[:, rows, columns], rtol=1e-4, atol=1e-4)


def test_size_may_be_unknown_until_run_time(rng, network):
    x = rng.normal(size=(2, 15, 13, 4)).astype("float32")
    deferred = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 4))])
    assert relative_error(deferred(x), network(x)) < 1e-5


def test_every_weight_has_a_finite_gradient(rng, network):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network(rng.normal(size=(2, 15, 13, 4)).astype("float32"), training=True) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    for weight, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path


def test_serialisation_keeps_the_arguments_and_numbers(rng, network):
    x = rng.normal(size=(1, 15, 13, 4)).astype("float32")
    unbuilt = type(network).from_config(network.get_config())
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(unbuilt))
    assert copy.get_config() == network.get_config()
    copy(x)
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(x), network(x))


def test_lower_precision_reaches_every_convolution(rng, network):
    x = rng.normal(size=(1, 15, 13, 4)).astype("float32")
    mixed = type(network).from_config({**network.get_config(), "dtype": "mixed_bfloat16"})
    assert mixed(x).dtype == "bfloat16"
    assert {layer.compute_dtype for layer in mixed._flatten_layers()} == {"bfloat16"}
    mixed.set_weights(network.get_weights())
    assert 0 < relative_error(np.asarray(mixed(x), "float32"), network(x)) < 0.05


def test_memory_of_earlier_features():
    """The newest of the remembered features has the weight beta, each older one a part of the next."""
    np.testing.assert_allclose(memory_weights(3, 0.2), [0.2 * 0.4 * 0.6, 0.2 * 0.4, 0.2])
    assert memory_weights(0, 0.2) == memory_weights(1, 0.2) == [0.2]


@pytest.mark.parametrize(
    "layer_class, arguments, message",
    [
        (MWCNN, {"num_filters": ()}, r"one entry for each scale, got \(\) and \(3, 3, 3\)"),
        (MWCNN, {"num_convolutions": (3, 3)}, r"one entry for each scale, got \(128, 256, 512\) and \(3, 3\)"),
        (MWCNN, {"num_convolutions": (3, 0, 3)}, r"must be >= 1 .* got \(3, 0, 3\) and 3"),
        (MWCNN, {"num_first_convolutions": -1}, r"`num_first_convolutions` >= 0, got \(3, 3, 3\) and -1"),
        (DIDN, {"num_filters": 6}, "`num_filters` must be a multiple of 4, got 6"),
        (DIDN, {"num_blocks": 0}, "`num_blocks` must be a whole number >= 1, got 0"),
        (DIDN, {"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
        (FocNet, {"num_scales": 1}, "`num_scales` must be 2, 3 or 4, got 1"),
        (FocNet, {"num_scales": 5}, "`num_scales` must be 2, 3 or 4, got 5"),
        (ConvNet, {"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(layer_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_class(2, **arguments)
