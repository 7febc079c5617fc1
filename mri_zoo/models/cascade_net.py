"""CascadeNet: the deep cascade of convolutional networks."""

import keras

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.consistency import gradient_step


@keras.saving.register_keras_serializable("mri_zoo")
class CascadeNet(ReconstructionModel):
    """A residual network on the image and data consistency, in turn.

    From x = A^H y, each cascade computes::

        x <- x + net(x)
        x <- x - s (A^H A x - A^H y)

    With s = 1, measured samples become the measurement: on one coil, and on several whose maps have unit
    root-sum-of-squares, the second line is the replacement ``k <- (1 - M) k + y`` in the k-space of every coil.

    Args:
        num_cascades: networks.
        num_convolutions: hidden convolutions of each network; one more ends it. Schlemper et al. have four of 64
            filters and one more.
        num_filters: channels of the hidden convolutions.
        soft_consistency: learn s, one for all cascades, as the predecessor does: ``k <- k + s (y - M k)``. Schlemper et
            al. have s = 1 / (1 + noise level). By default s = 1.
        activation: of the hidden convolutions: Keras's name, or the negative slope of a leaky ReLU.
        physics: the acquisition.

    Reference: Schlemper et al., IEEE TMI 37:491, 2018; Ramzi, thesis, section 4.2.3, where it has 424,570 parameters.
    """

    def __init__(
        self, num_cascades=5, num_convolutions=5, num_filters=48, soft_consistency=False, activation="relu", **kwargs
    ):
        super().__init__(**kwargs)
        check_counts(num_cascades=num_cascades, num_convolutions=num_convolutions, num_filters=num_filters)
        check_flags(soft_consistency=soft_consistency)
        self.num_cascades, self.num_convolutions, self.num_filters = num_cascades, num_convolutions, num_filters
        self.soft_consistency, self.activation = soft_consistency, activation
        self.networks = [self._network() for _ in range(num_cascades)]
        self.consistency_weight = None
        if soft_consistency:
            self.consistency_weight = self.add_weight((1,), "ones", autocast=False, name="consistency_weight")

    def _network(self):
        network = ConvNet(2, self.num_filters, self.num_convolutions, self.activation, dtype=self.dtype_policy)
        return ComplexNet(network, residual=True, dtype=self.dtype_policy)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        image = adjoint = self.physics.adjoint(batch["kspace"], batch)
        weight = self.consistency_weight if self.soft_consistency else 1.0
        for network in self.networks:
            image = network(image[..., None])[..., 0]
            image = gradient_step(image, adjoint, batch, self.physics, weight)
        return image

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_cascades": self.num_cascades,
            "num_convolutions": self.num_convolutions,
            "num_filters": self.num_filters,
            "soft_consistency": self.soft_consistency,
            "activation": self.activation,
        }
