"""The denoising convolutional network of Zhang et al."""

import keras

from mri_zoo.layers.convnet import ConvNet


@keras.saving.register_keras_serializable("mri_zoo")
class DnCNN(ConvNet):
    """Convolutions that give what is to be added to an image, (batch, height, width, `num_outputs`) to the same.

    Without batch normalisation, as for the small batches of reconstruction. Inside XPDNet, which adds the image itself,
    `ConvNet` is the same network.

    Args:
        num_outputs: channels of the image.
        num_filters: channels of the hidden convolutions.
        num_convolutions: hidden convolutions.
        activation: of the hidden convolutions: Keras's name, or the negative slope of a leaky ReLU.

    Reference: Zhang et al., IEEE TIP 26:3142, 2017, who subtract what is given, with 20 convolutions in all.
    """

    def __init__(self, num_outputs, num_filters=64, num_convolutions=19, activation="relu", **kwargs):
        super().__init__(num_outputs, num_filters, num_convolutions, activation, **kwargs)

    def call(self, x):
        """The image with the network's output added."""
        return x + super().call(x)
