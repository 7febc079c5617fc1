"""What the learned primal-dual networks share: the unrolled iterations between image space and k-space."""

from keras import ops

from mri_zoo.arguments import check_counts
from mri_zoo.layers.convnet import apply_per_coil
from mri_zoo.layers.sensitivity import SensitivityRefiner, refine_several, refiner_network
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.complex import read_buffer, stack_buffers, to_channels


class PrimalDualModel(ReconstructionModel):
    """Base of models whose networks update an image (primal) buffer x and a k-space (dual) buffer h in turn.

    Each iteration computes, with the acquisition A and the measured k-space y::

        h <- h + net_dual([h, A x_i, y])
        x <- x + net_primal([x, A^H h_0])

    Subclasses make the lists `primal_nets` and `dual_nets`, one layer for each iteration. Without `dual_nets` the first
    line is ``h = A x_i - y``, and A^H h is computed as ``A^H A x_i - A^H y``, without k-space in between. With several
    coils the dual network sees each coil on its own.

    Args:
        num_iterations: unrolled iterations.
        num_primal: complex channels of the image buffer.
        num_dual: complex channels of the k-space buffer.
        refiner_filters: channels of each scale of the U-net that refines sensitivity maps; None for no refinement.
        physics: the acquisition.
    """

    image_read = 0  # i, the channel of the image buffer that A reads
    buffers = "adjoint"  # they begin with copies of A^H y and of y, or with "zeros"

    def __init__(self, num_iterations, num_primal, num_dual, refiner_filters, **kwargs):
        super().__init__(**kwargs)
        check_counts(num_iterations=num_iterations, num_primal=num_primal, num_dual=num_dual)
        if not isinstance(refiner_filters, list | tuple | None):
            raise ValueError(f"`refiner_filters` must name the channels of each scale, got {refiner_filters!r}.")
        if refiner_filters is not None and self.physics.dimensions != 2:
            raise ValueError("`refiner_filters` are of two dimensions, the physics is of 3: they must be None.")
        self.num_iterations, self.num_primal, self.num_dual = num_iterations, num_primal, num_dual
        self.refiner_filters = None if refiner_filters is None else tuple(refiner_filters)
        self.refiner = None
        if refiner_filters is not None:
            self.refiner = SensitivityRefiner(
                refiner_network(refiner_filters, self.dtype_policy), dtype=self.dtype_policy
            )

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        if self.refiner is not None and "sensitivity_maps" in batch:
            maps = refine_several(self.refiner, batch["sensitivity_maps"], self.physics)
            batch = {**batch, "sensitivity_maps": maps}
        measured, as_seen = batch["kspace"], self.physics.kspace_as_seen
        adjoint = self.physics.adjoint(measured, batch)
        primal, dual = self._first(adjoint, self.num_primal), None
        if self.dual_nets:
            dual = self._first(as_seen(measured), self.num_dual)
        for i in range(self.num_iterations):
            image = read_buffer(primal, self.image_read)
            if self.dual_nets:
                expected = self.physics.forward(image, batch)
                inputs = stack_buffers(dual, as_seen(expected), as_seen(measured))
                dual = add(dual, apply_per_coil(self.dual_nets[i], inputs))
                back_projected = self.physics.adjoint(as_seen(read_buffer(dual, 0)), batch)
            else:
                back_projected = self.back_projected(image, adjoint, batch)
            primal = self.update_primal(i, primal, stack_buffers(primal, back_projected))
        return read_buffer(primal, 0)

    def _first(self, image, number):
        first = ops.zeros_like(image) if self.buffers == "zeros" else image
        return to_channels(ops.stack([first] * number, axis=-1))

    def back_projected(self, image, adjoint, batch):
        """A^H (A x - y), from x and A^H y."""
        return self.physics.normal(image, batch) - adjoint

    def update_primal(self, i, primal, inputs):
        """The image buffer after iteration i, from the one before and the input of the network."""
        return add(primal, self.primal_nets[i](inputs))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "num_primal": self.num_primal,
            "num_dual": self.num_dual,
            "refiner_filters": self.refiner_filters,
        }


def add(buffers, update):
    """Their sum in float32; the networks may run in a lower precision."""
    if update.shape[-1] != buffers.shape[-1]:
        raise ValueError(f"A network gives {update.shape[-1]} channels, its buffer has {buffers.shape[-1]}.")
    return buffers + ops.cast(update, "float32")
