"""Readers of raw measurements: k-space along a trajectory in HDF5, ISMRMRD, and BART's pairs of files.

All give the last axis of a trajectory in the order of the image's axes, (depth,) height, width. The files count the
other way: x, the first coordinate, is along the width.
"""

import contextlib
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py
import numpy as np

from mri_zoo.data.hdf5 import DatasetSlices, hdf5_dataset, hdf5_error, hdf5_item, open_hdf5, text_attribute
from mri_zoo.data.trajectories import as_trajectory
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, check_finite, checked_slices
from mri_zoo.physics.nufft import check_density, check_reach

# Readouts that are no image data: noise, calibration alone, navigators, phase correction, feedback, dummies.
_NO_IMAGE = sum(1 << (flag - 1) for flag in (19, 20, 23, 24, 26, 27, 28, 29))
_REVERSED = 1 << (22 - 1)
_SERIES = ("average", "contrast", "phase", "repetition", "set")


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
            trajectory = _in_radians(f"{self.path}: dataset `trajectory`", stored[()], units, size)
            density = None
            if "density" in file:
                density = hdf5_dataset(file, "density", "real", (2,), "(shot, sample)")[()]
                if density.shape != stored.shape[:2]:
                    found = f"has shape {density.shape}"
                    raise hdf5_error(file, "density", found, f"{stored.shape[:2]}, as `trajectory` has")
                with _named(f"{self.path}: dataset `density`"):
                    check_density(density.ravel())  # a shot may be left out
            self._whole = kspace.ndim == 3
            self._kspace = DatasetSlices(kspace)
            num_slices = 1 if self._whole else len(kspace)
            contrast = text_attribute(file, "acquisition", "unknown")
            self.info = _info(
                self.path,
                num_slices,
                kspace.shape[-3],
                size,
                trajectory,
                density,
                contrast,
                text_attribute(file, "patient_id", ""),
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


class ISMRMRDFile:
    """Raw data in ISMRMRD's HDF5 layout, along a trajectory or Cartesian.

    Noise, calibration and navigator readouts are left out. A Cartesian scan becomes (slice, coil, readout, phase
    encoding), its zero frequency in the middle; its mask tells which lines were measured. All slices of a scan with a
    trajectory have the same one; its samples are taken in [-0.5, 0.5), cycles per pixel of the encoded matrix.

    Args:
        path: the file.
        image_size: (height, width) or (depth, height, width) in place of the encoded matrix; with a trajectory alone.
        units: of the trajectory, see `TrajectoryFile`.
        group: of the HDF5 file.

    Raises:
        DataError: if the file is missing, damaged, or not in this layout; if it holds a series (averages, contrasts,
            phases, repetitions, sets), partitions without a trajectory of three dimensions, Cartesian readouts that
            run backwards, or slices that differ; on reading, if samples are not finite.

    Reference: Inati et al., MRM 77:411, 2017.
    """

    def __init__(self, path, image_size=None, units="cycles/pixel", group="dataset"):
        self.path, self._group = Path(path), group
        with open_hdf5(self.path) as file:
            heads = self._heads(file)
            encoding = self._encoding(file)
        kept = np.flatnonzero((heads["flags"] & _NO_IMAGE) == 0)
        if not len(kept):
            raise DataError(f"{self.path}: holds {len(heads)} readouts, none of image data.")
        heads = heads[kept]
        for counter in _SERIES:
            count = len(np.unique(heads["idx"][counter]))
            if count > 1:
                raise DataError(f"{self.path}: holds {count} values of `{counter}`; expected one image of each slice.")
        for field in ("active_channels", "number_of_samples", "discard_pre", "discard_post", "trajectory_dimensions"):
            if len(np.unique(heads[field])) > 1:
                found = ", ".join(map(str, np.unique(heads[field])))
                raise DataError(f"{self.path}: readouts differ in `{field}` ({found}); expected one value.")
        discarded, samples = int(heads["discard_pre"][0]) + int(heads["discard_post"][0]), heads["number_of_samples"][0]
        if discarded >= samples:
            raise DataError(
                f"{self.path}: readouts discard {discarded} of {samples} samples; expected some to be left."
            )
        self._rows = [kept[heads["idx"]["slice"] == index] for index in np.unique(heads["idx"]["slice"])]
        self._head = heads[0]
        self._steps = {row: int(step) for row, step in zip(kept, heads["idx"]["kspace_encode_step_1"], strict=True)}
        dimensions = int(self._head["trajectory_dimensions"])
        if dimensions != 3 and heads["idx"]["kspace_encode_step_2"].any():
            kind = f"a trajectory of {dimensions} dimensions" if dimensions else "no trajectory"
            raise DataError(f"{self.path}: holds partitions with {kind}; expected slices, or one of 3 dimensions.")
        if dimensions:
            self.info = self._trajectory_info(image_size, units, encoding)
        elif (heads["flags"] & _REVERSED).any():
            raise DataError(
                f"{self.path}: {np.count_nonzero(heads['flags'] & _REVERSED)} of {len(heads)} Cartesian readouts run "
                "backwards, as those of EPI; expected readouts that are all in one direction, after its corrections."
            )
        else:
            self.info = self._cartesian_info(encoding)

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, or samples are not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        kspace = np.stack([self._slice(self._rows[index]) for index in slices])
        check_finite(self.path, "the readouts", slices, kspace)
        return Volume(self.info, slices, kspace)

    def _slice(self, rows):
        """(coil, samples), or (coil, height, width) on the Cartesian grid."""
        lines = self._readouts(rows, "data")
        lines = lines.reshape(len(rows), int(self._head["active_channels"]), -1, 2)
        lines = np.ascontiguousarray(lines).view(np.complex64)[..., 0]
        lines = lines[:, :, self._kept(lines.shape[2])]
        if self.info.trajectory is not None:
            return lines.swapaxes(0, 1).reshape(lines.shape[1], -1)
        kspace = np.zeros((lines.shape[1], self.info.height, self.info.width), np.complex64)
        for row, line in zip(rows, lines, strict=True):
            kspace[:, self._readout, self._steps[row] + self._shift] = line
        return kspace

    def _trajectory_info(self, image_size, units, encoding):
        dimensions = int(self._head["trajectory_dimensions"])
        if dimensions not in (2, 3):
            raise DataError(f"{self.path}: has a trajectory of {dimensions} dimensions; expected 2 or 3.")
        found = []
        for rows in self._rows:
            stored = self._readouts(rows, "traj").reshape(len(rows), -1, dimensions)
            found.append(stored[:, self._kept(stored.shape[1])])
            if found[-1].shape != found[0].shape or not np.array_equal(found[-1], found[0], equal_nan=True):
                raise DataError(f"{self.path}: slices differ in their trajectory; expected one for all.")
        size = image_size or encoding["size"][-dimensions:]
        trajectory = _in_radians(f"{self.path}: the trajectory", found[0], units, size)
        return _info(self.path, len(self._rows), int(self._head["active_channels"]), size, trajectory)

    def _cartesian_info(self, encoding):
        _, width, height = encoding["size"]  # phase encoding is along the width, as in fastMRI
        samples = np.arange(int(self._head["number_of_samples"]))[self._kept(None)]
        # Of an asymmetric echo the first samples of the grid are missing.
        start = height // 2 - int(self._head["center_sample"]) + samples[0]
        self._readout = slice(start, start + len(samples))
        self._shift = width // 2 - encoding["center"]
        steps = np.array([self._steps[row] for rows in self._rows for row in rows]) + self._shift
        if start < 0 or start + len(samples) > height or steps.min() < 0 or steps.max() >= width:
            raise DataError(
                f"{self.path}: readouts of {len(samples)} samples and lines {steps.min()} to {steps.max()} do not fit "
                f"the encoded matrix of {height} x {width}."
            )
        mask = np.zeros((1, width), np.float32)
        mask[:, np.unique(steps)] = 1
        inside = mask[:, encoding["padding"][0] : encoding["padding"][1]]
        return VolumeInfo(
            name=self.path.name,
            num_slices=len(self._rows),
            num_coils=int(self._head["active_channels"]),
            height=height,
            width=width,
            mask=None if inside.all() else mask,
            padding=encoding["padding"],
        )

    def _kept(self, count):
        """The samples that are not to be discarded."""
        count = int(self._head["number_of_samples"]) if count is None else count
        return slice(int(self._head["discard_pre"]), count - int(self._head["discard_post"]))

    def _readouts(self, rows, field):
        """(readout, values) float32."""
        with open_hdf5(self.path) as file:
            values = file[f"{self._group}/data"].fields(field)[int(rows[0]) : int(rows[-1]) + 1]
        values = [values[row - rows[0]] for row in rows]
        expected = int(self._head["number_of_samples"]) * (
            int(self._head["trajectory_dimensions"]) if field == "traj" else 2 * int(self._head["active_channels"])
        )
        for row, value in zip(rows, values, strict=True):
            if len(value) != expected:
                raise DataError(
                    f"{self.path}: readout {row} holds {len(value)} numbers in `{field}`; expected {expected}."
                )
        return np.stack(values).astype(np.float32, copy=False)

    def _heads(self, file):
        data = hdf5_item(file, f"{self._group}/data")
        names = getattr(getattr(data, "dtype", None), "names", None) or ()
        if not {"head", "traj", "data"} <= set(names) or not data.size:
            raise DataError(f"{self.path}: has no readouts in `{self._group}/data`; expected ISMRMRD's layout.")
        heads = data.fields("head")[()]
        if not {"flags", "idx", "active_channels", "number_of_samples"} <= set(heads.dtype.names or ()):
            raise DataError(f"{self.path}: `head` in `{self._group}/data` has no flags; expected ISMRMRD's layout.")
        return heads

    def _encoding(self, file):
        """Matrix size (z, y, x), the central line and the padding, of the XML header."""
        try:
            text = hdf5_item(file, f"{self._group}/xml")[0]
            encoding = ElementTree.fromstring(text).find("{*}encoding")
            matrix = encoding.find("{*}encodedSpace/{*}matrixSize")
            size = tuple(int(matrix.find(f"{{*}}{axis}").text) for axis in "zyx")
        except (LookupError, AttributeError, TypeError, ValueError, ElementTree.ParseError) as error:
            raise DataError(
                f"{self.path}: has no `{self._group}/xml` with an encoded matrix size ({error})."
            ) from error
        limits = encoding.find("{*}encodingLimits/{*}kspace_encoding_step_1")
        center, maximum = size[1] // 2, size[1] - 1
        if limits is not None:
            center, maximum = (self._limit(limits, name) for name in ("center", "maximum"))
        first = size[1] // 2 - center
        return {"size": size, "center": center, "padding": (max(first, 0), min(first + maximum + 1, size[1]))}

    def _limit(self, limits, name):
        text = limits.findtext(f"{{*}}{name}", "").strip()
        if not text.isdecimal():
            raise DataError(
                f"{self.path}: `{self._group}/xml` has {text!r} as `{name}` of the limits of kspace_encoding_step_1; "
                "expected a whole number."
            )
        return int(text)


class BARTFile:
    """K-space and trajectory of the BART toolbox, each a pair of ``.cfl`` and ``.hdr``.

    The k-space has the dimensions (1, sample, shot, coil), slices in dimension 13; the trajectory (3, sample, shot), x
    first, in cycles per FOV. Where its z is zero everywhere, the image has two dimensions.

    Args:
        path: of the k-space's ``.cfl``.
        trajectory: path of the trajectory's; by default the k-space's with ``_traj`` at the end of its name, or else
            ``traj.cfl`` beside it.
        image_size: (height, width) or (depth, height, width); by default, as BART does, the smallest even one that
            the trajectory allows.

    Raises:
        DataError: if a file is missing, damaged or of other dimensions, or trajectory and k-space do not fit each other
            or the image size; on reading, if samples are not finite.

    Reference: Uecker et al., Berkeley Advanced Reconstruction Toolbox, ISMRM 2015.
    """

    def __init__(self, path, trajectory=None, image_size=None):
        self.path = Path(path).with_suffix(".cfl")
        beside = [self.path.with_name(f"{self.path.stem}_traj.cfl"), self.path.with_name("traj.cfl")]
        found = Path(trajectory).with_suffix(".cfl") if trajectory else next((p for p in beside if p.is_file()), None)
        if found is None:
            names = " or ".join(name.name for name in beside)
            raise DataError(f"{self.path}: has no trajectory beside it; expected {names}.")
        kspace, stored = _read_cfl(self.path), _read_cfl(found)
        if stored.shape[0] != 3 or math.prod(stored.shape[3:]) != 1 or stored.imag.any():
            raise DataError(f"{found}: has dimensions {_significant(stored.shape)}; expected (3, sample, shot), real.")
        if kspace.shape[0] != 1 or math.prod(kspace.shape[4:]) != kspace.shape[13]:
            raise DataError(
                f"{self.path}: has dimensions {_significant(kspace.shape)}; expected (1, sample, shot, coil) and "
                "slices in dimension 13."
            )
        if kspace.shape[1:3] != stored.shape[1:3]:
            expected = f"{kspace.shape[1:3]}, as {self.path.name} has"
            raise DataError(f"{found}: has {stored.shape[1:3]} samples and shots; expected {expected}.")
        samples = stored.real.reshape(stored.shape[:3]).T  # (shot, sample, x y z)
        dimensions = 3 if samples[..., 2].any() else 2
        samples = samples[..., :dimensions]
        with _named(str(found)):
            if not np.isfinite(samples).all():
                raise ValueError("The trajectory holds NaN or infinity; expected finite numbers.")
        size = image_size or tuple(2 * max(math.ceil(n), 1) for n in np.abs(samples).max(axis=(0, 1))[::-1])
        trajectory = _in_radians(str(found), samples, "cycles/FOV", size)
        self.info = _info(self.path, kspace.shape[13], kspace.shape[3], size, trajectory)

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, or samples are not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        stored = _read_cfl(self.path)
        stored = stored.reshape(*stored.shape[1:4], stored.shape[13], order="F")
        kspace = np.ascontiguousarray(stored.T[list(slices)])  # (slice, coil, shot, sample)
        kspace = kspace.reshape(len(slices), self.info.num_coils, -1)
        check_finite(self.path, "the k-space", slices, kspace)
        return Volume(self.info, slices, kspace)


def hdf5_reader(path):
    """The class of this module that reads an HDF5 file, by its layout; None for other files."""
    if not h5py.is_hdf5(path):
        return None
    with open_hdf5(Path(path)) as file:
        if isinstance(file.get("dataset/data"), h5py.Dataset):
            return ISMRMRDFile
        return TrajectoryFile if "trajectory" in file else None


@contextlib.contextmanager
def _named(what):
    """A block in which errors about values become errors about a file."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{what}: {error}") from error


def _info(path, num_slices, num_coils, size, trajectory, density=None, contrast="unknown", patient_id=""):
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
        contrast=contrast,
        patient_id=patient_id,
        trajectory=trajectory.reshape(-1, trajectory.shape[-1]),
        density=None if density is None else density.astype(np.float32).ravel(),
        depth=depth[0] if depth else None,
        num_shots=len(trajectory),
    )


def _in_radians(what, samples, units, size):
    """(shot, sample, dimension) in our units and order; refuses an image size that the samples cannot mean."""
    units = _plain_units(units) or units
    with _named(what):
        if len(size) != samples.shape[-1] or min(size) < 1:
            raise ValueError(
                f"The image size {tuple(size)} does not fit a trajectory of {samples.shape[-1]} dimensions."
            )
        trajectory = as_trajectory(samples[..., ::-1], units, size)
        check_reach(trajectory.reshape(-1, trajectory.shape[-1]), size, units)
    return trajectory


def _units(file, trajectory):
    text = trajectory.attrs.get("units", "")
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
        size = tuple(int(extent) for extent in np.atleast_1d(file.attrs["matrix_size"])[::-1])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file.filename}: has no attribute `matrix_size`, the size of the image; expected one number or "
            f"{dimensions}, x first; or give `image_size` (--image-size)."
        ) from error
    return size * dimensions if len(size) == 1 else size


def _read_cfl(path):
    """Complex64 of BART's 16 dimensions, the first one fastest; mapped, not read."""
    header = path.with_suffix(".hdr")
    for file in (header, path):
        if not file.is_file():
            raise DataError(f"{file}: no such file; expected BART's pair of .cfl and .hdr.")
    lines = header.read_text(errors="replace").splitlines()
    numbers = next((lines[i + 1].split() for i, line in enumerate(lines[:-1]) if line.strip() == "# Dimensions"), [])
    if not numbers or not all(number.isdecimal() and int(number) for number in numbers) or len(numbers) > 16:
        raise DataError(f"{header}: tells no dimensions; expected a line `# Dimensions` and up to 16 numbers below it.")
    shape = tuple(map(int, numbers)) + (1,) * (16 - len(numbers))
    if path.stat().st_size != 8 * math.prod(shape):
        raise DataError(
            f"{path}: has {path.stat().st_size} bytes; expected {8 * math.prod(shape)} for the dimensions "
            f"{_significant(shape)} of {header.name}."
        )
    return np.memmap(path, np.complex64, "r", shape=shape, order="F")


def _significant(shape):
    last = max((i for i, extent in enumerate(shape) if extent > 1), default=0)
    return shape[: last + 1]
