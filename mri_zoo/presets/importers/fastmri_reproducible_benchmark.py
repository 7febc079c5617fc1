"""Weights of github.com/zaccharieramzi/fastmri-reproducible-benchmark: Keras 2, matched by position.

Functional models store one layer after the other, subclassed ones the sensitivity maps' refiner, all image networks,
then all k-space networks.
"""

import dataclasses
import math

import keras

from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError
from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.focnet import FocNet
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.layers.vnet import VNetBlock
from mri_zoo.models import DIP, CascadeNet, DealiasingNet, KIKINet, NCPDNet, PDNet, UNet, XPDNet
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.presets.importers.checkpoint import Architecture
from mri_zoo.presets.importers.image_networks import (
    network_weights,
    padding_multiple,
    recognise,
    unet_scales,
    vnet_scales,
)
from mri_zoo.presets.importers.options import SameAs


def _unet_arguments(checkpoint):
    _require_kernels(checkpoint, 1, 2, 3)
    arrays = checkpoint.in_order()
    if any(array.ndim == 2 for _, array in arrays):
        raise DataError(f"{checkpoint.path}: this checkpoint has channel attention (`dense`), which UNet has not.")
    kernels, arguments = [array for _, array in arrays if array.ndim == 4], unet_scales(arrays)
    if (kernels[0].shape[2], kernels[-1].shape[3]) != (1, 1):
        raise DataError(
            f"{checkpoint.path}: its network sees {kernels[0].shape[2]} channels and gives {kernels[-1].shape[3]} "
            "(`input_size`, `n_output_channels`); that of UNet sees one magnitude and gives one."
        )
    slopes = sum("alpha" in name.rpartition("/")[2] for name, _ in arrays)
    if slopes:
        arguments |= {"activation": "prelu", "penultimate_activation": "prelu" if slopes > len(kernels) - 2 else None}
    return arguments


def _require_kernels(checkpoint, *sizes):
    """Refuse what other values of `kernel_size` give."""
    for name, array in checkpoint.in_order():
        if array.ndim in (4, 5) and "alpha" not in name and not set(array.shape[:-2]) <= set(sizes):
            raise DataError(
                f"{checkpoint.path}: array `{name}` is a kernel of {' x '.join(map(str, array.shape[:-2]))} "
                f"(`kernel_size`); expected sides of {' or '.join(map(str, sizes))}."
            )


def _unet_weights(model, checkpoint):
    return _paired(model.network.weights, checkpoint.in_order())


def _dealiasing_net_arguments(checkpoint):
    arrays = checkpoint.in_order()
    _require_kernels(checkpoint, 1, 2, 3)
    first, last = arrays[0][1], [array for _, array in arrays if array.ndim == arrays[0][1].ndim][-1]
    if (first.shape[-2], last.shape[-1]) != (2, 2):
        raise DataError(
            f"{checkpoint.path}: its network sees {first.shape[-2]} real channels and gives {last.shape[-1]} "
            "(`n_input_channels`, `n_output_channels`); that of DealiasingNet sees one complex image and gives one."
        )
    if first.ndim == 4:
        found = recognise(arrays)
        network = found if isinstance(found, UNetBlock) else UNetBlock(last.shape[-1], **unet_scales(arrays))
    else:
        network = VNetBlock(last.shape[-1], **vnet_scales(arrays))
    return {"network": network, "physics": _non_cartesian(first)}


def _dealiasing_net_weights(model, checkpoint):
    return _paired(model.network.weights, checkpoint.in_order())


def _dip_arguments(checkpoint):
    arrays = [array for _, array in checkpoint.in_order()]
    if [array.ndim for array in arrays[:3]] != [2, 1, 2]:
        raise DataError(f"{checkpoint.path}: does not begin with two dense layers; expected the weights of DIP.")
    return {
        "latent_size": arrays[0].shape[0],
        "num_hidden": arrays[0].shape[1],
        "base_size": math.isqrt(arrays[2].shape[1]),
        "num_upsamplings": sum(array.ndim == 4 for array in arrays) // 2 - 1,  # blocks of two, and the last
        "batch_normalization": any("moving_" in name for name in checkpoint.arrays),
        "num_filters": arrays[4].shape[3],
        "num_coils": arrays[-2].shape[3] // 2,
        "warm": True,
        "physics": _non_cartesian(arrays[-2]),
    }


def _dip_weights(model, checkpoint):
    parts = [[model.hidden], [model.base], *model.blocks, [model.last]]
    weights = [
        variable
        for part in parts
        for variable in sorted(  # of each block, the statistics of batches are last
            (w for layer in part for w in layer.weights), key=lambda w: w.name.startswith("moving_")
        )
    ]
    return _paired(weights, checkpoint.in_order())


def _ncpdnet_arguments(checkpoint):
    if "image_net_0" not in checkpoint.layers:
        raise DataError(f"{checkpoint.path}: has no layer `image_net_0`; expected the weights of NCPDNet.")
    arguments = _pdnet_arguments(checkpoint)
    if not arguments["primal_only"]:
        raise DataError(f"{checkpoint.path}: has networks of k-space (`kspace_net_0`); NCPDNet has none.")
    names = ("num_iterations", "num_primal", "num_filters", "refiner_filters")
    kernel = checkpoint.in_order("image_net_0")[0][1]
    return {name: arguments[name] for name in names if name in arguments} | {"physics": _non_cartesian(kernel)}


def _non_cartesian(kernel):
    """Non-Cartesian physics with the dimensions of a convolution's kernel."""
    return keras.saving.serialize_keras_object(NonCartesian(dimensions=kernel.ndim - 2))


def _pdnet_arguments(checkpoint):
    refiner, primal, dual = _nets(checkpoint)
    (_, first), *_, (_, last), _ = primal[0]
    arguments = {
        "num_iterations": len(primal),
        "num_primal": last.shape[-1] // 2,
        "num_filters": first.shape[-1],
        "primal_only": not dual,
        "buffers": "adjoint" if "image_net_0" in checkpoint.layers else "zeros",
        "refiner_filters": None,
    }
    if dual:
        arguments["num_dual"] = dual[0][-2][1].shape[3] // 2
    if refiner:
        arguments["refiner_filters"] = unet_scales(refiner)["num_filters"]
    return arguments


def _xpdnet_arguments(checkpoint):
    arguments = _updnet_arguments(checkpoint)
    network = arguments.get("image_network")
    if network is None or isinstance(network, UNetBlock):  # with a U-net it may be UPDNet, which pads differently
        del arguments["pad_multiple"]
    else:
        arguments["pad_multiple"] = padding_multiple(network)
    return arguments


def _of_image_network(architecture, _, told):
    """XPDNet with what its image network decides: options of the network, and whether `residual` is asked for."""
    network, asks, assumes = told.get("image_network"), architecture.asks, architecture.assumes
    options = OPTIONS_OF_NETWORKS.get(type(network), {})
    fixed = architecture.fixed | {f"image_network.{name}": value for name, value in options.items()}
    if isinstance(network, FocNet):
        asks = tuple(name for name in asks if name != "residual")
        assumes = {"residual": False, **assumes}  # as in all trainings of the source
    return dataclasses.replace(architecture, asks=asks, assumes=assumes, fixed=fixed)


def _updnet_arguments(checkpoint):
    if "image_net_0" not in checkpoint.layers:
        raise DataError(f"{checkpoint.path}: has no layer `image_net_0`; expected the weights of XPDNet or UPDNet.")
    refiner, primal, dual = _nets(checkpoint)
    arguments = {
        "num_iterations": len(primal),
        "pad_multiple": 1,  # the U-net pads as it needs
        "refiner_filters": unet_scales(refiner)["num_filters"] if refiner else None,
    }
    for kind, buffer, nets in (("image_network", "num_primal", primal), ("kspace_network", "num_dual", dual)):
        network = recognise(nets[0]) if nets else None
        if network is not None:
            arguments |= {kind: network, buffer: network.num_outputs // 2}
    return arguments


def _require_unet(model, checkpoint):
    """The model of UPDNet's weights; other networks need the padding of XPDNet."""
    (network, *_) = model.primal_nets
    if not isinstance(network, UNetBlock):
        raise DataError(
            f"{checkpoint.path}: its image networks are of the kind {type(network).__name__}, but those of UPDNet are "
            "U-nets; import it as XPDNet."
        )
    return model


def _primal_dual_weights(model, checkpoint):
    refiner, primal, dual = _nets(checkpoint)
    if model.refiner is not None:
        yield from _paired(model.refiner.weights, refiner)
    for net, arrays in zip(model.primal_nets, primal, strict=False):
        yield from network_weights(net, arrays, model.num_primal, 1)
    for net, arrays in zip(model.dual_nets, dual, strict=False):
        yield from network_weights(net, arrays, model.num_dual, 1, 1)


def _cascade_net_arguments(checkpoint):
    _require_kernels(checkpoint, 3)
    kernels, soft = _kernels_and_scalar(checkpoint)
    num_cascades = sum(kernel.shape[2] == 2 for kernel in kernels)
    if not num_cascades:
        raise DataError(f"{checkpoint.path}: has no kernel with 2 inputs, with which CascadeNet's networks begin.")
    return {
        "num_cascades": num_cascades,
        "num_convolutions": len(kernels) // num_cascades - 1,
        "num_filters": kernels[0].shape[3],
        "soft_consistency": bool(soft),
    }


def _kiki_net_arguments(checkpoint):
    kernels, soft = _kernels_and_scalar(checkpoint)
    num_networks = sum(kernel.shape[0] == 1 for kernel in kernels)
    if not num_networks:
        raise DataError(f"{checkpoint.path}: has no kernel of 1 x 1, with which each network of KIKINet ends.")
    # The networks that were trained one after the other are nested: the last contains the others as one layer.
    nested = any(len(names) > 2 for names in checkpoint.layers.values())
    return {
        "num_cascades": num_networks // 2,
        "num_convolutions": len(kernels) // num_networks - 1,
        "num_filters": kernels[0].shape[3],
        "final_consistency": not nested,
        "soft_consistency": bool(soft),
    }


def _kernels_and_scalar(checkpoint):
    """The convolution kernels, and the (name, array) pairs of the learned weight of data consistency: one or none."""
    arrays = checkpoint.in_order()
    return [array for _, array in arrays if array.ndim == 4], [pair for pair in arrays if pair[1].shape == (1,)]


def _consistent_weights(model, checkpoint):
    """Of a model with `networks` and `consistency_weight`; where the file has the latter depends on its layout."""
    _, scalar = _kernels_and_scalar(checkpoint)
    if model.soft_consistency:
        yield from _paired([model.consistency_weight], scalar)
    others = [pair for pair in checkpoint.in_order() if pair[1].shape != (1,)]
    yield from _paired([weight for network in model.networks for weight in network.weights], others)


def _nets(checkpoint):
    """The (name, array) pairs of the refiner, of each primal and of each dual network."""
    layers = list(checkpoint.layers)
    if "image_net_0" in layers:
        refiner = checkpoint.in_order("smaps_refiner") if "smaps_refiner" in layers else []
        kinds = [[layer for layer in layers if layer.startswith(kind)] for kind in ("image_net_", "kspace_net_")]
        return refiner, *([checkpoint.in_order(layer) for layer in kind] for kind in kinds)
    arrays = checkpoint.in_order()
    nets = [arrays[i : i + 6] for i in range(0, len(arrays), 6)]  # three convolutions, each with a kernel and a bias
    dual = [net for net in nets if _added_channels(net) == 4]
    return [], [net for net in nets if _added_channels(net) != 4], dual


def _added_channels(net):
    """What a network sees beyond what it gives: two channels in the image, four in k-space."""
    return net[0][1].shape[2] - net[-2][1].shape[-1]


def _paired(variables, arrays):
    """(variable, name, array) of what is matched by position; what is left over on one side is found out later."""
    return [(variable, name, array) for variable, (name, array) in zip(variables, arrays, strict=False)]


FASTMRI_SCALING = ConstantScaling(1e6)
# Of the published networks along trajectories: fastMRI's knees, which are padded to this size, and OASIS-3's volumes.
IMAGE_SIZES = {2: (640, 400), 3: (176, 256, 256)}
UPDNET_ASKS = ("image_network", "num_primal")  # of networks that are not recognised
XPDNET_ASKS = (*UPDNET_ASKS, "pad_multiple", "residual")  # the first of U-nets too, the second not of FocNet
OPTIONS_OF_NETWORKS = {  # of the source, which change no array and which the zoo's layers have in one value
    ConvNet: {"residual": False},
    UNetBlock: {"residual": False, "non_relu_contract": False},
}
IMAGE_NETWORKS = {  # what shapes do not tell of them
    "image_network.activation": "relu",
    "image_network.penultimate_activation": SameAs("image_network.activation"),
    "image_network.pooling": "max",
    "image_network.residual": False,
    "image_network.beta": 0.2,
    "kspace_network.activation": "relu",
    "kspace_network.penultimate_activation": SameAs("kspace_network.activation"),
    "kspace_network.pooling": "max",
    "kspace_network.residual": False,
}
CARTESIAN = {"physics": Cartesian()}  # of multi-coil data, its centre of k-space for maps
UNNORMALIZED = {"normalize_image": False}


def _as_trained(sampling):
    """The samples that the source takes of a trajectory, on images of the size that it trains on."""
    if not isinstance(sampling, SamplingTrajectory):
        return sampling
    size = sampling.image_size or IMAGE_SIZES[sampling.dimensions]
    return dataclasses.replace(sampling, image_size=size, benchmark=True)


def _architecture(model, infer, weights, *asks, assumes=None, fixed=None, **options):
    return Architecture(
        *(model, infer, weights, asks, FASTMRI_SCALING), assumes=assumes or {}, fixed=fixed or {}, **options
    )


ARCHITECTURES = {
    "CascadeNet": _architecture(
        *(CascadeNet, _cascade_net_arguments, _consistent_weights, "activation"), assumes=CARTESIAN
    ),
    "DIP": _architecture(DIP, _dip_arguments, _dip_weights, sampling=_as_trained),
    "DealiasingNet": _architecture(
        *(DealiasingNet, _dealiasing_net_arguments, _dealiasing_net_weights, "compensated", "residual"),
        assumes={
            "network.activation": "relu",
            "network.penultimate_activation": SameAs("network.activation"),
            "network.pooling": "max",
        },
        sampling=_as_trained,
    ),
    # Its functions have ReLU by default, its trainings a leaky one.
    "KIKINet": _architecture(KIKINet, _kiki_net_arguments, _consistent_weights, "activation", assumes=CARTESIAN),
    # Its defaults are without density compensation and normalisation, its trainings with one of them.
    "NCPDNet": _architecture(
        *(NCPDNet, _ncpdnet_arguments, _primal_dual_weights, "compensated", "normalized"), sampling=_as_trained
    ),
    "PDNet": _architecture(
        *(PDNet, _pdnet_arguments, _primal_dual_weights),
        assumes={"activation": "relu", **CARTESIAN},
        fixed=UNNORMALIZED,
        sampling=_as_trained,
    ),
    "UNet": _architecture(
        *(UNet, _unet_arguments, _unet_weights, "penultimate_activation"),
        assumes={
            **{"activation": "relu", "pooling": "max", "residual": False, "normalized": True, "crop": None},
            **CARTESIAN,
        },
        fixed={"non_relu_contract": False},
    ),
    "UPDNet": _architecture(
        *(XPDNet, _updnet_arguments, _primal_dual_weights, *UPDNET_ASKS),
        assumes={"residual": True, **IMAGE_NETWORKS, **CARTESIAN},
        fixed=UNNORMALIZED,
        extend=_require_unet,
    ),
    "XPDNet": _architecture(
        *(XPDNet, _xpdnet_arguments, _primal_dual_weights, *XPDNET_ASKS),
        assumes={**IMAGE_NETWORKS, **CARTESIAN},
        fixed=UNNORMALIZED,
        adapt=_of_image_network,
    ),
}
