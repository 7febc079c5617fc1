"""NCPDNet: the density-compensated primal-dual network for non-Cartesian data."""

import keras
from keras import ops

from mri_zoo.arguments import check_flags
from mri_zoo.models.pdnet import PDNet
from mri_zoo.physics.complex import scale
from mri_zoo.physics.noncartesian import NonCartesian


@keras.saving.register_keras_serializable("mri_zoo")
class NCPDNet(PDNet):
    """Density-compensated unrolled network for non-Cartesian data: `PDNet` without k-space networks.

    With the non-uniform Fourier transform in A, the density compensation d of the samples, and an image buffer x of
    `num_primal` complex channels that begins with copies of A^H d y, each iteration computes::

        x <- x + net([x, A^H d (A x_0 - y)])

    A^H d A is one convolution (a Toeplitz product by way of two Fourier transforms) and A^H d y is computed once, so
    nothing is gridded within the iterations. The number of dimensions is that of the physics: the network for volumes
    is ``NCPDNet(6, 2, 16, physics=NonCartesian(dimensions=3))``.

    Args:
        num_iterations: unrolled iterations.
        num_primal: complex channels of the image buffer.
        num_filters: channels of the two hidden convolutions of each network.
        refiner_filters: channels of each scale of the U-net that refines the sensitivity maps of multi-coil data,
            (4, 8, 16) in the thesis; no refinement by default.
        normalized: y is divided by the largest magnitude of the adjoint image, each back-projection by its own, and the
            former is undone.
        compensated: with density compensation; by default where the network is not `normalized`. Without, the `density`
            of the batch, if it has one, is replaced by one weight for all samples, see
            `NonCartesian.complete_uncompensated`. ``normalized=True`` alone is so the "PDNet without DCp" of the
            thesis' comparison; the predecessor's own defaults are ``dcomp=False, normalize_image=False``, here
            ``compensated=False``.
        physics: the acquisition, `NonCartesian()` by default.

    Reference: Ramzi et al., NC-PDNet, IEEE TMI 41:1625, 2022; Ramzi, thesis, section 5.2, where it has 156,260
    parameters, 163,718 with the refiner, and 67,608 in 3-D.
    """

    def __init__(
        self,
        num_iterations=10,
        num_primal=5,
        num_filters=32,
        refiner_filters=None,
        normalized=False,
        compensated=None,
        **kwargs,
    ):
        kwargs["physics"] = kwargs.get("physics") or NonCartesian()
        super().__init__(
            num_iterations,
            num_primal,
            num_filters=num_filters,
            primal_only=True,
            buffers="adjoint",
            refiner_filters=refiner_filters,
            **kwargs,
        )
        check_flags(normalized=normalized)
        self.normalized, self.compensated = normalized, not normalized if compensated is None else compensated
        check_flags(compensated=self.compensated)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch) if self.compensated else self.physics.complete_uncompensated(batch)
        if not self.normalized:
            return super().call(batch)
        largest = _largest(self.physics.adjoint(batch["kspace"], batch))
        largest_of_samples = ops.reshape(largest, (-1, *(1,) * (len(batch["kspace"].shape) - 1)))
        kspace = scale(batch["kspace"], 1 / largest_of_samples)
        return scale(super().call({**batch, "kspace": kspace}), largest)

    def back_projected(self, image, adjoint, batch):
        """A^H d (A x - y), normalised or not."""
        residual = super().back_projected(image, adjoint, batch)
        return scale(residual, 1 / _largest(residual)) if self.normalized else residual

    def get_config(self):
        """The constructor's arguments."""
        config = {**super().get_config(), "normalized": self.normalized, "compensated": self.compensated}
        fixed = ("num_dual", "primal_only", "buffers", "activation")
        return {name: value for name, value in config.items() if name not in fixed}


def _largest(image):
    """The largest magnitude of each image, kept for broadcasting, and never zero."""
    axes = tuple(range(1, len(image.shape)))
    return ops.maximum(ops.max(ops.abs(image), axis=axes, keepdims=True), 1e-30)
