"""The baseline that learns nothing."""

import keras

from mri_zoo.models.base import ReconstructionModel


@keras.saving.register_keras_serializable("mri_zoo")
class ZeroFilled(ReconstructionModel):
    """The adjoint of the acquisition: unmeasured k-space stays zero, coils are combined with their sensitivities.

    Along a trajectory (`physics=NonCartesian()`) the adjoint is density-compensated: the thesis' "Adjoint + DCp".
    """

    def call(self, batch):
        """The adjoint image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        return self.physics.adjoint(batch["kspace"], batch)
