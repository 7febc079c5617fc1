"""The U-net of Ronneberger et al. as the thesis uses it."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts
from mri_zoo.layers.attention import ChannelAttention
from mri_zoo.layers.convnet import chain, convolution, zero_pad


@keras.saving.register_keras_serializable("mri_zoo")
class UNetBlock(keras.layers.Layer):
    """U-net on real channels, (batch, height, width, channels) to (batch, height, width, `num_outputs`), any size.

    Each scale has `num_convolutions` 3x3 convolutions; down by 2x2 pooling, up by nearest-neighbour upsampling and a
    2x2 convolution; the skip comes first in the concatenation; two 1x1 convolutions, to ``max(4, num_outputs)``
    and to `num_outputs` channels, end it. Sizes that the scales do not divide are zero-padded on both sides of both
    axes and cropped back (the predecessor cropped the width alone).

    Args:
        num_outputs: output channels.
        num_filters: channels of each scale, finest first.
        num_convolutions: convolutions of each scale and direction.
        activation: of all convolutions but the last: Keras's name, "prelu" with a learned slope for each channel, or
            the negative slope of a leaky ReLU.
        penultimate_activation: of the first 1x1 convolution; the predecessor's released weights want `None`.
        pooling: "max" or "average".
        attention_reduction: of a `ChannelAttention` after each half of the finest scale and before the last
            convolution, as the predecessor has it; 4 there. None for none.

    Reference: Ronneberger et al., MICCAI 2015; Ramzi, thesis, section 4.2.3.
    """

    def __init__(
        self,
        num_outputs,
        num_filters=(16, 32, 64, 128),
        num_convolutions=2,
        activation="relu",
        penultimate_activation="relu",
        attention_reduction=None,
        pooling="max",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(num_filters, list | tuple) or len(num_filters) < 1:
            raise ValueError(f"`num_filters` must name the channels of at least one scale, got {num_filters!r}.")
        check_counts(num_outputs=num_outputs, num_convolutions=num_convolutions)
        for filters in num_filters:
            check_counts(num_filters=filters)
        self.num_outputs, self.num_filters = num_outputs, tuple(num_filters)
        self.num_convolutions, self.activation = num_convolutions, activation
        self.penultimate_activation, self.attention_reduction = penultimate_activation, attention_reduction
        if pooling not in ("max", "average"):
            raise ValueError(f'`pooling` must be "max" or "average", got {pooling!r}.')
        self.pooling = pooling
        *skipped, bottom = self.num_filters
        self.down = [self._scale(filters, is_finest=i == 0) for i, filters in enumerate(skipped)]
        self.bottom = self._scale(bottom)
        self.up = [
            [self._convolution(filters, 2), *self._scale(filters, is_finest=i == 0)]
            for i, filters in reversed(list(enumerate(skipped)))
        ]
        self.penultimate = self._convolution(max(4, num_outputs), 1, penultimate_activation)
        self.attention = self._attention()
        self.last = self._convolution(num_outputs, 1, None)

    def _scale(self, filters, is_finest=False):
        convolutions = [self._convolution(filters) for _ in range(self.num_convolutions)]
        return convolutions + (self._attention() if is_finest else [])

    def _convolution(self, filters, kernel_size=3, activation="same as the block"):
        activation = self.activation if activation == "same as the block" else activation
        return convolution(filters, kernel_size, activation=activation, dtype=self.dtype_policy)

    def _attention(self):
        if self.attention_reduction is None:
            return []
        return [ChannelAttention(self.attention_reduction, self.activation, dtype=self.dtype_policy)]

    def call(self, x):
        """Apply the network."""
        return pad_and_crop(self._correct, x, 2 ** len(self.down))

    def _correct(self, x):
        skips, pool = [], ops.max_pool if self.pooling == "max" else ops.average_pool
        for scale in self.down:
            x = chain(scale, x)
            skips.append(x)
            x = pool(x, 2, strides=2)  # the default strides fail on JAX (Keras 3.15)
        x = chain(self.bottom, x)
        for (upward, *scale), skip in zip(self.up, reversed(skips), strict=True):
            x = upward(ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2))
            x = chain(scale, ops.concatenate([skip, x], axis=-1))
        return self.last(chain(self.attention, self.penultimate(x)))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_convolutions": self.num_convolutions,
            "activation": self.activation,
            "penultimate_activation": self.penultimate_activation,
            "attention_reduction": self.attention_reduction,
            "pooling": self.pooling,
        }


def pad_and_crop(network, x, multiple):
    """Apply `network` to the `pad_to_multiple` of (batch, height, width, channels), and crop what it gives.

    So for volumes, (batch, depth, height, width, channels).
    """
    size = ops.shape(x)[1:-1]
    x, before = pad_to_multiple(x, multiple)
    inside = [slice(start, start + extent) for start, extent in zip(before, size, strict=True)]
    return network(x)[(slice(None), *inside)]


def pad_to_multiple(x, multiple):
    """Zero-pad height and width of (batch, height, width, channels) to multiples, as evenly as possible.

    Where an odd number is missing, the top or left side gets one more, as in the predecessor. Volumes have a depth too.

    Returns:
        The padded tensor and the padding of each axis before the image, (top, left).
    """
    padding = [_padding(size, multiple) for size in ops.shape(x)[1:-1]]
    return zero_pad(x, padding), tuple(before for before, _ in padding)


def _padding(size, multiple):
    missing = -size % multiple
    return missing - missing // 2, missing // 2
