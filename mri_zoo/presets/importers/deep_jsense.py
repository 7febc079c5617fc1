"""Weights of github.com/utcsilab/deep-jsense: PyTorch's, of its MoDL mode.

Its own training checkpoints hold pickled arguments, which are not read: save their `model_state_dict` alone.
"""

from mri_zoo.data.preparation import KSpacePercentileScaling
from mri_zoo.layers.resnet import PreActivationResNet
from mri_zoo.models import MoDL
from mri_zoo.presets.importers.checkpoint import Architecture, layer_weights

BLOCKS = "image_net.ResNetBlocks"


PREFIX = "model_state_dict."


def _select(arrays):
    """What is a weight, without the training checkpoint's prefix."""
    inside = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    return inside or arrays


def _modl_arguments(checkpoint):
    num_filters, num_outputs = checkpoint[f"{BLOCKS}.0.conv1.net.1.weight"].shape[:2]
    num_blocks = sum(name.startswith(BLOCKS) and name.endswith("conv1.net.1.weight") for name in checkpoint.arrays)
    return {"network": PreActivationResNet(num_outputs, num_filters, num_blocks), "order": "network_last"}


def _modl_weights(model, checkpoint):
    yield model.maps_weight, "block1_l2lam", checkpoint.scalar("block1_l2lam")
    yield model.weight, "block2_l2lam", checkpoint.scalar("block2_l2lam")
    (network,) = model.networks
    for i, shortcut in enumerate(network.shortcuts):
        layers = {"conv0": shortcut, "conv1": network.first[i], "conv2": network.second[i]}
        for name, layer in layers.items():
            if layer is not None:
                yield from layer_weights(layer, checkpoint, f"{BLOCKS}.{i}.{name}.net.1")


# Its data are divided by the largest magnitude in the fully sampled centre, where k-space has its maximum.
SCALING = KSpacePercentileScaling(100.0)

ARCHITECTURES = {
    "MoDL": Architecture(MoDL, _modl_arguments, _modl_weights, ("num_iterations", "num_steps"), SCALING, _select),
}
