import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import relative_error

from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.unet import UNetBlock, pad_to_multiple
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.importers.image_networks import recognise


def num_parameters(num_inputs, num_outputs, num_filters, num_convolutions):
    """The paper's architecture, counted by hand."""

    def convolution(inputs, outputs, size=3):
        return size**2 * inputs * outputs + outputs

    def scale(inputs, filters):
        return convolution(inputs, filters) + (num_convolutions - 1) * convolution(filters, filters)

    down = sum(scale(a, b) for a, b in zip((num_inputs, *num_filters[:-1]), num_filters, strict=True))
    pairs = list(zip(num_filters[:-1], num_filters[1:], strict=True))
    up = sum(convolution(below, filters, 2) + scale(2 * filters, filters) for filters, below in pairs)
    hidden = max(4, num_outputs)
    return down + up + convolution(num_filters[0], hidden, 1) + convolution(hidden, num_outputs, 1)


@pytest.mark.parametrize(
    "num_inputs, num_outputs, num_filters, num_convolutions",
    [(1, 1, (16, 32, 64, 128), 2), (2, 6, (4, 6, 10), 1), (3, 2, (5,), 3)],
)
def test_number_of_parameters(num_inputs, num_outputs, num_filters, num_convolutions):
    block = UNetBlock(num_outputs, num_filters, num_convolutions)
    y = block(np.zeros((1, 9, 7, num_inputs), "float32"))
    assert y.shape == (1, 9, 7, num_outputs)
    assert block.count_params() == num_parameters(num_inputs, num_outputs, num_filters, num_convolutions)


def test_equals_the_recorded_complex_network(reference):
    folder = reference / "tensorflow" / "unet_complex"
    with np.load(folder / "io.npz") as io:
        image, expected = io["image"], io["output"]
    network = ComplexNet(UNetBlock(2, (4, 8, 16), activation=0.1, penultimate_activation=0.1))
    network(image)
    network.set_weights([array for _, array in Checkpoint(folder / "checkpoint.h5").in_order()])
    assert relative_error(network(image), expected) < 1e-5


def test_equals_the_recorded_network_with_learned_slopes_and_attention(reference):
    folder = reference / "tensorflow" / "unet_prelu_ca"
    with np.load(folder / "io.npz") as io:
        x, expected = io["unet_input"], io["output"]
    arrays = Checkpoint(folder / "checkpoint.h5").in_order()
    block = recognise(arrays)
    assert (block.activation, block.penultimate_activation, block.attention_reduction) == ("prelu", "prelu", 2)
    block(x)
    assert block.count_params() == 30_639
    for variable, (_, array) in zip(block.weights, arrays, strict=True):
        variable.assign(array)
    assert relative_error(block(x), expected) < 1e-5


@pytest.mark.parametrize("multiple", [1, 2, 8])
@pytest.mark.parametrize("size", [(16, 8), (15, 13), (3, 5), (1, 17)])
def test_padding_is_even_with_the_odd_line_first(rng, size, multiple):
    x = rng.standard_normal((2, *size, 3), dtype="float32")
    padded, (top, left) = pad_to_multiple(x, multiple)
    padded = np.asarray(padded)
    for axis, before in ((0, top), (1, left)):
        total = padded.shape[axis + 1] - size[axis]
        assert padded.shape[axis + 1] % multiple == 0
        assert 0 <= total < multiple
        assert before - (total - before) in (0, 1)
    np.testing.assert_array_equal(padded[:, top : top + size[0], left : left + size[1]], x)
    assert np.abs(padded).sum(dtype="float64") == pytest.approx(np.abs(x).sum(dtype="float64"))


@pytest.mark.parametrize("size", [(15, 13), (9, 12), (3, 5), (8, 4)])
def test_any_size_is_the_padded_network_cropped_on_both_axes(rng, size):
    block = UNetBlock(2, (3, 4, 5), num_convolutions=1)
    x = rng.standard_normal((2, *size, 2), dtype="float32")
    padded, (top, left) = pad_to_multiple(x, 4)
    expected = np.asarray(block(padded))[:, top : top + size[0], left : left + size[1]]
    assert relative_error(block(x), expected) < 1e-6


def test_size_may_be_unknown_until_run_time(rng):
    block = UNetBlock(1, (3, 4, 5), num_convolutions=1)
    x = rng.standard_normal((2, 15, 13, 1), dtype="float32")
    deferred = tf.function(block, input_signature=[tf.TensorSpec((None, None, None, 1))])
    assert relative_error(deferred(x), block(x)) < 1e-6


def test_activations(rng):
    """All but the last convolution are activated; the last but one may differ."""
    x = rng.standard_normal((1, 8, 6, 1), dtype="float32")
    default = UNetBlock(1, (3, 4), num_convolutions=1)
    linear_end = UNetBlock(1, (3, 4), num_convolutions=1, penultimate_activation=None)
    linear = UNetBlock(1, (3, 4), num_convolutions=1, activation="linear", penultimate_activation=None)
    reference = default(x)
    for block in (linear_end, linear):
        block(x)
        block.set_weights(default.get_weights())
        assert relative_error(block(x), reference) > 1e-3
    assert [c.activation.__name__ for c in (default.penultimate, default.last)] == ["relu", "linear"]
    assert linear_end.penultimate.activation.__name__ == "linear"
    assert {c.activation.__name__ for scale in default.down + default.up for c in scale} == {"relu"}


@pytest.mark.parametrize("reduction, message", [(0, "whole number >= 1, got 0"), (5, "number of channels, 4, got 5")])
def test_bad_reductions_are_refused(reduction, message):
    with pytest.raises(ValueError, match=f"`reduction` .*{message}"):
        UNetBlock(1, (4, 6), attention_reduction=reduction)(np.zeros((1, 8, 6, 1), "float32"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_filters": ()}, r"`num_filters` must name the channels of at least one scale, got \(\)"),
        ({"num_filters": 8}, "`num_filters` must name the channels of at least one scale, got 8"),
        ({"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UNetBlock(1, **arguments)


def test_serialisation_keeps_the_arguments_and_numbers(rng):
    block = UNetBlock(2, (3, 5), 1, "elu", "tanh", attention_reduction=3, name="small")
    x = rng.standard_normal((1, 7, 5, 2), dtype="float32")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    assert copy.get_config() == block.get_config()
    assert (copy.num_filters, copy.activation, copy.penultimate_activation) == ((3, 5), "elu", "tanh")
    assert copy.attention_reduction == 3
    expected = block(x)
    copy(x)
    copy.set_weights(block.get_weights())
    np.testing.assert_array_equal(copy(x), expected)
