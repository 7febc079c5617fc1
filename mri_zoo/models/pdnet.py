"""PDNet: the learned primal-dual algorithm."""

import keras

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import ConvNet
from mri_zoo.models.base import require_grid
from mri_zoo.models.primal_dual import PrimalDualModel


@keras.saving.register_keras_serializable("mri_zoo")
class PDNet(PrimalDualModel):
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
        activation: of the hidden convolutions: Keras's name, or the negative slope of a leaky ReLU.
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
        activation="relu",
        **kwargs,
    ):
        super().__init__(num_iterations, num_primal, num_dual, refiner_filters, **kwargs)
        check_counts(num_filters=num_filters)
        check_flags(primal_only=primal_only)
        if buffers not in ("zeros", "adjoint"):
            raise ValueError(f'`buffers` must be "zeros" or "adjoint", got {buffers!r}.')
        if buffers == "zeros" and num_primal < 2:
            raise ValueError(f'`num_primal` must be >= 2 with buffers="zeros", got {num_primal}.')
        if not primal_only:
            require_grid(self.physics, "PDNet without `primal_only`")
        self.num_filters, self.primal_only, self.buffers = num_filters, primal_only, buffers
        self.activation = activation
        self.image_read = 1 if buffers == "zeros" else 0
        self.primal_nets = [self._network(num_primal) for _ in range(num_iterations)]
        self.dual_nets = [] if primal_only else [self._network(num_dual) for _ in range(num_iterations)]

    def _network(self, num_buffers):
        options = {"dimensions": self.physics.dimensions, "dtype": self.dtype_policy}
        return ConvNet(2 * num_buffers, self.num_filters, 2, self.activation, **options)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_filters": self.num_filters,
            "primal_only": self.primal_only,
            "buffers": self.buffers,
            "activation": self.activation,
        }
