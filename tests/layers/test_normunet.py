import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import random_complex, relative_error

from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.presets.importers.checkpoint import Checkpoint, assign
from mri_zoo.presets.importers.direct_networks import network_weights, recognise
from mri_zoo.presets.importers.fastmri import unet_arguments, unet_weights


def test_equals_the_recorded_network(reference):
    folder = reference / "pytorch" / "fastmri_normunet"
    checkpoint = Checkpoint(folder / "checkpoint.safetensors")
    net = NormUNet(2, **unet_arguments(checkpoint, "unet."))
    net(np.zeros((1, 16, 16, 2), "float32"))
    assign(net, checkpoint, unet_weights(net.unet, checkpoint, "unet."))
    assert net.count_params() == 120_354
    of_complex = tf.function(
        ComplexNet(net, residual=False), input_signature=[tf.TensorSpec((None, None, None, 1), "complex64")]
    )
    with np.load(folder / "io.npz") as io:
        for size in ("64x48", "61x47"):
            image = np.moveaxis(io[f"input_{size}"], 1, -1)
            expected = np.moveaxis(io[f"output_{size}"], 1, -1)
            assert relative_error(ComplexNet(net, residual=False)(image), expected) < 1e-5
            assert relative_error(of_complex(image), expected) < 1e-5


def test_output_follows_scale_and_offset_of_each_half(rng):
    net = NormUNet(2, 3, 2)
    x = rng.standard_normal((2, 15, 13, 4), dtype="float32")
    factor = np.array([2, 2, 1e-5, 1e-5], "float32")
    offset = np.array([3, 3, -1e-5, -1e-5], "float32")
    assert relative_error(net(factor * x + offset), factor[::2] * np.asarray(net(x)) + offset[::2]) < 1e-4


def test_slices_do_not_see_each_other(rng):
    net = ComplexNet(NormUNet(2, 3, 2), residual=False)
    x = random_complex(rng, (3, 15, 13, 1)) * np.array([1, 100, 1e-4], "float32")[:, None, None, None]
    for i in range(3):
        assert relative_error(net(x)[i : i + 1], net(x[i : i + 1])) < 1e-5


def test_constant_images_have_finite_outputs_and_gradients():
    net, x = NormUNet(2, 3, 1), tf.constant(np.full((1, 8, 6, 2), [0, 4], "float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = net(x)
    np.testing.assert_allclose(y, x, atol=1e-6)
    assert np.all(np.isfinite(tape.gradient(y, x)))


@pytest.mark.parametrize("num_outputs", [0, 3])
def test_bad_arguments_are_refused(num_outputs):
    with pytest.raises(ValueError, match=f"`num_outputs` must be even and >= 2, got {num_outputs}"):
        NormUNet(num_outputs)


def test_serialisation_keeps_the_arguments_and_numbers(rng):
    net = NormUNet(4, 3, 1, dtype="mixed_bfloat16", name="small")
    x = rng.standard_normal((1, 7, 5, 2), dtype="float32")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(net))
    assert copy.get_config() == net.get_config()
    assert (copy.num_outputs, copy.num_filters, copy.num_pools) == (4, 3, 1)
    expected = net(x)
    assert expected.dtype == "float32" and expected.shape == (1, 7, 5, 4)
    copy(x)
    copy.set_weights(net.get_weights())
    np.testing.assert_array_equal(copy(x), expected)


def test_equals_the_recorded_network_in_three_dimensions(reference):
    folder = reference / "pytorch" / "direct_normunetmodel3d"
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
