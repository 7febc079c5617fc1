"""Sensitivity maps improved by a network."""

import keras
from keras import ops

from mri_zoo.layers.convnet import ComplexNet, apply_per_coil
from mri_zoo.layers.nested import deserialized, serialized
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.physics.coils import normalize_maps


@keras.saving.register_keras_serializable("mri_zoo")
class SensitivityRefiner(keras.layers.Layer):
    """One network for the maps of all coils, each on its own, then division by the root-sum-of-squares over coils.

    (batch, coil, height, width) complex64 to the same; frames between coil and height are refined one by one.

    Args:
        network: layer from (n, height, width, 1) complex64 to the same; by default the residual U-net of
            `refiner_network`.

    Reference: Sriram et al., E2E-VarNet, MICCAI 2020; Ramzi, thesis, section 5.1.
    """

    def __init__(self, network=None, **kwargs):
        super().__init__(**kwargs)
        self.network = network if network is not None else refiner_network(dtype=self.dtype_policy)

    def call(self, maps):
        """The refined maps, of unit root-sum-of-squares."""
        return normalize_maps(apply_per_coil(self.network, maps[..., None], dimensions=2)[..., 0])

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "network": serialized(self.network)}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**deserialized(config))


def refine_several(refiner, maps, physics):
    """Maps of several coils as `refiner` makes them; that of a single coil stays as it is.

    Args:
        refiner: layer from maps to maps.
        maps: (batch, coil, height, width) complex64.
        physics: the acquisition, which tells how networks see maps.

    Returns:
        Like `maps`.
    """
    if maps.shape[1] == 1:
        return maps
    refined = physics.maps_as_seen(refiner(physics.maps_as_seen(maps)))
    if maps.shape[1] is None:  # the coil count is known at run time only
        refined = ops.where(ops.equal(ops.shape(maps)[1], 1), maps, refined)
    return refined


def refiner_network(num_filters=(4, 8, 16), dtype=None):
    """The thesis' refiner: a residual complex U-net; its big one has the filters (8, 16, 32, 64)."""
    unet = UNetBlock(2, num_filters, activation=0.1, penultimate_activation=0.1, dtype=dtype)
    return ComplexNet(unet, residual=True, dtype=dtype)
