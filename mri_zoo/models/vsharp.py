"""vSHARP: half-quadratic variable splitting, unrolled by ADMM."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.nested import copies, serialized
from mri_zoo.layers.recurrent import StateInitializer
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.complex import from_channels, scale, stack_images, to_channels


@keras.saving.register_keras_serializable("mri_zoo")
class VSHARP(ReconstructionModel):
    """Variable splitting half-quadratic ADMM: a denoiser in turn with gradient steps on the data.

    The regularised image is a variable of its own, z, tied to the image x by Lagrange multipliers u and a penalty r.
    The network begins with x = z = A^H y (or another `start`) and u = net_u(x), and each iteration computes::

        z <- net([z, x, u / r])
        x <- x - s_j (A^H (A x - y) + r (x - z) + u)    for j = 1, ..., `num_gradient_steps`
        u <- u + r (x - z)

    with a network and a penalty r of its own; all iterations have the same learned step sizes s_j.

    `call` returns the last x, and `steps` the x of every iteration, which the authors train with weights from 0.1 to 1.
    They train it with a network for the sensitivity maps, 95,095,539 parameters in all: see the example. A training
    step of both with Adam, on one slice of 320 x 320 and 8 coils, takes 10.5 GiB on the CPU in JSSL, and 8.1 GiB
    where the denoisers are computed again for the gradient. `benchmarks/models.py` measures it, as "RefinedMaps (of
    VSHARP)" and "RefinedMaps (of VSHARP, recomputed)".

    Args:
        denoiser: net, a layer from real (batch, height, width, 6) to (batch, height, width, 2): z, x and u / r, each
            with its real and its imaginary part, to z. By default an `InstanceUNet` with 32 filters. The model uses
            copies of it, in its own precision.
        num_iterations: denoised images.
        num_gradient_steps: on the data, in each iteration.
        shared: one denoiser for all iterations, else one for each.
        initializer_filters: channels of the dilated convolutions of net_u, a `StateInitializer`.
        initializer_dilations: of each of them.
        initializer_scales: how many of them its last convolution sees.
        initializer_activation: of the last convolution: "prelu", Keras's name, or the negative slope of a leaky ReLU.
        start: of x and z: "adjoint", A^H y, or "coil_sum", the sum of the coil images without maps; DIRECT's
            `image_init` of "sense" and "zero_filled".
        physics: the acquisition, in two dimensions.

    Raises:
        ValueError: if a number is no whole one from 1 on, `start` is another, or denoiser and physics do not have the
            model's dimensions.

    Example:
        >>> with keras.RematScope("list_of_layers", layer_names=["denoiser"]):  # computed again
        ...     model = VSHARP(InstanceUNet(2, 32, name="denoiser"))
        >>> model = RefinedMaps(model, SensitivityRefiner(ComplexNet(InstanceUNet(2, 16), residual=False)))

    Reference: Yiasemis et al., vSHARP, arXiv:2309.09954; Yiasemis et al., JSSL, arXiv:2311.15856, section 3.5;
    `VSharpNet` of github.com/NKI-AI/direct; 93,156,273 parameters.
    """

    dimensions = 2  # of the images that the networks see

    def __init__(
        self,
        denoiser=None,
        num_iterations=12,
        num_gradient_steps=10,
        shared=False,
        initializer_filters=(32, 32, 64, 64),
        initializer_dilations=(1, 1, 2, 4),
        initializer_scales=1,
        initializer_activation="prelu",
        start="adjoint",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if start not in ("adjoint", "coil_sum"):
            raise ValueError(f'`start` must be "adjoint" or "coil_sum", got {start!r}.')
        self.start = start
        check_counts(num_iterations=num_iterations, num_gradient_steps=num_gradient_steps)
        check_flags(shared=shared)
        self.num_iterations, self.num_gradient_steps, self.shared = num_iterations, num_gradient_steps, shared
        if denoiser is None:
            denoiser = InstanceUNet(2, 32, dimensions=self.dimensions)
        self._check_dimensions(denoiser)
        number = 1 if shared else num_iterations
        self.denoisers = copies("denoiser", denoiser, number, self.dtype_policy, num_outputs=2)
        self.initializer = StateInitializer(
            1,
            2,
            initializer_filters,
            initializer_dilations,
            initializer_scales,
            initializer_activation,
            self.dimensions,
            dtype=self.dtype_policy,
        )
        self.step_sizes = self._positive("step_sizes", num_gradient_steps, keras.initializers.TruncatedNormal(0.0, 1.0))
        self.penalties = self._positive("penalties", num_iterations, keras.initializers.RandomNormal(0.0, 0.1))

    def _check_dimensions(self, denoiser):
        frames = self.dimensions == 3 and not self.physics.along_trajectory  # each with k-space on a grid of its own
        if self.physics.dimensions != self.dimensions and not frames:
            raise ValueError(
                f"The networks of {type(self).__name__} have {self.dimensions} dimensions, `physics` is "
                f"{type(self.physics).__name__} in {self.physics.dimensions}."
            )
        found = getattr(denoiser, "dimensions", self.dimensions)  # not every layer tells
        if found != self.dimensions:
            raise ValueError(f"`denoiser` must have {self.dimensions} dimensions, got {found}.")

    def _positive(self, name, number, distribution):
        """A weight of `number` magnitudes of a random distribution: upstream's, truncated to [0, 2]."""

        def initializer(shape, dtype=None):
            return ops.abs(distribution(shape, dtype))

        return self.add_weight(name=name, shape=(number,), initializer=initializer, autocast=False)

    def build(self, input_shape=None):
        """Create all weights."""
        for denoiser in self.denoisers:
            if type(denoiser).build is not keras.layers.Layer.build:  # one by one takes less than in a trace of all
                denoiser.build((None,) * (self.dimensions + 1) + (6,))
        super().build(input_shape)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        return self.steps(batch)[-1]

    def steps(self, batch):
        """The image after each iteration, a list of (batch, height, width) complex64."""
        batch = self.physics.complete(batch)
        measured = image = self.physics.adjoint(batch["kspace"], batch)
        if self.start == "coil_sum":
            image = self.physics.coil_sum(batch["kspace"], batch)
        denoised = image
        multipliers = from_channels(self.initializer(to_channels(image[..., None]))[0])[..., 0]
        images = []
        for i in range(self.num_iterations):
            penalty = self.penalties[i]
            inputs = stack_images([denoised, image, scale(multipliers, 1 / penalty)])
            denoised = from_channels(self.denoisers[0 if self.shared else i](inputs))[..., 0]
            # The gradient is A^H A x + r x less what stays the same in all of its steps.
            constant = measured + scale(denoised, penalty) - multipliers
            for j in range(self.num_gradient_steps):
                gradient = self.physics.normal(image, batch) + scale(image, penalty) - constant
                image = image - scale(gradient, self.step_sizes[j])
            images.append(image)
            multipliers = multipliers + scale(image - denoised, penalty)
        return images

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "denoiser": serialized(self.denoisers[0]),
            "num_iterations": self.num_iterations,
            "num_gradient_steps": self.num_gradient_steps,
            "shared": self.shared,
            "initializer_filters": self.initializer.num_filters,
            "initializer_dilations": self.initializer.dilations,
            "initializer_scales": self.initializer.num_scales,
            "initializer_activation": self.initializer.activation,
            "start": self.start,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class VSHARP3D(VSHARP):
    """`VSHARP` with networks in three dimensions, for frames or slices together.

    With a 2-D acquisition, the default, each frame has its own k-space: the arrays of a batch have an axis of frames
    (or slices) before the height, the mask one of 1 or of as many, and images are (batch, frames, height, width). With
    ``Cartesian(dimensions=3)`` that axis is the depth, and has a Fourier transform too.

    Args:
        denoiser: as for `VSHARP`, from (batch, frames, height, width, 6) to (batch, frames, height, width, 2). By
            default an `InstanceUNet` with 32 filters.
        num_iterations: denoised images.
        num_gradient_steps: on the data, in each iteration.
        **kwargs: the other arguments of `VSHARP`.

    Reference: Yiasemis et al., vSHARP, arXiv:2309.09954; `VSharpNet3D` of github.com/NKI-AI/direct; here
    180,805,665 parameters.
    """

    dimensions = 3

    def __init__(self, denoiser=None, num_iterations=8, num_gradient_steps=6, **kwargs):
        super().__init__(denoiser, num_iterations, num_gradient_steps, **kwargs)

    def batch_spec(self):
        """A small batch, by whose shapes and types `build` creates the weights."""
        spec = super().batch_spec()
        if self.physics.dimensions == 3:
            return spec
        frames = 4
        return {
            name: keras.KerasTensor((*like.shape[:2], frames, *like.shape[2:]), like.dtype)
            for name, like in spec.items()
        }
