"""Cartesian volumes of two phase-encode axes, read as slices."""

import functools

import numpy as np
import scipy.fft

from mri_zoo.data.ismrmrd_header import symmetric_range
from mri_zoo.data.volume import DataError

# The last ones stay in memory, so that a pass over the slices of one after the other transforms each once.
NUM_CACHED = 2


@functools.lru_cache(maxsize=NUM_CACHED)
def slices_of_partitions(reader):
    """Slices (slice, coil, height, width) complex64 of a reader's `partitions()`, (partition, coil, height, width).

    The transform is centred and orthonormal, as that of the other axes.
    """
    kspace = scipy.fft.ifftshift(reader.partitions(), axes=0)
    return scipy.fft.fftshift(scipy.fft.ifft(kspace, axis=0, norm="ortho", overwrite_x=True), axes=0)


def check_partitions(path, sampled):
    """Refuse a volume that is undersampled along its partitions.

    Args:
        path: of the file, for the message.
        sampled: (partition, ...) bool.

    Raises:
        DataError: if two partitions that have samples have different ones, or one between them has none.
    """
    found = np.flatnonzero(sampled.reshape(len(sampled), -1).any(axis=1))
    first, stop = symmetric_range(len(sampled), found[0], found[-1] + 1)
    inside = sampled[first:stop]
    if not np.array_equal(inside, np.broadcast_to(inside.any(axis=0), inside.shape)):
        raise DataError(
            f"{path}: is undersampled along its {len(sampled)} partitions; expected all samples of them, or slices."
        )
