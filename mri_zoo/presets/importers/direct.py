"""Weights of github.com/NKI-AI/direct: a network's `state_dict`, or the training checkpoint that holds it."""

import dataclasses

import numpy as np

from mri_zoo.arguments import check_flags
from mri_zoo.data.preparation import KSpacePercentileScaling
from mri_zoo.data.volume import DataError
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.models import (
    VSHARP,
    VSHARP3D,
    DataConsistent,
    DirectKIKINet,
    DirectUNet,
    LPDNet,
    MoDL,
    RecurrentVarNet,
    RefinedMaps,
    VarNet,
    ZeroFilled,
)
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.importers.checkpoint import Architecture, layer_weights
from mri_zoo.presets.importers.direct_networks import count, network_weights, recognise, slope

IN_TRAINING = ("optimizer", "lr_scheduler", "scaler")  # what else a training checkpoint holds
MAPS = "sensitivity_model."
SCALING = KSpacePercentileScaling(99.0)  # of all its published trainings
OF_MAPS = ("sigma",)  # arguments of RefinedMaps
UNET = "unet."
ACTIVATIONS = ("image_network.activation", "kspace_network.activation")  # of convolutions without a learned slope


def _select(arrays):
    """What is a weight, without the training checkpoint's prefix."""
    return {
        name.removeprefix("model."): array
        for name, array in arrays.items()
        if name.partition(".")[0] not in IN_TRAINING and not name.endswith("num_batches_tracked")
    }


def _select_maps(arrays):
    """Those of the network for the sensitivity maps, which may be all."""
    arrays = _select(arrays)
    found = {name: array for name, array in arrays.items() if name.startswith(MAPS)}
    return found or {f"{MAPS}{name}": array for name, array in arrays.items()}


def _conjgradnet_arguments(checkpoint):
    return {
        "num_iterations": len(checkpoint["learning_rate"]),
        "network": recognise(checkpoint, "nets.0."),
        "shared": count(checkpoint, "nets.") == 1,
        "order": "network_between",
        "learned_scale": True,
    }


def _conjgradnet_weights(model, checkpoint):
    yield model.weight, "mu", checkpoint.scalar("mu")
    yield model.scales, "learning_rate", checkpoint["learning_rate"]
    for i, network in enumerate(model.networks):
        yield from network_weights(network, checkpoint, f"nets.{i}.")


def _initializer_arguments(checkpoint, output):
    """Of a `StateInitializer`: its dilated convolutions, and how many of them the convolution `output` sees."""
    names = [f"initializer.conv_blocks.{i}.1.bias" for i in range(count(checkpoint, "initializer.conv_blocks."))]
    filters = [len(checkpoint[name]) for name in names]
    if not filters:
        return {"initializer_filters": None}
    seen, channels = checkpoint[f"initializer.{output}.weight"].shape[1], np.cumsum(filters[::-1])
    if seen not in channels:
        raise DataError(
            f"{checkpoint.path}: array `initializer.{output}.weight` sees {seen} channels; expected those of the last "
            f"convolutions (`initializer_multiscale`): {', '.join(map(str, channels))}."
        )
    return {"initializer_filters": filters, "initializer_scales": int(np.argmax(channels == seen)) + 1}


def _initializer_weights(initializer, checkpoint, *outputs):
    for i, layer in enumerate(initializer.convolutions):
        yield from layer_weights(layer, checkpoint, f"initializer.conv_blocks.{i}.1")
    for layer, name in zip(initializer.outputs, outputs, strict=True):
        yield from layer_weights(layer, checkpoint, f"initializer.{name}")


def _recurrent_arguments(checkpoint):
    number, normalized = count(checkpoint, "block_list."), _is_normalized(checkpoint)
    unit = f"block_list.0.regularizer{'.convgru' if normalized else ''}"
    arguments = {
        "num_filters": len(checkpoint[f"{unit}.conv_blocks.0.1.bias"]),
        "num_layers": count(checkpoint, f"{unit}.reset_gates."),
        "shared": number == 1,
        "normalized": normalized,
        **_initializer_arguments(checkpoint, "out_blocks.0.0"),
    }
    if number > 1:  # a network for all iterations does not tell how many
        arguments["num_iterations"] = number
    return arguments


def _is_normalized(checkpoint):
    return any(name.startswith("block_list.0.regularizer.convgru.") for name in checkpoint.arrays)


def _recurrent_weights(model, checkpoint):
    inside = ".convgru" if _is_normalized(checkpoint) else ""
    for i, unit in enumerate(model.units):
        name = f"block_list.{i}.learning_rate"
        yield model.step_sizes[i], name, checkpoint.scalar(name)
        name = f"block_list.{i}.regularizer{inside}"
        for j, layer in enumerate(unit.convolutions):
            yield from layer_weights(layer, checkpoint, f"{name}.conv_blocks.{j}.1")
        gates = {"update_gates": unit.update, "reset_gates": unit.reset, "out_gates": unit.candidate}
        for kind, layers in gates.items():
            for j, layer in enumerate(layers):
                yield from layer_weights(layer, checkpoint, f"{name}.{kind}.{j}.0")
    if model.initializer is not None:
        outputs = [f"out_blocks.{i}.0" for i in range(model.num_layers)]
        yield from _initializer_weights(model.initializer, checkpoint, *outputs)


def _lpdnet_arguments(checkpoint):
    primal, dual = (recognise(checkpoint, f"{kind}_net.0.{kind}_block.") for kind in ("primal", "dual"))
    return {
        "num_iterations": count(checkpoint, "primal_net."),
        "num_primal": primal.num_outputs // 2,
        "num_dual": dual.num_outputs // 2,
        "exchange": "one",
        "shared": True,
        "image_network": primal,
        "kspace_network": dual,
    }


def _lpdnet_weights(model, checkpoint):
    for i in range(model.num_iterations):  # the same arrays each time
        yield from network_weights(model.primal_nets[0], checkpoint, f"primal_net.{i}.primal_block.")
        yield from network_weights(model.dual_nets[0], checkpoint, f"dual_net.{i}.dual_block.")


def _xpdnet_arguments(checkpoint):
    primal = recognise(checkpoint, "image_model_list.0.")
    has_dual = count(checkpoint, "kspace_model_list.") > 0
    dual = recognise(checkpoint, "kspace_model_list.0.model.") if has_dual else None
    return {
        "num_iterations": count(checkpoint, "image_model_list."),
        "num_primal": primal.num_outputs // 2,
        "num_dual": dual.num_outputs // 2 if has_dual else 0,
        "image_network": primal,
        "kspace_network": dual,
        "exchange": "all",
        "shared": False,
    }


def _xpdnet_weights(model, checkpoint):
    for i, network in enumerate(model.primal_nets):
        yield from network_weights(network, checkpoint, f"image_model_list.{i}.")
    for i, network in enumerate(model.dual_nets):
        yield from network_weights(network, checkpoint, f"kspace_model_list.{i}.model.")


def _kikinet_arguments(checkpoint):
    return {
        "num_iterations": count(checkpoint, "image_model_list."),
        "image_network": recognise(checkpoint, "image_model_list.0."),
        "kspace_network": recognise(checkpoint, "kspace_model_list.0.model."),
    }


def _kikinet_weights(model, checkpoint):
    for i in range(model.num_iterations):  # the same arrays each time
        yield from network_weights(model.image_network, checkpoint, f"image_model_list.{i}.")
        yield from network_weights(model.kspace_network, checkpoint, f"kspace_model_list.{i}.model.")


def _unet_arguments(checkpoint):
    unet = recognise(checkpoint, UNET)
    normalized = isinstance(unet, NormUNet)
    return {"num_filters": unet.num_filters, "num_pools": unet.num_pools, "normalized": normalized}


def _unet_weights(model, checkpoint):
    return network_weights(model.network.network, checkpoint, UNET)


def _varnet_arguments(checkpoint):
    unet = recognise(checkpoint, "layers_list.0.regularizer_model.")
    return {
        "num_cascades": count(checkpoint, "layers_list."),
        "num_filters": unet.num_filters,
        "num_pools": unet.num_pools,
        "refiner_filters": None,
        "refiner_pools": 4,  # of no network
        "num_low_frequencies": None,
        "normalized": False,
    }


def _varnet_weights(model, checkpoint):
    for i, (network, step_size) in enumerate(zip(model.networks, model.step_sizes, strict=True)):
        name = f"layers_list.{i}.learning_rate"
        yield step_size, name, checkpoint.scalar(name)
        for variable, name, array in network_weights(network, checkpoint, f"layers_list.{i}.regularizer_model."):
            is_last = any(variable is weight for weight in network.last.weights)
            yield variable, name, -array if is_last else array  # what is subtracted here is added there


def _vsharp_arguments(checkpoint):
    arguments = {
        "denoiser": recognise(checkpoint, "denoiser_blocks.0."),
        "num_iterations": len(checkpoint["rho"]),
        "num_gradient_steps": len(checkpoint["learning_rate_eta"]),
        "shared": count(checkpoint, "denoiser_blocks.") < len(checkpoint["rho"]),
        **_initializer_arguments(checkpoint, "out_block.0"),
    }
    if "initializer.activation.weight" in checkpoint.arrays:  # those without a weight all look the same
        arguments["initializer_activation"] = "prelu"
    return arguments


def _vsharp_weights(model, checkpoint):
    yield model.step_sizes, "learning_rate_eta", checkpoint["learning_rate_eta"]
    yield model.penalties, "rho", checkpoint["rho"]
    for i, network in enumerate(model.denoisers):
        yield from network_weights(network, checkpoint, f"denoiser_blocks.{i}.")
    yield from _initializer_weights(model.initializer, checkpoint, "out_block.0")
    if model.initializer.activation == "prelu":
        yield from slope(model.initializer.outputs[0].activation, checkpoint, "initializer.activation")


def _extend(model, checkpoint, data_consistent=False, **options):
    """With the network of the sensitivity maps, where the checkpoint has one, and the samples put back if asked to."""
    check_flags(data_consistent=data_consistent)
    if any(name.startswith(MAPS) for name in checkpoint.arrays):
        network = recognise(checkpoint, MAPS)
        if getattr(network, "dimensions", 2) != 2 or getattr(network, "num_outputs", 2) != 2:
            raise DataError(
                f"{checkpoint.path}: the network `{MAPS}` is of {getattr(network, 'dimensions', 2)} dimensions and "
                f"{network.num_outputs} outputs; expected one of slices with 2."
            )
        refiner = SensitivityRefiner(ComplexNet(network, residual=False))
        model = RefinedMaps(model, refiner, **options)
    elif options:
        raise DataError(f"{checkpoint.path}: has no network `{MAPS}` for the sensitivity maps; then there is no sigma.")
    return DataConsistent(model) if data_consistent else model


def _maps_weights(model, checkpoint):
    return network_weights(model.refiner.network.network, checkpoint, MAPS)


def _with_norm_groups(architecture, checkpoint, told):
    """`norm_groups` of the normalised U-nets that a checkpoint has: no array tells it, and `NormUNet` has 2 alone."""
    names = [f"{argument}.norm_groups" for argument, network in told.items() if isinstance(network, NormUNet)]
    for prefix, name in ((UNET, "norm_groups"), (MAPS, "refiner.norm_groups")):
        if any(array.startswith((f"{prefix}unet2d.", f"{prefix}unet3d.")) for array in checkpoint.arrays):
            names.append(name)
    return dataclasses.replace(architecture, fixed={**architecture.fixed, **dict.fromkeys(names, 2)})


def _architecture(model, infer, weights, *asks, assumes=None, fixed=None, advice=None):
    """With the maps' network and the samples put back as options, and with transforms whose origin is the centre."""

    def all_weights(model, checkpoint):
        if isinstance(model, DataConsistent):
            model = model.model
        if isinstance(model, RefinedMaps):
            yield from _maps_weights(model, checkpoint)
            model = model.model
        yield from weights(model, checkpoint)

    return Architecture(
        *(model, infer, all_weights, asks, SCALING, _select, _extend, (*OF_MAPS, "data_consistent")),
        assumes={**(assumes or {}), "physics": Cartesian(), "data_consistent": False},
        fixed=fixed or {},
        adapt=_with_norm_groups,
        advice=advice or {},
    )


def _vsharp(model):
    assumes = {"start": "adjoint", "initializer_dilations": (1, 1, 2, 4), "denoiser.scale": 0.1}
    return _architecture(
        model, _vsharp_arguments, _vsharp_weights, "initializer_activation", "denoiser.activation", assumes=assumes
    )


# `normalize` divides by the square of the data's scaling factor.
NORMALIZE = {
    "fixed": {"normalize": False},
    "advice": {
        "normalize": "Its True is a scaling of k-space here: leave it out, and import with "
        "`--scaling kspace_percentile:99:3`, in Python with `scaling=KSpacePercentileScaling(99, 3)`."
    },
}

ARCHITECTURES = {
    "KIKINet": _architecture(*(DirectKIKINet, _kikinet_arguments, _kikinet_weights, *ACTIVATIONS), **NORMALIZE),
    "LPDNet": _architecture(LPDNet, _lpdnet_arguments, _lpdnet_weights, *ACTIVATIONS),
    "MoDL": _architecture(
        *(MoDL, _conjgradnet_arguments, _conjgradnet_weights, "num_steps", "start", "network.activation"),
        assumes={"network.scale": 0.1},
        fixed={"cg_tol": 1e-7, "cg_param_update_type": "FR"},
    ),
    "RecurrentVarNet": _architecture(
        *(RecurrentVarNet, _recurrent_arguments, _recurrent_weights, "num_iterations"),
        assumes={"initializer_image": "adjoint", "initializer_dilations": (1, 1, 2, 4)},
    ),
    "RefinedMaps": Architecture(
        *(ZeroFilled, lambda _: {}, _maps_weights, (), SCALING, _select_maps, _extend, OF_MAPS),
        assumes={"physics": Cartesian()},
        adapt=_with_norm_groups,
    ),
    "UNet": _architecture(DirectUNet, _unet_arguments, _unet_weights, "residual", "combine_coils"),
    "VarNet": _architecture(VarNet, _varnet_arguments, _varnet_weights),
    "VSHARP": _vsharp(VSHARP),
    "VSHARP3D": _vsharp(VSHARP3D),
    "XPDNet": _architecture(*(LPDNet, _xpdnet_arguments, _xpdnet_weights, *ACTIVATIONS), **NORMALIZE),
}
