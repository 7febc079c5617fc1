"""DIRECT's U-net baseline: one network on the complex image."""

import keras

from mri_zoo.arguments import check_flags
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.models.base import ReconstructionModel


@keras.saving.register_keras_serializable("mri_zoo")
class DirectUNet(ReconstructionModel):
    """U-net on the real and imaginary part of the adjoint image.

    Args:
        num_filters: channels of the finest scale.
        num_pools: scales below the finest.
        normalized: a `NormUNet` instead of an `InstanceUNet`.
        residual: add the input.
        combine_coils: with the sensitivity maps; else the coil images are summed as they are.
        physics: the acquisition.

    Reference: `Unet2d` of github.com/NKI-AI/direct; 31,024,386 parameters in its configuration for the
    Calgary-Campinas data.
    """

    def __init__(self, num_filters=64, num_pools=4, normalized=False, residual=False, combine_coils=False, **kwargs):
        super().__init__(**kwargs)
        check_flags(normalized=normalized, residual=residual, combine_coils=combine_coils)
        self.num_filters, self.num_pools = num_filters, num_pools
        self.normalized, self.residual, self.combine_coils = normalized, residual, combine_coils
        unet = (NormUNet if normalized else InstanceUNet)(2, num_filters, num_pools, dtype=self.dtype_policy)
        self.network = ComplexNet(unet, residual, dtype=self.dtype_policy)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch) if self.combine_coils else {**batch}
        if not self.combine_coils:
            batch.pop("sensitivity_maps", None)
        return self.network(self.physics.adjoint(batch["kspace"], batch)[..., None])[..., 0]

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_filters": self.num_filters,
            "num_pools": self.num_pools,
            "normalized": self.normalized,
            "residual": self.residual,
            "combine_coils": self.combine_coils,
        }
