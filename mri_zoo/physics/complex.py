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
    return x * from_real(ops.cast(factor, "float32"))


def to_channels(x):
    """Complex (..., channels) to float32 (..., 2 channels): first all real parts, then all imaginary parts."""
    return ops.concatenate([ops.real(x), ops.imag(x)], axis=-1)


def from_channels(x):
    """Float (..., 2 channels) to complex64 (..., channels), the inverse of `to_channels`.

    Raises:
        ValueError: if the number of channels is odd.
    """
    if x.shape[-1] is not None and x.shape[-1] % 2:
        raise ValueError(f"Real and imaginary parts are an even number of channels, got {x.shape[-1]}.")
    real, imaginary = ops.split(x, 2, axis=-1)
    return from_parts(real, imaginary)


def stack_buffers(channels, *images):
    """Append complex images (...) to real channels (..., n): each adds its real part, then its imaginary part.

    Unrolled networks keep their complex buffers as real channels, of which an operator reads one at a time: conversion
    of whole buffers in every iteration would cost a third of the convolutions' time.
    """
    parts = [part[..., None] for image in images for part in (ops.real(image), ops.imag(image))]
    return ops.concatenate([channels, *parts], axis=-1)


def read_buffer(channels, index):
    """Complex channel `index` of (..., 2 n) real channels as `to_channels` lays them out: (...) complex64."""
    return from_parts(channels[..., index], channels[..., channels.shape[-1] // 2 + index])


def stack_images(images):
    """Complex (...) images as real (..., 2 n) channels: each with its real, then its imaginary part."""
    return ops.stack([part for image in images for part in (ops.real(image), ops.imag(image))], axis=-1)
