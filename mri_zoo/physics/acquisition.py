"""What every acquisition of this zoo shares: receive coils around an operator that knows coil images alone."""

from keras import ops

from mri_zoo.physics.complex import from_real
from mri_zoo.physics.fourier import fft2c, fft3c


class Acquisition:
    """Base of the physics: a subclass has `coil_forward`, `coil_adjoint` and `coil_normal`, coil by coil.

    `adjoint` is the one that models use: it includes the density compensation where there is one, and so does `normal`.
    """

    along_trajectory = False  # its k-space are samples along a trajectory, not a grid
    supports_jit = True  # without calls to the host, which XLA cannot compile on TensorFlow

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
        """The batch with `sensitivity_maps`: those of `estimate_maps` where several coils have none."""
        kspace = batch["kspace"]
        if "sensitivity_maps" in batch or kspace.shape[1] == 1:
            return batch
        maps = self.estimate_maps(batch)
        if kspace.shape[1] is None:  # the coil count is known at run time only
            one_coil = ops.equal(ops.shape(kspace)[1], 1)
            maps = ops.where(one_coil, from_real(ops.ones_like(ops.real(maps))), maps)
        return {**batch, "sensitivity_maps": maps}

    def kspace_as_seen(self, kspace):
        """K-space as networks see it, and the inverse; only `Cartesian` may have another form than its own."""
        return kspace

    def maps_as_seen(self, maps):
        """Sensitivity maps or coil images as networks see them, and the inverse."""
        return maps

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)
