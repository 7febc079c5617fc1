"""Density compensation: weights of the samples of a trajectory, with which the adjoint transform becomes an image.

NumPy in and out: a trajectory is fixed, its weights are computed once. A trajectory is (samples, dim) or (batch,
samples, dim), radians per pixel; the weights are (samples,) or (batch, samples) float32. All are scaled so that A^H D A
has unit gain for the zero frequency: the image of ones becomes one with mean magnitude 1.
"""

import math

import numpy as np
from keras import ops

from mri_zoo.physics.kaiser_bessel import interpolate, spread
from mri_zoo.physics.nufft import check_trajectory, host_implementation, nufft, nufft_adjoint


def pipe_density(trajectory, size, num_iterations=10):
    """Weights that, spread by the gridding kernel and read at the samples, give 1: ``w <- w / |G G^H w|``.

    G interpolates by the Kaiser-Bessel kernel on a grid of twice the image's size; no Fourier transform takes part.

    Args:
        trajectory: (samples, dim) or (batch, samples, dim).
        size: of the image.
        num_iterations: from weights of 1; the thesis takes 10.

    Returns:
        (samples,) or (batch, samples) float32.

    Raises:
        ValueError: if the trajectory is not one.

    Reference: Pipe and Menon, MRM 41:179, 1999; Ramzi, thesis, equation 5.2.
    """
    if num_iterations < 1:
        raise ValueError(f"`num_iterations` must be >= 1, got {num_iterations}.")

    def weights_of(trajectory):
        grid = [2 * n for n in size]
        points = ops.convert_to_tensor(trajectory[None])
        # The predecessor's kernel has its origin in the image's middle: between two pixels where their number is even.
        between = tuple(axis for axis, n in enumerate(size) if n % 2 == 0)
        phase = np.exp(-0.5j * np.sum(trajectory[:, between], axis=1)).astype("complex64")
        weights = np.ones(len(trajectory), "float32")
        for _ in range(num_iterations):
            samples = ops.convert_to_tensor((weights * phase)[None, None])
            read = interpolate(spread(samples, points, grid, between), points, grid, between)
            weights = weights / np.abs(ops.convert_to_numpy(read)[0, 0])
        return weights

    return _for_each(weights_of, trajectory, size)


def radial_density(trajectory, size, power=None):
    """The part of k-space that each sample of spokes through the centre has for itself.

    That is the integral of ``|w|**(dim - 1)`` along the spoke, from half a step before the sample to half a step
    behind: the ramp, but for the samples next to the centre. A step is the median distance of samples that follow each
    other.

    Args:
        trajectory: (samples, dim) or (batch, samples, dim), one spoke after the other.
        size: of the image.
        power: take the predecessor's weights instead, ``|w|**power``, but not below 4 (in space 8) times the inverse of
            the response of A^H A in the middle of an image of ones. It takes 1 in space, too. They blur: the centre has
            a multiple of its share.

    Returns:
        (samples,) or (batch, samples) float32.

    Raises:
        ValueError: if the trajectory is not one, or the power negative or not finite.
    """
    if power is not None and not 0 <= power < math.inf:
        raise ValueError(f"`power` must be a finite number >= 0, got {power}.")

    def weights_of(trajectory):
        radius = np.linalg.norm(trajectory, axis=-1)
        if power is None:
            half = np.median(np.linalg.norm(np.diff(trajectory, axis=0), axis=-1)) / 2
            if not half:
                raise ValueError("Samples that follow each other lie at one point: these are no spokes.")
            ends, dimensions = (radius + half, radius - half), len(size)
            return np.subtract(*(np.sign(end) * np.abs(end) ** dimensions for end in ends))
        response = _gain(np.ones(len(trajectory), "float32"), trajectory, size)
        # The factor is that of the predecessor's scaling of the transform.
        lowest = 2 ** len(size) / np.abs(response[tuple(n // 2 for n in size)])
        return np.maximum((radius / np.pi) ** power, lowest)

    return _for_each(weights_of, trajectory, size)


def voronoi_density(trajectory, size):
    """The area (in three dimensions the volume) of each sample's Voronoi cell.

    Samples at one point share its cell. Cells that are open, and the largest twentieth of all, close far outside of
    k-space if at all: they get the values at their radius of a cubic polynomial in |w|**2, fitted to the cells outside
    of 0.6 of the largest |w|**2, as in Fessler's toolbox (MIRT) and MRI-NUFFT; but no more than the largest fitted one.

    Args:
        trajectory: (samples, dim) or (batch, samples, dim).
        size: of the image.

    Returns:
        (samples,) or (batch, samples) float32.

    Raises:
        ValueError: if the trajectory is not one, or has too few points for cells, or all on one line or plane.
    """

    def weights_of(trajectory):
        points, inverse, counts = np.unique(trajectory, axis=0, return_inverse=True, return_counts=True)
        if len(points) < 20:
            raise ValueError(f"Voronoi cells need at least 20 different points, the trajectory has {len(points)}.")
        return (_cell_volumes(points) / counts)[inverse.reshape(-1)]

    return _for_each(weights_of, trajectory, size)


def _for_each(weights_of, trajectory, size):
    """Normalised weights of one trajectory or of a batch."""
    trajectory, size = np.asarray(trajectory, "float32"), tuple(size)
    check_trajectory(trajectory, len(size))
    if trajectory.ndim > 2:
        return np.stack([_for_each(weights_of, one, size) for one in trajectory])
    weights = np.asarray(weights_of(trajectory), "float32")
    return weights / np.mean(np.abs(_gain(weights, trajectory, size)), dtype="float32")


def _gain(weights, trajectory, size):
    """A^H D A of an image of ones: `size` complex64."""
    ones, trajectory = np.ones((1, 1, *size), "complex64"), trajectory[None]
    samples = weights * ops.convert_to_numpy(nufft(ones, trajectory, host_implementation()))
    return ops.convert_to_numpy(nufft_adjoint(samples, trajectory, size, host_implementation()))[0, 0]


def _cell_volumes(points):
    """The volumes of the Voronoi cells of different points (number, dim)."""
    from scipy.spatial import Voronoi

    try:
        cells = Voronoi(points)
    except RuntimeError as error:  # Qhull's
        raise ValueError(
            "The samples of the trajectory lie on one line or plane: they have no Voronoi cells."
        ) from error
    # A cell is made of pyramids: each facet is as far from one of the two points beside it as from the other.
    heights = np.linalg.norm(points[cells.ridge_points[:, 0]] - points[cells.ridge_points[:, 1]], axis=1) / 2
    facets = np.array([_facet(cells.vertices[ridge]) if -1 not in ridge else np.inf for ridge in cells.ridge_vertices])
    volumes = np.zeros(len(points))
    for side in (0, 1):
        np.add.at(volumes, cells.ridge_points[:, side], facets * heights / points.shape[1])
    squares = np.sum(np.square(points, dtype="float64"), axis=1)
    outliers = ~np.isfinite(volumes) | (volumes > np.quantile(volumes, 0.95, method="lower"))
    fitted = ~outliers & (squares > 0.6 * squares.max())
    if np.sum(fitted) < 10:
        fitted = ~outliers
    polynomial = np.polynomial.Polynomial.fit(squares[fitted], volumes[fitted], 3)
    volumes[outliers] = np.clip(polynomial(squares[outliers]), 0, volumes[fitted].max())
    return volumes


def _facet(vertices):
    """The length of an edge (2, 2), or the area of a plane polygon (number, 3) whose vertices are in order."""
    if vertices.shape[1] == 2:
        return math.dist(*vertices)
    sides = vertices[1:] - vertices[0]
    return np.linalg.norm(np.sum(np.cross(sides[:-1], sides[1:]), axis=0)) / 2
