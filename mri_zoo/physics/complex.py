"""The one place where complex tensors meet real channels and real factors.

Keras gives complex tensors no constructor of their own (`view_as_complex` casts, and the gradient of a cast drops the
imaginary part with a warning on TensorFlow), and TensorFlow multiplies no complex by a real tensor.
"""

import keras
from keras import ops


def from_parts(real, imaginary):
    """``real + i imaginary``: two float tensors of one shape, one complex64 tensor; gradients reach both."""
    real, imaginary = ops.cast(real, "float32"), ops.cast(imaginary, "float32")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.complex(real, imaginary)
    return ops.view_as_complex(ops.stack([real, imaginary], axis=-1))


def from_real(x):
    """A float tensor as complex64 with imaginary part zero."""
    return from_parts(x, ops.zeros_like(x))


def scale(x, factor):
    """The complex tensor `x` times the real tensor or number `factor`, broadcast."""
    factor = ops.cast(factor, "float32")
    return from_parts(ops.real(x) * factor, ops.imag(x) * factor)


def to_channels(x):
    """Complex (..., channels) to float32 (..., 2 channels): first all real parts, then all imaginary parts."""
    return ops.concatenate([ops.real(x), ops.imag(x)], axis=-1)


def from_channels(x):
    """Float (..., 2 channels) to complex64 (..., channels), the inverse of `to_channels`."""
    real, imaginary = ops.split(x, 2, axis=-1)
    return from_parts(real, imaginary)
