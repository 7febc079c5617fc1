"""Which samples of a Cartesian k-space were measured, where zeros are all that tells."""

import numpy as np

from mri_zoo.data.ismrmrd_header import symmetric_range

# Single samples that are zero by chance, as integers of a receiver are, are fewer; undersampling leaves out more.
_BY_CHANCE = 0.01


def mask_of_samples(sampled):
    """The mask of a scan.

    Lines that are missing at both edges are the padding of a smaller matrix, which means the same image. Lines that
    are missing at one edge alone were skipped, as in partial Fourier and asymmetric echoes.

    Args:
        sampled: (height, width) bool, where there are samples.

    Returns:
        (1 or height, width) float32, 1 where sampled; None for a fully sampled scan.
    """
    sampled = without_chance(sampled)
    rows, columns = sampled.any(axis=1), sampled.any(axis=0)
    if not rows.any():
        return None
    inside = sampled[between(rows), between(columns)]
    if inside.all():
        return None
    if rows[between(rows)].all() and np.array_equal(sampled, rows[:, None] & columns):
        return columns[None].astype(np.float32)
    return sampled.astype(np.float32)


def without_chance(sampled):
    """Where a scan has samples (..., height, width) bool, without the few zeros among them that are values."""
    lines = sampled.any(axis=-1)[..., :, None] & sampled.any(axis=-2)[..., None, :]
    few = np.count_nonzero(lines & ~sampled) <= _BY_CHANCE * np.count_nonzero(lines)
    return lines if few else sampled


def between(lines):
    """The slice of the lines inside the padding."""
    found = np.flatnonzero(lines)
    return slice(*symmetric_range(len(lines), found[0], found[-1] + 1))
