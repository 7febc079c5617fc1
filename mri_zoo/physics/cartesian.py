"""Cartesian acquisition: coil sensitivities, Fourier transform, sampling mask."""

import keras
import numpy as np
from keras import ops

from mri_zoo.physics.acquisition import Acquisition
from mri_zoo.physics.checks import check_batch, check_finite, check_mask, check_unit_maps, shape_of, values
from mri_zoo.physics.coils import low_frequency_images
from mri_zoo.physics.complex import scale
from mri_zoo.physics.fourier import fft2c, fft3c, ifft2c, ifft3c, masked_in_kspace


@keras.saving.register_keras_serializable("mri_zoo")
class Cartesian(Acquisition):
    """Multi-coil Cartesian acquisition, y = M F (S x).

    Batch keys:
        kspace: (batch, coil, height, width) complex64, zero where not sampled.
        mask: (batch, 1, 1 or height, width) float32, 1 where sampled.
        sensitivity_maps: (batch, coil, height, width) complex64, unit root-sum-of-squares. Without this key the data
            has one coil of sensitivity 1, or `complete` estimates the maps.
    In three dimensions `depth` precedes `height` everywhere; frames, where a model takes them, precede all of these.

    Units: the FFT is orthonormal, so image and k-space share one unit.

    Args:
        dimensions: 2 or 3, the number of Fourier axes.
        center_fraction: low-frequency window of the estimated sensitivity maps.
        alternating_signs: networks see k-space times (-1)^(row + column) and sensitivity maps likewise, as if the
            Fourier transform of even sizes were not centred; so DIRECT trained for Calgary-Campinas. Batches, the
            operators and images stay as they are.
        phase: of the images that networks see, see `Acquisition`.

    Raises:
        KeyError: if `kspace` or `mask` is missing.
        ValueError: if the entries of a batch do not fit each other or hold impossible values.

    Reference: Pruessmann et al., MRM 42:952, 1999.
    """

    def __init__(self, dimensions=2, center_fraction=0.08, alternating_signs=False, phase="given"):
        super().__init__(phase)
        if dimensions not in (2, 3):
            raise ValueError(f"`dimensions` must be 2 or 3, got {dimensions}.")
        if dimensions == 3 and phase != "given":
            raise ValueError(f"`phase` must be given in three dimensions, where no maps are estimated, got {phase!r}.")
        if not 0 < center_fraction <= 1:
            raise ValueError(f"`center_fraction` must be in (0, 1], got {center_fraction}.")
        self.dimensions, self.center_fraction = dimensions, center_fraction
        self.alternating_signs = alternating_signs
        self._fft, self._ifft = (fft2c, ifft2c) if dimensions == 2 else (fft3c, ifft3c)

    @property
    def can_calibrate(self):
        """No: maps of volumes are not estimated."""
        return self.dimensions == 2

    def check(self, batch):
        """Refuse a batch whose entries do not fit each other or, as arrays, hold impossible values.

        Raises:
            KeyError: if `kspace` or `mask` is missing.
            ValueError: says what is wrong.
        """
        space = ("depth", "height", "width")[-self.dimensions :]
        kspace, mask = (shape_of(batch[key]) if key in batch else None for key in ("kspace", "mask"))
        if all(shape is not None and len(shape) == self.dimensions + 3 for shape in (kspace, mask)):
            space = ("frames", *space)
        axes = {
            "kspace": ("batch", "coil", *space),
            "mask": ("batch or 1", "1", *(f"1 or {axis}" for axis in space[:-1]), "width"),
            "sensitivity_maps": ("batch or 1", "coil", *space),
        }
        if mask is not None and mask[-len(space) :] == (1,) * len(space):  # sampled everywhere
            axes["mask"] = ("batch or 1", *("1",) * (len(space) + 1))
        shapes = check_batch(batch, axes, required=("kspace", "mask"))
        check_finite(batch, shapes)
        if (mask := values(batch["mask"])) is not None:
            check_mask(mask, values(batch["kspace"]), self.dimensions)
            if self.phase != "given":
                self._check_center(mask, shapes["kspace"][-2:])
        if isinstance(batch.get("sensitivity_maps"), np.ndarray):
            check_unit_maps(batch["sensitivity_maps"])

    def _check_center(self, mask, size):
        """Refuse a mask (..., 1 or height, width) without a sample in the window from where the phase is known."""
        for axis, n in zip((-2, -1), size, strict=True):
            half = max(int(n * self.center_fraction) // 2, 1)
            if mask.shape[axis] == n:
                mask = np.take(mask, range(n // 2 - half, min(n // 2 + half, n)), axis)
        if not mask.any(axis=(-2, -1)).all():
            raise ValueError(
                "`mask` has no sample in the centre of k-space, from where the phase that the network knows is found: "
                "enlarge `center_fraction` of its acquisition, or sample the centre."
            )

    def coil_forward(self, coil_images, batch):
        """M F c: coil images (batch, coil, height, width) to sampled k-space of the same shape."""
        return self._sample(self._fft(coil_images), batch)

    def coil_adjoint(self, kspace, batch):
        """F^H M y: the coil images before their combination."""
        return self._ifft(self._sample(kspace, batch))

    def coil_normal(self, coil_images, batch):
        """F^H M F c: what sampling leaves of each coil's image."""
        return masked_in_kspace(coil_images, batch["mask"], self.dimensions)

    def combine_kspace(self, kspace, batch):
        """S^H F^H: the full k-space of every coil to one image, the adjoint of `coil_kspace`."""
        return self.combine(self._ifft(kspace), batch)

    def complete(self, batch):
        """The batch with `sensitivity_maps`, estimated from the centre of k-space where they are not given.

        Data with one coil stays without maps, which means a sensitivity of 1. See `phase` of the class for the phase of
        maps.

        Raises:
            ValueError: for 3-D multi-coil data without maps, of which no estimate is made.
        """
        self.check(batch)
        return self.with_maps(batch)

    def calibration_images(self, batch, needed=True, symmetric=False):
        """Coil images of the centre of k-space, see `low_frequency_images`.

        An empty window is told where they are `needed`, a bool or a tensor of one. Of `symmetric` ones each sample has
        its counterpart on the other side of the centre: those of a real image are real.
        """
        if self.dimensions == 3:
            raise ValueError("3-D multi-coil data needs `sensitivity_maps` in the batch.")
        kspace = self._sample(batch["kspace"], batch)
        if symmetric:
            kspace = scale(kspace, _turned(batch["mask"], self.dimensions))
        return low_frequency_images(kspace, self.center_fraction, needed, symmetric)

    def kspace_as_seen(self, kspace):
        """K-space (..., height, width) as networks see it, and the inverse."""
        return self._alternate(kspace, from_center=False)

    def maps_as_seen(self, maps):
        """Sensitivity maps or coil images (..., height, width) as networks see them, and the inverse."""
        return self._alternate(maps, from_center=True)

    def _alternate(self, x, from_center):
        # The plain transform of s k, s = 1 first, is that of fft2c times another s, which is 1 in the centre.
        if not self.alternating_signs:
            return x
        sizes = ops.shape(x)[-self.dimensions :]
        for i, n in enumerate(sizes):
            signs = 1 - 2 * ((ops.arange(n) - (n // 2 if from_center else 0)) % 2)
            x = scale(x, ops.reshape(signs, (-1, *[1] * (self.dimensions - 1 - i))))
        return x

    def batch_spec(self, batch=None, coils=None, size=None):
        """Every key of a batch as a `KerasTensor`; None leaves an extent open, `size` is that of all Fourier axes."""
        space = (size,) * self.dimensions
        return {
            "kspace": keras.KerasTensor((batch, coils, *space), "complex64"),
            "mask": keras.KerasTensor((batch, 1, *space), "float32"),
            "sensitivity_maps": keras.KerasTensor((batch, coils, *space), "complex64"),
        }

    def _sample(self, kspace, batch):
        return scale(kspace, batch["mask"])

    def get_config(self):
        """The constructor's arguments."""
        return {
            "dimensions": self.dimensions,
            "center_fraction": self.center_fraction,
            "alternating_signs": self.alternating_signs,
            **super().get_config(),
        }


def _turned(mask, dimensions):
    """A mask of k-space turned by 180 degrees about its centre, index ``n // 2``."""
    axes = tuple(range(-dimensions, 0))
    sizes = ops.shape(mask)[-dimensions:]
    return ops.roll(ops.flip(mask, axes), [(n + 1) % 2 for n in sizes], axes)
