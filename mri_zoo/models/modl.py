"""MoDL: a learned denoiser in turn with conjugate gradients."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.nested import copies, serialized
from mri_zoo.layers.resnet import PreActivationResNet
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.complex import from_channels, scale, to_channels
from mri_zoo.physics.consistency import conjugate_gradient


@keras.saving.register_keras_serializable("mri_zoo")
class MoDL(ReconstructionModel):
    """Model-based deep learning: a denoiser D and data consistency C by conjugate gradients, in turn.

    With a learned weight w, C solves ``(A^H A + w I) x = A^H y + w z`` for x, starting from z, the denoised image. The
    defaults are those of Deep J-Sense, where the network denoises last.

    Args:
        num_iterations: times that an image is denoised.
        network: D, a layer from real (batch, height, width, 2) to the same; a `PreActivationResNet` by default. The
            model uses copies of it, in its own precision.
        shared: one copy for all iterations, else one for each.
        num_steps: of each run of conjugate gradients.
        order: "network_first" computes C D ... C D A^H y (Aggarwal et al.); "network_last" D C ... D C, where the
            first C has z = 0 and starts from A^H y (Deep J-Sense); "network_between" C D ... C D C, where the first z
            is `start` (DIRECT's `ConjGradNet`).
        start: "adjoint", the image A^H y, "coil_sum", the sum of the coil images without maps, or "zeros"; DIRECT's
            `image_init` of "sense", "zero_filled" and "zeros".
        learned_scale: multiply each denoised image by a number of its own (DIRECT).
        physics: the acquisition.

    In Deep J-Sense the network that updates the coil maps has a weight like w, which counts among MoDL's 223,746
    parameters and has no effect: with "network_last" it is kept as `maps_weight`, which is not trained.

    Both codes stop conjugate gradients where the residual's norm is below 1e-6 or 1e-7; here all steps are taken.
    DIRECT's other formulas for the conjugate direction are left out: on this quadratic "PRP" equals the one used here,
    and "DY" and "BAN" differ from it in sign.

    Reference: Aggarwal et al., IEEE TMI 38:394, 2019; Arvinte et al., Deep J-Sense, MICCAI 2021.
    """

    def __init__(
        self,
        num_iterations=6,
        network=None,
        shared=True,
        num_steps=4,
        order="network_last",
        start="adjoint",
        learned_scale=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_iterations=num_iterations, num_steps=num_steps)
        check_flags(shared=shared, learned_scale=learned_scale)
        if order not in ("network_first", "network_last", "network_between"):
            raise ValueError(f'`order` must be "network_first", "network_last" or "network_between", got {order!r}.')
        if start not in ("adjoint", "coil_sum", "zeros"):
            raise ValueError(f'`start` must be "adjoint", "coil_sum" or "zeros", got {start!r}.')
        self.num_iterations, self.shared, self.num_steps = num_iterations, shared, num_steps
        self.order, self.start, self.learned_scale = order, start, learned_scale
        network = PreActivationResNet() if network is None else network
        self.networks = copies("network", network, 1 if shared else num_iterations, self.dtype_policy, num_outputs=2)
        self.weight = self._scalars("weight", (), 0.01)  # Deep J-Sense's initial value
        self.maps_weight = self._scalars("maps_weight", (), 0.01, trainable=False) if order == "network_last" else None
        self.scales = self._scalars("scales", (num_iterations,), 1.0) if learned_scale else None

    def _scalars(self, name, shape, value, **options):
        initializer = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=shape, initializer=initializer, autocast=False, **options)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        adjoint = self.physics.adjoint(batch["kspace"], batch)
        image = self.physics.coil_sum(batch["kspace"], batch) if self.start == "coil_sum" else adjoint
        if self.start == "zeros":
            image = ops.zeros_like(adjoint)
        if self.order == "network_between":
            image = self._consistent(image, adjoint, batch)
        elif self.order == "network_last":
            image = self._consistent(ops.zeros_like(image), adjoint, batch, start=image)
        for i in range(self.num_iterations):
            image = self._denoised(image, i)
            if self.order != "network_last" or i + 1 < self.num_iterations:
                image = self._consistent(image, adjoint, batch)
        return image

    def _consistent(self, image, adjoint, batch, start=None):
        return conjugate_gradient(image, adjoint, batch, self.physics, self.weight, self.num_steps, start)

    def _denoised(self, image, i):
        network = self.networks[0 if self.shared else i]
        denoised = from_channels(network(to_channels(image[..., None])))[..., 0]
        return denoised if self.scales is None else scale(denoised, self.scales[i])

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "network": serialized(self.networks[0]),
            "shared": self.shared,
            "num_steps": self.num_steps,
            "order": self.order,
            "start": self.start,
            "learned_scale": self.learned_scale,
        }
