"""A model with a network for its sensitivity maps."""

import numbers

import keras
from keras import ops

from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.nested import serialized
from mri_zoo.layers.sensitivity import SensitivityRefiner, refine_several
from mri_zoo.models.base import ReconstructionModel, require_model
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import calibration_region, normalize_maps
from mri_zoo.physics.complex import scale


@keras.saving.register_keras_serializable("mri_zoo")
class RefinedMaps(ReconstructionModel):
    """A model, and a network that refines its sensitivity maps: what DIRECT trains together.

    Where the batch has no maps they come from the fully sampled centre of k-space, lines or a disc as
    `calibration_region` finds it in the mask: the coil images of it, divided by their root-sum-of-squares. Of
    non-Cartesian data, which has no mask, they are those of `physics.estimate_maps`. The refiner then improves those or
    the given ones; a single coil is left as it is.

    Args:
        model: gets the refined maps; its physics is used. It and the refiner are used as they are, with their weights
            and precision.
        refiner: layer from maps (batch, coil, height, width) complex64 to maps, by default DIRECT's: an `InstanceUNet`
            with 8 filters on the maps of each coil, without a residual. Where there are frames between coil and height,
            as for `VSHARP3D`, each is refined on its own.
        sigma: the centre is weighted with ``exp(-(u / sigma)^2)``, where u goes from -1 to 1 along the width;
            None for no weights. DIRECT's default is 0.7.

    Reference: Yiasemis et al., RecurrentVarNet, CVPR 2022, section 3.2; 484,898 parameters.
    """

    def __init__(self, model, refiner=None, sigma=0.7, **kwargs):
        require_model(model)
        super().__init__(physics=model.physics, **kwargs)
        if refiner is not None and not isinstance(refiner, keras.layers.Layer):
            raise ValueError(f"`refiner` must be a Keras layer, got {refiner!r}.")
        is_number = isinstance(sigma, numbers.Real) and not isinstance(sigma, bool)
        if sigma is not None and not (is_number and sigma > 0):
            raise ValueError(f"`sigma` must be a number > 0 or None, got {sigma!r}.")
        self.model, self.sigma = model, sigma
        if refiner is None:
            network = ComplexNet(InstanceUNet(2, 8, dtype=self.dtype_policy), residual=False, dtype=self.dtype_policy)
            refiner = SensitivityRefiner(network, dtype=self.dtype_policy)
        self.refiner = refiner

    def call(self, batch):
        """The model's image, (batch, height, width) complex64."""
        return self.model(self._refined(batch))

    def steps(self, batch):
        """The model's `steps`, with the refined maps."""
        return self.model.steps(self._refined(batch))

    def coil_steps(self, batch):
        """The model's `coil_steps`, with the refined maps."""
        return self.model.coil_steps(self._refined(batch))

    def batch_spec(self):
        """That of the model."""
        return self.model.batch_spec()

    def _refined(self, batch):
        return {**batch, "sensitivity_maps": self.sensitivity_maps(batch)}

    def sensitivity_maps(self, batch):
        """Refined maps, (batch, coil, height, width) complex64 of unit root-sum-of-squares; a single coil's stays."""
        maps = batch["sensitivity_maps"] if "sensitivity_maps" in batch else self._estimate(batch)
        return refine_several(self.refiner, maps, self.physics)

    def _estimate(self, batch):
        if not isinstance(self.physics, Cartesian):
            return self.physics.estimate_maps(batch)
        center = calibration_region(batch["mask"])
        if self.sigma is not None:
            width = ops.shape(center)[-1]  # perhaps known at run time only, which `ops.linspace` does not take
            position = ops.cast(2 * ops.arange(width) - (width - 1), "float32") / ops.cast(width - 1, "float32")
            center = center * ops.exp(-ops.square(position / self.sigma))
        return normalize_maps(self.physics.coil_adjoint(scale(batch["kspace"], center), batch))

    def get_config(self):
        """The constructor's arguments."""
        config = {**super().get_config(), "sigma": self.sigma}
        del config["physics"]  # the model has it
        return {**config, "model": serialized(self.model), "refiner": serialized(self.refiner)}
