"""DealiasingNet: one network on the complex adjoint image."""

import keras

from mri_zoo.arguments import check_flags
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.nested import copies, serialized
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.layers.vnet import VNetBlock
from mri_zoo.models.base import ReconstructionModel


@keras.saving.register_keras_serializable("mri_zoo")
class DealiasingNet(ReconstructionModel):
    """A residual network on the adjoint image, ``A^H y + net(A^H y)``: for non-Cartesian data the thesis' baseline.

    Where `UNet` corrects a standardised magnitude, this one keeps the phase and the scale.

    Args:
        network: layer from real (batch, height, width, 2) to the same. By default the U-net of the thesis, `UNetBlock`
            in two dimensions and `VNetBlock` in three. The model uses a copy in its own precision.
        compensated: along a trajectory, with density compensation; without, which is the predecessor's default, see
            `NonCartesian.complete_uncompensated`.
        residual: add the network's output to its input, else it is the image.
        physics: the acquisition.

    Reference: Ramzi, thesis, section 5.2.5, where it has 481,950 parameters in 2-D and 1,605,298 in 3-D; Ronneberger et
    al., MICCAI 2015.
    """

    def __init__(self, network=None, compensated=True, residual=True, **kwargs):
        super().__init__(**kwargs)
        check_flags(compensated=compensated, residual=residual)
        self.compensated = compensated
        if network is None:
            network = UNetBlock(2) if self.physics.dimensions == 2 else VNetBlock(2)
        (copy,) = copies("network", network, 1, self.dtype_policy, num_outputs=2)
        self.network = ComplexNet(copy, residual=residual, dtype=self.dtype_policy)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch) if self.compensated else self.physics.complete_uncompensated(batch)
        return self.network(self.physics.adjoint(batch["kspace"], batch)[..., None])[..., 0]

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "network": serialized(self.network.network),
            "compensated": self.compensated,
            "residual": self.network.residual,
        }
