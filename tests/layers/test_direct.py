import numpy as np
import pytest
import tensorflow as tf
from helpers import relative_error
from keras import ops

from mri_zoo.layers.direct import DilatedMWCNN, DirectConvNet, TiedDIDN
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.importers.direct_networks import network_weights, recognise

NETWORKS = {
    "conv": DirectConvNet(3, 4, 3, batch_normalization=True),
    "mwcnn": DilatedMWCNN(3, 4, 3),
    "mwcnn_extended": DilatedMWCNN(3, 4, 2, use_bias=False, num_inputs=5, last_kernel_size=3),
    "didn": TiedDIDN(3, 4, 2, 3),
}


@pytest.mark.parametrize("size", [(16, 12), (15, 13)])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_is_kept_and_every_weight_counts(rng, name, size):
    network = NETWORKS[name]
    x = rng.standard_normal((2, *size, 5 if name == "mwcnn_extended" else 3)).astype("float32")
    with tf.GradientTape() as tape:
        y = network(x)
        energy = ops.sum(ops.square(y))
    assert y.shape == (2, *size, 3)
    for weight, gradient in zip(
        network.trainable_weights, tape.gradient(energy, network.trainable_variables), strict=True
    ):
        assert np.any(gradient), weight.path


@pytest.mark.parametrize("name", NETWORKS)
def test_slices_do_not_see_each_other(rng, name):
    network = NETWORKS[name]
    x = rng.standard_normal((2, 9, 7, 5 if name == "mwcnn_extended" else 3)).astype("float32")
    np.testing.assert_allclose(network(x)[1:], network(x[1:]), atol=1e-5)


def test_wavelet_network_ends_in_a_relu(rng):
    x = rng.standard_normal((1, 8, 8, 2)).astype("float32")
    assert np.min(DilatedMWCNN(2, 4, 2)(x)) >= 0 > np.min(DilatedMWCNN(2, 4, 2, last_kernel_size=3)(x))


@pytest.mark.parametrize(
    "network, arguments, message",
    [
        (DirectConvNet, {"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
        (DilatedMWCNN, {"num_scales": 0}, "`num_scales` must be a whole number >= 1, got 0"),
        (DilatedMWCNN, {"num_inputs": 3}, "`num_inputs` must be 2 without a last convolution, got 3"),
        (TiedDIDN, {"num_blocks": 0}, "`num_blocks` must be a whole number >= 1, got 0"),
        (TiedDIDN, {"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(2, **arguments)


@pytest.mark.parametrize("batch_normalization", [False, True])
def test_convolutions_without_slopes_have_a_relu(rng, tmp_path, batch_normalization):
    """DIRECT's default: it equals a PReLU whose slope is 0."""
    safetensors = pytest.importorskip("safetensors.numpy")
    stride = 3 if batch_normalization else 2
    shapes = {f"conv.{stride * i}": shape for i, shape in enumerate([(4, 2), (4, 4), (2, 4)])}
    arrays = {f"{name}.weight": rng.standard_normal((*shape, 3, 3), dtype="float32") for name, shape in shapes.items()}
    arrays |= {f"{name}.bias": rng.standard_normal(shape[0], dtype="float32") for name, shape in shapes.items()}
    if batch_normalization:
        for i, filters in enumerate((4, 4, 2)):
            for name in ("weight", "bias", "running_mean", "running_var"):
                arrays[f"conv.{3 * i + 1}.{name}"] = rng.uniform(0.5, 2, filters).astype("float32")
    slopes = {f"conv.{stride * i + stride - 1}.weight": np.zeros(1, "float32") for i in range(2)}
    x, images = rng.standard_normal((1, 9, 7, 2), dtype="float32"), []
    for content, activation in ((arrays, "relu"), (arrays | slopes, "prelu")):
        safetensors.save_file(content, tmp_path / "checkpoint.safetensors")
        checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors")
        network = recognise(checkpoint, "")
        assert network.activation == activation
        network(x)
        for variable, _, array in network_weights(network, checkpoint, ""):
            variable.assign(array)
        images.append(network(x))
    np.testing.assert_allclose(*images, atol=1e-4)


def test_normalised_unet_keeps_the_order_of_channels_that_its_statistics_have(reference):
    """Six channels to two, which no other model here has."""
    folder = reference / "pytorch" / "direct_normunetmodel2d"
    checkpoint = Checkpoint(folder / "checkpoint.safetensors")
    with np.load(folder / "io.npz") as io:
        x, expected = (io[name].transpose(0, 2, 3, 1) for name in ("odd_input", "odd_output"))
    network = recognise(checkpoint, "")
    network(x)
    for variable, _, array in network_weights(network, checkpoint, ""):
        variable.assign(array)
    assert relative_error(network(x), expected) < 1e-5
