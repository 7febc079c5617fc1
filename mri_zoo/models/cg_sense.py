"""CG-SENSE: the image that explains the measurement best, without anything learned."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.consistency import conjugate_gradient


@keras.saving.register_keras_serializable("mri_zoo")
class CGSENSE(ReconstructionModel):
    """Conjugate gradients for ``(A^H A + w I) x = A^H y``, from x = 0, with A^H D in place of A^H along a trajectory.

    Args:
        num_steps: of the conjugate gradients; few of them regularise, too.
        weight: w >= 0; A^H A has a norm of about 1 on a grid and A^H D A a gain of 1 for the zero frequency.
        physics: the acquisition.

    Reference: Pruessmann et al., MRM 46:638, 2001.
    """

    def __init__(self, num_steps=10, weight=1e-3, **kwargs):
        super().__init__(**kwargs)
        check_counts(num_steps=num_steps)
        if not weight >= 0:
            raise ValueError(f"`weight` must be >= 0, got {weight}.")
        self.num_steps, self.weight = num_steps, weight

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        adjoint = self.physics.adjoint(batch["kspace"], batch)
        return conjugate_gradient(ops.zeros_like(adjoint), adjoint, batch, self.physics, self.weight, self.num_steps)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "num_steps": self.num_steps, "weight": self.weight}
