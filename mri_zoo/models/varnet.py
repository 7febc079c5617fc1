"""VarNet: the end-to-end variational network."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import calibration_region, low_frequency_lines, root_sum_of_squares
from mri_zoo.physics.complex import from_channels, scale, to_channels


@keras.saving.register_keras_serializable("mri_zoo")
class VarNet(ReconstructionModel):
    """End-to-end variational network: gradient steps and learned corrections of all coils, with learned coil maps.

    The sensitivity maps S come from the central lines of k-space: a network corrects the image of each coil, and the
    results are divided by their root-sum-of-squares. Maps of the batch are not used. Of non-Cartesian data, which has
    no lines, the network corrects the maps of `physics.estimate_maps`. Each cascade then computes, with a learned step
    size w and a network of its own::

        k <- k - w M (k - y) - F S net(S^H F^-1 k)

    written here for the coil images c = F^-1 k, which is the same and suits any acquisition::

        c <- c - w (F^H M F c - F^H y) - S net(S^H c)

    The published code returns the root-sum-of-squares of the coil images, which is the magnitude here; the phase is
    that of their combination S^H c. The first step size has no effect, since c starts from F^H y.

    Args:
        num_cascades: unrolled iterations.
        num_filters: channels of the finest scale of each cascade's network.
        num_pools: scales below the finest of each cascade's network.
        refiner_filters: channels of the finest scale of the maps' network; None for none, where the maps of the
            batch are used, or those of `physics.complete`.
        refiner_pools: scales below the finest of the maps' network.
        normalized: the networks of the cascades normalise their input; DIRECT's `EndToEndVarNet` has plain U-nets, and
            no network for the maps. It adds the correction; its importer turns the sign of the last convolutions.
        num_low_frequencies: central lines for the maps; by default those of the mask, see `calibration_region`; "all"
            for all that was sampled, fastMRI's ``mask_center=False``.
        physics: the acquisition.

    Reference: Sriram et al., E2E-VarNet, MICCAI 2020; `VarNet` of fastMRI, whose released weights have 29,936,966
    parameters.
    """

    def __init__(
        self,
        num_cascades=12,
        num_filters=18,
        num_pools=4,
        refiner_filters=8,
        refiner_pools=4,
        num_low_frequencies=None,
        normalized=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_cascades=num_cascades)
        if num_low_frequencies not in (None, "all"):
            check_counts(num_low_frequencies=num_low_frequencies)
        check_flags(normalized=normalized)
        self.num_cascades, self.num_filters, self.num_pools = num_cascades, num_filters, num_pools
        self.refiner_filters, self.refiner_pools = refiner_filters, refiner_pools
        self.num_low_frequencies, self.normalized = num_low_frequencies, normalized
        self.refiner = None
        if refiner_filters is not None:
            of_coil = NormUNet(2, refiner_filters, refiner_pools, dtype=self.dtype_policy)
            self.refiner = SensitivityRefiner(
                ComplexNet(of_coil, False, dtype=self.dtype_policy), dtype=self.dtype_policy
            )
        unet = NormUNet if normalized else InstanceUNet
        self.networks = [unet(2, num_filters, num_pools, dtype=self.dtype_policy) for _ in range(num_cascades)]
        self.step_sizes = [
            self.add_weight(shape=(), initializer="ones", autocast=False, name=f"step_size_{i}")
            for i in range(num_cascades)
        ]

    def build(self, input_shape=None):
        """Create all weights."""
        of_coil = [] if self.refiner is None else [self.refiner.network.network]
        for network in [*of_coil, *self.networks]:
            network.build((None, None, None, 2))  # one by one, which takes a fraction of the time within a trace
        super().build(input_shape)

    def call(self, batch):
        """The reconstructed image, (batch, height, width) complex64."""
        return self.coil_steps(batch)[-1][0]

    def coil_steps(self, batch):
        """The image and the coil images c of which it is the root-sum-of-squares: a list of that one pair."""
        if self.refiner is None or not isinstance(self.physics, Cartesian):
            batch = self.physics.complete(batch)
        if self.refiner is not None:
            batch = {**batch, "sensitivity_maps": self.sensitivity_maps(batch)}
        measured = coils = self.physics.coil_adjoint(batch["kspace"], batch)
        for network, step_size in zip(self.networks, self.step_sizes, strict=True):
            error = self.physics.coil_normal(coils, batch) - measured
            image = self.physics.combine(coils, batch)[..., None]
            correction = from_channels(network(to_channels(image)))[..., 0]
            coils = coils - scale(error, step_size) - self.physics.expand(correction, batch)
        combined = self.physics.combine(coils, batch)
        return [(scale(combined, root_sum_of_squares(coils) / root_sum_of_squares(combined[:, None])), coils)]

    def sensitivity_maps(self, batch):
        """The estimated maps, (batch, coil, height, width) complex64 of unit root-sum-of-squares."""
        kspace = batch["kspace"]
        if self.num_low_frequencies != "all":
            if not isinstance(self.physics, Cartesian):
                return self.refiner(self.physics.estimate_maps(batch))
            if self.num_low_frequencies is None:
                center = calibration_region(batch["mask"], even=True)
            else:
                center = low_frequency_lines(ops.shape(batch["mask"])[-1], self.num_low_frequencies)
            kspace = scale(kspace, center)
        coils = self.physics.maps_as_seen(self.physics.coil_adjoint(kspace, batch))
        return self.physics.maps_as_seen(self.refiner(coils))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_cascades": self.num_cascades,
            "num_filters": self.num_filters,
            "num_pools": self.num_pools,
            "refiner_filters": self.refiner_filters,
            "refiner_pools": self.refiner_pools,
            "num_low_frequencies": self.num_low_frequencies,
            "normalized": self.normalized,
        }
