"""The conventions of `mri_zoo.physics`, in NumPy, for data on its way to a model and back."""

import numpy as np
import scipy.fft


def fft2c(image):
    """Centred orthonormal Fourier transform of the last two axes; single precision stays single."""
    return _centred(scipy.fft.fft2, image)


def ifft2c(kspace):
    """Inverse of `fft2c`."""
    return _centred(scipy.fft.ifft2, kspace)


def root_sum_of_squares(coil_images, axis=-3):
    """Square root of the sum over coils of the squared magnitude."""
    return np.sqrt(np.sum(coil_images.real**2 + coil_images.imag**2, axis=axis))


def center_crop(image, size):
    """The central (height, width) of the last two axes; the start is ``(n - size) // 2``, as in fastMRI.

    Raises:
        ValueError: if the image is smaller than asked for.
    """
    extent = image.shape[-2:]
    if extent[0] < size[0] or extent[1] < size[1]:
        raise ValueError(f"Cannot crop an image of {extent} pixels to {tuple(size)}: it is smaller.")
    top, left = (extent[0] - size[0]) // 2, (extent[1] - size[1]) // 2
    return image[..., top : top + size[0], left : left + size[1]]


def _centred(transform, x):
    shifted = scipy.fft.ifftshift(x, axes=(-2, -1))
    return scipy.fft.fftshift(transform(shifted, norm="ortho", overwrite_x=True), axes=(-2, -1))
