"""Weights of github.com/utcsilab/deep-jsense: PyTorch's, of its MoDL mode.

Arrays do not tell this mode from Deep J-Sense without a network for the maps: `mode` is asked for.

Its own training checkpoints hold pickled arguments, which are not read: save their `model_state_dict` alone.
"""

from mri_zoo.data.preparation import KSpacePercentileScaling
from mri_zoo.data.volume import DataError
from mri_zoo.layers.resnet import PreActivationResNet
from mri_zoo.models import MoDL
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.importers.checkpoint import Architecture, layer_weights

PREFIX = "model_state_dict."


def _select(arrays):
    """What is a weight, without the training checkpoint's prefix."""
    inside = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    return inside or arrays


def _copies(checkpoint):
    """The prefixes of the image network's blocks: with `img_sep`, the same network has a name for each iteration."""
    names = dict.fromkeys(name.partition("ResNetBlocks")[0] for name in checkpoint.arrays if "ResNetBlocks" in name)
    return [f"{name}ResNetBlocks" for name in names if name.startswith("image_net.")]


def _modl_arguments(checkpoint):
    if any(name.startswith("maps_net.") for name in checkpoint.arrays):
        raise DataError(
            f"{checkpoint.path}: this checkpoint has a network for the maps (`use_map_net`), which MoDL has not; "
            "of Deep J-Sense the zoo has the mode MoDL alone."
        )
    for name in ("block1_l2lam", "block2_l2lam"):
        if name not in checkpoint.arrays:
            raise DataError(f"{checkpoint.path}: has no array `{name}`: without `l2lam_train` it is not stored.")
    copies = _copies(checkpoint)
    if not copies:
        raise DataError(
            f"{checkpoint.path}: this checkpoint has no network for the image (`use_img_net`); MoDL has one."
        )
    num_filters, num_outputs = checkpoint[f"{copies[0]}.0.conv1.net.1.weight"].shape[:2]
    num_blocks = sum(name.startswith(copies[0]) and name.endswith("conv1.net.1.weight") for name in checkpoint.arrays)
    arguments = {"network": PreActivationResNet(num_outputs, num_filters, num_blocks), "shared": True}
    arguments |= {"order": "network_last", "learned_scale": False}
    return arguments | ({"num_iterations": len(copies)} if not copies[0].startswith("image_net.Res") else {})


def _modl_weights(model, checkpoint):
    yield model.maps_weight, "block1_l2lam", checkpoint.scalar("block1_l2lam")
    yield model.weight, "block2_l2lam", checkpoint.scalar("block2_l2lam")
    (network,) = model.networks
    for blocks in _copies(checkpoint):
        for i, shortcut in enumerate(network.shortcuts):
            layers = {"conv0": shortcut, "conv1": network.first[i], "conv2": network.second[i]}
            for name, layer in layers.items():
                if layer is not None:
                    yield from layer_weights(layer, checkpoint, f"{blocks}.{i}.{name}.net.1")


# Its data are divided by the largest magnitude in the fully sampled centre, where k-space has its maximum.
SCALING = KSpacePercentileScaling(100.0)

ARCHITECTURES = {
    "MoDL": Architecture(
        *(MoDL, _modl_arguments, _modl_weights, ("mode", "num_iterations", "num_steps"), SCALING, _select),
        assumes={"start": "adjoint", "physics": Cartesian()},
        fixed={"mode": "MoDL", "cg_eps": 1e-6, "map_init": "espirit", "att_config": None},
    ),
}
