"""The U-net for volumes of the thesis, which its code calls V-net."""

import keras
from keras import ops

from mri_zoo.layers.convnet import chain, convolution
from mri_zoo.layers.unet import pad_and_crop


@keras.saving.register_keras_serializable("mri_zoo")
class VNetBlock(keras.layers.Layer):
    """U-net on real channels of volumes, (batch, depth, height, width, channels) to (..., `num_outputs`), any size.

    Each scale has `num_convolutions` convolutions with kernels of 3x3x3; down by 2x2x2 maximum pooling, up by
    nearest-neighbour upsampling and a linear 3x3x3 convolution; the skip comes last in the concatenation; one 1x1x1
    convolution ends it. In these points it differs from `UNetBlock`. Sizes that the scales do not divide are
    zero-padded and cropped back, where the predecessor fails.

    Args:
        num_outputs: output channels.
        num_filters: channels of each scale, finest first.
        num_convolutions: convolutions of each scale and direction.
        activation: of these: Keras's name, "prelu", or the negative slope of a leaky ReLU.

    Reference: Milletari et al., V-Net, 3DV 2016, without its residuals; Ramzi, thesis, section 5.2.5.
    """

    def __init__(self, num_outputs, num_filters=(16, 32, 64, 128), num_convolutions=2, activation="relu", **kwargs):
        super().__init__(**kwargs)
        if len(num_filters) < 1:
            raise ValueError("`num_filters` must name the channels of at least one scale, got none.")
        self.num_outputs, self.num_filters = num_outputs, tuple(num_filters)
        self.num_convolutions, self.activation = num_convolutions, activation
        *skipped, bottom = self.num_filters
        self.down = [self._scale(filters) for filters in skipped]
        self.bottom = self._scale(bottom)
        self.up = [self._scale(filters) for filters in skipped]
        self.upward = [convolution(filters, dimensions=3, dtype=self.dtype_policy) for filters in skipped]
        self.last = convolution(num_outputs, 1, dimensions=3, dtype=self.dtype_policy)

    def _scale(self, filters):
        options = {"activation": self.activation, "dimensions": 3, "dtype": self.dtype_policy}
        return [convolution(filters, **options) for _ in range(self.num_convolutions)]

    def call(self, x):
        """Apply the network."""
        return pad_and_crop(self._correct, x, 2 ** len(self.down))

    def _correct(self, x):
        skips = []
        for scale in self.down:
            x = chain(scale, x)
            skips.append(x)
            x = ops.max_pool(x, 2, strides=2)  # the default strides fail on JAX (Keras 3.15)
        x = chain(self.bottom, x)
        for scale, upward, skip in zip(reversed(self.up), reversed(self.upward), reversed(skips), strict=True):
            for axis in (1, 2, 3):
                x = ops.repeat(x, 2, axis=axis)
            x = chain(scale, ops.concatenate([upward(x), skip], axis=-1))
        return self.last(x)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_convolutions": self.num_convolutions,
            "activation": self.activation,
        }
