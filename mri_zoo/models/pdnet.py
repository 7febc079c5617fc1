"""PDNet: the learned primal-dual algorithm."""

import keras
from keras import ops

from mri_zoo.layers.convnet import ConvNet, apply_per_coil
from mri_zoo.layers.sensitivity import SensitivityRefiner, refiner_network
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.complex import read_buffer, stack_buffers, to_channels


@keras.saving.register_keras_serializable("mri_zoo")
class PDNet(ReconstructionModel):
    """Learned primal-dual reconstruction: the proximal operators of the PDHG algorithm are small convolutional nets.

    With an image (primal) buffer x of `num_primal` and a k-space (dual) buffer h of `num_dual` complex channels, each
    iteration computes::

        h <- h + net_dual([h, A x_i, y])
        x <- x + net_primal([x, A^H h_0])

    `primal_only` replaces the first line by ``h = A x_0 - y``: the form used for multi-coil data, where k-space
    networks cost too much. With several coils the dual network sees each coil on its own.

    Args:
        num_iterations: unrolled iterations.
        num_primal: complex channels of the image buffer, at least 2 with ``buffers="zeros"``.
        num_dual: complex channels of the k-space buffer.
        num_filters: channels of the two hidden convolutions of each network.
        primal_only: no k-space networks.
        buffers: "zeros" starts from empty buffers and A reads image channel i = 1 (Adler and Öktem, and section 4.2 of
            the thesis); "adjoint" starts from copies of A^H y and of y and reads channel i = 0 (the later code of the
            same author, which XPDNet and NC-PDNet extend).
        refiner_filters: channels of each scale of the U-net that refines the sensitivity maps of multi-coil data,
            (4, 8, 16) in the thesis; no refinement by default.
        physics: the acquisition.

    Reference: Adler and Öktem, IEEE TMI 37:1322, 2018; Ramzi, thesis, section 4.2.3, where it has 318,280 parameters.
    """

    def __init__(
        self,
        num_iterations=10,
        num_primal=5,
        num_dual=5,
        num_filters=32,
        primal_only=False,
        buffers="zeros",
        refiner_filters=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_iterations < 1:
            raise ValueError(f"`num_iterations` must be >= 1, got {num_iterations}.")
        if buffers not in ("zeros", "adjoint"):
            raise ValueError(f'`buffers` must be "zeros" or "adjoint", got {buffers!r}.')
        if num_primal < (2 if buffers == "zeros" else 1):
            raise ValueError(f'`num_primal` must be >= 2 with buffers="zeros" and >= 1 otherwise, got {num_primal}.')
        self.num_iterations, self.num_primal, self.num_dual = num_iterations, num_primal, num_dual
        self.num_filters, self.primal_only, self.buffers = num_filters, primal_only, buffers
        self.refiner_filters = None if refiner_filters is None else tuple(refiner_filters)
        self.refiner = None
        if refiner_filters is not None:
            self.refiner = SensitivityRefiner(
                refiner_network(refiner_filters, self.dtype_policy), dtype=self.dtype_policy
            )
        self.primal_nets = [self._network(num_primal) for _ in range(num_iterations)]
        self.dual_nets = [] if primal_only else [self._network(num_dual) for _ in range(num_iterations)]

    def _network(self, num_buffers):
        return ConvNet(2 * num_buffers, self.num_filters, num_convolutions=2, dtype=self.dtype_policy)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        if self.refiner is not None and "sensitivity_maps" in batch:
            batch = {**batch, "sensitivity_maps": self.refiner(batch["sensitivity_maps"])}
        measured = batch["kspace"]
        primal, dual = self._initial_buffers(batch)
        read = 1 if self.buffers == "zeros" else 0
        for i in range(self.num_iterations):
            expected = self.physics.forward(read_buffer(primal, read), batch)
            if self.primal_only:
                residual = expected - measured
            else:
                dual = _add(dual, apply_per_coil(self.dual_nets[i], stack_buffers(dual, expected, measured)))
                residual = read_buffer(dual, 0)
            back_projected = self.physics.adjoint(residual, batch)
            primal = _add(primal, self.primal_nets[i](stack_buffers(primal, back_projected)))
        return read_buffer(primal, 0)

    def _initial_buffers(self, batch):
        image, kspace = self.physics.adjoint(batch["kspace"], batch), batch["kspace"]
        if self.buffers == "zeros":
            image, kspace = ops.zeros_like(image), ops.zeros_like(kspace)
        return (
            to_channels(ops.stack([x] * n, axis=-1)) for x, n in ((image, self.num_primal), (kspace, self.num_dual))
        )

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "num_primal": self.num_primal,
            "num_dual": self.num_dual,
            "num_filters": self.num_filters,
            "primal_only": self.primal_only,
            "buffers": self.buffers,
            "refiner_filters": self.refiner_filters,
        }


def _add(buffers, update):
    return buffers + ops.cast(update, "float32")  # the networks may run in a lower precision
