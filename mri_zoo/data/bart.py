"""Reader of the BART toolbox's pairs of files."""

import math
from pathlib import Path

import numpy as np

from mri_zoo.data.gaps import mask_of_samples, without_chance
from mri_zoo.data.partitions import check_partitions, slices_of_partitions
from mri_zoo.data.raw import in_radians, named, trajectory_info
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, check_finite, checked_slices

# Of BART's 16 dimensions, those in which a scan may extend; all others hold series, or several sets of maps.
_COIL, _SLICE = 3, 13
_NAMES = {
    4: "maps",
    5: "echoes",
    6: "coefficients",
    8: "iterations",
    10: "time",
    11: "time",
    12: "levels",
    14: "averages",
}


class BARTFile:
    """K-space of the BART toolbox, a pair of ``.cfl`` and ``.hdr``, on the Cartesian grid or along a trajectory.

    On the grid it has the dimensions (read, phase, phase, coil), slices in dimension 13, its zero frequency at index
    ``n // 2`` as `bart fft` has it; samples of zero were not measured. Fully sampled partitions, the third dimension,
    are transformed into slices. Along a trajectory it has (1, sample, shot, coil), and the trajectory is another pair,
    (3, sample, shot), x first, in cycles per FOV. Where its z is zero everywhere, the image has two dimensions.

    Args:
        path: of the k-space's ``.cfl``.
        trajectory: path of the trajectory's; by default the k-space's with ``_traj`` at the end of its name, or else
            ``traj.cfl`` beside it, where the first dimension of the k-space is 1.
        image_size: (height, width) or (depth, height, width); by default, as BART does, the smallest even one that
            the trajectory allows. With a trajectory alone.

    Raises:
        DataError: if a file is missing, damaged or of other dimensions, if trajectory and k-space do not fit each
            other or the image size, or if the scan is undersampled along its partitions; on reading, if samples are
            not finite.

    Reference: Uecker et al., Berkeley Advanced Reconstruction Toolbox, ISMRM 2015.
    """

    def __init__(self, path, trajectory=None, image_size=None):
        self.path = Path(path).with_suffix(".cfl")
        kspace = _read_cfl(self.path)
        if trajectory is None and kspace.shape[0] > 1:
            if image_size is not None:
                raise DataError(f"{self.path}: `image_size` cannot be given, as the scan is Cartesian.")
            self.info = self._cartesian_info(kspace)
            self.whole = self._volume
            return
        self._volume = False
        beside = [self.path.with_name(f"{self.path.stem}_traj.cfl"), self.path.with_name("traj.cfl")]
        found = Path(trajectory).with_suffix(".cfl") if trajectory else next((p for p in beside if p.is_file()), None)
        if found is None:
            names = " or ".join(name.name for name in beside)
            raise DataError(
                f"{self.path}: has dimensions {_significant(kspace.shape)} and no trajectory beside it; expected "
                f"{names}, or a Cartesian scan (read, phase, phase, coil)."
            )
        stored = _read_cfl(found)
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
        with named(str(found)):
            if not np.isfinite(samples).all():
                raise ValueError("The trajectory holds NaN or infinity; expected finite numbers.")
        size = image_size or tuple(2 * max(math.ceil(n), 1) for n in np.abs(samples).max(axis=(0, 1))[::-1])
        trajectory = in_radians(str(found), samples, "cycles/FOV", size)
        self.info = trajectory_info(self.path, kspace.shape[_SLICE], kspace.shape[_COIL], size, trajectory)

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, or samples are not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        if self._volume:
            kspace = slices_of_partitions(self)[list(slices)]
        elif self.info.trajectory is None:
            kspace = np.ascontiguousarray(_by_slices(_in_plane(_read_cfl(self.path)))[list(slices), 0])
        else:
            stored = _read_cfl(self.path)
            stored = stored.reshape(*stored.shape[1:4], stored.shape[_SLICE], order="F")
            kspace = np.ascontiguousarray(stored.T[list(slices)])  # (slice, coil, shot, sample)
            kspace = kspace.reshape(len(slices), self.info.num_coils, -1)
        check_finite(self.path, "the k-space", slices, kspace)
        return Volume(self.info, slices, kspace)

    def partitions(self):
        """(partition, coil, height, width) complex64 k-space of a volume of two phase-encode axes."""
        return np.array(_by_slices(_read_cfl(self.path))[0], order="C")

    def _cartesian_info(self, kspace):
        for axis, extent in enumerate(kspace.shape):
            if extent > 1 and axis > _COIL and axis != _SLICE:
                name = f" ({_NAMES[axis]})" if axis in _NAMES else ""
                raise DataError(
                    f"{self.path}: has {extent} entries in dimension {axis}{name}; expected k-space (read, phase, "
                    f"phase, coil) and slices in dimension {_SLICE}."
                )
        kspace = _in_plane(kspace)
        height, width, depth, num_coils = kspace.shape[:4]
        num_slices = kspace.shape[_SLICE]
        self._volume = depth > 1
        if self._volume and num_slices > 1:
            raise DataError(f"{self.path}: holds {num_slices} slabs of {depth} partitions; expected one.")
        sampled = np.zeros((num_slices, depth, height, width), bool)
        for index, part in enumerate(_by_slices(kspace)):
            for partition in range(depth):
                sampled[index, partition] = (part[partition] != 0).any(axis=0)
        if not sampled.any():
            raise DataError(f"{self.path}: all samples are zero; expected a scan.")
        if self._volume:
            check_partitions(self.path, without_chance(sampled[0]))
        found = [one for one in without_chance(sampled.any(axis=1)) if one.any()]
        if any(not np.array_equal(one, found[0]) for one in found):
            raise DataError(f"{self.path}: slices differ in their lines; expected the same ones in all.")
        kind = f"{depth} partitions" if self._volume else f"{num_slices} slices"
        return VolumeInfo(
            name=self.path.name,
            num_slices=depth if self._volume else num_slices,
            num_coils=num_coils,
            height=height,
            width=width,
            mask=mask_of_samples(sampled.any(axis=(0, 1))),
            notes=(f"taken as Cartesian k-space of {kind}, whose samples of zero were not measured",),
        )


def _in_plane(kspace):
    """K-space of one phase axis with it in the second dimension, which may be in the third."""
    return np.swapaxes(kspace, 1, 2) if kspace.shape[1] == 1 else kspace


def _by_slices(kspace):
    """(slice, partition, coil, height, width) of BART's dimensions, still mapped."""
    extents = kspace.shape[:4], kspace.shape[_SLICE]
    return np.transpose(kspace.reshape(*extents[0], extents[1], order="F"), (4, 2, 3, 0, 1))


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
