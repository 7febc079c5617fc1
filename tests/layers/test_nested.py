import keras
import numpy as np
import pytest

from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.nested import copies, deserialized, serialized
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.models import MoDL


def test_copies_are_new_layers_of_the_same_arguments(rng):
    network = ConvNet(4, 3, 1)
    x = rng.normal(size=(1, 5, 4, 2)).astype("float32")
    first, second = copies("network", network, 2, keras.DTypePolicy("mixed_bfloat16"), num_outputs=4)
    outputs = [layer(x) for layer in (first, second)]
    assert first.dtype_policy.name == "mixed_bfloat16" and network.dtype_policy.name == "float32"
    assert not np.allclose(*[np.asarray(output, "float32") for output in outputs])
    for layer in (first, second):
        assert layer.num_filters == 3 and layer.num_convolutions == 1


@pytest.mark.parametrize("shared", [False, True])
def test_a_trained_network_keeps_its_weights_in_a_model(rng, shared):
    network = ConvNet(2, 3, 2)
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    expected = network(x)
    model = MoDL(network=network, num_iterations=2, shared=shared, num_steps=1)
    model.build()
    for layer in model.networks:
        np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    changed = [weight + 1 for weight in model.get_weights()]
    model.set_weights(changed)
    model.build()  # once more changes nothing
    for found, value in zip(model.get_weights(), changed, strict=True):
        np.testing.assert_array_equal(found, value)


def test_a_trained_network_of_other_channels_is_refused(rng):
    network = ConvNet(2, 3, 2)
    network(rng.normal(size=(1, 8, 8, 5)).astype("float32"))
    with pytest.raises(ValueError, match="shape"):
        MoDL(network=network, num_iterations=1).build()


def functional():
    inputs = keras.Input((None, None, 4))
    return keras.Model(inputs, keras.layers.Conv2D(4, 1)(keras.layers.Conv2D(3, 3, padding="same")(inputs)))


@pytest.mark.parametrize(
    "network",
    [
        ComplexNet(ConvNet(4, 3, 1)),
        SensitivityRefiner(ComplexNet(InstanceUNet(2, 2, 1))),
        keras.Sequential([keras.layers.Conv2D(3, 3, padding="same"), ConvNet(4, 3, 1)]),
        functional(),
    ],
)
def test_layers_within_get_the_precision_too(network):
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    for copy in copies("network", network, 2, keras.DTypePolicy("mixed_bfloat16")):
        layers = [layer for layer in copy._flatten_layers() if isinstance(layer, kinds)]
        assert len(layers) >= 2 and {layer.compute_dtype for layer in layers} == {"bfloat16"}
    assert {layer.compute_dtype for layer in network._flatten_layers()} == {"float32"}


def test_a_built_network_is_stored_like_one_that_is_not(rng):
    nets = [ComplexNet(ConvNet(4, 3, 1, name="inside"), name="outside") for _ in range(2)]
    nets[0](np.ones((1, 5, 4, 1), "complex64"))
    assert nets[0].built and serialized(nets[0]) == serialized(nets[1])
    restored = deserialized({"network": serialized(nets[0])})["network"]
    assert not restored.built and restored.get_config() == nets[0].get_config()


def test_objects_and_plain_values_stay_as_they_are():
    config = {"network": ConvNet(2), "crop": (4, 5), "name": "model", "none": None, "options": {"a": 1}}
    assert deserialized(config) == config


@pytest.mark.parametrize(
    "network, message",
    [
        ("unet", "`image_network` must be a Keras layer, got 'unet'"),
        (None, "`image_network` must be a Keras layer, got None"),
        (ConvNet(3), "`image_network` must have 2 outputs, got 3"),
        (keras.layers.Conv2D(3, 3), "`image_network` must have 2 outputs, got 3"),
        (keras.Sequential([keras.layers.Conv2D(2, 3), ConvNet(4)]), "`image_network` must have 2 outputs, got 4"),
    ],
)
def test_other_networks_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        copies("image_network", network, 1, "float32", num_outputs=2)
