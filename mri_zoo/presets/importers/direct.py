"""Weights of github.com/NKI-AI/direct: a network's `state_dict`, or the training checkpoint that holds it."""

import keras

from mri_zoo.layers.resnet import ScaledResNet
from mri_zoo.models import MoDL
from mri_zoo.presets.importers.checkpoint import Architecture, layer_weights

IN_TRAINING = ("optimizer", "lr_scheduler", "scaler")  # what else a training checkpoint holds


def _name(name):
    """The name without the training checkpoint's prefix; None for the state of the training."""
    if name.partition(".")[0] in IN_TRAINING or name.endswith("num_batches_tracked"):
        return None
    return name.removeprefix("model.")


def _count(checkpoint, prefix, suffix=""):
    """Number of i for which an array's name is ``<prefix>.i.<suffix>...``."""
    found = {
        name.removeprefix(f"{prefix}.").partition(".")[::2] for name in checkpoint.arrays if name.startswith(prefix)
    }
    return len({i for i, rest in found if rest.startswith(suffix)})


def _conjgradnet_arguments(checkpoint):
    return {
        "num_iterations": len(checkpoint["learning_rate"]),
        "network": keras.saving.serialize_keras_object(_resnet(checkpoint, "nets.0")),
        "shared": _count(checkpoint, "nets") == 1,
        "order": "network_between",
        "learned_scale": True,
    }


def _conjgradnet_weights(model, checkpoint):
    yield model.weight, "mu", checkpoint["mu"].squeeze()
    yield model.scales, "learning_rate", checkpoint["learning_rate"]
    for i, network in enumerate(model.networks):
        yield from _resnet_weights(network, checkpoint, f"nets.{i}")


def _resnet(checkpoint, name):
    return ScaledResNet(
        num_outputs=len(checkpoint[f"{name}.conv_out.1.bias"]),
        num_filters=len(checkpoint[f"{name}.conv_in.bias"]),
        num_blocks=_count(checkpoint, f"{name}.resblocks", "conv1"),
        batch_normalization=_count(checkpoint, f"{name}.resblocks", "running_mean") > 0,
    )


def _resnet_weights(network, checkpoint, name):
    yield from layer_weights(network.first, checkpoint, f"{name}.conv_in")
    stride = 2 if network.batch_normalization else 1
    for i, (inner, outer) in enumerate(network.blocks):
        yield from layer_weights(inner, checkpoint, f"{name}.resblocks.{stride * i}.conv1")
        yield from layer_weights(outer, checkpoint, f"{name}.resblocks.{stride * i}.conv2")
    for i, norm in enumerate(network.norms):
        yield from layer_weights(norm, checkpoint, f"{name}.resblocks.{stride * i + 1}")
    for i, layer in enumerate(network.last):
        yield from layer_weights(layer, checkpoint, f"{name}.conv_out.{i}")


ARCHITECTURES = {
    "MoDL": Architecture(MoDL, _conjgradnet_arguments, _conjgradnet_weights, ("num_steps", "start"), rename=_name),
}
