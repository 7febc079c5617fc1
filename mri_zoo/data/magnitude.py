"""What readers of magnitude images share."""

import abc

import numpy as np

from mri_zoo.data.fourier import fft2c
from mri_zoo.data.simulate import smooth_phase
from mri_zoo.data.volume import DataError, Volume, checked_slices

# Interpolation of a magnitude leaves a little below zero beside edges; of a phase or a difference it is a half.
_RINGING = 0.01


class MagnitudeFile(abc.ABC):
    """What readers of magnitude images share: the image is the reference, its Fourier transform the one-coil k-space.

    Subclasses set `path`, `info` and `phase_seed`, and implement `_magnitude`.

    Attributes:
        simulated: the k-space is made of images, so that what is zero in it was not left out.
    """

    simulated = True

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, pixels are not finite, or so many are negative
                that the image is no magnitude.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        target = self._magnitude(slices)
        image = target
        if self.phase_seed is not None:
            # Seeded slice by slice, so that a slice's phase does not depend on which others are read.
            seeds = [(self.phase_seed, index, *self.info.name.encode()) for index in slices]
            phases = [smooth_phase(*target.shape[1:], np.random.default_rng(seed)) for seed in seeds]
            image = target * np.exp(1j * np.reshape(phases, target.shape)).astype(np.complex64)
        kspace = fft2c(image).astype(np.complex64)[:, None]
        return Volume(self.info, slices, kspace, target)

    @abc.abstractmethod
    def _magnitude(self, slices):
        """(slice, height, width) float32, >= 0."""


def check_signs(what, parts):
    """Refuse values that are no magnitudes, as they are negative by more than the ringing of an interpolation.

    Args:
        what: the file, and what in it.
        parts: iterable of arrays, which make up the volume.

    Raises:
        DataError: if the negative values are more than 1 % of the volume's sum of absolute values.
    """
    negative, total, lowest, highest = 0.0, 0.0, np.inf, -np.inf
    for part in parts:
        if part.size and part.min() >= 0:
            total += part.sum(dtype=np.float64) if np.isfinite(part.max()) else 0
            highest = max(highest, part.max())
            lowest = min(lowest, part.min())
            continue
        finite = part[np.isfinite(part)].astype(np.float64) if part.dtype.kind == "f" else part.astype(np.float64)
        if finite.size:
            negative -= np.minimum(finite, 0).sum()
            total += np.abs(finite).sum()
            lowest, highest = min(lowest, finite.min()), max(highest, finite.max())
    if negative > _RINGING * total:
        raise DataError(
            f"{what} has values from {lowest:.4g} to {highest:.4g}, as a phase, a difference or a map has; expected a "
            "magnitude, which is not negative."
        )
