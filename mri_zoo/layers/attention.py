"""Channel attention."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts
from mri_zoo.layers.convnet import activation_layer


@keras.saving.register_keras_serializable("mri_zoo")
class ChannelAttention(keras.layers.Layer):
    """Channels times a weight between 0 and 1 each, which a small network draws from the means of all channels.

    Real (batch, height, width, channels) to the same.

    Args:
        reduction: the hidden layer has ``channels // reduction`` units.
        activation: of the hidden layer: Keras's name, "prelu" with a slope for each unit, or the negative slope of a
            leaky ReLU.

    Raises:
        ValueError: if there are fewer channels than `reduction`.

    Reference: Hu et al., Squeeze-and-excitation networks, CVPR 2018; `ChannelAttentionBlock` of
    fastmri-reproducible-benchmark with dense layers.
    """

    def __init__(self, reduction=4, activation="relu", **kwargs):
        super().__init__(**kwargs)
        check_counts(reduction=reduction)
        self.reduction, self.activation = reduction, activation
        self.activate = activation_layer(activation, dtype=self.dtype_policy, shared_axes=None)

    def build(self, input_shape):
        """Create all weights."""
        channels = input_shape[-1]
        if channels < self.reduction:
            raise ValueError(f"`reduction` must be at most the number of channels, {channels}, got {self.reduction}.")
        self.squeeze = keras.layers.Dense(channels // self.reduction, dtype=self.dtype_policy)
        self.expand = keras.layers.Dense(channels, activation="sigmoid", dtype=self.dtype_policy)
        self.activate.build((None, channels // self.reduction))
        self.squeeze.build((None, channels))
        self.expand.build((None, channels // self.reduction))

    def call(self, x):
        """The weighted channels."""
        means = ops.mean(x, axis=(1, 2))
        return x * self.expand(self.activate(self.squeeze(means)))[:, None, None]

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "reduction": self.reduction, "activation": self.activation}
