"""Which samples of k-space were measured, where a file does not tell: one decision for all who ask."""

import dataclasses

import numpy as np

from mri_zoo.data.gaps import between, without_chance
from mri_zoo.data.volume import DataError

# Integers and removed spikes leave scattered zeros among measured samples; no mask of single samples is so dense.
_SCATTERED = 0.1


def find_mask(name, slices, padded=False):
    """The mask of a Cartesian scan, from where its k-space is exactly zero.

    A sample was measured if any coil of any slice is not zero there. Missing are samples that have measured ones on
    both sides, along their row or their column: what is empty at both edges is padding, or the corners of an elliptic
    acquisition. Lines that are missing at one edge alone were skipped, as in partial Fourier and asymmetric echoes. The
    scan is undersampled where whole columns or rows are missing, or more than a tenth of the samples;
    a few scattered zeros are samples that were measured as zero.

    Args:
        name: of the scan, for the error.
        slices: iterable of (coil, height, width) k-space, one for each slice; empty ones do not count.
        padded: lines that are missing at one edge alone are padding, too: where there is a stored reference, it tells
            what the image is, and fastMRI's k-space is padded so.

    Returns:
        The mask (1 or height, width) float32, None for a fully sampled scan; and a text that tells of what was assumed,
        empty where nothing was.

    Raises:
        DataError: if slices were sampled at different places.
    """
    measured, common = None, None
    for kspace in slices:
        found = np.any(kspace != 0, axis=0)
        if not found.any():
            continue
        measured = found if measured is None else measured | found
        filled = found | ~_inside(found)
        common = filled if common is None else common & filled
    if measured is None:
        return None, ""
    if np.count_nonzero(measured & ~common) > _SCATTERED * np.count_nonzero(measured):
        raise DataError(
            f"{name}: its slices were sampled at different places, and it has no `mask`; expected one mask for all, or "
            "a file for each slice."
        )
    missing = _inside(measured) & ~measured
    count, box = np.count_nonzero(missing), measured[_extent(measured.any(axis=1)), _extent(measured.any(axis=0))]
    rows, columns = measured.any(axis=1), measured.any(axis=0)
    edge = not padded and not (rows[between(rows)].all() and columns[between(columns)].all())
    lines = edge or not (box.any(axis=0).all() and box.any(axis=1).all())
    if not lines and count <= _SCATTERED * box.size:
        verb = "samples are" if count > 1 else "sample is"
        return None, f"{count} {verb} exactly zero, and taken for sampled" if count else ""
    measured = without_chance(measured)
    whole = rows[_extent(rows) if padded else between(rows)].all()
    if whole and np.array_equal(measured, rows[:, None] & columns):
        return columns[None].astype(np.float32), ""
    return measured.astype(np.float32), ""


def as_measured(source, volume):
    """What was read of a whole source, with the mask of `find_mask` where its file has none."""
    info = volume.info
    if info.mask is not None or info.trajectory is not None or getattr(source, "simulated", False):
        return volume
    mask, _ = find_mask(info.name, volume.kspace, padded=info.target_size is not None)
    return volume if mask is None else dataclasses.replace(volume, info=dataclasses.replace(info, mask=mask))


def check_fully_sampled(name, slices, kspace, padded=False):
    """Raise a `DataError` for the first slice of k-space (slice, coil, height, width) that `find_mask` has a mask for.

    All samples are looked at where the middle row or column has gaps, so that others cost hardly any time.
    """
    for index, coils in zip(slices, kspace, strict=True):
        row, column = coils[:, coils.shape[1] // 2], coils[:, :, coils.shape[2] // 2]
        lines = np.any(row != 0, axis=0), np.any(column != 0, axis=0)
        if all(line[_extent(line)].all() for line in lines):
            continue
        mask, _ = find_mask(name, [coils], padded)
        if mask is not None:
            raise DataError(
                f"{name}: {np.count_nonzero(mask == 0)} of {mask.size} {'columns' if len(mask) == 1 else 'samples'} of "
                f"slice {index} are empty, and it has no `mask`; expected a fully sampled scan, or a stored mask."
            )


def _inside(measured):
    """Where there are measured samples on both sides, or here, along the row or along the column."""
    between = [
        np.logical_or.accumulate(measured, axis=axis)
        & np.flip(np.logical_or.accumulate(np.flip(measured, axis), axis=axis), axis)
        for axis in (0, 1)
    ]
    return between[0] | between[1]


def _extent(lines):
    """The slice from the first to the last line that is measured; nothing where none is."""
    found = np.flatnonzero(lines)
    return slice(found[0], found[-1] + 1) if len(found) else slice(0)
