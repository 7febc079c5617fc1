"""fastMRI's U-net baseline: one network on the zero-filled magnitude."""

import keras
from keras import ops

from mri_zoo.arguments import check_size
from mri_zoo.layers.instance_unet import InstanceUNet, center_groups
from mri_zoo.models.base import ReconstructionModel, center_crop
from mri_zoo.physics.coils import root_sum_of_squares
from mri_zoo.physics.complex import from_real


@keras.saving.register_keras_serializable("mri_zoo")
class FastMRIUNet(ReconstructionModel):
    """U-net on the root-sum-of-squares of the zero-filled coil images, standardised slice by slice and clipped at 6.

    The image has no phase: its imaginary part is zero. Sensitivity maps are not used.

    Args:
        num_filters: channels of the finest scale; the released weights have 256.
        num_pools: scales below the finest.
        crop: (height, width) to which the network's input, hence the image, is centre-cropped: in fastMRI the size of
            each target, which is (320, 320) for all knees. None keeps the size.
        physics: the acquisition.

    Reference: Zbontar et al., arXiv:1811.08839, where it has 7,756,097 parameters, and its code `Unet` with
    `UnetDataTransform`.
    """

    def __init__(self, num_filters=32, num_pools=4, crop=None, **kwargs):
        super().__init__(**kwargs)
        if crop is not None:
            check_size(crop=crop)
        self.num_filters, self.num_pools = num_filters, num_pools
        self.crop = None if crop is None else tuple(crop)
        if self.crop is not None:
            self.build_size = max(self.crop)
        self.network = InstanceUNet(1, num_filters, num_pools, dtype=self.dtype_policy)

    def call(self, batch):
        """The corrected magnitude as (batch, height, width) complex64."""
        image = root_sum_of_squares(self.physics.coil_adjoint(batch["kspace"], batch))
        if self.crop is not None:
            image = center_crop(image, self.crop)
        centered, mean, variance = center_groups(image[..., None], 1, unbiased=True)
        deviation = ops.sqrt(variance) + 1e-11  # as in the reference code
        corrected = self.network(ops.clip(centered / deviation, -6, 6))
        return from_real((ops.cast(corrected, "float32") * deviation + mean)[..., 0])

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_filters": self.num_filters,
            "num_pools": self.num_pools,
            "crop": self.crop,
        }
