"""KIKINet as DIRECT has it: without data consistency."""

import keras

from mri_zoo.arguments import check_counts
from mri_zoo.layers.convnet import apply_per_coil
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.nested import copies, serialized
from mri_zoo.models.base import ReconstructionModel, require_grid
from mri_zoo.physics.complex import from_channels, to_channels


@keras.saving.register_keras_serializable("mri_zoo")
class DirectKIKINet(ReconstructionModel):
    """One network K in k-space and one network I on the image, each used in every iteration.

    From k = y, each iteration computes with the acquisition A, of which M is the sampling::

        k <- K(k)
        x <- I(A^H k)
        k <- A x

    and the last x is the image: A^H and A leave out what was not sampled, and nothing brings the measurement back,
    where `KIKINet` replaces it. K sees each coil on its own. DIRECT's option `normalize` divides k-space by the square
    of the data's scaling factor and multiplies the image with it: the scaling ``KSpacePercentileScaling(99, power=3)``
    here, which checkpoints do not tell. None of its published configurations has it.

    Args:
        num_iterations: unrolled iterations.
        image_network: I, a layer from real (batch, height, width, 2) to the same, an `InstanceUNet` by default. The
            model uses copies of both networks, in its own precision.
        kspace_network: K, the same for k-space.
        physics: the acquisition.

    Reference: `KIKINet` of github.com/NKI-AI/direct, after Eo et al., MRM 80:2188, 2018; 3,878,532 parameters in its
    configuration for the Calgary-Campinas data.
    """

    def __init__(self, num_iterations=2, image_network=None, kspace_network=None, **kwargs):
        super().__init__(**kwargs)
        require_grid(self.physics, "DirectKIKINet")
        check_counts(num_iterations=num_iterations)
        self.num_iterations = num_iterations
        self.image_network = self._copy("image_network", image_network)
        self.kspace_network = self._copy("kspace_network", kspace_network)

    def _copy(self, argument, network):
        network = InstanceUNet(2, 16) if network is None else network
        (copy,) = copies(argument, network, 1, self.dtype_policy, num_outputs=2)
        return copy

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        kspace, image = batch["kspace"], None
        for i in range(self.num_iterations):
            if i > 0:
                kspace = self.physics.forward(image, batch)
            channels = to_channels(self.physics.kspace_as_seen(kspace)[..., None])
            kspace = from_channels(apply_per_coil(self.kspace_network, channels))[..., 0]
            image = self.physics.adjoint(self.physics.kspace_as_seen(kspace), batch)
            image = from_channels(self.image_network(to_channels(image[..., None])))[..., 0]
        return image

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "image_network": serialized(self.image_network),
            "kspace_network": serialized(self.kspace_network),
        }
