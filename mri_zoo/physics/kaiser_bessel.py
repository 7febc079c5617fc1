"""Non-uniform Fourier transforms by gridding with a Kaiser-Bessel kernel, in `keras.ops` alone."""

import functools
import math

import numpy as np
from keras import ops

from mri_zoo.physics.complex import from_channels, scale, to_channels
from mri_zoo.physics.fourier import plain_fft, plain_ifft

WIDTH = 6  # grid points that each sample is spread over, along every axis; the grid has twice the image's size
BETA = 2.34 * WIDTH  # shape of the kernel, of Fessler and Sutton's toolbox for twofold oversampling


def kaiser_bessel(image, trajectory):
    """The transform of `mri_zoo.physics.nufft.nufft`: (groups, vectors, *size) to (groups, vectors, samples)."""
    size = ops.shape(image)[2:]
    grid = [2 * n for n in size]
    image = scale(image, _deapodization(size))
    for axis, n in enumerate(size, start=2):
        image = _pad_around(image, axis, n)
    return interpolate(plain_fft(image, len(size)), trajectory, grid)


def kaiser_bessel_adjoint(samples, trajectory, size):
    """The adjoint of `kaiser_bessel`: (groups, vectors, samples) to (groups, vectors, *size)."""
    grid = [2 * n for n in size]
    image = plain_ifft(spread(samples, trajectory, grid), len(size))
    for axis, n in enumerate(size, start=2):
        image = _crop_around(image, axis, n)
    return scale(image, _deapodization(size) * ops.cast(math.prod(grid), "float32"))


def interpolate(grid_data, trajectory, grid, antiperiodic=()):
    """Values between the points of a periodic grid, by the Kaiser-Bessel kernel.

    Args:
        grid_data: (groups, vectors, *grid) complex64, the zero frequency first.
        trajectory: (groups, samples, dim) float32, radians per grid spacing of 2 pi / grid.
        grid: its size.
        antiperiodic: axes along which the data changes its sign from one period to the next, as the spectrum of an
            image does whose origin is between two pixels.

    Returns:
        (groups, vectors, samples) complex64.
    """
    groups, vectors = ops.shape(grid_data)[:2]
    flat = ops.reshape(grid_data, (groups, vectors, math.prod(grid)))
    flat = ops.reshape(to_channels(ops.swapaxes(flat, 1, 2)), (groups * math.prod(grid), 2 * vectors))
    values = 0.0
    for index, weight in _neighbours(trajectory, grid, antiperiodic):
        values = values + ops.sum(ops.take(flat, index, axis=0) * weight[..., None], axis=2)
    return ops.swapaxes(from_channels(values), 1, 2)


def spread(samples, trajectory, grid, antiperiodic=()):
    """The adjoint of `interpolate`: (groups, vectors, samples) to (groups, vectors, *grid) complex64."""
    groups, vectors = ops.shape(samples)[:2]
    values = to_channels(ops.swapaxes(samples, 1, 2))[:, :, None]
    total = 0.0
    for index, weight in _neighbours(trajectory, grid, antiperiodic):
        updates = ops.reshape(values * weight[..., None], (-1, 2 * vectors))
        total = total + ops.segment_sum(updates, ops.reshape(index, (-1,)), groups * math.prod(grid))
    total = from_channels(ops.reshape(total, (groups, math.prod(grid), 2 * vectors)))
    return ops.reshape(ops.swapaxes(total, 1, 2), (groups, vectors, *grid))


def _neighbours(trajectory, grid, antiperiodic):
    """Pairs of flat grid indices and weights, (groups, samples, WIDTH**(dim - 1)), one pair for each row of the kernel.

    All neighbours at once would be too much memory in three dimensions.
    """
    axes = [_axis_neighbours(trajectory[..., d], n, d in antiperiodic) for d, n in enumerate(grid)]
    indices, weights = zip(*axes, strict=True)
    groups, number = ops.shape(trajectory)[:2]
    points = groups * math.prod(grid)
    if isinstance(points, int) and points >= 2**31:  # a graph may leave extents open
        raise ValueError(
            f"Gridding {groups} trajectories on a grid of {' x '.join(map(str, grid))} points needs indices beyond "
            "int32: take fewer trajectories at a time, or smaller images."
        )
    index, weight = indices[1], weights[1]
    if len(grid) == 3:
        index = ops.reshape(index[..., None] * grid[2] + indices[2][..., None, :], (groups, number, WIDTH**2))
        weight = ops.reshape(weight[..., None] * weights[2][..., None, :], (groups, number, WIDTH**2))
    index = index + ops.reshape(ops.arange(groups) * math.prod(grid), (-1, 1, 1))
    row = math.prod(grid[1:])
    for j in range(WIDTH):
        yield index + indices[0][..., j, None] * row, weight * weights[0][..., j, None]


def _axis_neighbours(frequency, n, antiperiodic):
    """Indices int32 and weights float32, (groups, samples, WIDTH), of the nearest points along an axis of length n."""
    start = frequency * (ops.cast(n, "float32") / (2 * math.pi)) - WIDTH / 2
    first = ops.ceil(start)
    fraction = 2 * (first - start)[..., None] - 1
    weight = 0.0
    for coefficients in _kernel_polynomials():
        weight = weight * fraction + coefficients
    index = ops.cast(first, "int32")[..., None] + ops.arange(WIDTH)
    if antiperiodic:
        weight = weight * ops.cast(1 - 2 * ((index + n // 2) // n % 2), "float32")
    return index % n, weight


@functools.cache
def _kernel_polynomials():
    """The kernel's WIDTH pieces as polynomials, (degree + 1, WIDTH) float32, highest power first; error below 1e-7."""
    fraction = np.cos(np.linspace(0, np.pi, 200))
    distance = (fraction[:, None] + 1) / 2 + np.arange(WIDTH) - WIDTH / 2
    kernel = np.i0(BETA * np.sqrt(np.maximum(1 - (2 * distance / WIDTH) ** 2, 0))) / np.i0(BETA)
    return np.polynomial.polynomial.polyfit(fraction, kernel, 12)[::-1].astype("float32")


def _deapodization(size):
    """One over the kernel's Fourier transform on the image, times the orthonormal factor: float32 of shape `size`."""
    factors = []
    for n in size:
        position = ops.cast(ops.arange(n) - n // 2, "float32") / ops.cast(2 * n, "float32")
        root = ops.sqrt(BETA**2 - ops.square(math.pi * WIDTH * position))
        factors.append(root / ops.sinh(root) * float(np.i0(BETA) / WIDTH) * ops.rsqrt(ops.cast(n, "float32")))
    return outer(factors)


def _pad_around(image, axis, n):
    """Zeros after the image, its origin first: the second half of the axis goes to the front, the first to the end."""
    index = (slice(None),) * axis
    before, after = image[(*index, slice(0, n // 2))], image[(*index, slice(n // 2, None))]
    zeros = ops.zeros([n if i == axis else length for i, length in enumerate(ops.shape(image))], "complex64")
    return ops.concatenate([after, zeros, before], axis=axis)


def _crop_around(image, axis, n):
    """The inverse of `_pad_around`."""
    index = (slice(None),) * axis
    before, after = image[(*index, slice(2 * n - n // 2, None))], image[(*index, slice(0, n - n // 2))]
    return ops.concatenate([before, after], axis=axis)


def outer(vectors):
    """The product of one vector for each axis, by broadcasting."""
    result = vectors[0]
    for vector in vectors[1:]:
        result = result[..., None] * vector
    return result
