"""Centred orthonormal Fourier transforms of complex tensors, right for every size, odd ones included.

``fft2c(x) = fftshift(fft2(ifftshift(x), norm="ortho"))``: the image's and the k-space's origin is at index ``n // 2``.
The predecessor of this zoo had the two shifts reversed, which is the same on even sizes and wrong on odd ones.
"""

import math

import keras
from keras import ops

from mri_zoo.physics.complex import from_parts, scale


def fft2c(x):
    """Image to k-space over the last two axes of a complex64 tensor."""
    return _centred(plain_fft, x, 2)


def ifft2c(x):
    """K-space to image over the last two axes of a complex64 tensor."""
    return _centred(plain_ifft, x, 2)


def fft3c(x):
    """Volume to k-space over the last three axes of a complex64 tensor."""
    return _centred(plain_fft, x, 3)


def ifft3c(x):
    """K-space to volume over the last three axes of a complex64 tensor."""
    return _centred(plain_ifft, x, 3)


def masked_in_kspace(x, mask, dimensions):
    """Images to images by way of masked k-space, F^H M F x: `fft2c`, the real mask, `ifft2c`, or so in 3-D.

    Of their shifts and norms only those are left that do not cancel.
    """
    axes, sizes = tuple(range(-dimensions, 0)), ops.shape(x)[-dimensions:]
    back = [-(n // 2) for n in sizes]
    kspace = scale(plain_fft(ops.roll(x, back, axes), dimensions), ops.roll(mask, back, axes))
    return ops.roll(plain_ifft(kspace, dimensions), [n // 2 for n in sizes], axes)


def _centred(transform, x, dimensions):
    axes, sizes = tuple(range(-dimensions, 0)), ops.shape(x)[-dimensions:]
    x = transform(ops.roll(x, [-(n // 2) for n in sizes], axes), dimensions)
    number = ops.cast(math.prod(sizes), "float32")
    norm = ops.rsqrt(number) if transform is plain_fft else ops.sqrt(number)
    return scale(ops.roll(x, [n // 2 for n in sizes], axes), norm)


def plain_fft(x, dimensions):
    """The transform of the last `dimensions` axes, not normalised, with the origins at index 0."""
    if keras.backend.backend() == "tensorflow":  # by way of Keras, which knows parts only, it takes half as long again
        import tensorflow as tf

        return tf.signal.fft2d(x) if dimensions == 2 else tf.signal.fft3d(x)
    parts = ops.fft2((ops.real(x), ops.imag(x)))
    if dimensions == 3:  # Keras has no 3-D transform
        parts = [ops.swapaxes(part, -3, -1) for part in ops.fft([ops.swapaxes(part, -3, -1) for part in parts])]
    return from_parts(*parts)


def plain_ifft(x, dimensions):
    """The inverse of `plain_fft`: it divides by the number of points."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.signal.ifft2d(x) if dimensions == 2 else tf.signal.ifft3d(x)
    number = ops.cast(math.prod(ops.shape(x)[-dimensions:]), "float32")
    return scale(ops.conj(plain_fft(ops.conj(x), dimensions)), 1 / number)
