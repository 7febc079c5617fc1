"""LPDNet: the learned primal-dual algorithm as DIRECT has it, and DIRECT's XPDNet."""

import keras

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import apply_per_coil
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.nested import copies, serialized
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.models.base import ReconstructionModel, require_grid
from mri_zoo.physics.complex import read_buffer, stack_buffers, stack_images


@keras.saving.register_keras_serializable("mri_zoo")
class LPDNet(ReconstructionModel):
    """Learned primal-dual networks that replace their buffers, where those of `PDNet` add to them.

    From copies of the adjoint image in the image (primal) buffer x and of the measured k-space y in the k-space (dual)
    buffer h, each iteration computes::

        h <- net_dual([h, A x_1, y])
        x <- net_primal([x, A^H h_0])

    and the image is x_0. With ``exchange="all"`` the networks see A x_0, A x_1, ... and A^H h_0, A^H h_1, ...; without
    a network for k-space the first line is then ``h <- h - A x_0``, of which only A^H h is kept. That is DIRECT's
    XPDNet. The dual network sees each coil on its own. DIRECT's option `normalize` is the scaling
    ``KSpacePercentileScaling(99, power=3)`` here, see `DirectKIKINet`.

    Args:
        num_iterations: unrolled iterations.
        num_primal: complex channels of the image buffer, at least 2 with ``exchange="one"``.
        num_dual: complex channels of the k-space buffer; 0 for no k-space buffer and network, with ``exchange="all"``.
        image_network: layer from real (batch, height, width, channels) to ``2 * num_primal`` channels; the images
            follow one another, each with its real and its imaginary part. An `InstanceUNet` by default. The model uses
            copies in its own precision.
        kspace_network: the same for k-space, to ``2 * num_dual`` channels, a `NormUNet` by default (`XPDNet` has none).
        exchange: "one" or "all".
        shared: one copy of each network for all iterations, else one for each.
        physics: the acquisition.

    Reference: Adler and Öktem, IEEE TMI 37:1322, 2018; `LPDNet` and `XPDNet` of github.com/NKI-AI/direct;
    971,524 parameters in its configuration for the Calgary-Campinas data.
    """

    def __init__(
        self,
        num_iterations=15,
        num_primal=5,
        num_dual=5,
        image_network=None,
        kspace_network=None,
        exchange="one",
        shared=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_iterations=num_iterations, num_primal=num_primal)
        check_flags(shared=shared)
        if exchange not in ("one", "all"):
            raise ValueError(f'`exchange` must be "one" or "all", got {exchange!r}.')
        if num_primal == 1 and exchange == "one":
            raise ValueError('`num_primal` must be >= 2 with exchange="one", got 1.')
        if num_dual < (1 if exchange == "one" else 0):
            raise ValueError(f'`num_dual` must be >= 1 with exchange="one" and >= 0 otherwise, got {num_dual}.')
        if num_dual == 0 and kspace_network is not None:
            raise ValueError(f"`kspace_network` must be None with `num_dual` 0, got {kspace_network!r}.")
        self.num_iterations, self.num_primal, self.num_dual = num_iterations, num_primal, num_dual
        self.exchange, self.shared = exchange, shared
        if image_network is None:
            image_network = InstanceUNet(2 * num_primal, 8)
        number = 1 if shared else num_iterations
        self.primal_nets = copies("image_network", image_network, number, self.dtype_policy, 2 * num_primal)
        self.dual_nets = []
        if num_dual > 0:
            require_grid(self.physics, "LPDNet with `num_dual` > 0")
            kspace_network = NormUNet(2 * num_dual, 8) if kspace_network is None else kspace_network
            self.dual_nets = copies("kspace_network", kspace_network, number, self.dtype_policy, 2 * num_dual)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch, as_seen = self.physics.complete(batch), self.physics.kspace_as_seen
        measured = batch["kspace"]
        residual = self.physics.adjoint(measured, batch)
        primal = stack_images([residual] * self.num_primal)
        dual = stack_images([as_seen(measured)] * self.num_dual) if self.dual_nets else None
        for i in range(self.num_iterations):
            network = 0 if self.shared else i
            if self.dual_nets:
                dual = self._dual_step(network, primal, dual, batch)
                read = range(self.num_dual if self.exchange == "all" else 1)
                back_projected = [self.physics.adjoint(as_seen(read_image(dual, j)), batch) for j in read]
            else:
                residual = residual - self.physics.normal(read_image(primal, 0), batch)
                back_projected = [residual]
            primal = self.primal_nets[network](stack_buffers(primal, *back_projected))
        return read_image(primal, 0)

    def _dual_step(self, i, primal, dual, batch):
        as_seen = self.physics.kspace_as_seen
        read = range(self.num_primal) if self.exchange == "all" else [1]
        expected = [as_seen(self.physics.forward(read_image(primal, j), batch)) for j in read]
        return apply_per_coil(self.dual_nets[i], stack_buffers(dual, *expected, as_seen(batch["kspace"])))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "num_primal": self.num_primal,
            "num_dual": self.num_dual,
            "image_network": serialized(self.primal_nets[0]),
            "kspace_network": serialized(self.dual_nets[0]) if self.dual_nets else None,
            "exchange": self.exchange,
            "shared": self.shared,
        }


def read_image(channels, index):
    """The inverse of `stack_images` for one image: (...) complex64."""
    return read_buffer(channels[..., 2 * index : 2 * index + 2], 0)
