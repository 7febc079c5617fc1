"""The U-net baseline: one network on the zero-filled magnitude."""

import keras
from keras import ops

from mri_zoo.arguments import check_flags, check_size
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.models.base import ReconstructionModel, center_crop
from mri_zoo.physics.complex import from_real


@keras.saving.register_keras_serializable("mri_zoo")
class UNet(ReconstructionModel):
    """U-net on the magnitude of the adjoint image.

    The image has no phase: its imaginary part is zero.

    Args:
        num_filters: channels of each scale, finest first.
        num_convolutions: 3x3 convolutions of each scale and direction.
        crop: (height, width) to which the network's input, hence the image, is centre-cropped; the thesis uses
            (320, 320) for fastMRI. None keeps the size.
        penultimate_activation: activation of the last convolution but one. The thesis' code trains with a ReLU
            (default) and evaluates its released weights with None.
        normalized: subtract each slice's mean and divide by its standard deviation, and undo it; so the thesis for
            fastMRI, but not for OASIS.
        activation: of all convolutions but the last two: Keras's name, "prelu", or the negative slope of a leaky ReLU.
        pooling: "max" or "average".
        residual: the network's output is subtracted from its input.
        physics: the acquisition.

    Reference: Ramzi, thesis, section 4.2.3, where it has 481,801 parameters; Zbontar et al., arXiv:1811.08839.
    """

    def __init__(
        self,
        num_filters=(16, 32, 64, 128),
        num_convolutions=2,
        crop=None,
        penultimate_activation="relu",
        normalized=True,
        activation="relu",
        pooling="max",
        residual=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if crop is not None:
            check_size(crop=crop)
        check_flags(normalized=normalized, residual=residual)
        self.crop, self.penultimate_activation = None if crop is None else tuple(crop), penultimate_activation
        self.normalized, self.residual = normalized, residual
        self.activation, self.pooling = activation, pooling
        if self.crop is not None:
            self.build_size = max(self.crop)
        self.network = UNetBlock(
            1,
            num_filters,
            num_convolutions,
            activation,
            penultimate_activation,
            pooling=pooling,
            dtype=self.dtype_policy,
        )
        self.num_filters, self.num_convolutions = self.network.num_filters, num_convolutions

    def call(self, batch):
        """The corrected magnitude as (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        image = ops.abs(self.physics.adjoint(batch["kspace"], batch))
        if self.crop is not None:
            image = center_crop(image, self.crop)
        mean, deviation = 0.0, 1.0
        if self.normalized:
            mean = ops.mean(image, axis=(-2, -1), keepdims=True)
            deviation = ops.std(image, axis=(-2, -1), keepdims=True) + 1e-11  # as in the reference code
        image = (image - mean) / deviation
        output = ops.cast(self.network(image[..., None])[..., 0], "float32")
        return from_real((image - output if self.residual else output) * deviation + mean)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_filters": self.num_filters,
            "num_convolutions": self.num_convolutions,
            "crop": self.crop,
            "penultimate_activation": self.penultimate_activation,
            "normalized": self.normalized,
            "activation": self.activation,
            "pooling": self.pooling,
            "residual": self.residual,
        }
