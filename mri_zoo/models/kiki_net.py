"""KIKINet: networks in k-space and in the image, in turn."""

import keras

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import ComplexNet, ConvNet, apply_per_coil
from mri_zoo.models.base import ReconstructionModel, require_grid
from mri_zoo.physics.consistency import blend_measured, replace_measured


@keras.saving.register_keras_serializable("mri_zoo")
class KIKINet(ReconstructionModel):
    """A network K in k-space, a residual network I on the image, and data consistency, in turn.

    From k = y, each cascade computes::

        k <- net_k(k)
        x <- S^H F^H k
        x <- x + net_i(x)
        k <- (1 - M) F S x + y

    The last line is left out of the last cascade: so in the published network, of which each part was trained on the
    output of those before (`mri_zoo.training.layerwise`). With several coils the k-space networks see each on its own.

    Args:
        num_cascades: pairs of networks.
        num_convolutions: hidden 3x3 convolutions of each network; a 1x1 convolution ends it.
        num_filters: channels of the hidden convolutions.
        activation: of the hidden convolutions: Keras's name, or the negative slope of a leaky ReLU. The thesis says
            ReLU; its code has the default.
        final_consistency: end with data consistency, as the predecessor's network for training end to end.
        soft_consistency: ``k + s (y - M k)`` for k = F S x, with one learned s, instead of the last line.
        physics: the acquisition.

    Reference: Eo et al., MRM 80:2188, 2018; Ramzi, thesis, section 4.2.3, where it has 1,251,080 parameters.
    """

    def __init__(
        self,
        num_cascades=2,
        num_convolutions=16,
        num_filters=48,
        activation=0.1,
        final_consistency=False,
        soft_consistency=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_grid(self.physics, "KIKINet")
        check_counts(num_cascades=num_cascades, num_convolutions=num_convolutions, num_filters=num_filters)
        check_flags(final_consistency=final_consistency, soft_consistency=soft_consistency)
        if soft_consistency and num_cascades == 1 and not final_consistency:
            raise ValueError("`soft_consistency` with `num_cascades` 1 needs `final_consistency`: there is no other.")
        self.num_cascades, self.num_convolutions, self.num_filters = num_cascades, num_convolutions, num_filters
        self.activation, self.final_consistency = activation, final_consistency
        self.soft_consistency = soft_consistency
        self.networks = [self._network(residual) for _ in range(num_cascades) for residual in (False, True)]
        self.consistency_weight = None
        if soft_consistency:
            self.consistency_weight = self.add_weight((1,), "ones", autocast=False, name="consistency_weight")

    def _network(self, residual):
        network = ConvNet(
            2, self.num_filters, self.num_convolutions, self.activation, last_kernel_size=1, dtype=self.dtype_policy
        )
        return ComplexNet(network, residual, dtype=self.dtype_policy)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        *_, image = self.stage_outputs(batch)
        return image

    @property
    def stages(self):
        """What is trained in turn: the networks, the weight of data consistency with the first that sees its effect."""
        stages = [[network] for network in self.networks]
        if self.soft_consistency:
            stages[min(2, len(stages) - 1)].append(self.consistency_weight)
        return stages

    def stage_outputs(self, batch):
        """What each network gives, in turn: k-space of every coil, then the image."""
        batch = self.physics.complete(batch)
        kspace, image = batch["kspace"], None
        for i in range(self.num_cascades):
            if i > 0:
                kspace = self._consistent(image, batch)
            kspace = apply_per_coil(self.networks[2 * i], self.physics.kspace_as_seen(kspace)[..., None])[..., 0]
            kspace = self.physics.kspace_as_seen(kspace)
            yield kspace
            image = self.physics.combine_kspace(kspace, batch)
            image = self.networks[2 * i + 1](image[..., None])[..., 0]
            if self.final_consistency and i == self.num_cascades - 1:
                image = self.physics.combine_kspace(self._consistent(image, batch), batch)
            yield image

    def _consistent(self, image, batch):
        kspace = self.physics.coil_kspace(image, batch)
        if self.soft_consistency:
            return blend_measured(kspace, batch["kspace"], batch["mask"], self.consistency_weight)
        return replace_measured(kspace, batch["kspace"], batch["mask"])

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_cascades": self.num_cascades,
            "num_convolutions": self.num_convolutions,
            "num_filters": self.num_filters,
            "activation": self.activation,
            "final_consistency": self.final_consistency,
            "soft_consistency": self.soft_consistency,
        }
