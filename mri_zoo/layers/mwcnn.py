"""The multi-level wavelet CNN of Liu et al."""

import keras
from keras import ops

from mri_zoo.arguments import check_flags
from mri_zoo.layers.convnet import chain, convolution
from mri_zoo.layers.unet import pad_and_crop


@keras.saving.register_keras_serializable("mri_zoo")
class MWCNN(keras.layers.Layer):
    """U-net whose pooling is a Haar wavelet transform, (batch, height, width, channels) to `num_outputs`, any size.

    Each scale has `num_convolutions` 3x3 convolutions with ReLU on the way down and as many on the way up, the last of
    which gives the wavelet bands of the next finer scale; skips are added. Convolutions at full resolution, before the
    first transform and after the last one, frame this as a further scale. Sizes that the transforms do not divide are
    zero-padded and cropped back.

    Args:
        num_outputs: output channels.
        num_filters: channels of each scale, finest first, after one wavelet transform, after two, ...
        num_convolutions: convolutions of each scale and direction.
        num_first_convolutions: convolutions at full resolution, on either side; the last one is linear. Without any,
            the network begins and ends with a wavelet transform.
        first_filters: channels at full resolution.
        batch_normalization: normalise after each hidden convolution, which then has no bias.
        use_bias: of all convolutions but the last one; the normalised ones have none.
        residual: add the input, of which there must be `num_outputs` channels.

    Reference: Liu et al., CVPR Workshops 2018; Ramzi, thesis, section 5.1, which halves the filters (64, 128, 256 and
    32 at full resolution) and has no batch normalisation.
    """

    def __init__(
        self,
        num_outputs,
        num_filters=(128, 256, 512),
        num_convolutions=(3, 3, 3),
        num_first_convolutions=3,
        first_filters=64,
        batch_normalization=False,
        residual=False,
        use_bias=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if len(num_filters) < 1 or len(num_filters) != len(num_convolutions):
            raise ValueError(
                "`num_filters` and `num_convolutions` must have one entry for each scale, got "
                f"{tuple(num_filters)} and {tuple(num_convolutions)}."
            )
        if min(num_convolutions) < 1 or num_first_convolutions < 0:
            raise ValueError(
                "`num_convolutions` must be >= 1 and `num_first_convolutions` >= 0, got "
                f"{tuple(num_convolutions)} and {num_first_convolutions}."
            )
        self.num_outputs, self.num_filters = num_outputs, tuple(num_filters)
        self.num_convolutions, self.num_first_convolutions = tuple(num_convolutions), num_first_convolutions
        self.first_filters, self.batch_normalization, self.residual = first_filters, batch_normalization, residual
        check_flags(batch_normalization=batch_normalization, residual=residual, use_bias=use_bias)
        self.use_bias = use_bias
        full = num_first_convolutions > 0
        self.first = self._blocks(num_first_convolutions * [first_filters])
        self.last = self._blocks((num_first_convolutions - 1) * [first_filters], num_outputs) if full else []
        self.down, self.up = [], []  # filled in turn: the order of the weights
        finer = [first_filters if full else num_outputs, *num_filters]
        for i, (filters, number) in enumerate(zip(num_filters, num_convolutions, strict=True)):
            self.down.append(self._blocks(number * [filters]))
            hidden, bands = (number - 1) * [filters], 4 * finer[i]
            self.up.append(self._blocks([*hidden, bands]) if full or i > 0 else self._blocks(hidden, bands))

    def _blocks(self, filters, last=None):
        """Activated convolutions, as the layers of a chain, and a linear one to `last` channels."""
        layers = []
        for number in filters:
            if self.batch_normalization:
                layers.append(convolution(number, use_bias=False, dtype=self.dtype_policy))
                layers.append(keras.layers.BatchNormalization(dtype=self.dtype_policy))
                layers.append(keras.layers.ReLU(dtype=self.dtype_policy))
            else:
                options = {"use_bias": self.use_bias, "dtype": self.dtype_policy}
                layers.append(convolution(number, activation="relu", **options))
        return layers if last is None else [*layers, convolution(last, dtype=self.dtype_policy)]

    def call(self, x):
        """Apply the network."""
        y = pad_and_crop(self._correct, x, 2 ** len(self.num_filters))
        return x + y if self.residual else y

    def _correct(self, x):
        x = chain(self.first, x)
        skips = [x if self.first else 0]
        for scale in self.down:
            x = chain(scale, haar(x))
            skips.append(x)
        for scale, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            x = inverse_haar(chain(scale, x)) + skip
        return chain(self.last, x)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_convolutions": self.num_convolutions,
            "num_first_convolutions": self.num_first_convolutions,
            "first_filters": self.first_filters,
            "batch_normalization": self.batch_normalization,
            "residual": self.residual,
            "use_bias": self.use_bias,
        }


def haar(x):
    """Orthonormal Haar transform of (batch, height, width, n), even sizes, to 4 n channels of half the size.

    The bands follow one another: low-pass, differences of columns, of rows, of both.
    """
    height, width, n = ops.shape(x)[1:]
    # Two columns as channels, not slices with a stride: TensorFlow takes ten times as long for those.
    pairs = ops.reshape(x / 2, (-1, height // 2, 2, width // 2, 2 * n))
    top, bottom = pairs[:, :, 0], pairs[:, :, 1]
    (low_left, low_right), (high_left, high_right) = (ops.split(x, 2, axis=-1) for x in (top + bottom, bottom - top))
    bands = [low_left + low_right, low_right - low_left, high_left + high_right, high_right - high_left]
    return ops.concatenate(bands, axis=-1)


def inverse_haar(x):
    """The inverse, and adjoint, of `haar`."""
    low, columns, rows, both = ops.split(x / 2, 4, axis=-1)
    left, right, left_rows, right_rows = low - columns, low + columns, rows - both, rows + both
    pixels = [left - left_rows, right - right_rows, left + left_rows, right + right_rows]
    return ops.depth_to_space(ops.concatenate(pixels, axis=-1), 2)
