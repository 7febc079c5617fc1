"""Residual networks on real channels."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import convolution


@keras.saving.register_keras_serializable("mri_zoo")
class PreActivationResNet(keras.layers.Layer):
    """Residual blocks that start with their activation, and a skip over all of them.

    Real (batch, height, width, `num_outputs`) to the same; height and width of at least 2. A block adds
    ``conv(relu(conv(relu(x))))`` to its input, which a 1x1 convolution brings to the block's number of channels where
    that differs; the last block has no second ReLU. No biases, reflected borders.

    Args:
        num_outputs: channels of the input and of the output.
        num_filters: channels in and between the blocks.
        num_blocks: residual blocks, at least 2.

    Reference: Arvinte et al., Deep J-Sense, MICCAI 2021, supplement; 223,744 parameters.
    """

    def __init__(self, num_outputs=2, num_filters=64, num_blocks=4, **kwargs):
        super().__init__(**kwargs)
        if num_blocks < 2:
            raise ValueError(f"`num_blocks` must be >= 2, got {num_blocks}.")
        self.num_outputs, self.num_filters, self.num_blocks = num_outputs, num_filters, num_blocks
        channels = [num_outputs, *[num_filters] * (num_blocks - 1), num_outputs]
        self.first = [_unpadded(num_filters, 3, self.dtype_policy) for _ in range(num_blocks)]
        self.second = [_unpadded(n, 3, self.dtype_policy) for n in channels[1:]]
        self.shortcuts = [
            None if n == before else _unpadded(n, 1, self.dtype_policy)
            for before, n in zip(channels[:-1], channels[1:], strict=True)
        ]

    def call(self, x):
        """Apply the blocks in turn."""
        y = x
        for i, (first, second, shortcut) in enumerate(zip(self.first, self.second, self.shortcuts, strict=True)):
            inner = first(_reflect(ops.relu(y)))
            if i + 1 < self.num_blocks:
                inner = ops.relu(inner)
            y = second(_reflect(inner)) + (y if shortcut is None else shortcut(y))
        return x + y

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_blocks": self.num_blocks,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class ScaledResNet(keras.layers.Layer):
    """Residual blocks between two convolutions, each block scaled down before its input is added.

    Real (batch, height, width, channels) to (batch, height, width, `num_outputs`), zero-padded. With a first
    convolution f and blocks ``B(x) = x + s conv(relu(conv(x)))``, each followed by batch normalisation, it computes
    ``conv1x1(conv(f(x) + B(... B(f(x)))))``; the 1x1 convolution is from `num_inputs` to `num_outputs` channels.

    Args:
        num_outputs: output channels.
        num_filters: channels in and between the blocks.
        num_blocks: residual blocks.
        batch_normalization: normalise after each block.
        scale: s, of each block.
        num_inputs: channels of the input, `num_outputs` by default.

    Reference: `direct.nn.resnet` of github.com/NKI-AI/direct, after Lim et al., EDSR, CVPRW 2017.
    """

    def __init__(
        self,
        num_outputs=2,
        num_filters=128,
        num_blocks=15,
        batch_normalization=True,
        scale=0.1,
        num_inputs=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_outputs=num_outputs, num_filters=num_filters, num_blocks=num_blocks)
        check_flags(batch_normalization=batch_normalization)
        self.num_outputs, self.num_filters, self.num_blocks = num_outputs, num_filters, num_blocks
        self.batch_normalization, self.scale = batch_normalization, scale
        self.num_inputs = num_outputs if num_inputs is None else num_inputs
        policy = self.dtype_policy
        self.first = convolution(num_filters, dtype=policy)
        self.blocks = [
            [convolution(num_filters, activation="relu", dtype=policy), convolution(num_filters, dtype=policy)]
            for _ in range(num_blocks)
        ]
        self.norms = [
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=policy)  # PyTorch's
            for _ in range(num_blocks if batch_normalization else 0)
        ]
        self.last = [convolution(self.num_inputs, dtype=policy), convolution(num_outputs, 1, dtype=policy)]

    def call(self, x, training=None):
        """Apply the network."""
        features = y = self.first(x)
        for i, (inner, outer) in enumerate(self.blocks):
            y = y + self.scale * outer(inner(y))
            if self.norms:
                y = self.norms[i](y, training=training)
        y = features + y
        for layer in self.last:
            y = layer(y)
        return y

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_blocks": self.num_blocks,
            "batch_normalization": self.batch_normalization,
            "scale": self.scale,
            "num_inputs": self.num_inputs,
        }


def _unpadded(num_filters, kernel_size, dtype):
    return keras.layers.Conv2D(num_filters, kernel_size, use_bias=False, dtype=dtype)


def _reflect(x):
    return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
