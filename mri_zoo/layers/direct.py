"""The image networks of DIRECT (github.com/NKI-AI/direct) that differ from the published ones of the same names.

All of them take real (batch, height, width, channels) of any size to (batch, height, width, `num_outputs`). A PReLU has
one slope for all channels. DIRECT's `Conv2d` has one slope in a whole program; here, one in each network.
"""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import activation_layer, chain, convolution, prelu
from mri_zoo.layers.mwcnn import haar, inverse_haar


@keras.saving.register_keras_serializable("mri_zoo")
class DirectConvNet(keras.layers.Layer):
    """3x3 convolutions, each but the last one followed by the same activation.

    Args:
        num_outputs: output channels.
        num_filters: channels of the hidden convolutions.
        num_convolutions: all of them, at least 1.
        batch_normalization: normalise after each convolution, the last one too.
        activation: "prelu", one learned slope for all, Keras's name, or the negative slope of a leaky ReLU.

    Reference: `Conv2d` of DIRECT.
    """

    def __init__(
        self,
        num_outputs,
        num_filters=16,
        num_convolutions=4,
        batch_normalization=False,
        activation="prelu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_outputs=num_outputs, num_filters=num_filters, num_convolutions=num_convolutions)
        check_flags(batch_normalization=batch_normalization)
        self.num_outputs, self.num_filters = num_outputs, num_filters
        self.num_convolutions, self.batch_normalization = num_convolutions, batch_normalization
        self.convolutions = [
            convolution(filters, dtype=self.dtype_policy)
            for filters in [num_filters] * (num_convolutions - 1) + [num_outputs]
        ]
        self.norms = [
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-4, dtype=self.dtype_policy)
            for _ in range(num_convolutions if batch_normalization else 0)
        ]
        self.activation = activation
        self.activate = None
        if num_convolutions > 1:
            policy = self.dtype_policy
            self.activate = prelu(policy) if activation == "prelu" else activation_layer(activation, policy)

    def call(self, x):
        """Apply the network."""
        for i, convolve in enumerate(self.convolutions):
            x = convolve(x)
            if self.norms:
                x = self.norms[i](x)
            if i + 1 < self.num_convolutions:
                x = self.activate(x)
        return x

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_convolutions": self.num_convolutions,
            "batch_normalization": self.batch_normalization,
            "activation": self.activation,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class DilatedMWCNN(keras.layers.Layer):
    """Multi-level wavelet CNN with dilated convolutions.

    Each scale has a convolution and two dilated ones on the way down, and the same in reverse order on the way up, all
    3x3 with ReLU; a Haar transform leads from scale to scale; skips are added. The ReLU at the end is the reference's:
    what it gives is not negative. An odd size is continued by its reflected last line, and cropped, at each scale.

    Args:
        num_outputs: output channels.
        num_filters: channels of the finest scale; they double from scale to scale.
        num_scales: scales, at least 1.
        use_bias: of the convolutions before the last.
        num_inputs: channels of the input and of the last ReLU, `num_outputs` by default.
        last_kernel_size: of a linear convolution from `num_inputs` to `num_outputs` channels; None for none.
        batch_normalization: normalise between each convolution and its ReLU.

    Reference: `MWCNN` of DIRECT; Liu et al., Access 7, 2019.
    """

    def __init__(
        self,
        num_outputs,
        num_filters=32,
        num_scales=4,
        use_bias=True,
        num_inputs=None,
        last_kernel_size=None,
        batch_normalization=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        num_inputs = num_outputs if num_inputs is None else num_inputs
        check_counts(num_scales=num_scales, num_filters=num_filters)
        check_flags(use_bias=use_bias, batch_normalization=batch_normalization)
        if last_kernel_size is None and num_inputs != num_outputs:
            raise ValueError(f"`num_inputs` must be {num_outputs} without a last convolution, got {num_inputs}.")
        self.num_outputs, self.num_filters = num_outputs, num_filters
        self.num_scales, self.use_bias, self.batch_normalization = num_scales, use_bias, batch_normalization
        self.num_inputs, self.last_kernel_size = num_inputs, last_kernel_size
        self.down, self.up, self.last = [], [], []  # finest scale first
        for i in range(num_scales):
            filters, bands = num_filters * 2**i, num_inputs if i == 0 else num_filters * 2 ** (i + 1)
            dilations = (2, 3) if i == num_scales - 1 else (2, 1)
            self.down.append(self._block((filters, dilation) for dilation in (1, *dilations)))
            dilations = (3, 2) if i == num_scales - 1 else (2, 1)
            self.up.append(self._block([*((filters, dilation) for dilation in dilations), (bands, 1)]))
        if last_kernel_size is not None:
            self.last.append(convolution(num_outputs, last_kernel_size, dtype=self.dtype_policy))

    def _block(self, convolutions):
        """The layers of convolutions with these (filters, dilation), each with its ReLU."""
        layers, options = [], {"use_bias": self.use_bias, "dtype": self.dtype_policy}
        for filters, dilation in convolutions:
            if not self.batch_normalization:
                layers.append(convolution(filters, activation="relu", dilation_rate=dilation, **options))
                continue
            layers.append(convolution(filters, dilation_rate=dilation, **options))
            # PyTorch's momentum of 0.95 is the weight of the new batch.
            norm = keras.layers.BatchNormalization(momentum=0.05, epsilon=1e-4, dtype=self.dtype_policy)
            layers += [norm, keras.layers.ReLU(dtype=self.dtype_policy)]
        return layers

    def call(self, x):
        """Apply the network."""
        y, skips = _reflect_to_even(x), []
        for i, layers in enumerate(self.down):
            y = chain(layers, y if i == 0 else haar(y))
            if i + 1 < self.num_scales:
                y = _reflect_to_even(y)
                skips.append(y)
        for layers, skip in zip(reversed(self.up[1:]), reversed(skips), strict=True):
            y = _crop(inverse_haar(chain(layers, y)), skip) + skip
        return chain(self.last, _crop(chain(self.up[0], y), x))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_scales": self.num_scales,
            "use_bias": self.use_bias,
            "num_inputs": self.num_inputs,
            "last_kernel_size": self.last_kernel_size,
            "batch_normalization": self.batch_normalization,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class TiedDIDN(keras.layers.Layer):
    """Down-up network at half resolution, in whose blocks two convolutions of the finest scale are one, used twice.

    Args:
        num_outputs: output channels.
        num_filters: channels at half resolution.
        num_blocks: down-up blocks.
        num_convolutions: of the reconstruction block.

    Reference: `DIDN` of DIRECT; Yu et al., CVPR Workshops 2019.
    """

    def __init__(self, num_outputs, num_filters=16, num_blocks=6, num_convolutions=9, **kwargs):
        super().__init__(**kwargs)
        check_counts(num_blocks=num_blocks, num_convolutions=num_convolutions)
        self.num_outputs, self.num_filters = num_outputs, num_filters
        self.num_blocks, self.num_convolutions = num_blocks, num_convolutions
        policy = self.dtype_policy
        self.first, self.down = _activated(num_filters, policy), _halving(num_filters, policy)
        self.blocks = [TiedDownUpBlock(num_filters, dtype=policy) for _ in range(num_blocks)]
        self.reconstruction = [_activated(num_filters, policy) for _ in range(num_convolutions - 1)]
        self.reconstruction.append(convolution(num_filters, dtype=policy))
        self.aggregation, self.post = convolution(num_filters, 1, dtype=policy), _activated(num_filters, policy)
        self.up = convolution(4 * num_filters, 1, dtype=policy)
        self.last = convolution(num_outputs, dtype=policy)

    def call(self, x):
        """Apply the network."""
        y, refined = self.down(_frame(self.first(x))), []
        for block in self.blocks:
            y = block(y)
            refined.append(y + chain(self.reconstruction, y))
        y = self.post(self.aggregation(ops.concatenate(refined, axis=-1)))
        return _crop(self.last(ops.depth_to_space(self.up(y), 2)), x)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_blocks": self.num_blocks,
            "num_convolutions": self.num_convolutions,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class TiedDownUpBlock(keras.layers.Layer):
    """Two scales down by strides and up by sub-pixel shuffles, with residuals; channels and size stay.

    Args:
        num_filters: channels of the input; each scale doubles them.
    """

    def __init__(self, num_filters, **kwargs):
        super().__init__(**kwargs)
        self.num_filters = num_filters
        fine, middle, coarse = (num_filters * 2**scale for scale in range(3))
        policy = self.dtype_policy
        self.before = [_activated(filters, policy) for filters in (fine, middle, coarse)]
        self.down = [_halving(filters, policy) for filters in (middle, coarse)]
        self.up = [convolution(4 * filters, 1, dtype=policy) for filters in (fine, middle)]
        self.aggregations = [convolution(filters, 1, dtype=policy) for filters in (fine, middle)]
        self.after = [_activated(filters, policy) for filters in (fine, middle)]
        self.last = _activated(fine, policy)

    def call(self, x):
        """Apply the block."""
        y = _reflect_to_even(x)
        fine = y + self.before[0](self.before[0](y))
        middle = self.down[0](_frame(fine))
        middle = middle + self.before[1](middle)
        y = self.down[1](_frame(middle))
        y = y + self.before[2](y)
        y = self._finer(1, y, middle)
        y = y + self.after[1](y)
        y = self._finer(0, y, fine)
        y = y + self.after[0](self.after[0](y))
        return x + _crop(self.last(y), x)

    def _finer(self, scale, y, skip):
        y = _crop(ops.depth_to_space(self.up[scale](y), 2), skip)
        return self.aggregations[scale](ops.concatenate([skip, y], axis=-1))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "num_filters": self.num_filters}


def _activated(num_filters, dtype):
    return convolution(num_filters, activation=prelu(dtype), dtype=dtype)


def _halving(num_filters, dtype):
    """A convolution of stride 2 for a framed input: Keras would leave out the first line of even sizes instead."""
    return keras.layers.Conv2D(num_filters, 3, strides=2, dtype=dtype)


def _frame(x):
    return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _reflect_to_even(x):
    missing = [size % 2 for size in ops.shape(x)[1:3]]
    if all(isinstance(size, int) and size == 0 for size in missing):
        return x
    return ops.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect")


def _crop(x, like):
    height, width = ops.shape(like)[1:3]
    return x[:, :height, :width]
