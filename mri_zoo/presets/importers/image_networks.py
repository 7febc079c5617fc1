"""The predecessor's image networks: which one some arrays are the weights of, and where they go in ours.

`arrays` are the (name, array) pairs of one network, in the order of the file.
"""

from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.didn import DIDN
from mri_zoo.layers.focnet import NUM_EXCHANGES, FocNet
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.presets.importers.checkpoint import image_by_image


def recognise(arrays):
    """An unbuilt layer with weights of these shapes, U-net, FocNet, DIDN, DnCNN or MWCNN; None if there is none.

    What shapes do not tell is as the layer's default, such as activations but for a U-net's learned slopes.
    """
    try:
        return _nearest(arrays)
    except (IndexError, ValueError):  # of what no such network has: too few arrays, no channels
        return None


def _nearest(arrays):
    shapes = [array.shape for _, array in arrays]
    kernels = [shape for shape in shapes if len(shape) == 4]
    channels = [shape[2:] for shape in kernels]
    num_outputs = channels[-1][1]
    if (2, 2) in [kernel[:2] for kernel in kernels]:
        return _nearest_unet(num_outputs, arrays)
    if () in shapes:  # the switches, after a kernel and a bias for each unpooling
        num_scales = 1 + shapes.index(()) // (2 * NUM_EXCHANGES)
        normalized = any(_is_moving(name) for name, _ in arrays)
        return FocNet(num_outputs, channels[0][0], num_scales, batch_normalization=normalized)
    if any(len(shape) == 3 for shape in shapes):  # the slopes of PReLUs
        num_filters = channels[0][0]
        num_blocks = channels[-3][0] // num_filters
        return DIDN(num_outputs, num_filters, num_blocks, num_convolutions=len(kernels) - 14 * num_blocks - 5)
    if all(before[1] == after[0] for before, after in zip(channels, channels[1:], strict=False)):
        return ConvNet(num_outputs, channels[0][1], num_convolutions=len(kernels) - 1)
    number = sum(len(shape) == 1 for shape in shapes)  # one bias for each kernel, or of the last one alone
    options = {"use_bias": number == len(kernels), "batch_normalization": number > len(kernels)}
    return _nearest_mwcnn(channels, options)


def _nearest_unet(num_outputs, arrays):
    shapes, arguments = [array.shape for _, array in arrays], unet_scales(arrays)
    if any(len(shape) == 3 for shape in shapes):
        arguments |= {"activation": "prelu", "penultimate_activation": "prelu"}
    squeezes = [shape for shape in shapes if len(shape) == 2][::2]  # before the dense layer that expands again
    if squeezes:
        reductions = range(1, 1 + max(channels for channels, _ in squeezes))
        fitting = (n for n in reductions if all(channels // n == reduced for channels, reduced in squeezes))
        arguments["attention_reduction"] = next(fitting, 0)
    return UNetBlock(num_outputs, **arguments)


def _nearest_mwcnn(channels, options):
    """From the (inputs, outputs) of all convolutions; a buffer comes in with one more complex image."""
    inputs, first_filters = channels[0]
    num_outputs, scales = inputs - 2, channels
    num_first = 0
    for i in range(1, len(channels) // 2):
        if channels[2 * i - 1][1] == num_outputs and channels[2 * i][0] == 4 * first_filters:
            num_first, scales = i, channels[2 * i :]
            break
    else:  # the first convolution sees wavelet bands
        num_outputs = inputs // 4 - 2
    num_filters, num_convolutions = [], []
    while scales:
        bands, filters = scales[0]
        if not num_filters and not num_first:
            bands = 4 * num_outputs
        # A scale ends with the bands for the finer one; after it, the next scale sees those of its own features.
        followers = [after[0] for after in scales[1:]] + [4 * filters]
        ends = [i for i, (_, out) in enumerate(scales) if out == bands and followers[i] == 4 * filters]
        length = ends[0] + 1 if ends else len(scales)
        num_filters.append(filters)
        num_convolutions.append(length // 2)
        scales = scales[length:]
    options["use_bias"] |= options["batch_normalization"]  # then without effect
    return MWCNN(num_outputs, num_filters, num_convolutions, num_first, first_filters, **options)


def unet_scales(arrays):
    """The arguments `num_filters` and `num_convolutions` of a `UNetBlock`."""
    kernels = [array for _, array in arrays if array.ndim == 4]
    num_scales = 1 + sum(kernel.shape[:2] == (2, 2) for kernel in kernels)
    num_convolutions = sum(kernel.shape[:2] == (3, 3) for kernel in kernels) // (2 * num_scales - 1)
    return {
        "num_filters": [kernels[i * num_convolutions].shape[3] for i in range(num_scales)],
        "num_convolutions": num_convolutions,
    }


def vnet_scales(arrays):
    """The arguments `num_filters`, `num_convolutions` and `activation` of a `VNetBlock`."""
    kernels = [array for _, array in arrays if array.ndim == 5]
    # After the blocks down, the bottom and the blocks up: a convolution for each upsampling, and the last one.
    widths = [kernel.shape[-1] for kernel in kernels]
    num_convolutions = next(i for i, width in enumerate(widths) if width != widths[0])
    num_scales = (len(kernels) + num_convolutions) // (2 * num_convolutions + 1)
    slopes = any(array.shape[:3] == (1, 1, 1) and array.ndim == 4 for _, array in arrays)
    return {
        "num_filters": [widths[i * num_convolutions] for i in range(num_scales)],
        "num_convolutions": num_convolutions,
        "activation": "prelu" if slopes else "relu",
    }


def padding_multiple(network):
    """What the predecessor's XPDNet pads images to multiples of."""
    if isinstance(network, MWCNN | UNetBlock):
        return 2 ** (len(network.num_filters) + isinstance(network, MWCNN))
    return {DIDN: 16, FocNet: 2 ** getattr(network, "num_scales", 0)}.get(type(network), 1)


def network_weights(network, arrays, *num_images):
    """(variable, name, array) of a network that sees groups of complex images, for the zoo's order of channels."""
    arrays = sorted(arrays, key=lambda item: _is_moving(item[0]))  # last within each of the file's groups of layers
    first, per_band = _first_convolution(network).kernel, 2 * sum(num_images)
    for variable, (name, array) in zip(_in_file_order(network), arrays, strict=False):
        if variable is first and array.ndim >= 4 and array.shape[-2] % per_band == 0:
            by_band = array.reshape(*array.shape[:-2], -1, per_band, array.shape[-1])
            array = image_by_image(by_band, *num_images).reshape(array.shape)
        yield variable, name, array


def _in_file_order(network):
    """The weights of a network in the order of its creation there, the statistics of batches last."""
    if isinstance(network, FocNet):
        norms = network.norms or [[None] * len(scale) for scale in network.convolutions]
        blocks = [
            layer
            for scale, scale_norms in zip(network.convolutions, norms, strict=True)
            for pair in zip(scale, scale_norms, strict=True)
            for layer in pair
            if layer is not None
        ]
        unpoolings = [layer for scale in network.unpoolings for layer in scale]
        layers = [*unpoolings, None, network.first, *blocks, network.last]
    elif isinstance(network, MWCNN) and network.batch_normalization:
        scales = [part for pair in zip(network.down, network.up, strict=True) for part in pair]
        layers = [layer for part in (network.first, network.last, *scales) for layer in part if layer.weights]
        for i in range(len(layers) - 1):
            if hasattr(layers[i + 1], "gamma"):  # there, a convolution is created after its normalisation
                layers[i : i + 2] = layers[i + 1], layers[i]
    else:
        return network.weights
    weights = [
        variable
        for layer in layers
        for variable in ([w for scale in network.switches for w in scale] if layer is None else layer.weights)
    ]
    return sorted(weights, key=lambda variable: _is_moving(variable.name))


def _is_moving(name):
    return name.rpartition("/")[2].startswith("moving_")


def _first_convolution(network):
    """The one that sees the network's input, or its wavelet bands."""
    if isinstance(network, UNetBlock):
        return [*network.down, network.bottom][0][0]
    if isinstance(network, MWCNN):
        return (network.first or network.down[0])[0]
    return network.convolutions[0] if isinstance(network, ConvNet) else network.first
