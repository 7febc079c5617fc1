"""Non-Cartesian acquisition: coil sensitivities, non-uniform Fourier transform, density compensation."""

import keras
import numpy as np
from keras import ops

from mri_zoo.physics.acquisition import Acquisition
from mri_zoo.physics.checks import check_batch, check_finite, check_unit_maps, needed, values
from mri_zoo.physics.complex import scale
from mri_zoo.physics.nufft import (
    IMPLEMENTATIONS,
    check_density,
    check_reach,
    check_trajectory,
    normal_kernel,
    nufft,
    nufft_adjoint,
    resolved,
    toeplitz,
)


@keras.saving.register_keras_serializable("mri_zoo")
class NonCartesian(Acquisition):
    """Multi-coil acquisition along a trajectory, y = A S x; A is the non-uniform Fourier transform.

    `adjoint` and `normal` include the density compensation D: S^H A^H D y, and S^H A^H D A S x by a Toeplitz product.

    Batch keys:
        kspace: (batch, coil, samples) complex64.
        trajectory: (batch or 1, samples, dim) float32, radians per pixel in [-pi, pi], in the order of the image axes.
        density: (batch or 1, samples) float32, scaled so that A^H D A has unit gain for the zero frequency.
        sensitivity_maps: (batch, coil, *size) complex64, unit root-sum-of-squares. Without this key the data has one
            coil of sensitivity 1, or `complete` estimates the maps.
        kernel: (batch or 1, *doubled size) float32 of `normal_kernel`; `complete` computes it.
    A leading extent of 1 is shared by the batch. The size of the image is that of the maps, else half of the kernel's,
    else `image_size`.

    Units: the transform is orthonormal, so image and k-space share one unit.

    Args:
        image_size: of batches that have neither maps nor kernel.
        dimensions: 2 or 3.
        implementation: of the transform, see `nufft`.
        center_fraction: extent of the window of low frequencies of the estimated sensitivity maps, relative to k-space.
        phase: of the images that networks see, see `Acquisition`.

    Raises:
        KeyError: if `kspace`, `trajectory` or `density` is missing.
        ValueError: if the entries of a batch do not fit each other, or nothing tells the size.

    Reference: Ramzi et al., NC-PDNet, IEEE TMI 41:1625, 2022.
    """

    along_trajectory = True

    def __init__(self, image_size=None, dimensions=2, implementation="auto", center_fraction=0.08, phase="given"):
        super().__init__(phase)
        if dimensions not in (2, 3):
            raise ValueError(f"`dimensions` must be 2 or 3, got {dimensions}.")
        if image_size is not None and (len(image_size) != dimensions or min(image_size) < 1):
            raise ValueError(f"`image_size` must be {dimensions} positive numbers, got {image_size}.")
        if implementation not in ("auto", *IMPLEMENTATIONS):
            raise ValueError(
                f"`implementation` must be auto or one of {list(IMPLEMENTATIONS)}, got {implementation!r}."
            )
        if not 0 < center_fraction <= 1:
            raise ValueError(f"`center_fraction` must be in (0, 1], got {center_fraction}.")
        self.image_size = None if image_size is None else tuple(image_size)
        self.dimensions, self.implementation, self.center_fraction = dimensions, implementation, center_fraction

    @property
    def supports_jit(self):
        """False where the transform is FINUFFT, a call to the host."""
        return resolved(self.implementation) != "finufft"

    def coil_forward(self, coil_images, batch):
        """A c: coil images (batch, coil, *size) to samples (batch, coil, samples)."""
        return nufft(coil_images, self._trajectory(batch), self.implementation)

    def coil_adjoint(self, kspace, batch):
        """A^H D y: the coil images before their combination."""
        weighted = scale(kspace, self._density(batch)[:, None])
        return nufft_adjoint(weighted, self._trajectory(batch), self.size(batch), self.implementation)

    def coil_normal(self, coil_images, batch):
        """A^H D A c: what the trajectory leaves of each coil's image."""
        return toeplitz(coil_images, batch["kernel"] if "kernel" in batch else self._kernel(batch))

    def check(self, batch):
        """Refuse a batch whose entries do not fit each other or, outside of graphs, hold impossible values.

        Raises:
            KeyError: if `kspace` or `trajectory` is missing.
            ValueError: says what is wrong.
        """
        axes = ("depth", "height", "width")[-self.dimensions :]
        shapes = check_batch(
            batch,
            {
                "kspace": ("batch", "coil", "samples"),
                "trajectory": ("batch or 1", "samples", str(self.dimensions)),
                "density": ("batch or 1", "samples"),
                "sensitivity_maps": ("batch or 1", "coil", *axes),
                "kernel": ("batch or 1", *(f"twice the {axis}" for axis in axes)),
            },
            required=("kspace", "trajectory"),
        )
        trajectory = batch["trajectory"]
        if (known := values(trajectory)) is not None:
            check_trajectory(known, self.dimensions)
            if isinstance(trajectory, np.ndarray):  # a backend may try a model on tensors of ones
                check_reach(known, self.size(batch))
        if "density" in batch and (density := values(batch["density"])) is not None:
            check_density(density)
        check_finite(batch, shapes)
        if isinstance(batch.get("sensitivity_maps"), np.ndarray):
            check_unit_maps(batch["sensitivity_maps"])
        if isinstance(trajectory, np.ndarray) and (
            self.phase != "given" or shapes["kspace"][1] != 1 and "sensitivity_maps" not in batch
        ):
            counted = ops.convert_to_numpy(self._is_central(trajectory))
            if "density" in batch:
                counted = counted & (ops.convert_to_numpy(batch["density"]) > 0)
            if not counted.any(axis=-1).all():
                raise ValueError(
                    f"No sample lies within {self._bound:.3g} radians per pixel of the centre of k-space, from where "
                    "sensitivity maps are estimated: enlarge `center_fraction`, or centre the echo (CenteredEcho, "
                    "--center-echo)."
                )

    def complete(self, batch):
        """The batch with what the operators need more than once, and checked.

        Adds `sensitivity_maps`, estimated from the low frequencies of several coils, and `kernel`, with which a loop
        over `normal` has no gridding. Values are checked where they are known, that is outside of graphs.
        """
        self.check(batch)
        batch = self.with_maps(batch)
        return batch if "kernel" in batch else {**batch, "kernel": self._kernel(batch)}

    def complete_uncompensated(self, batch):
        """As `complete`, for networks without density compensation: with the same `density` for all samples.

        That is ``2**-dimensions``, by which ``A^H D A`` is the predecessor's product without compensation: it divides
        its transforms by the square root of the grid, which has twice the image's extents. Maps are still estimated
        with the batch's own `density`, where it has one, as the predecessor's are.
        """
        self.check(batch)
        if "density" in batch:
            return self.uncompensated(self.with_maps(batch), 0.5**self.dimensions)
        return self.with_maps(self.uncompensated(batch, 0.5**self.dimensions))

    def uncompensated(self, batch, weight=1.0):
        """The batch with a `density` of `weight` for all samples but those of weight 0, and the `kernel` to it."""
        self.check(batch)
        density = ops.ones_like(self._trajectory(batch)[..., 0])
        if "density" in batch:
            density = ops.cast(ops.convert_to_tensor(batch["density"]) > 0, "float32")
        density = weight * density
        kernel = normal_kernel(batch["trajectory"], density, self.size(batch), self.implementation)
        return {**batch, "density": density, "kernel": kernel}

    def calibration_images(self, batch, needed=True, symmetric=False):
        """Coil images (batch, coil, *size) of the samples with all ``|w_d| <= center_fraction * pi / 2``.

        Reference: Ramzi, thesis, section 5.2; `non_cartesian_extract_smaps` of fastmri-reproducible-benchmark.
        """
        inside = self._is_central(self._trajectory(batch))
        low = scale(batch["kspace"], ops.cast(inside, "float32")[:, None])
        return self.coil_adjoint(low, batch)

    @property
    def _bound(self):
        # In float32 a bound can lie on either side of a sample that is on it: the predecessor's comparison.
        return np.float32(self.center_fraction / 2 * np.pi)

    def _is_central(self, trajectory):
        """Which samples (batch, samples) show the low frequencies that maps are made of."""
        return ops.all(ops.abs(trajectory) <= self._bound, axis=-1)

    def size(self, batch):
        """The size of the image: numbers, or tensors where a graph leaves it open."""
        if "sensitivity_maps" in batch:
            return tuple(ops.shape(batch["sensitivity_maps"])[2:])
        if "kernel" in batch:
            return tuple(n // 2 for n in ops.shape(batch["kernel"])[1:])
        if self.image_size is None:
            raise ValueError(
                "The size of the image is unknown: give `sensitivity_maps` or `kernel` in the batch, or `image_size` "
                "to NonCartesian."
            )
        return self.image_size

    def batch_spec(self, batch=None, coils=None, size=None):
        """Every key of a batch as a `KerasTensor`; None leaves an extent open, `size` is that of all image axes."""
        samples = None if size is None else 2 * size
        return {
            "kspace": keras.KerasTensor((batch, coils, samples), "complex64"),
            "trajectory": keras.KerasTensor((batch, samples, self.dimensions), "float32"),
            "density": keras.KerasTensor((batch, samples), "float32"),
            "sensitivity_maps": keras.KerasTensor((batch, coils, *(size,) * self.dimensions), "complex64"),
        }

    def _kernel(self, batch):
        return normal_kernel(self._trajectory(batch), self._density(batch), self.size(batch), self.implementation)

    def _trajectory(self, batch):
        trajectory = needed(batch, "trajectory")
        if len(trajectory.shape) != 3 or trajectory.shape[-1] != self.dimensions:
            raise ValueError(
                f"`trajectory` must have the shape (batch or 1, samples, {self.dimensions}), got "
                f"{tuple(trajectory.shape)}."
            )
        return trajectory

    def _density(self, batch):
        if "density" not in batch:
            raise KeyError(
                "The batch has no `density`; compute it from the trajectory, for example with "
                "mri_zoo.physics.density.pipe_density(trajectory, size). A network that was trained without density "
                "compensation needs none: NCPDNet and DealiasingNet with `compensated=False`."
            )
        return batch["density"]

    def get_config(self):
        """The constructor's arguments."""
        return {
            "image_size": self.image_size,
            "dimensions": self.dimensions,
            "implementation": self.implementation,
            "center_fraction": self.center_fraction,
            **super().get_config(),
        }
