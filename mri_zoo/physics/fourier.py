"""Centred orthonormal Fourier transforms of complex tensors, right for every size, odd ones included.

``fft2c(x) = fftshift(fft2(ifftshift(x), norm="ortho"))``: the image's and the k-space's origin is at index ``n // 2``.
The predecessor of this zoo had the two shifts reversed, which is the same on even sizes and wrong on odd ones.
"""

import math

from keras import ops

from mri_zoo.physics.complex import from_parts


def fft2c(x):
    """Image to k-space over the last two axes of a complex64 tensor."""
    return _centred_fft(x, 2)


def ifft2c(x):
    """K-space to image over the last two axes of a complex64 tensor."""
    return ops.conj(_centred_fft(ops.conj(x), 2))


def fft3c(x):
    """Volume to k-space over the last three axes of a complex64 tensor."""
    return _centred_fft(x, 3)


def ifft3c(x):
    """K-space to volume over the last three axes of a complex64 tensor."""
    return ops.conj(_centred_fft(ops.conj(x), 3))


def _centred_fft(x, dimensions):
    axes, sizes = tuple(range(-dimensions, 0)), ops.shape(x)[-dimensions:]
    parts = ops.real(x), ops.imag(x)
    parts = [ops.roll(part, [-(n // 2) for n in sizes], axes) for part in parts]
    parts = ops.fft2(parts)
    if dimensions == 3:  # Keras has no 3-D transform
        parts = [ops.swapaxes(part, -3, -1) for part in ops.fft([ops.swapaxes(part, -3, -1) for part in parts])]
    norm = ops.rsqrt(ops.cast(math.prod(sizes), "float32"))
    return from_parts(*(ops.roll(part * norm, [n // 2 for n in sizes], axes) for part in parts))
