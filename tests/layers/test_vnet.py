import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import relative_error

from mri_zoo.layers.vnet import VNetBlock
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.importers.image_networks import vnet_scales


def test_equals_the_recorded_network(reference):
    folder = reference / "tensorflow" / "vnet"
    arrays = Checkpoint(folder / "checkpoint.h5").in_order()
    assert vnet_scales(arrays) == {"num_filters": [4, 6, 8], "num_convolutions": 2, "activation": "prelu"}
    network = VNetBlock(2, **vnet_scales(arrays))
    with np.load(folder / "io.npz") as io:
        network(io["image"])
        network.set_weights([array for _, array in arrays])
        assert relative_error(network(io["image"]), io["output"]) < 1e-5


@pytest.mark.parametrize("size", [(7, 6, 5), (4, 9, 3)])
def test_any_size(rng, size):
    network = VNetBlock(3, (4, 6, 5), 1, activation=0.1)
    x = rng.standard_normal((2, *size, 2), dtype="float32")
    y = np.asarray(network(x))
    assert y.shape == (2, *size, 3)
    # What is cropped is the network's image of the padded volume: one more voxel before than after.
    before = [-n % 4 - -n % 4 // 2 for n in size]
    padded = np.pad(x, [(0, 0), *((b, -n % 4 - b) for b, n in zip(before, size, strict=True)), (0, 0)])
    inside = tuple(slice(b, b + n) for b, n in zip(before, size, strict=True))
    assert relative_error(y, np.asarray(network(padded))[(slice(None), *inside)]) < 1e-6
    assert relative_error(tf.function(network)(x), y) < 1e-6  # a graph of known size, which TensorFlow rewrites


def test_serialisation_keeps_the_arguments():
    layer = VNetBlock(2, (4, 6), 1, activation="prelu")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()


def test_no_scale_is_refused():
    with pytest.raises(ValueError, match="`num_filters` must name the channels of at least one scale"):
        VNetBlock(2, ())
