"""Convolutional recurrent units on real channels."""

import numbers

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import convolution, prelu
from mri_zoo.layers.instance_unet import center_groups, spread


@keras.saving.register_keras_serializable("mri_zoo")
class ConvGRU(keras.layers.Layer):
    """Gated recurrent units on top of each other, each after a convolution, and one convolution at the end.

    Real (batch, height, width, channels) and a list of `num_layers` states (batch, height, width, `num_filters`), or
    None for states of zero, to (batch, height, width, `num_outputs`) and the new states. The first convolution is 5x5,
    the second 3x3 with dilation 2, the others 3x3, all with repeated borders; the gates are 1x1.

    Args:
        num_outputs: output channels.
        num_filters: channels of the states.
        num_layers: recurrent units.
        normalized: the two halves of the channels are brought to mean 0 and deviation 1 before, and back after; then
            there must be as many outputs as inputs.

    Reference: Yiasemis et al., RecurrentVarNet, CVPR 2022, section 3.3.
    """

    def __init__(self, num_outputs=2, num_filters=128, num_layers=4, normalized=False, **kwargs):
        super().__init__(**kwargs)
        check_counts(num_layers=num_layers)
        check_flags(normalized=normalized)
        self.normalized = normalized
        self.num_outputs, self.num_filters, self.num_layers = num_outputs, num_filters, num_layers
        self.convolutions = [
            self._convolution(num_filters if i < num_layers else num_outputs, 5 if i == 0 else 3, 2 if i == 1 else 1)
            for i in range(num_layers + 1)
        ]
        self.paddings = [2, 2, *[1] * (num_layers - 1)]
        self.update, self.reset, self.candidate = (
            [self._gate(bias) for _ in range(num_layers)] for bias in (0.0, -1.0, 0.0)
        )

    def _convolution(self, num_filters, kernel_size, dilation):
        return keras.layers.Conv2D(num_filters, kernel_size, dilation_rate=dilation, dtype=self.dtype_policy)

    def _gate(self, bias):
        bias = keras.initializers.Constant(bias)
        return keras.layers.Conv2D(
            self.num_filters, 1, kernel_initializer="orthogonal", bias_initializer=bias, dtype=self.dtype_policy
        )

    def call(self, x, states=None):
        """The output and the list of new states."""
        if not self.normalized:
            return self._step(x, states)
        centered, mean, variance = center_groups(x, 2, unbiased=True)
        deviation = ops.sqrt(ops.maximum(variance, 1e-30))
        y, new_states = self._step(centered / spread(deviation, x), states)
        return ops.cast(y, "float32") * spread(deviation, y) + spread(mean, y), new_states

    def _step(self, x, states):
        new_states = []
        for i in range(self.num_layers):
            x = ops.relu(self.convolutions[i](repeat_borders(x, self.paddings[i])))
            state = ops.zeros_like(x) if states is None else states[i]
            both = ops.concatenate([x, state], axis=-1)
            update, reset = ops.sigmoid(self.update[i](both)), ops.sigmoid(self.reset[i](both))
            candidate = ops.tanh(self.candidate[i](ops.concatenate([x, state * reset], axis=-1)))
            new_states.append(state + update * (candidate - state))
            x = ops.relu(new_states[-1])
        return self.convolutions[-1](repeat_borders(x, self.paddings[-1])), new_states

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_layers": self.num_layers,
            "normalized": self.normalized,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class StateInitializer(keras.layers.Layer):
    """What an unrolled network begins with: dilated 3x3 convolutions, then a 1x1 convolution for each state.

    Real (batch, height, width, channels) to a list of `num_states` tensors (batch, height, width, `num_outputs`); in
    three dimensions a depth precedes the height. The dilated convolutions repeat the borders and end in a ReLU.

    Args:
        num_states: states.
        num_outputs: channels of each state.
        num_filters: channels of each dilated convolution.
        dilations: of each of them.
        num_scales: how many of the last dilated convolutions the 1x1 convolutions see.
        activation: of the 1x1 convolutions: Keras's name, the negative slope of a leaky ReLU, or "prelu" for a learned
            one.
        dimensions: 2 or 3, of the image.

    Reference: Yiasemis et al., RecurrentVarNet, CVPR 2022, section 3.4; Yiasemis et al., vSHARP, arXiv:2309.09954.
    """

    def __init__(
        self,
        num_states=4,
        num_outputs=128,
        num_filters=(32, 32, 64, 64),
        dilations=(1, 1, 2, 4),
        num_scales=3,
        activation="relu",
        dimensions=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if len(num_filters) != len(dilations):
            raise ValueError(f"`dilations` must be as many as `num_filters`, got {dilations} and {num_filters}.")
        if not all(isinstance(filters, numbers.Integral) and filters >= 1 for filters in num_filters):
            raise ValueError(f"`num_filters` must be whole numbers >= 1, got {num_filters}.")
        if not isinstance(num_scales, numbers.Integral) or not 1 <= num_scales <= len(num_filters):
            raise ValueError(f"`num_scales` must be a whole number from 1 to {len(num_filters)}, got {num_scales}.")
        self.num_states, self.num_outputs, self.num_scales = num_states, num_outputs, num_scales
        self.num_filters, self.dilations = tuple(num_filters), tuple(dilations)
        self.activation, self.dimensions = activation, dimensions
        options = {"dimensions": dimensions, "padding": "valid", "dtype": self.dtype_policy}
        self.convolutions = [
            convolution(filters, activation="relu", dilation_rate=dilation, **options)
            for filters, dilation in zip(num_filters, dilations, strict=True)
        ]
        learned = activation == "prelu"
        self.outputs = [
            convolution(num_outputs, 1, prelu(self.dtype_policy, dimensions) if learned else activation, **options)
            for _ in range(num_states)
        ]

    def call(self, x):
        """The list of states."""
        features = [x]
        for convolve, dilation in zip(self.convolutions, self.dilations, strict=True):
            features.append(convolve(repeat_borders(features[-1], dilation)))
        x = ops.concatenate(features[-self.num_scales :], axis=-1)
        return [output(x) for output in self.outputs]

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_states": self.num_states,
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "dilations": self.dilations,
            "num_scales": self.num_scales,
            "activation": self.activation,
            "dimensions": self.dimensions,
        }


def repeat_borders(x, size):
    """Pad (batch, height, width, channels), or with more axes before, by `size` copies of the outermost lines."""
    for axis in range(1, len(x.shape) - 1):
        first, last = (ops.take(x, [index], axis=axis) for index in (0, -1))
        x = ops.concatenate([first] * size + [x] + [last] * size, axis=axis)
    return x
