"""The image networks of DIRECT: which one the arrays below a prefix belong to, and where they go."""

from mri_zoo.data.volume import DataError
from mri_zoo.layers.direct import DilatedMWCNN, DirectConvNet, TiedDIDN
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.layers.resnet import ScaledResNet
from mri_zoo.presets.importers.checkpoint import layer_weights
from mri_zoo.presets.importers.fastmri import FIRST, unet_arguments, unet_weights


def recognise(checkpoint, prefix):
    """The layer, without weights, whose arrays' names begin with `prefix`.

    Raises:
        DataError: if it is none that is known.
    """
    for first, arguments, kind in (
        (FIRST, _unet, InstanceUNet),
        (f"unet2d.{FIRST}", _norm_unet_2d, NormUNet),
        (f"unet3d.{FIRST}", _norm_unet_3d, NormUNet),
        ("resblocks.0.conv1.weight", _resnet, ScaledResNet),
        ("down.0.convblock0.net.0.weight", _mwcnn, DilatedMWCNN),
        ("0.down.0.convblock0.net.0.weight", _extended_mwcnn, DilatedMWCNN),
        ("dubs.0.down1.weight", _didn, TiedDIDN),
        ("conv.0.weight", _conv, DirectConvNet),
    ):
        if prefix + first in checkpoint.arrays:
            return kind(**arguments(checkpoint, prefix))
    raise DataError(f"{checkpoint.path}: the arrays of `{prefix}` are of no network that is known here.")


def network_weights(network, checkpoint, prefix):
    """(variable, name, array) of every weight of a layer that `recognise` gives."""
    if isinstance(network, InstanceUNet):
        return unet_weights(network, checkpoint, prefix)
    if isinstance(network, NormUNet):
        return unet_weights(network.unet, checkpoint, f"{prefix}unet{network.dimensions}d.")
    kinds = {ScaledResNet: _resnet_weights, DilatedMWCNN: _mwcnn_weights, TiedDIDN: _didn_weights}
    return kinds.get(type(network), _conv_weights)(network, checkpoint, prefix)


def slope(activation, checkpoint, name):
    """(variable, name, array) of a PReLU with one slope."""
    yield activation.alpha, f"{name}.weight", checkpoint[f"{name}.weight"].reshape(activation.alpha.shape)


def count(checkpoint, prefix, suffix=""):
    """Number of i for which an array's name begins with ``<prefix>i.<suffix>``."""
    found = (name.removeprefix(prefix).partition(".") for name in checkpoint.arrays if name.startswith(prefix))
    return len({i for i, _, rest in found if rest.startswith(suffix)})


def _unet(checkpoint, prefix):
    arguments = unet_arguments(checkpoint, prefix)
    return {
        "num_outputs": len(checkpoint[f"{prefix}up_conv.{arguments['num_pools'] - 1}.1.bias"]),
        "dimensions": checkpoint[f"{prefix}{FIRST}"].ndim - 2,
        **arguments,
    }


def _norm_unet_2d(checkpoint, prefix):
    return _unet(checkpoint, f"{prefix}unet2d.")


def _norm_unet_3d(checkpoint, prefix):
    return _unet(checkpoint, f"{prefix}unet3d.")


def _resnet(checkpoint, prefix):
    return {
        "num_inputs": checkpoint[f"{prefix}conv_in.weight"].shape[1],
        "num_outputs": len(checkpoint[f"{prefix}conv_out.1.bias"]),
        "num_filters": len(checkpoint[f"{prefix}conv_in.bias"]),
        "num_blocks": count(checkpoint, f"{prefix}resblocks.", "conv1.weight"),
        "batch_normalization": f"{prefix}resblocks.1.running_mean" in checkpoint.arrays,
    }


def _resnet_weights(network, checkpoint, prefix):
    yield from layer_weights(network.first, checkpoint, f"{prefix}conv_in")
    stride = 2 if network.batch_normalization else 1
    for i, (inner, outer) in enumerate(network.blocks):
        yield from layer_weights(inner, checkpoint, f"{prefix}resblocks.{stride * i}.conv1")
        yield from layer_weights(outer, checkpoint, f"{prefix}resblocks.{stride * i}.conv2")
    for i, norm in enumerate(network.norms):
        yield from layer_weights(norm, checkpoint, f"{prefix}resblocks.{stride * i + 1}")
    for i, layer in enumerate(network.last):
        yield from layer_weights(layer, checkpoint, f"{prefix}conv_out.{i}")


def _mwcnn(checkpoint, prefix):
    num_filters, num_inputs = checkpoint[f"{prefix}down.0.convblock0.net.0.weight"].shape[:2]
    return {
        "num_outputs": num_inputs,
        "num_filters": num_filters,
        "num_scales": count(checkpoint, f"{prefix}down."),
        "use_bias": f"{prefix}down.0.convblock0.net.0.bias" in checkpoint.arrays,
        "batch_normalization": f"{prefix}down.0.convblock0.net.1.running_mean" in checkpoint.arrays,
    }


def _extended_mwcnn(checkpoint, prefix):
    arguments, last = _mwcnn(checkpoint, f"{prefix}0."), checkpoint[f"{prefix}1.weight"]
    return {
        **arguments,
        "num_inputs": arguments["num_outputs"],
        "num_outputs": len(last),
        "last_kernel_size": last.shape[2],
    }


def _mwcnn_weights(network, checkpoint, prefix):
    for layer in network.last:
        yield from layer_weights(layer, checkpoint, f"{prefix}1")
    prefix += "0." if network.last else ""
    for i in range(network.num_scales):
        single, *dilated = _blocks(f"{prefix}down.{i}.", "", i, network.batch_normalization)
        j = network.num_scales - 1 - i
        single_up, *dilated_up = _blocks(f"{prefix}up.{j}.", "inv", j - 1, network.batch_normalization)
        for layers, blocks in ((network.down[i], (single, *dilated)), (network.up[i], (*dilated_up, single_up))):
            names = [name for block in blocks for name in block]
            for layer, name in zip((layer for layer in layers if layer.weights), names, strict=True):
                yield from layer_weights(layer, checkpoint, name)


def _blocks(prefix, kind, i, normalized):
    """The names of the layers with weights of a convolution and of two dilated ones, each with its normalisation."""
    for block, first in (
        (f"{kind}convblock{i}", 0),
        *((f"{kind}dilconvblock{i}", j) for j in (0, 3 if normalized else 2)),
    ):
        yield [f"{prefix}{block}.net.{first + j}" for j in range(2 if normalized else 1)]


def _didn(checkpoint, prefix):
    return {
        "num_outputs": len(checkpoint[f"{prefix}conv_out.bias"]),
        "num_filters": len(checkpoint[f"{prefix}down.bias"]),
        "num_blocks": count(checkpoint, f"{prefix}dubs."),
        "num_convolutions": count(checkpoint, f"{prefix}recon_block.convs."),
    }


def _didn_weights(network, checkpoint, prefix):
    def plain(layer, name):
        return layer_weights(layer, checkpoint, f"{prefix}{name}")

    def activated(layer, name, *aliases):
        for i in (0, *aliases):
            yield from plain(layer, f"{name}.{i}")
            yield from slope(layer.activation, checkpoint, f"{prefix}{name}.{i + 1}")

    def shuffled(layer, name):
        for variable, array_name, array in plain(layer, name):
            yield variable, array_name, _block_by_block(array)

    yield from activated(network.first, "conv_in")
    yield from plain(network.down, "down")
    for i, block in enumerate(network.blocks):
        for j, layer in enumerate(block.before):
            yield from activated(layer, f"dubs.{i}.conv{j + 1}_1", *([2] if j == 0 else []))
        for j, layer in enumerate(block.after):
            yield from activated(layer, f"dubs.{i}.conv{j + 1}_2", *([2] if j == 0 else []))
        for j in range(2):
            yield from plain(block.down[j], f"dubs.{i}.down{j + 1}")
            yield from shuffled(block.up[j], f"dubs.{i}.up{2 - j}.0.conv")
            yield from plain(block.aggregations[j], f"dubs.{i}.conv_agg_{2 - j}")
        yield from activated(block.last, f"dubs.{i}.conv_out")
    *hidden, last = network.reconstruction
    for i, layer in enumerate(hidden):
        yield from activated(layer, f"recon_block.convs.{i}")
    yield from plain(last, f"recon_block.convs.{len(hidden)}")
    yield from plain(network.aggregation, "recon_agg")
    yield from activated(network.post, "conv")
    yield from shuffled(network.up, "up2.conv")
    yield from plain(network.last, "conv_out")


def _block_by_block(array):
    """Output channels (..., 4 n) of PyTorch's pixel shuffle, which has the 2x2 block innermost, in Keras's order."""
    return array.reshape(*array.shape[:-1], -1, 4).swapaxes(-1, -2).reshape(array.shape)


def _conv(checkpoint, prefix):
    kernels = [array for name, array in checkpoint.arrays.items() if name.startswith(prefix) and array.ndim == 4]
    normalized = f"{prefix}conv.1.running_mean" in checkpoint.arrays
    learned = f"{prefix}conv.{2 if normalized else 1}.weight" in checkpoint.arrays
    return {
        "num_outputs": len(kernels[-1]),
        "num_filters": len(kernels[0]),
        "num_convolutions": len(kernels),
        "batch_normalization": normalized,
        "activation": "prelu" if learned else "relu",  # a leaky one looks like ReLU, which is DIRECT's default
    }


def _conv_weights(network, checkpoint, prefix):
    stride = 3 if network.batch_normalization else 2
    for i, layer in enumerate(network.convolutions):
        yield from layer_weights(layer, checkpoint, f"{prefix}conv.{stride * i}")
    for i, norm in enumerate(network.norms):
        yield from layer_weights(norm, checkpoint, f"{prefix}conv.{stride * i + 1}")
    for i in range(network.num_convolutions - 1 if network.activation == "prelu" else 0):
        yield from slope(network.activate, checkpoint, f"{prefix}conv.{stride * i + stride - 1}")
