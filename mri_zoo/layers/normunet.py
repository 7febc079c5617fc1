"""A U-net between normalisation and its inverse."""

import keras
from keras import ops

from mri_zoo.layers.instance_unet import InstanceUNet, center_groups, crop_padded, pad_evenly, spread


@keras.saving.register_keras_serializable("mri_zoo")
class NormUNet(keras.layers.Layer):
    """`InstanceUNet` on normalised channels: half of the channels, then the other half, to mean 0 and deviation 1.

    Real (batch, height, width, channels) to float32 (batch, height, width, `num_outputs`). The normalised image is
    zero-padded to multiples of 16, whatever the depth of the network; what the network gives is cropped back,
    multiplied with the deviations (with N - 1) and added to the means of the input's halves. For complex images,
    ``ComplexNet(NormUNet(2), residual=False)``: the halves are the real and the imaginary parts. With several complex
    channels the order decides which of them share their statistics.

    Args:
        num_outputs: output channels, an even number.
        num_filters: channels of the finest scale.
        num_pools: scales below the finest.
        dimensions: 2 or 3, of the image; a depth precedes the height.

    Reference: Sriram et al., E2E-VarNet, MICCAI 2020; `NormUnet` of fastMRI (two channels), `NormUnetModel2d` and
    `NormUnetModel3d` of DIRECT (any even number), which have no value for constant images, where the result here is the
    mean.
    """

    def __init__(self, num_outputs, num_filters=18, num_pools=4, dimensions=2, **kwargs):
        super().__init__(autocast=False, **kwargs)  # the statistics are of the unrounded image
        if num_outputs < 1 or num_outputs % 2:
            raise ValueError(f"`num_outputs` must be even and >= 2, got {num_outputs}.")
        self.num_outputs, self.num_filters, self.num_pools = num_outputs, num_filters, num_pools
        self.dimensions = dimensions
        self.unet = InstanceUNet(num_outputs, num_filters, num_pools, dimensions, dtype=self.dtype_policy)

    def build(self, input_shape):
        """Create all weights."""
        self.unet.build(input_shape)

    def call(self, x):
        """Apply the network to the normalised channels."""
        size = ops.shape(x)[1:-1]
        centered, mean, variance = center_groups(x, 2, unbiased=True)
        deviation = ops.sqrt(ops.maximum(variance, 1e-30))
        padded, before = pad_evenly(centered / spread(deviation, x), *(n + -n % 16 for n in size))
        y = crop_padded(self.unet(padded), before, size)
        return ops.cast(y, "float32") * spread(deviation, y) + spread(mean, y)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_pools": self.num_pools,
            "dimensions": self.dimensions,
        }
