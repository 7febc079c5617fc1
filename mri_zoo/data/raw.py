"""K-space along a trajectory in HDF5, and what all readers of trajectories share.

All give the last axis of a trajectory in the order of the image's axes, (depth,) height, width. The files count the
other way: x, the first coordinate, is along the width.
"""

import contextlib
import re
from pathlib import Path

import numpy as np

from mri_zoo.data.hdf5 import DatasetSlices, hdf5_attribute, hdf5_dataset, hdf5_error, open_hdf5, text_attribute
from mri_zoo.data.trajectories import as_trajectory
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, checked_slices
from mri_zoo.physics.nufft import check_density, check_reach


class TrajectoryFile:
    """K-space and trajectory in one HDF5 file.

    Datasets: `kspace` (coil, shot, sample) or (slice, coil, shot, sample) complex; `trajectory` (shot, sample, 2 or 3)
    real, x first, with an attribute `units` that names cycles per pixel, cycles per FOV or radians per pixel;
    optionally `density` (shot, sample) real, any scale. Attributes of the file: `matrix_size`, one number or one for
    each axis (x first); optionally `acquisition`, `patient_id`.

    Args:
        path: the file.
        image_size: (height, width) or (depth, height, width) in place of `matrix_size`.
        units: in place of the attribute, in any of its spellings.

    Raises:
        DataError: if the file is missing, damaged, or not in this layout; if trajectory and k-space do not fit each
            other or the image size; on reading, if samples are not finite.
    """

    def __init__(self, path, image_size=None, units=None):
        self.path = Path(path)
        with open_hdf5(self.path) as file:
            axes = "(coil, shot, sample) or (slice, coil, shot, sample)"
            kspace = hdf5_dataset(file, "kspace", "complex", (3, 4), axes)
            stored = hdf5_dataset(file, "trajectory", "real", (3,), "(shot, sample, 2 or 3)")
            if stored.shape[-1] not in (2, 3):
                raise hdf5_error(file, "trajectory", f"has shape {stored.shape}", "(shot, sample, 2 or 3)")
            if stored.shape[:2] != kspace.shape[-2:]:
                expected = f"{kspace.shape[-2:]} shots and samples, as `kspace` has"
                raise hdf5_error(file, "trajectory", f"has shape {stored.shape}", expected)
            size = image_size or _matrix_size(file, stored.shape[-1])
            units = units or _units(file, stored)
            trajectory = in_radians(f"{self.path}: dataset `trajectory`", stored[()], units, size)
            density = None
            if "density" in file:
                density = hdf5_dataset(file, "density", "real", (2,), "(shot, sample)")[()]
                if density.shape != stored.shape[:2]:
                    found = f"has shape {density.shape}"
                    raise hdf5_error(file, "density", found, f"{stored.shape[:2]}, as `trajectory` has")
                with named(f"{self.path}: dataset `density`"):
                    check_density(density.ravel())  # a shot may be left out
            self._whole = kspace.ndim == 3
            self._kspace = DatasetSlices(kspace)
            num_slices = 1 if self._whole else len(kspace)
            contrast = text_attribute(file, "acquisition", "unknown")
            self.info = trajectory_info(
                self.path,
                num_slices,
                kspace.shape[-3],
                size,
                trajectory,
                density,
                contrast=contrast,
                patient_id=text_attribute(file, "patient_id", ""),
            )

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, or k-space is not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        # Without an axis of slices, what is first is the coils.
        rows = range(self.info.num_coils) if self._whole else slices
        kspace = self._kspace.read(rows, np.complex64)
        return Volume(self.info, slices, kspace.reshape(len(slices), self.info.num_coils, -1))


@contextlib.contextmanager
def named(what):
    """A block in which errors about values become errors about a file."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{what}: {error}") from error


def trajectory_info(path, num_slices, num_coils, size, trajectory, density=None, **options):
    """The `VolumeInfo` of samples along a trajectory (shot, sample, dimension); `options` are more of its arguments."""
    if len(size) == 3 and num_slices > 1:
        raise DataError(
            f"{path}: holds {num_slices} slices with a trajectory of three dimensions; expected one volume."
        )
    *depth, height, width = (int(extent) for extent in size)
    return VolumeInfo(
        name=path.name,
        num_slices=num_slices,
        num_coils=num_coils,
        height=height,
        width=width,
        trajectory=trajectory.reshape(-1, trajectory.shape[-1]),
        density=None if density is None else density.astype(np.float32).ravel(),
        depth=depth[0] if depth else None,
        num_shots=len(trajectory),
        **options,
    )


def in_radians(what, samples, units, size):
    """(shot, sample, dimension) in our units and order; refuses an image size that the samples cannot mean."""
    units = _plain_units(units) or units
    with named(what):
        if len(size) != samples.shape[-1] or min(size) < 1:
            raise ValueError(
                f"The image size {tuple(size)} does not fit a trajectory of {samples.shape[-1]} dimensions."
            )
        trajectory = as_trajectory(samples[..., ::-1], units, size)
        check_reach(trajectory.reshape(-1, trajectory.shape[-1]), size, units)
    return trajectory


def _units(file, trajectory):
    text = hdf5_attribute(trajectory, "units", "")
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    if (units := _plain_units(text)) is not None:
        return units
    expected = "an attribute `units`: cycles/pixel, cycles/FOV or radians/pixel; or give `units` (--units)"
    raise hdf5_error(file, "trajectory", f"has the units {text!r}", expected)


def _plain_units(text):
    """Those of `as_trajectory` that a text names in whatever spelling, or None."""
    for pattern, units in (
        (r"cycles?( per |/)(fov|field of view)", "cycles/FOV"),
        (r"cycles?( per |/)pixel", "cycles/pixel"),
        (r"rad(ians?)?( per |/)pixel", "radians/pixel"),
    ):
        if re.search(pattern, text, re.IGNORECASE):
            return units
    return None


def _matrix_size(file, dimensions):
    """(depth,) height, width; files count x first."""
    try:
        size = tuple(int(extent) for extent in np.atleast_1d(hdf5_attribute(file, "matrix_size"))[::-1])
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{file.filename}: has no attribute `matrix_size`, the size of the image; expected one number or "
            f"{dimensions}, x first; or give `image_size` (--image-size)."
        ) from error
    return size * dimensions if len(size) == 1 else size
