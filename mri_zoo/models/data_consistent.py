"""A model whose output agrees with what was measured."""

import keras

from mri_zoo.layers.nested import serialized
from mri_zoo.models.base import ReconstructionModel, require_grid, require_model
from mri_zoo.models.refined_maps import RefinedMaps
from mri_zoo.physics.consistency import replace_measured


@keras.saving.register_keras_serializable("mri_zoo")
class DataConsistent(ReconstructionModel):
    """A model, and its samples replaced by the measured ones: S^H F^-1 (y + (1 - M) F S x), where x is its image.

    Self-supervised networks are used so (JSSL, equation 16). S are the maps that the model works with: the refined ones
    of a `RefinedMaps`, else those of the batch or of `physics.complete`. A network that has coil images of its own, as
    `VarNet` and `RecurrentVarNet`, gives them in place of S x (see `coil_steps`).

    Args:
        model: gives x; its physics is used. One with a network of its own for the maps cannot be wrapped: it does not
            tell the refined maps. Put a `RefinedMaps` around one without.

    Raises:
        ValueError: if `model` is none or refines its maps within, or its acquisition is not Cartesian.

    Reference: Yiasemis et al., JSSL, arXiv:2311.15856, equations 10 and 16.
    """

    def __init__(self, model, **kwargs):
        require_model(model)
        super().__init__(physics=model.physics, **kwargs)
        self.model = model
        require_grid(self.physics, "DataConsistent")
        reconstruction_of(model)  # raises where the maps are not to be had

    def build(self, input_shape=None):
        """Create all weights, first the model's: `coil_steps` does not come by its own `build`."""
        if not self.model.built:
            self.model.build()
        super().build(input_shape)

    def call(self, batch):
        """The data-consistent image, (batch, height, width) complex64."""
        batch = complete_with(self.model, batch)
        image, coil_images = reconstruction_of(self.model).coil_steps(batch)[-1]
        return self.physics.combine_kspace(self.kspace(image, batch, coil_images), batch)

    def batch_spec(self):
        """That of the model."""
        return self.model.batch_spec()

    def kspace(self, image, batch, coil_images=None):
        """Full k-space (batch, coil, height, width): measured where it was sampled, the network's elsewhere.

        The network's is that of its `coil_images`, or of its image where it has none.
        """
        coils = self.physics.expand(image, batch) if coil_images is None else coil_images
        return replace_measured(self.physics.kspace_of_coils(coils), batch["kspace"], batch["mask"])

    def get_config(self):
        """The constructor's arguments."""
        config = super().get_config()
        del config["physics"]  # the model has it
        return {**config, "model": serialized(self.model)}


def reconstruction_of(model):
    """The model without what refines its sensitivity maps.

    Raises:
        ValueError: if it refines them within.
    """
    while isinstance(model, DataConsistent | RefinedMaps):
        model = model.model
    if getattr(model, "refiner", None) is not None:
        raise ValueError(
            f"This {type(model).__name__} has a network of its own for the sensitivity maps; make it without, and "
            "wrap it in `RefinedMaps`."
        )
    return model


def complete_with(model, batch):
    """The batch with the maps that a model works with; without, where one coil has none."""
    if isinstance(model, DataConsistent):
        return complete_with(model.model, batch)
    if isinstance(model, RefinedMaps):
        return {**batch, "sensitivity_maps": model.sensitivity_maps(batch)}
    return model.physics.complete(batch)
