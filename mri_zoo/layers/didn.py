"""The deep iterative down-up network of Yu et al."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import chain, convolution
from mri_zoo.layers.unet import pad_and_crop


@keras.saving.register_keras_serializable("mri_zoo")
class DIDN(keras.layers.Layer):
    """Down-up blocks at half resolution, (batch, height, width, channels) to (..., `num_outputs`), any size.

    After a convolution and a stride of 2, `num_blocks` down-up blocks follow one another; one reconstruction block
    refines the outcome of each of them, and all together give the image. Every activation is a PReLU with a slope for
    each channel. Sizes that are no multiples of 8 are zero-padded and cropped back.

    Args:
        num_outputs: output channels.
        num_filters: channels at half resolution, a multiple of 4.
        num_blocks: down-up blocks.
        num_convolutions: convolutions of the reconstruction block, the last one linear.
        residual: add the input, of which there must be `num_outputs` channels.

    Reference: Yu et al., CVPR Workshops 2019. The number of blocks, and the linear last convolution, are those of its
    code.
    """

    def __init__(self, num_outputs, num_filters=256, num_blocks=6, num_convolutions=9, residual=False, **kwargs):
        super().__init__(**kwargs)
        if num_filters < 4 or num_filters % 4:
            raise ValueError(f"`num_filters` must be a multiple of 4, got {num_filters}.")
        check_counts(num_blocks=num_blocks, num_convolutions=num_convolutions)
        check_flags(residual=residual)
        self.num_outputs, self.num_filters, self.num_blocks = num_outputs, num_filters, num_blocks
        self.num_convolutions, self.residual = num_convolutions, residual
        dtype = self.dtype_policy
        self.blocks = [DownUpBlock(num_filters, dtype=dtype) for _ in range(num_blocks)]
        self.reconstruction = [_activated(num_filters, dtype) for _ in range(num_convolutions - 1)]
        self.reconstruction.append(convolution(num_filters, dtype=dtype))
        self.first = _activated(num_filters, dtype)
        self.pooling = convolution(num_filters, strides=2, dtype=dtype)
        self.aggregation = convolution(num_filters, 1, dtype=dtype)
        self.post = _activated(num_filters, dtype)
        self.last = convolution(num_outputs, dtype=dtype)

    def call(self, x):
        """Apply the network."""
        y = pad_and_crop(self._correct, x, 8)
        return x + y if self.residual else y

    def _correct(self, x):
        x = self.pooling(self.first(x))
        refined = []
        for block in self.blocks:
            x = block(x)
            refined.append(x + chain(self.reconstruction, x))
        x = self.post(self.aggregation(ops.concatenate(refined, axis=-1)))
        return self.last(ops.depth_to_space(x, 2))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_blocks": self.num_blocks,
            "num_convolutions": self.num_convolutions,
            "residual": self.residual,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class DownUpBlock(keras.layers.Layer):
    """Down two scales by strides, up by sub-pixel shuffles, a residual around all: channels and size stay.

    Args:
        num_filters: channels of the input; each scale doubles them.
    """

    def __init__(self, num_filters, **kwargs):
        super().__init__(**kwargs)
        self.num_filters = num_filters
        fine, middle, coarse = (num_filters * 2**scale for scale in range(3))
        dtype = self.dtype_policy
        self.poolings = [convolution(filters, strides=2, dtype=dtype) for filters in (middle, coarse)]
        self.unpoolings = [convolution(4 * filters, 1, dtype=dtype) for filters in (fine, middle)]
        self.down_up = [
            [_activated(filters, dtype) for _ in range(2 * number)] for filters, number in ((fine, 2), (middle, 1))
        ]
        self.bottom = [_activated(coarse, dtype)]
        self.aggregations = [convolution(filters, 1, dtype=dtype) for filters in (fine, middle)]
        self.last = _activated(num_filters, dtype)

    def call(self, x):
        """Apply the block."""
        y, skips = x, []
        for layers, pooling in zip(self.down_up, self.poolings, strict=True):
            y = y + chain(layers[: len(layers) // 2], y)
            skips.append(y)
            y = pooling(y)
        y = y + chain(self.bottom, y)
        for i in (1, 0):
            y = ops.depth_to_space(self.unpoolings[i](y), 2)
            y = self.aggregations[i](ops.concatenate([y, skips[i]], axis=-1))
            y = y + chain(self.down_up[i][len(self.down_up[i]) // 2 :], y)
        return x + self.last(y)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "num_filters": self.num_filters}


def _activated(num_filters, dtype):
    return convolution(num_filters, activation="prelu", dtype=dtype)
