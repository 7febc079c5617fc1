"""Plain convolutional networks on real channels and on complex images."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.nested import deserialized, serialized
from mri_zoo.physics.complex import from_channels, to_channels


@keras.saving.register_keras_serializable("mri_zoo")
class ConvNet(keras.layers.Layer):
    """`num_convolutions` 3x3 convolutions of `num_filters` with activation, then one linear convolution, 3x3 or other.

    Real (batch, height, width, channels) to (batch, height, width, `num_outputs`), same padding. In three dimensions
    `depth` precedes `height` and kernels are cubes.

    Args:
        num_outputs: channels of the last, linear convolution.
        num_filters: channels of the hidden convolutions.
        num_convolutions: hidden convolutions, at least 1.
        activation: of the hidden convolutions: Keras's name, or the negative slope of a leaky ReLU.
        last_kernel_size: side of the last convolution.
        dimensions: 2, or 3 for volumes.
    """

    def __init__(
        self,
        num_outputs,
        num_filters=32,
        num_convolutions=2,
        activation="relu",
        last_kernel_size=3,
        dimensions=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_outputs=num_outputs, num_filters=num_filters, num_convolutions=num_convolutions)
        self.num_outputs, self.num_filters = num_outputs, num_filters
        self.num_convolutions, self.activation = num_convolutions, activation
        self.last_kernel_size, self.dimensions = last_kernel_size, dimensions
        options = {"dimensions": dimensions, "dtype": self.dtype_policy}
        self.convolutions = [
            *(convolution(num_filters, activation=activation, **options) for _ in range(num_convolutions)),
            convolution(num_outputs, last_kernel_size, **options),
        ]

    def call(self, x):
        """Apply the convolutions in turn."""
        return chain(self.convolutions, x)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_convolutions": self.num_convolutions,
            "activation": self.activation,
            "last_kernel_size": self.last_kernel_size,
            "dimensions": self.dimensions,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class ComplexNet(keras.layers.Layer):
    """A real-valued network between complex images: real parts first, imaginary parts after, and back.

    Complex (batch, height, width, channels) to (batch, height, width, output channels of the network / 2). The
    convolutions may run in a lower precision; the result is complex64.

    Args:
        network: layer from 2 x channels to 2 x output channels.
        residual: add the first input channels to the output, as many as there are outputs.
    """

    def __init__(self, network, residual=True, **kwargs):
        super().__init__(**kwargs)
        check_flags(residual=residual)
        self.network, self.residual = network, residual

    def call(self, x):
        """Run the network on the channels of `x`."""
        y = from_channels(self.network(to_channels(x)))
        return y + x[..., : y.shape[-1]] if self.residual else y

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "network": serialized(self.network), "residual": self.residual}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**deserialized(config))


def convolution(num_filters, kernel_size=3, activation=None, dimensions=2, padding="same", **kwargs):
    """A convolution in 2 or 3 dimensions, same-padded by default.

    `activation` is Keras's name or a layer, a number, the negative slope of a leaky ReLU, or "prelu": a learned slope
    for each channel.

    Raises:
        ValueError: if `dimensions` is neither 2 nor 3.
    """
    if dimensions not in (2, 3):
        raise ValueError(f"`dimensions` must be 2 or 3, got {dimensions}.")
    if activation == "prelu" or isinstance(activation, int | float):
        activation = activation_layer(activation, kwargs.get("dtype"), shared_axes=[*range(1, 1 + dimensions)])
    kind = keras.layers.Conv2D if dimensions == 2 else keras.layers.Conv3D
    return kind(num_filters, kernel_size, padding=padding, activation=activation, **kwargs)


def prelu(dtype, dimensions=2):
    """A PReLU as PyTorch's: one learned slope for all channels, 0.25 at first."""
    axes = list(range(1, dimensions + 2))
    return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=axes, dtype=dtype)


def activation_layer(activation, dtype=None, shared_axes=None):
    """A layer from Keras's name of an activation, from "prelu", or from a number: the negative slope of a leaky ReLU.

    The learned slopes of "prelu" are shared along `shared_axes`.
    """
    if isinstance(activation, bool):  # which is a number, too
        raise ValueError(f"`activation` must be a name, a slope or a layer, got {activation}.")
    if isinstance(activation, int | float):
        return keras.layers.LeakyReLU(activation, dtype=dtype)
    if activation == "prelu":
        return keras.layers.PReLU(shared_axes=shared_axes, dtype=dtype)
    return keras.layers.Activation(activation, dtype=dtype)


def chain(layers, x):
    """Apply layers one after another."""
    for layer in layers:
        x = layer(x)
    return x


def apply_per_coil(layer, x, dimensions=None):
    """Apply an image layer to (batch, coil, height, width, channels), each on its own; volumes have a depth too.

    Of a layer of 2-D images the argument `dimensions` is 2: axes between coil and height are then like more coils.
    """
    shape = ops.shape(x)
    image = shape[2:] if dimensions is None else shape[-dimensions - 1 :]
    y = layer(ops.reshape(x, (-1, *image)))
    return ops.reshape(y, (-1, *shape[1:-1], y.shape[-1]))


def zero_pad(x, padding):
    """Zero-pad an image (batch, height, width, channels), or a volume with a depth before the height.

    Not by `ops.pad` for volumes: TensorFlow joins that with the convolution that follows, whose own padding it loses.

    Args:
        x: the image or volume.
        padding: (before, after) of each axis of space.
    """
    if len(padding) == 2:
        return ops.pad(x, ((0, 0), *padding, (0, 0)))
    for axis, pair in enumerate(padding, 1):
        shape = ops.shape(x)
        before, after = (ops.zeros((*shape[:axis], n, *shape[axis + 1 :]), x.dtype) for n in pair)
        x = ops.concatenate([before, x, after], axis=axis)
    return x
