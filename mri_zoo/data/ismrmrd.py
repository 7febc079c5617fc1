"""Reader of raw data in ISMRMRD's layout."""

import dataclasses
from pathlib import Path

import numpy as np

from mri_zoo.data.geometry import scanner_affine
from mri_zoo.data.hdf5 import hdf5_item, open_hdf5
from mri_zoo.data.ismrmrd_header import parse_header, symmetric_range
from mri_zoo.data.ismrmrd_lines import check_repeats, image_lines, is_reversed
from mri_zoo.data.partitions import check_partitions, slices_of_partitions
from mri_zoo.data.raw import in_radians, trajectory_info
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, check_finite, checked_slices

# What of the format's header is looked at.
_FIELDS = {"flags", "idx", "active_channels", "number_of_samples", "discard_pre", "discard_post", "center_sample"}
_FIELDS |= {"encoding_space_ref", "trajectory_dimensions", "position", "read_dir", "phase_dir", "slice_dir"}
_COUNTERS = {"kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition"}
_COUNTERS |= {"set", "segment", "user"}


class ISMRMRDFile:
    """Raw data in ISMRMRD's HDF5 layout, along a trajectory or Cartesian.

    What is no line of the image is left out, see `mri_zoo.data.ismrmrd_lines.image_lines`; a line that was measured
    several times is averaged. A Cartesian scan becomes (slice, coil, readout, phase encoding), its zero frequency in
    the middle; its mask tells which samples were measured, also where partial Fourier and asymmetric echoes leave out
    one edge. Fully sampled partitions are transformed into slices. All slices of a scan with a trajectory have the same
    one; its samples are taken in [-0.5, 0.5), cycles per pixel of the encoded matrix.

    Args:
        path: the file.
        image_size: (height, width) or (depth, height, width) in place of the encoded matrix; with a trajectory alone.
        units: of the trajectory, see `TrajectoryFile`; "cycles/pixel" by default.
        group: of the HDF5 file.

    Raises:
        DataError: if the file is missing, damaged, or not in this layout; if it holds a series (contrasts, phases,
            repetitions, sets), several encoding spaces, partitions that are undersampled or without a trajectory of
            three dimensions, Cartesian readouts that run backwards, or slices that differ; on reading, if samples are
            not finite.

    Reference: Inati et al., MRM 77:411, 2017.
    """

    def __init__(self, path, image_size=None, units=None, group="dataset"):
        self.path, self._group = Path(path), group
        with open_hdf5(self.path) as file:
            heads = self._heads(file)
            encodings = self._encodings(file)
        kept, encoding, self._notes = image_lines(self.path, heads, encodings)
        heads = heads[kept]
        self._head, self._encoding = heads[0], encoding
        self._rows = [kept[heads["idx"]["slice"] == index] for index in np.unique(heads["idx"]["slice"])]
        self._heads_of = dict(zip(kept.tolist(), heads, strict=True))
        dimensions = int(self._head["trajectory_dimensions"])
        volume = bool(heads["idx"]["kspace_encode_step_2"].any())
        self._volume = volume and not dimensions
        if volume and dimensions == 2:
            raise DataError(
                f"{self.path}: holds partitions with a trajectory of 2 dimensions; expected slices, or one of 3 "
                "dimensions."
            )
        if dimensions:
            self.info = self._trajectory_info(image_size, units or "cycles/pixel")
            return
        if encoding.trajectory not in ("", "cartesian", "epi"):
            raise DataError(
                f"{self.path}: has readouts without a trajectory, and its header says that they lie along one "
                f"({encoding.trajectory}); expected the coordinates beside the samples."
            )
        if image_size is not None or units is not None:
            name = "units" if image_size is None else "image_size"
            raise DataError(f"{self.path}: `{name}` cannot be given, as the scan is Cartesian.")
        if reverse := np.count_nonzero(is_reversed(heads)):
            raise DataError(
                f"{self.path}: {reverse} of {len(heads)} Cartesian readouts run backwards, as those of EPI; expected "
                "readouts that are all in one direction, after its corrections."
            )
        self.info = self._cartesian_info(heads)
        self.whole = self._volume

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, or samples are not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        if self._volume:
            kspace = slices_of_partitions(self)[[self._first_slice + index for index in slices]]
        else:
            kspace = np.stack([self._slice(self._rows[index]) for index in slices])
        check_finite(self.path, "the readouts", slices, kspace)
        return Volume(self.info, slices, kspace)

    def partitions(self):
        """(partition, coil, height, width) complex64 k-space of a volume of two phase-encode axes."""
        places = np.array([self._place(row)[1] for row in self._rows[0]])
        kspace = [self._slice(self._rows[0][places == partition]) for partition in range(self._encoding.size[2])]
        return np.stack(kspace)

    def _slice(self, rows):
        """(coil, samples), or (coil, height, width) on the Cartesian grid."""
        coils = int(self._head["active_channels"])
        if self.info.trajectory is None and not len(rows):
            return np.zeros((coils, self.info.height, self.info.width), np.complex64)
        lines = self._readouts(rows, "data").reshape(len(rows), coils, -1, 2)
        lines = np.ascontiguousarray(lines).view(np.complex64)[..., 0]
        lines = lines[:, :, self._kept(lines.shape[2])]
        if self.info.trajectory is not None:
            return lines.swapaxes(0, 1).reshape(coils, -1)
        kspace = np.zeros((coils, self.info.height, self.info.width), np.complex64)
        counts = np.zeros(self.info.width, np.float32)
        for row, line in zip(rows, lines, strict=True):
            column, _ = self._place(row)
            kspace[:, self._readout, column] += line
            counts[column] += 1
        return kspace / np.maximum(counts, 1)

    def _trajectory_info(self, image_size, units):
        dimensions = int(self._head["trajectory_dimensions"])
        if dimensions not in (2, 3):
            raise DataError(f"{self.path}: has a trajectory of {dimensions} dimensions; expected 2 or 3.")
        found = []
        for rows in self._rows:
            stored = self._readouts(rows, "traj").reshape(len(rows), -1, dimensions)
            found.append(stored[:, self._kept(stored.shape[1])])
            if found[-1].shape != found[0].shape or not np.array_equal(found[-1], found[0], equal_nan=True):
                raise DataError(f"{self.path}: slices differ in their trajectory; expected one for all.")
        encoding = self._encoding
        size = image_size or encoding.size[:dimensions][::-1]
        trajectory = in_radians(f"{self.path}: the trajectory", found[0], units, size)
        info = trajectory_info(self.path, len(self._rows), int(self._head["active_channels"]), size, trajectory)
        if image_size is not None and tuple(size) != encoding.size[:dimensions][::-1]:
            return dataclasses.replace(info, notes=(*self._notes, "the image size is not the header's: no voxel size"))
        kept = (encoding.pixels(1), encoding.pixels(0))  # x is along the width
        return self._located(info, (1, 0), kept, encoding.notes((1, 0)))

    def _cartesian_info(self, heads):
        encoding = self._encoding
        height, width, depth = encoding.size  # phase encoding is along the width, as in fastMRI
        centers = np.unique(heads["center_sample"])
        if len(centers) > 1:
            found = ", ".join(map(str, centers))
            raise DataError(f"{self.path}: readouts differ in `center_sample` ({found}); expected one value.")
        samples = np.arange(int(self._head["number_of_samples"]))[self._kept(None)]
        center, notes = int(centers[0]), []
        if center == 0 and len(samples) == height:  # the default of ISMRMRD's own libraries, which cannot be meant
            center = height // 2
            notes.append(f"`center_sample` is 0 in all readouts: sample {center} is taken for the centre")
        # Of an asymmetric echo the first samples of the grid are missing.
        start = height // 2 - center + samples[0]
        self._readout = slice(start, start + len(samples))
        places = [np.array([self._place(row) for row in rows]) for rows in self._rows]
        steps, partitions = np.concatenate(places).T
        if start < 0 or start + len(samples) > height or steps.min() < 0 or steps.max() >= width:
            raise DataError(
                f"{self.path}: readouts of {len(samples)} samples and lines {steps.min()} to {steps.max()} do not fit "
                f"the encoded matrix of {height} x {width}."
            )
        num_slices, self._first_slice = len(self._rows), 0
        if self._volume:
            num_slices = self._check_volume(partitions, places)
        columns = np.zeros((len(places), width), bool)
        for index, found in enumerate(places):
            columns[index, found[:, 0]] = True
        different = np.flatnonzero((columns != columns[0]).any(axis=1))
        if len(different):
            raise DataError(
                f"{self.path}: slices differ in their lines, slice 0 has {columns[0].sum()} and slice {different[0]} "
                f"{columns[different[0]].sum()}; expected the same ones in all."
            )
        if (repeats := check_repeats(self.path, heads)) > 1:
            notes.append(f"lines that were measured up to {repeats} times are averaged")
        mask, padding = self._mask(columns[0])
        if missing := encoding.missing_lines(1):
            notes.append(f"{missing} lines are missing at one edge of k-space (partial Fourier)")
        if mask is not None and len(mask) > 1:
            notes.append(f"{height - len(samples)} of {height} samples of each readout are missing (asymmetric echo)")
        info = VolumeInfo(
            name=self.path.name,
            num_slices=num_slices,
            num_coils=int(self._head["active_channels"]),
            height=height,
            width=width,
            mask=mask,
            padding=padding,
        )
        kept = (encoding.pixels(0), encoding.pixels(1))
        return self._located(info, (0, 1), kept, (*notes, *encoding.notes((0, 1))))

    def _check_volume(self, partitions, places):
        """The number of slices that the volume has."""
        depth = self._encoding.size[2]
        if len(self._rows) > 1:
            raise DataError(f"{self.path}: holds {len(self._rows)} slabs of partitions; expected one.")
        if partitions.min() < 0 or partitions.max() >= depth:
            raise DataError(
                f"{self.path}: partitions {partitions.min()} to {partitions.max()} do not fit the encoded matrix of "
                f"{depth}."
            )
        sampled = np.zeros((depth, self._encoding.size[1]), bool)
        sampled[partitions, places[0][:, 0]] = True
        check_partitions(self.path, sampled)
        kept = self._encoding.pixels(2)
        self._first_slice = (depth - kept) // 2
        return kept

    def _mask(self, columns):
        """(1 or height, width) or None, and the padding, which is what the limits leave out at both edges."""
        height, width = self._encoding.size[:2]
        first, stop = self._encoding.symmetric_lines(1)
        rows = np.zeros(height, bool)
        rows[self._readout] = True
        inside = rows[slice(*symmetric_range(height, self._readout.start, self._readout.stop))]
        if not inside.all():
            return (rows[:, None] & columns).astype(np.float32), (first, stop)
        return None if columns[first:stop].all() else columns[None].astype(np.float32), (first, stop)

    def _located(self, info, axes, kept, notes):
        """`info` with the geometry that the header and the readouts tell; `axes` are those of height and width."""
        encoding, notes = self._encoding, [*self._notes, *notes]
        sizes = [encoding.pixel_size(axis) for axis in axes]
        affine, thickness = None, None
        if None in sizes:
            notes.append("the header tells no voxel size")
        else:
            volume = self._volume or info.depth is not None
            thickness = encoding.pixel_size(2)
            if not volume and encoding.recon_field_of_view is not None and encoding.recon_size is not None:
                thickness = encoding.recon_field_of_view[2] / encoding.recon_size[2]
            affine, missing = self._affine(info, axes, sizes, thickness, volume)
            if affine is None:
                notes.append(f"the position in the scanner is not known: {missing}")
                if info.num_slices > 1 and not volume:
                    notes.append(f"slices are taken as {thickness:g} mm apart, their thickness")
            else:
                thickness = float(np.linalg.norm(affine[:3, 2]))
        whole = kept == (info.height, info.width)
        return dataclasses.replace(
            info,
            recon_size=None if whole else kept,
            voxel_size=None if thickness is None else (thickness, *sizes),
            affine=affine,
            notes=tuple(notes),
        )

    def _affine(self, info, axes, sizes, thickness, volume):
        firsts = [self._heads_of[int(rows[0])] for rows in self._rows]
        names = ("read_dir", "phase_dir", "slice_dir")
        for name in names:
            if not np.allclose([head[name] for head in firsts], firsts[0][name], atol=1e-3):
                return None, "slices differ in their orientation"
        directions = [firsts[0][names[axis]] for axis in (*axes, 2)]
        positions = [head["position"] for head in firsts]
        depth = 1
        if volume:
            depth = self._encoding.size[2] if info.depth is None else info.depth
        affine, missing = scanner_affine(positions, directions, (*sizes, thickness), (info.height, info.width, depth))
        if affine is not None and self._volume:
            affine = affine.copy()
            affine[:, 3] += self._first_slice * affine[:, 2]
        return affine, missing

    def _place(self, row):
        """The column and the partition of a readout on the grid."""
        index, size = self._heads_of[int(row)]["idx"], self._encoding.size
        return tuple(
            int(index[f"kspace_encode_step_{step}"]) + size[step] // 2 - self._encoding.center(step) for step in (1, 2)
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
        if not _FIELDS <= set(heads.dtype.names or ()) or not _COUNTERS <= set(heads["idx"].dtype.names or ()):
            raise DataError(f"{self.path}: `head` in `{self._group}/data` has no flags; expected ISMRMRD's layout.")
        return heads

    def _encodings(self, file):
        try:
            text = hdf5_item(file, f"{self._group}/xml")[0]
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.path}: has no `{self._group}/xml` with an encoded matrix size ({error})."
            ) from error
        try:
            return parse_header(text)
        except ValueError as error:
            raise DataError(f"{self.path}: `{self._group}/xml` {error}.") from error
