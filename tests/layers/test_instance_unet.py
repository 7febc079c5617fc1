import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import relative_error

from mri_zoo.layers.instance_unet import InstanceUNet, center_groups, pad_evenly
from mri_zoo.presets.importers.checkpoint import Checkpoint, assign
from mri_zoo.presets.importers.direct_networks import network_weights, recognise


def num_parameters(num_inputs, num_outputs, num_filters, num_pools):
    """Two 3x3 convolutions per scale and direction, a 2x2 one between scales; only the last one has a bias."""
    filters = [num_filters * 2**i for i in range(num_pools + 1)]
    down = sum(9 * (a + b) * b for a, b in zip([num_inputs, *filters], filters, strict=False))
    up = sum(4 * 2 * a * a + 9 * 3 * a * a for a in filters[:-1])
    return down + up + (num_filters + 1) * num_outputs


@pytest.mark.parametrize("arguments", [(1, 1, 32, 4), (6, 2, 5, 3), (2, 4, 3, 1)])
def test_number_of_parameters(arguments):
    num_inputs, *others = arguments
    net = InstanceUNet(*others)
    assert net(keras.KerasTensor((1, 17, 16, num_inputs))).shape == (1, 17, 16, others[0])
    assert net.count_params() == num_parameters(*arguments)


@pytest.mark.parametrize("num_groups", [6, 2, 1])
def test_center_groups(rng, num_groups):
    x = (rng.standard_normal((3, 5, 4, 6)) + 30 * np.arange(6)).astype("float32")  # means far above deviations
    groups = x.reshape(3, 20, num_groups, -1).astype("float64")
    centered, mean, variance = center_groups(x, num_groups)
    expected = (groups - groups.mean((1, 3), keepdims=True)).reshape(x.shape)
    np.testing.assert_allclose(centered, expected, atol=1e-4)
    np.testing.assert_allclose(np.asarray(mean)[:, 0, 0], groups.mean((1, 3)), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(variance)[:, 0, 0], groups.var((1, 3)), rtol=1e-5)
    *_, variance = center_groups(x, num_groups, unbiased=True)
    np.testing.assert_allclose(np.asarray(variance)[:, 0, 0], groups.var((1, 3), ddof=1), rtol=1e-5)


@pytest.mark.parametrize("size, to, before", [((5, 4), (8, 8), (1, 2)), ((5, 7), (6, 7), (0, 0))])
def test_padding_is_even_with_the_odd_line_last(rng, size, to, before):
    x = rng.standard_normal((2, *size, 3), dtype="float32")
    padded, (top, left) = pad_evenly(x, *to)
    assert (top, left) == before
    after = [(0, 0), *((b, t - s - b) for s, t, b in zip(size, to, before, strict=True)), (0, 0)]
    np.testing.assert_array_equal(padded, np.pad(x, after))


def test_sizes_may_be_unknown_until_run_time(rng):
    net = InstanceUNet(2, 3, 2)
    deferred = tf.function(net, input_signature=[tf.TensorSpec((None, None, None, 1))])
    for size in [(15, 13), (4, 9), (3, 12), (1, 1)]:
        x = rng.standard_normal((2, *size, 1), dtype="float32")
        expected = net(x)
        assert expected.shape == (2, *size, 2)
        assert relative_error(deferred(x), expected) < 1e-5


def test_images_below_the_smallest_size_are_padded(rng):
    net = InstanceUNet(2, 3, 2)
    x = rng.standard_normal((2, 1, 6, 1), dtype="float32")
    padded = np.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0)))
    assert relative_error(net(x), np.asarray(net(padded))[:, 1:2]) < 1e-5


def test_instances_do_not_see_each_other_nor_the_scale_of_the_input(rng):
    net = InstanceUNet(2, 3, 2)
    x = 10 * rng.standard_normal((2, 15, 13, 1), dtype="float32")
    scaled = np.concatenate([x[:1], 100 * x[1:]])
    assert relative_error(net(scaled), net(x)) < 1e-3  # the variance has a small number added
    assert relative_error(net(x[:1]), net(x)[:1]) < 1e-5


def test_lower_precision_has_moments_in_float32(rng):
    x = (5 + rng.standard_normal((1, 64, 48, 2))).astype("float32")
    rounded = tf.cast(x, "bfloat16")
    _, mean, variance = center_groups(rounded, 2)
    np.testing.assert_allclose(np.asarray(mean).ravel(), np.float64(rounded).mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(variance).ravel(), np.float64(rounded).var((0, 1, 2)), rtol=1e-5)

    exact, mixed = InstanceUNet(1, 4, 1), InstanceUNet(1, 4, 1, dtype="mixed_bfloat16")
    expected = exact(x)
    mixed(x)
    mixed.set_weights(exact.get_weights())
    found = mixed(x)
    assert found.dtype == "bfloat16"
    assert 0 < relative_error(np.float32(found), expected) < 0.05


@pytest.mark.parametrize("argument", ["num_outputs", "num_filters", "num_pools"])
def test_bad_arguments_are_refused(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be a whole number >= 1, got 0"):
        InstanceUNet(**{"num_outputs": 1, argument: 0})
    with pytest.raises(ValueError, match=rf"`{argument}` must be a whole number >= 1, got \(4, 8\)"):
        InstanceUNet(**{"num_outputs": 1, argument: (4, 8)})


def test_four_dimensions_are_refused():
    with pytest.raises(ValueError, match="`dimensions` must be 2 or 3, got 4"):
        InstanceUNet(1, dimensions=4)


def test_serialisation_keeps_the_arguments_and_numbers(rng):
    net = InstanceUNet(2, 3, 1, name="small")
    x = rng.standard_normal((1, 7, 5, 2), dtype="float32")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(net))
    assert copy.get_config() == net.get_config()
    assert (copy.num_outputs, copy.num_filters, copy.num_pools) == (2, 3, 1)
    expected = net(x)
    copy(x)
    copy.set_weights(net.get_weights())
    np.testing.assert_array_equal(copy(x), expected)


def test_equals_the_recorded_network_in_three_dimensions(reference):
    folder = reference / "pytorch" / "direct_unetmodel3d"
    checkpoint = Checkpoint(folder / "checkpoint.safetensors")
    net = recognise(checkpoint, "")
    net.build((None, None, None, None, 2))
    assign(net, checkpoint, network_weights(net, checkpoint, ""))
    deferred = tf.function(net, input_signature=[tf.TensorSpec((None, None, None, None, 2))])
    with np.load(folder / "io.npz") as io:
        for name in [name for name in io if name.endswith("_input")]:
            x = np.moveaxis(io[name], 1, -1)
            expected = np.moveaxis(io[name.replace("_input", "_output")], 1, -1)
            assert relative_error(net(x), expected) < 1e-5
            assert relative_error(deferred(x), expected) < 1e-5
            assert relative_error(tf.function(net)(x), expected) < 1e-5  # of known size
