"""Weights of github.com/NKI-AI/direct: a network's `state_dict`, or the training checkpoint that holds it."""

import keras
import numpy as np

from mri_zoo.layers.resnet import ScaledResNet
from mri_zoo.models import MoDL, RecurrentVarNet
from mri_zoo.presets.importers.checkpoint import Architecture, layer_weights

IN_TRAINING = ("optimizer", "lr_scheduler", "scaler")  # what else a training checkpoint holds


def _select(arrays):
    """What is a weight, without the training checkpoint's prefix."""
    return {
        name.removeprefix("model."): array
        for name, array in arrays.items()
        if name.partition(".")[0] not in IN_TRAINING and not name.endswith("num_batches_tracked")
    }


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


def _recurrent_arguments(checkpoint):
    count, unit = _count(checkpoint, "block_list"), "block_list.0.regularizer"
    blocks = [
        checkpoint[f"initializer.conv_blocks.{i}.1.bias"] for i in range(_count(checkpoint, "initializer.conv_blocks"))
    ]
    arguments = {
        "num_filters": len(checkpoint[f"{unit}.conv_blocks.0.1.bias"]),
        "num_layers": _count(checkpoint, f"{unit}.reset_gates"),
        "shared": count == 1,
        "initializer_filters": [len(bias) for bias in blocks] or None,
    }
    if count > 1:  # a network for all iterations does not tell how many
        arguments["num_iterations"] = count
    if blocks:
        seen = checkpoint["initializer.out_blocks.0.0.weight"].shape[1]
        sums = np.cumsum([len(bias) for bias in reversed(blocks)])
        arguments["initializer_scales"] = int(np.argmax(sums == seen)) + 1
    return arguments


def _recurrent_weights(model, checkpoint):
    for i, unit in enumerate(model.units):
        name = f"block_list.{i}.learning_rate"
        yield model.step_sizes[i], name, checkpoint[name].squeeze()
        name = f"block_list.{i}.regularizer"
        for j, layer in enumerate(unit.convolutions):
            yield from layer_weights(layer, checkpoint, f"{name}.conv_blocks.{j}.1")
        gates = {"update_gates": unit.update, "reset_gates": unit.reset, "out_gates": unit.candidate}
        for kind, layers in gates.items():
            for j, layer in enumerate(layers):
                yield from layer_weights(layer, checkpoint, f"{name}.{kind}.{j}.0")
    if model.initializer is not None:
        for i, layer in enumerate(model.initializer.convolutions):
            yield from layer_weights(layer, checkpoint, f"initializer.conv_blocks.{i}.1")
        for i, layer in enumerate(model.initializer.outputs):
            yield from layer_weights(layer, checkpoint, f"initializer.out_blocks.{i}.0")


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
    "RecurrentVarNet": Architecture(
        RecurrentVarNet,
        _recurrent_arguments,
        _recurrent_weights,
        ("num_iterations",),
        select=_select,
    ),
    "MoDL": Architecture(MoDL, _conjgradnet_arguments, _conjgradnet_weights, ("num_steps", "start"), select=_select),
}
