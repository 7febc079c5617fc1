"""Simulated acquisitions: smooth phase, receive coils, noise and matrix size for data that has only a magnitude."""

import abc
import dataclasses
import functools
from pathlib import Path

import numpy as np

from mri_zoo.data.fourier import fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.volume import DataError, Volume


def smooth_field(height, width, rng):
    """A random smooth field: the lowest cosines of the field of view, up to three half-waves an axis.

    Args:
        height: rows of the grid, which samples the field but does not change it.
        width: columns of the grid.
        rng: NumPy random generator.

    Returns:
        (height, width) float32 of zero mean and unit expected standard deviation.
    """
    _check_positive(height=height, width=width)
    order = np.arange(4)
    decay = 1 / np.maximum(order[:, None] ** 2 + order**2, 1)
    decay[0, 0] = 0
    # A cosine has mean square 1/2, the constant has 1.
    power = np.where(order > 0, 0.5, 1.0)
    coefficients = rng.standard_normal(decay.shape) * decay / np.sqrt(power @ decay**2 @ power)
    field = _cosines(height, order) @ coefficients @ _cosines(width, order).T
    return field.astype(np.float32)


def smooth_phase(height, width, rng):
    """A phase as gradient echoes show it: off-resonance and receive phase vary slowly over the head.

    Args:
        height: rows in pixels.
        width: columns in pixels.
        rng: NumPy random generator.

    Returns:
        (height, width) float32 radians, zero mean, a standard deviation of about 1.2 and a range of about 4.
    """
    return np.float32(1.2) * smooth_field(height, width, rng)


def coil_sensitivities(num_coils, height, width, seed):
    """Receive maps of a ring of long rectangular loops around the field of view, by the law of Biot and Savart.

    By reciprocity a loop receives with the transverse field B_x - i B_y of a unit current in it. For a long straight
    wire at w this is 1 / (z - w) up to a constant, z = x + i y; a loop is a wire there and a wire back. One complex
    quotient a pixel gives magnitude and phase with the fall-off and the mutual phases of a real array. Coordinates
    are relative to the field of view, so the maps of one seed agree between matrix sizes. The seed draws the turn of
    the ring and each loop's position, width, distance, gain and receiver phase.

    Args:
        num_coils: number of loops, at least 1.
        height: rows in pixels.
        width: columns in pixels.
        seed: anything that `numpy.random.default_rng` takes, a generator included.

    Returns:
        (coil, height, width) complex64, unit root-sum-of-squares at every pixel.

    Raises:
        ValueError: if a size or the number of coils is below 1.

    Reference: Hoult and Richards, J Magn Reson 24:71, 1976; Roemer et al., MRM 16:192, 1990.
    """
    _check_positive(num_coils=num_coils, height=height, width=width)
    rng = np.random.default_rng(seed)
    spacing = 2 * np.pi / num_coils
    angle = spacing * (np.arange(num_coils) + rng.uniform() + rng.uniform(-0.15, 0.15, num_coils))
    half_width = min(spacing, np.pi / 3) * rng.uniform(0.45, 0.65, num_coils)
    # Every pixel has |z| <= sqrt(2), so no wire lies in the field of view.
    radius = rng.uniform(1.55, 1.85, num_coils)
    gain = rng.uniform(0.8, 1.2, num_coils) * np.exp(2j * np.pi * rng.uniform(size=num_coils))

    there, back = radius * np.exp(1j * (angle - half_width)), radius * np.exp(1j * (angle + half_width))
    strength = (gain * (there - back)).astype(np.complex64)[:, None, None]
    there, back = (wire.astype(np.complex64)[:, None, None] for wire in (there, back))
    z = (_positions(width) + 1j * _positions(height)[:, None]).astype(np.complex64)
    maps = strength / ((z - there) * (z - back))
    return maps / root_sum_of_squares(maps)


def add_noise(kspace, level, rng):
    """Thermal noise: independent white Gaussian noise in the real and in the imaginary part of every sample.

    Args:
        kspace: complex array of any shape.
        level: standard deviation in each of the two parts, in units of `kspace` and, because the Fourier transform is
            orthonormal, of the image: the noise of a complex sample has the standard deviation sqrt(2) level.
        rng: NumPy random generator.

    Returns:
        The noisy k-space, with the dtype of `kspace`.

    Raises:
        ValueError: if `level` is negative.
    """
    if level < 0:
        raise ValueError(f"`level` must not be negative, got {level}.")
    noise = rng.standard_normal((*kspace.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    return (kspace + level * noise).astype(kspace.dtype)


class Simulation(abc.ABC):
    """A `VolumeSource` that measures magnitude images as a scanner would.

    Each slice gets a smooth phase and coil maps drawn from (seed, slice index), so a slice does not depend on which
    others are read with it.

    Args:
        info: description of the images; its `height` and `width` are theirs, coils and target are filled in here.
        num_coils: number of receive coils; one coil has unit magnitude.
        size: (height, width) of the acquired k-space, at most the images'; all of it by default. A smaller matrix
            measures only the centre of k-space: the field of view stays, the resolution drops, intensities are kept.
        seed: a non-negative integer.
        phase: how many times as much as `smooth_phase` gives. With 0 or False the images stay real, as in the OASIS
            experiments of the thesis: one coil then has the sensitivity 1, and its k-space is Hermitian.

    Raises:
        ValueError: if `num_coils`, `size`, `seed` or `phase` is out of range.
    """

    simulated = True  # see `MagnitudeFile`

    def __init__(self, info, num_coils=1, size=None, seed=0, phase=True):
        height, width = size or (info.height, info.width)
        _check_positive(num_coils=num_coils, height=height, width=width)
        if height > info.height or width > info.width:
            raise ValueError(
                f"`size` must be at most that of the images of {info.name}, {(info.height, info.width)}, got {size}."
            )
        if seed < 0 or phase < 0:
            raise ValueError(f"`seed` and `phase` must not be negative, got {seed} and {phase}.")
        self._image_size, self._seed, self._phase = (info.height, info.width), seed, phase
        self.info = dataclasses.replace(
            info,
            num_coils=num_coils,
            height=height,
            width=width,
            target_size=(height, width),
            mask=None,
            padding=None,
            maximum=None,
            norm=None,
            trajectory=None,
            density=None,
            depth=None,
            recon_size=None,
            voxel_size=info.voxel_size if (height, width) == (info.height, info.width) else None,
            affine=None,
        )

    @abc.abstractmethod
    def images(self, slices):
        """The magnitude images (slice, height, width) float32 of these slice indices."""

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if the volume has no such slice.
        """
        slices = tuple(range(self.info.num_slices) if slices is None else map(int, slices))
        for index in slices:
            if not 0 <= index < self.info.num_slices:
                raise DataError(f"{self.info.name} has slices 0 to {self.info.num_slices - 1}, asked for {index}.")
        size = (self.info.height, self.info.width)
        kspace = np.empty((len(slices), self.info.num_coils, *size), np.complex64)
        target = np.empty((len(slices), *size), np.float32)
        for i, (index, image) in enumerate(zip(slices, self.images(slices), strict=True)):
            kspace[i], target[i] = self._acquire(image, np.random.default_rng((self._seed, index)))
        return Volume(self.info, slices, kspace, target)

    def _acquire(self, image, rng):
        """(coil, height, width) k-space and (height, width) reference magnitude of one image."""
        height, width = self._image_size
        coil_images = image[None].astype(np.complex64)
        if self._phase:
            coil_images = coil_images * np.exp(1j * self._phase * smooth_phase(height, width, rng))
        if self._phase or self.info.num_coils > 1:
            coil_images = coil_images * coil_sensitivities(self.info.num_coils, height, width, rng)
        kspace = fft2c(coil_images)
        if self._image_size == (self.info.height, self.info.width):
            return kspace, np.abs(image)
        kspace = _crop_kspace(kspace, self.info.height, self.info.width)
        kspace *= np.float32(np.sqrt(self.info.height * self.info.width / (height * width)))
        return kspace, root_sum_of_squares(ifft2c(kspace))


class SimulatedAcquisition(Simulation):
    """Another volume's reference magnitude, measured anew with simulated phase and coils.

    Args:
        source: a `VolumeSource` with targets, for example a NIfTI file.
        num_coils, size, seed, phase: see `Simulation`.

    Raises:
        ValueError: if the source has no reference images, or an argument is out of range.

    Example:
        `SimulatedAcquisition(NIfTIFile("brain.nii.gz"), num_coils=8, size=(192, 160)).read([20]).kspace`
    """

    def __init__(self, source, num_coils=1, size=None, seed=0, phase=True):
        if source.info.target_size is None:
            raise ValueError(f"{source.info.name} has no reference images to acquire.")
        height, width = source.info.target_size
        super().__init__(dataclasses.replace(source.info, height=height, width=width), num_coils, size, seed, phase)
        self._source = source
        self.path, self.whole = getattr(source, "path", None), getattr(source, "whole", False)

    def images(self, slices):
        """See `Simulation.images`."""
        return self._source.read(slices).target


@dataclasses.dataclass(frozen=True)
class SimulatedFile:
    """The `SimulatedAcquisition` of a NIfTI file, which is opened only when something of it is asked for.

    So a file that is broken is an error of this volume, not of the list that it is in.

    Attributes:
        path: the file.
        num_coils: see `Simulation`.
    """

    path: Path
    num_coils: int = 1
    simulated = True  # see `MagnitudeFile`

    @functools.cached_property
    def _source(self):
        from mri_zoo.data.nifti import NIfTIFile  # which needs this module

        return SimulatedAcquisition(NIfTIFile(self.path), self.num_coils)

    @property
    def info(self):
        """The `VolumeInfo`; raises `DataError` as `NIfTIFile` does."""
        return self._source.info

    def read(self, slices=None):
        """See `Simulation.read`."""
        return self._source.read(slices)


def _crop_kspace(kspace, height, width):
    """The central (height, width) samples; unlike a crop of images this keeps the origin at n // 2."""
    top, left = kspace.shape[-2] // 2 - height // 2, kspace.shape[-1] // 2 - width // 2
    return kspace[..., top : top + height, left : left + width]


def _positions(size):
    """Pixel centres over a field of view from -1 to 1."""
    return (2 * np.arange(size) + 1) / size - 1


def _cosines(size, order):
    """(size, order) cosines with `order` half-waves over the field of view, each of zero mean but the first."""
    return np.cos(np.pi / 2 * order * (_positions(size)[:, None] + 1))


def _check_positive(**numbers):
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1, got {number}.")
