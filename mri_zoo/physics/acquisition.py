"""What every acquisition of this zoo shares: receive coils around an operator that knows coil images alone."""

from keras import ops

from mri_zoo.physics.coils import normalize_maps
from mri_zoo.physics.complex import from_real, scale
from mri_zoo.physics.fourier import fft2c, fft3c

PHASES = ("given", "calibrated")
_IMAGINARY = 1e-3  # the part of a real image's energy that rounding, or a trajectory, may make imaginary


class Acquisition:
    """Base of the physics: a subclass has `coil_forward`, `coil_adjoint` and `coil_normal`, coil by coil.

    `adjoint` is the one that models use: it includes the density compensation where there is one, and so does `normal`.

    Sensitivity maps S are known up to a phase in every pixel, which the image takes over: of S exp(i p) it is
    x exp(-i p). A network knows the phase of the images that it was trained on alone, so `phase` says which that is.

    Args:
        phase: of the images that networks see. "given": maps of the batch stay as they are, and a single coil has no
            map. "calibrated": maps, wherever they are from, get the phase with which the low frequencies of S^H c, c
            the coil images, are real and positive, as those of `estimate_maps` have it; and a single coil gets a map of
            that phase, unless its image is real and positive already. So a network should have it that was trained
            with estimated maps, or on magnitude images. Trainings by recipes find it out.

    Raises:
        ValueError: if there is no such `phase`.
    """

    along_trajectory = False  # its k-space are samples along a trajectory, not a grid
    can_calibrate = True  # has `calibration_images`, the coil images of low frequencies
    supports_jit = True  # without calls to the host, which XLA cannot compile on TensorFlow

    def __init__(self, phase="given"):
        if phase not in PHASES:
            raise ValueError(f"`phase` must be one of {', '.join(PHASES)}, got {phase!r}.")
        self.phase = phase

    def check(self, batch):
        """Refuse a batch of arrays whose entries do not fit each other or hold impossible values.

        Raises:
            ValueError: says what is wrong.
        """

    def forward(self, image, batch):
        """Image (batch, *size) complex64 to the measurement (batch, coil, ...)."""
        return self.coil_forward(self.expand(image, batch), batch)

    def adjoint(self, kspace, batch):
        """The measurement to the coil-combined image (batch, *size) complex64."""
        return self.combine(self.coil_adjoint(kspace, batch), batch)

    def coil_sum(self, kspace, batch):
        """The measurement to the sum of the coil images, without maps, (batch, *size): DIRECT's "zero_filled" image."""
        return self.maps_as_seen(ops.sum(self.coil_adjoint(kspace, batch), axis=1))

    def normal(self, image, batch):
        """Adjoint of forward, without the measurement in between."""
        return self.combine(self.coil_normal(self.expand(image, batch), batch), batch)

    def expand(self, image, batch):
        """S x: one image (batch, *size) to coil images (batch, coil, *size)."""
        coils = image[:, None]
        return batch["sensitivity_maps"] * coils if "sensitivity_maps" in batch else coils

    def combine(self, coil_images, batch):
        """S^H: coil images (batch, coil, *size) to one image (batch, *size)."""
        if "sensitivity_maps" in batch:
            coil_images = ops.conj(batch["sensitivity_maps"]) * coil_images
        return ops.sum(coil_images, axis=1)

    def coil_kspace(self, image, batch):
        """F S x: the full Cartesian k-space of every coil, whatever was sampled."""
        return self.kspace_of_coils(self.expand(image, batch))

    def kspace_of_coils(self, coil_images):
        """F c: the full Cartesian k-space of coil images (batch, coil, *size)."""
        return (fft2c if self.dimensions == 2 else fft3c)(coil_images)

    def uncompensated(self, batch):
        """The batch with density weights of 1; on a grid there are none."""
        return batch

    def complete_uncompensated(self, batch):
        """As `complete`, without density compensation; on a grid there is none."""
        return self.complete(batch)

    def with_maps(self, batch):
        """The batch with `sensitivity_maps` in the phase that networks know: see `phase`.

        Where several coils have none they are those of `estimate_maps`.
        """
        coils, given = batch["kspace"].shape[1], batch.get("sensitivity_maps")
        if self.phase == "given" and (coils == 1 or given is not None):
            return batch
        several = coils != 1 if coils is not None else ops.not_equal(ops.shape(batch["kspace"])[1], 1)
        low = self.calibration_images(batch, needed=given is None and several)
        if given is not None:
            maps = given * _phase(self.combine(low, batch))[:, None]
        elif coils == 1:
            maps = self._map_of_one_coil(low, batch)
        else:
            maps = normalize_maps(low)
            if coils is None:  # known at run time only
                maps = ops.where(ops.shape(low)[1] == 1, self._map_of_one_coil(low, batch), maps)
        return {**batch, "sensitivity_maps": maps}

    def _map_of_one_coil(self, low, batch):
        if self.phase == "given":
            return from_real(ops.ones_like(ops.real(low)))
        balanced = self.calibration_images(batch, needed=False, symmetric=True)
        return _phase(low[:, 0], balanced[:, 0])[:, None]

    def phase_after(self, batch):
        """The `phase` of a network that has learned from such batches, where its own is "given".

        One coil whose images are real and positive leaves none to know; estimated maps leave that of calibration.
        """
        if self.phase != "given" or "sensitivity_maps" in batch or not self.can_calibrate:
            return self.phase
        if batch["kspace"].shape[1] != 1:
            return "calibrated"
        batch = self.complete(batch)  # which puts samples of a trajectory on the grid of `Gridded`
        image = self.calibration_images(batch, needed=False, symmetric=True)
        known = ops.any(ops.abs(image) > 0)
        return "calibrated" if bool(known) and bool(ops.all(_is_positive(image))) else "given"

    def estimate_maps(self, batch):
        """Sensitivity maps (batch, coil, *size): the `calibration_images`, divided by their root-sum-of-squares."""
        return normalize_maps(self.calibration_images(batch))

    def kspace_as_seen(self, kspace):
        """K-space as networks see it, and the inverse; only `Cartesian` may have another form than its own."""
        return kspace

    def maps_as_seen(self, maps):
        """Sensitivity maps or coil images as networks see them, and the inverse."""
        return maps

    def get_config(self):
        """The `phase`, where it is not the default; to which subclasses add their arguments."""
        return {} if self.phase == "given" else {"phase": self.phase}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


def _phase(image, judged=None):
    """exp(i angle) of an image (batch, ...); 1 in all pixels where the image `judged`, by default it, is positive."""
    magnitude = ops.abs(image)
    positive = _is_positive(image if judged is None else judged)
    known = ops.logical_and(magnitude > 1e-12, ops.logical_not(positive))
    phase = scale(image, 1 / ops.maximum(magnitude, 1e-12))
    return ops.where(known, phase, from_real(ops.ones_like(magnitude)))


def _is_positive(image):
    """Which images (batch, ...) are real and positive but for ripples: (batch, 1, ...)."""
    axes = tuple(range(1, len(image.shape)))
    energy, imaginary = (ops.sum(ops.square(x), axis=axes, keepdims=True) for x in (ops.abs(image), ops.imag(image)))
    return ops.logical_and(ops.sum(ops.real(image), axis=axes, keepdims=True) >= 0, imaginary <= _IMAGINARY * energy)
