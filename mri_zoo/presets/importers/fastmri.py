"""Weights of github.com/facebookresearch/fastMRI: a `state_dict`, alone or in a Lightning checkpoint.

Both networks see k-space as it is in the files, without a scaling: each normalises its images.
"""

from mri_zoo.data.volume import DataError
from mri_zoo.models import FastMRIUNet, VarNet
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.importers.checkpoint import Architecture, channels_last

FIRST = "down_sample_layers.0.layers.0.weight"  # of each U-net
SENSITIVITY, CASCADE = "sens_net.norm_unet.unet.", "cascades.{}.model.unet."


def unet_arguments(checkpoint, prefix=""):
    """Constructor arguments of the U-net whose arrays' names begin with `prefix`; DIRECT's have the same names."""
    pools = [name for name in checkpoint.arrays if name.startswith(f"{prefix}up_transpose_conv.")]
    return {"num_filters": checkpoint[f"{prefix}{FIRST}"].shape[0], "num_pools": len(pools)}


def unet_weights(network, checkpoint, prefix=""):
    """(variable, name, array) of every weight of an `InstanceUNet`."""

    def pair(layers, *names):
        for layer, name in zip(layers, names, strict=True):
            yield layer.kernel, f"{prefix}{name}", channels_last(checkpoint[f"{prefix}{name}"])

    def block(layers, name):
        return pair(layers, f"{name}.layers.0.weight", f"{name}.layers.4.weight")

    for i, scale in enumerate(network.down):
        yield from block(scale, f"down_sample_layers.{i}")
    yield from block(network.bottom, "conv")
    end = f"up_conv.{network.num_pools - 1}"
    for i, (upward, *scale) in enumerate(network.up):
        yield from pair([upward], f"up_transpose_conv.{i}.layers.0.weight")
        yield from block(scale, f"{end}.0" if i == network.num_pools - 1 else f"up_conv.{i}")
    yield from pair([network.last], f"{end}.1.weight")
    yield network.last.bias, f"{prefix}{end}.1.bias", checkpoint[f"{prefix}{end}.1.bias"]


def _varnet_arguments(checkpoint):
    refiner = unet_arguments(checkpoint, SENSITIVITY)
    return {
        "normalized": True,
        "num_cascades": sum(name.endswith(".dc_weight") for name in checkpoint.arrays),
        **unet_arguments(checkpoint, CASCADE.format(0)),
        **{name.replace("num", "refiner"): value for name, value in refiner.items()},
    }


def _varnet_weights(model, checkpoint):
    if model.refiner is None or not model.normalized:
        raise DataError(
            f"{checkpoint.path}: fastMRI's VarNet normalises the inputs of its networks and refines the maps; expected "
            "`normalized` True and `refiner_filters` not None."
        )
    yield from unet_weights(model.refiner.network.network.unet, checkpoint, SENSITIVITY)
    for i, (network, step_size) in enumerate(zip(model.networks, model.step_sizes, strict=True)):
        name = f"cascades.{i}.dc_weight"
        yield step_size, name, checkpoint.scalar(name)
        yield from unet_weights(network.unet, checkpoint, CASCADE.format(i))


def _network_of(first):
    """A function that keeps a network's arrays, told by the prefix that Lightning gives to all names, `first` too."""

    def select(arrays):
        prefix, *others = [name.removesuffix(first) for name in arrays if name.endswith(first)] or [""]
        if others:
            raise ValueError(f"it has several networks, `{prefix}` and `{others[0]}` for example; expected one")
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    return select


def _unet_weights(model, checkpoint):
    return unet_weights(model.network, checkpoint)


ARCHITECTURES = {
    "FastMRIUNet": Architecture(
        *(FastMRIUNet, unet_arguments, _unet_weights),
        select=_network_of(FIRST),
        assumes={"crop": None, "physics": Cartesian()},
    ),
    "VarNet": Architecture(
        *(VarNet, _varnet_arguments, _varnet_weights),
        select=_network_of(SENSITIVITY + FIRST),
        assumes={"num_low_frequencies": None, "physics": Cartesian()},
        advice={"mask_center": 'Write `num_low_frequencies`: null (in Python None) for True, "all" for False.'},
    ),
}
