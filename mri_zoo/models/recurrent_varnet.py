"""RecurrentVarNet: unrolled gradient descent with a recurrent regulariser."""

import keras

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.recurrent import ConvGRU, StateInitializer
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.coils import root_sum_of_squares
from mri_zoo.physics.complex import from_channels, scale, to_channels


@keras.saving.register_keras_serializable("mri_zoo")
class RecurrentVarNet(ReconstructionModel):
    """Recurrent variational network: gradient descent on coil images, each step corrected by a recurrent network.

    With step sizes a, convolutional gated recurrent units H and their states h, coil images c start from F^H y, and
    each iteration computes::

        w, h <- H(S^H c, h)
        c <- c - a F^H (M F c - y) + S w

    The published code writes the same in k-space and returns the root-sum-of-squares of c, which is the magnitude here;
    the phase is that of S^H c. In the first iteration the data term is zero, whatever its step size.

    Args:
        num_iterations: unrolled iterations.
        num_filters: channels of the states.
        num_layers: recurrent units, one above the other.
        shared: one H for all iterations, with one step size, else one for each.
        initializer_filters: channels of the dilated convolutions that draw the first states; None for states of zero.
        initializer_dilations: their dilations.
        initializer_scales: how many of them the states see.
        initializer_image: whose Fourier transform they see: "adjoint", A^H y, or "coil_sum", the sum of the coil images
            without maps; DIRECT's `initializer_initialization` of "sense" and "zero_filled". (Its "input_image" is an
            image that the batch would have to bring, which no engine of DIRECT does.)
        normalized: each H sees its image with mean 0 and deviation 1, real and imaginary parts each.
        physics: the acquisition.

    Reference: Yiasemis et al., CVPR 2022; 6,918,424 parameters in its configuration for the Calgary-Campinas data,
    without the network that refines the sensitivity maps.
    """

    def __init__(
        self,
        num_iterations=8,
        num_filters=128,
        num_layers=4,
        shared=False,
        initializer_filters=(32, 32, 64, 64),
        initializer_dilations=(1, 1, 2, 4),
        initializer_scales=3,
        initializer_image="adjoint",
        normalized=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if initializer_image not in ("adjoint", "coil_sum"):
            raise ValueError(f'`initializer_image` must be "adjoint" or "coil_sum", got {initializer_image!r}.')
        self.initializer_image = initializer_image
        check_counts(num_iterations=num_iterations, num_filters=num_filters)
        check_flags(shared=shared)
        self.num_iterations, self.num_filters, self.num_layers = num_iterations, num_filters, num_layers
        self.shared, self.initializer_scales = shared, initializer_scales
        self.initializer_filters = None if initializer_filters is None else tuple(initializer_filters)
        self.initializer_dilations = tuple(initializer_dilations)
        self.initializer = None
        if initializer_filters is not None:
            self.initializer = StateInitializer(
                num_layers,
                num_filters,
                initializer_filters,
                initializer_dilations,
                initializer_scales,
                dtype=self.dtype_policy,
            )
        count = 1 if shared else num_iterations
        self.normalized = normalized
        self.units = [ConvGRU(2, num_filters, num_layers, normalized, dtype=self.dtype_policy) for _ in range(count)]
        self.step_sizes = [
            self.add_weight(shape=(), initializer="ones", autocast=False, name=f"step_size_{i}") for i in range(count)
        ]

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        return self.coil_steps(batch)[-1][0]

    def coil_steps(self, batch):
        """The image and the coil images c of which it is the root-sum-of-squares: a list of that one pair."""
        batch = self.physics.complete(batch)
        measured = self.physics.coil_adjoint(batch["kspace"], batch)
        coils, states = measured, self._initial_states(measured, batch)
        for i in range(self.num_iterations):
            unit = 0 if self.shared else i
            image = to_channels(self.physics.combine(coils, batch)[..., None])
            correction, states = self.units[unit](image, states)
            correction = self.physics.expand(from_channels(correction)[..., 0], batch)
            residual = self.physics.coil_normal(coils, batch) - measured
            coils = coils - scale(residual, self.step_sizes[unit]) + correction
        combined = self.physics.combine(coils, batch)
        return [(scale(combined, root_sum_of_squares(coils) / root_sum_of_squares(combined[:, None])), coils)]

    def _initial_states(self, coils, batch):
        if self.initializer is None:
            return None
        combined = self.initializer_image == "adjoint"
        image = self.physics.combine(coils, batch) if combined else self.physics.coil_sum(batch["kspace"], batch)
        image = self.physics.maps_as_seen(image)  # as the image of one coil
        kspace = self.physics.kspace_as_seen(self.physics.coil_kspace(image, {}))[:, 0]
        return self.initializer(to_channels(kspace[..., None]))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "num_filters": self.num_filters,
            "num_layers": self.num_layers,
            "shared": self.shared,
            "initializer_filters": self.initializer_filters,
            "initializer_dilations": self.initializer_dilations,
            "initializer_scales": self.initializer_scales,
            "initializer_image": self.initializer_image,
            "normalized": self.normalized,
        }
