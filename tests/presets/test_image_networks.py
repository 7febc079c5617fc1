import numpy as np
import pytest
from helpers import relative_error

from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.didn import DIDN
from mri_zoo.layers.focnet import FocNet
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.presets.importers.image_networks import network_weights, padding_multiple, recognise

NETWORKS = [
    (MWCNN(4, (3, 5, 7), (2, 1, 3), 2, 6), 16),
    (MWCNN(4, (4, 4), (2, 3), 1, 4), 8),
    (MWCNN(4, (5, 20), (1, 2), 3, 5), 8),  # the coarse features are as many as the bands of the fine ones
    (MWCNN(4, (5, 3), (2, 1), 0), 8),
    (DIDN(4, 4, 2, 3), 16),
    (DIDN(4, 8, 1, 1), 16),
    (FocNet(4, 3, 2), 4),
    (FocNet(4, 4, 3), 8),
    (ConvNet(4, 7, 3), 1),
    (UNetBlock(4, (3, 5), 1), 4),
    (UNetBlock(4, (3, 5, 6), 2), 8),
    (UNetBlock(4, (4, 5), 1, "prelu", "prelu"), 4),
    (UNetBlock(4, (5, 6), 1, attention_reduction=2), 4),
    (UNetBlock(4, (4, 5), 1, "prelu", "prelu", attention_reduction=2), 4),
]


def as_stored(network):
    """The weights in the predecessor's order, which differs for FocNet's switches."""
    weights = network.get_weights()
    switches = [weight for weight in weights if weight.ndim == 0]
    others = weights[len(switches) :]
    start = 8 * (network.num_scales - 1) if switches else 0
    weights = others[:start] + switches + others[start:]
    return [(f"array {i}", weight) for i, weight in enumerate(weights)]


@pytest.mark.parametrize("network, multiple", NETWORKS)
def test_network_is_recognised_and_sees_the_same_images(rng, network, multiple):
    """All real parts, then all imaginary ones, there; here those of two images, then those of the third."""
    x = rng.normal(size=(1, 8, 8, 6)).astype("float32")
    network(x)
    network.set_weights([rng.normal(size=weight.shape) / 4 for weight in network.get_weights()])
    expected = network(x)
    assert np.any(expected)
    arrays = as_stored(network)
    found = recognise(arrays)
    assert type(found) is type(network) and padding_multiple(found) == multiple
    ours, theirs = ({**layer.get_config(), "name": ""} for layer in (found, network))
    if getattr(network, "num_first_convolutions", None) == 0:  # then nothing has that many channels
        ours["first_filters"] = theirs["first_filters"]
    assert ours == theirs
    regrouped = x[..., [0, 1, 3, 4, 2, 5]]
    found(regrouped)
    for variable, _, array in network_weights(found, arrays, 2, 1):
        variable.assign(array)
    assert relative_error(found(regrouped), expected) < 1e-5


@pytest.mark.parametrize("channels", [[], [(6, 5), (7, 4)], [(1, 5), (4, 1)]])
def test_other_shapes_are_not_recognised(channels):
    assert recognise([("array", np.zeros((3, 3, *pair))) for pair in channels]) is None
