"""The U-net of fastMRI and of DIRECT: instance normalisation after each convolution."""

import math

import keras
from keras import ops

from mri_zoo.arguments import check_counts
from mri_zoo.layers.convnet import convolution, zero_pad


@keras.saving.register_keras_serializable("mri_zoo")
class InstanceUNet(keras.layers.Layer):
    """U-net on real channels, (batch, height, width, channels) to (batch, height, width, `num_outputs`), any size.

    Each scale has two 3x3 convolutions; down by 2x2 average pooling (a last odd line is left out), up by a 2x2
    transposed convolution of stride 2. Each of them is without bias and followed by instance normalisation without
    learned scale and a leaky ReLU of slope 0.2. What comes from below gets a reflected last line where the skip is
    larger by one; it is first in the concatenation. A 1x1 convolution with bias ends the network. All sizes of at least
    ``2 ** num_pools`` are as upstream; smaller images, which fail there, are zero-padded to that size and cropped back.
    In three dimensions a depth precedes the height, and all squares here are cubes.

    Args:
        num_outputs: output channels.
        num_filters: channels of the finest scale; they double from scale to scale.
        num_pools: scales below the finest.
        dimensions: 2 or 3, of the image.

    Reference: Ronneberger et al., MICCAI 2015; Zbontar et al., arXiv:1811.08839; `Unet` of fastMRI, `UnetModel2d` and
    `UnetModel3d` of DIRECT, without their dropout, which the published weights were trained without.
    """

    def __init__(self, num_outputs, num_filters=32, num_pools=4, dimensions=2, **kwargs):
        super().__init__(**kwargs)
        check_counts(num_outputs=num_outputs, num_filters=num_filters, num_pools=num_pools)
        if dimensions not in (2, 3):
            raise ValueError(f"`dimensions` must be 2 or 3, got {dimensions}.")
        self.num_outputs, self.num_filters, self.num_pools = num_outputs, num_filters, num_pools
        self.dimensions = dimensions
        *skipped, bottom = (num_filters * 2**i for i in range(num_pools + 1))
        self.down = [self._scale(filters) for filters in skipped]
        self.bottom = self._scale(bottom)
        self.up = [[self._upward(filters), *self._scale(filters)] for filters in reversed(skipped)]
        self.last = convolution(num_outputs, 1, dimensions=dimensions, dtype=self.dtype_policy)

    def _scale(self, filters):
        options = {"use_bias": False, "dimensions": self.dimensions, "dtype": self.dtype_policy}
        return [convolution(filters, **options) for _ in range(2)]

    def _upward(self, filters):
        layer = keras.layers.Conv2DTranspose if self.dimensions == 2 else keras.layers.Conv3DTranspose
        return layer(filters, 2, strides=2, use_bias=False, dtype=self.dtype_policy)

    def build(self, input_shape):
        """Create all weights, without the trace of `call` by which Keras would find them."""
        open_size, channels = (None,) * (self.dimensions + 1), input_shape[-1]
        for layers in [*self.down, self.bottom, *self.up]:
            for i, layer in enumerate(layers):
                # The first convolution after the one that leads up also sees the skip, of as many channels.
                layer.build((*open_size, 2 * channels if len(layers) == 3 and i == 1 else channels))
                channels = layer.filters
        self.last.build((*open_size, channels))

    def call(self, x):
        """Apply the network."""
        size = ops.shape(x)[1:-1]
        x, before = pad_evenly(x, *(_larger(n, 2**self.num_pools) for n in size))
        skips = []
        for scale in self.down:
            x = _chain(scale, x)
            skips.append(x)
            x = ops.average_pool(x, 2, strides=2)
        x = _chain(self.bottom, x)
        for (upward, *scale), skip in zip(self.up, reversed(skips), strict=True):
            x = _reflect_to_size_of(skip, _chain([upward], x))
            x = _chain(scale, ops.concatenate([x, skip], axis=-1))
        return crop_padded(self.last(x), before, size)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_pools": self.num_pools,
            "dimensions": self.dimensions,
        }


def center_groups(x, num_groups, unbiased=False):
    """Subtract the mean of each image's `num_groups` equal parts of the channels, in float32.

    Args:
        x: (batch, height, width, channels) real; three dimensions have a depth before the height.
        num_groups: as many as there are channels for each channel on its own.
        unbiased: divide the variance by N - 1 instead of N.

    Returns:
        The centred tensor like `x`, the means and the variances (batch, 1, 1, num_groups), or (batch, 1, 1, 1, ...).
    """
    x = ops.cast(x, "float32")
    mean = _group_mean(x, num_groups)
    centered = x - spread(mean, x)
    variance = _group_mean(ops.square(centered), num_groups)
    if unbiased:
        _, *size, channels = ops.shape(x)
        count = ops.cast(math.prod(size) * (channels // num_groups), "float32")
        variance = variance * (count / (count - 1))
    return centered, mean, variance


def spread(values, x):
    """(batch, 1, 1, groups) as (batch, 1, width, channels), for arithmetic with `x` (batch, height, width, channels).

    TensorFlow takes half as long to combine a tensor with whole rows as with one number per channel.
    """
    batch, *others, width, channels = ops.shape(x)
    if values.shape[-1] != channels:
        values = ops.repeat(values, channels // values.shape[-1], axis=-1)
    return ops.broadcast_to(values, (batch, *[1] * len(others), width, channels))


def pad_evenly(x, *size):
    """Zero-pad (batch, height, width, channels), or with a depth before the height, to a size, as evenly as possible.

    Where an odd number is missing, the bottom or right side gets one more.

    Returns:
        The padded tensor and the (top, left) padding, or (front, top, left).
    """
    missing = [want - have for want, have in zip(size, ops.shape(x)[1:-1], strict=True)]
    before = [n // 2 for n in missing]
    if _may_differ_from_zero(missing):
        pairs = [(n, m - n) for n, m in zip(before, missing, strict=True)]
        x = zero_pad(x, pairs)
    return x, before


def crop_padded(x, before, size):
    """The inverse of `pad_evenly`: the part of a size that is preceded by as many lines of each axis."""
    return x[(slice(None), *(slice(start, start + n) for start, n in zip(before, size, strict=True)))]


def _chain(convolutions, x):
    """Apply the convolutions in turn, each with instance normalisation and leaky ReLU."""
    for convolve in convolutions:
        x = convolve(x)
        centered, _, variance = center_groups(x, x.shape[-1])
        normalized = centered * spread(ops.rsqrt(variance + 1e-5), x)
        x = ops.leaky_relu(ops.cast(normalized, x.dtype), 0.2)
    return x


def _group_mean(x, num_groups):
    mean, axes = x, range(1, len(x.shape) - 1)
    for axis in axes:
        mean = ops.mean(mean, axis=axis, keepdims=True)  # all axes at once take longer
    if num_groups == x.shape[-1]:
        return mean
    return ops.mean(ops.reshape(mean, (-1, *[1] * len(axes), num_groups, x.shape[-1] // num_groups)), axis=-1)


def _reflect_to_size_of(larger, x):
    """Append the reflected last row or column where `larger` has one more."""
    missing = [want - have for want, have in zip(ops.shape(larger)[1:-1], ops.shape(x)[1:-1], strict=True)]
    if _may_differ_from_zero(missing):
        x = ops.pad(x, ((0, 0), *((0, n) for n in missing), (0, 0)), mode="reflect")
    return x


def _may_differ_from_zero(sizes):
    return any(not isinstance(size, int) or size != 0 for size in sizes)


def _larger(size, other):
    return max(size, other) if isinstance(size, int) else ops.maximum(size, other)
