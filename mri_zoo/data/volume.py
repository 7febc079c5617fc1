"""The one NumPy form that every reader returns and everything downstream takes."""

import dataclasses
import operator
from typing import Protocol

import numpy as np


class DataError(ValueError):
    """A file or folder that cannot be used; the message names it, what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class VolumeInfo:
    """What is known of a volume before its samples are read.

    Attributes:
        name: file name with its extension; fastMRI seeds evaluation masks with it.
        contrast: for example ``CORPD_FBK`` (fastMRI's attribute `acquisition`) or ``T1w``; ``unknown`` where not told.
        patient_id: the subject, or an empty string.
        num_slices, num_coils, height, width: extent of the k-space.
        target_size: (height, width) of the reference image, None without one.
        mask: (1 or height, width) float32, 1 where sampled, None for a fully sampled volume.
        padding: first and one-past-last acquired column of the width, (0, width) where nothing was padded.
        maximum: the stored maximum of the reference (fastMRI's attribute `max`), or None.
        norm: the stored 2-norm of the reference (fastMRI's attribute `norm`), or None.
        trajectory: (samples, 2 or 3) float32, radians per pixel in [-pi, pi), for a volume measured off the Cartesian
            grid; `height` and `width` are then those of the image that it means.
        num_shots: of the trajectory, one after the other.
        density: (samples,) float32 compensation that came with the trajectory, or None.
        depth: of the image, where the trajectory is three-dimensional: what is read as one slice is then a volume.
        recon_size: (height, width) of the centre of the image that the scan means, without its oversampling; None for
            all of it. Networks see k-space as it was measured; images and references without a stored one are cropped.
        voxel_size: (slice or depth, height, width) in mm, the first from one slice to the next; None where not told.
        affine: (4, 4) from the indices (height, width, slice or depth) of the whole image, before the crop to
            `recon_size`, to NIfTI's coordinates of the patient in mm, or None.
        notes: what a reader left out or assumed, each without a full stop.
    """

    name: str
    num_slices: int
    num_coils: int
    height: int
    width: int
    contrast: str = "unknown"
    patient_id: str = ""
    target_size: tuple[int, int] | None = None
    mask: np.ndarray | None = None
    padding: tuple[int, int] | None = None
    maximum: float | None = None
    norm: float | None = None
    trajectory: np.ndarray | None = None
    density: np.ndarray | None = None
    depth: int | None = None
    num_shots: int = 1
    recon_size: tuple[int, int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    affine: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.padding is None:
            object.__setattr__(self, "padding", (0, self.width))

    @property
    def image_size(self):
        """(height, width), with the depth before them where there is one."""
        return (self.height, self.width) if self.depth is None else (self.depth, self.height, self.width)


@dataclasses.dataclass(frozen=True)
class Volume:
    """Slices of a volume.

    Attributes:
        info: the whole volume's description.
        slices: the indices of the slices that are here.
        kspace: (slice, coil, height, width) complex64, centred orthonormal Fourier transform of the coil images;
            (slice, coil, samples) where the volume has a trajectory.
        target: (slice, target height, target width) float32 reference magnitude, or None.
    """

    info: VolumeInfo
    slices: tuple[int, ...]
    kspace: np.ndarray
    target: np.ndarray | None = None


class VolumeSource(Protocol):
    """Anything that can describe a volume and read some of its slices: a file, or a simulation."""

    info: VolumeInfo

    def read(self, slices=None) -> Volume:
        """The slices with these indices (all by default), in the order asked for."""


def check_finite(path, what, slices, values):
    """Raise `DataError` for the first of the slices whose values (slice, ...) are not all finite."""
    for index, value in zip(slices, values, strict=True):
        # Whatever is not finite shows in the sum, in a third of the time; finite numbers may overflow there.
        value = value.view(np.float32)
        if not np.isfinite(value.sum()) and not np.isfinite(value).all():
            raise DataError(f"{path}: {what} holds NaN or infinity in slice {index}; expected finite numbers.")


def checked_slices(path, slices, num_slices):
    """The tuple of indices, of all slices for None; `DataError` where one is out of range."""
    slices = tuple(range(num_slices)) if slices is None else tuple(map(operator.index, slices))
    for index in slices:
        if not 0 <= index < num_slices:
            raise DataError(f"{path}: there is no slice {index}; expected an index from 0 to {num_slices - 1}.")
    return slices
