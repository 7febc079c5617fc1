"""What undersamples a scan: masks and trajectories by name, as dicts for JSON, and the acceleration that they reach."""

import dataclasses

import numpy as np

from mri_zoo.arguments import suggestion
from mri_zoo.data import masks, masks_2d
from mri_zoo.data.stored import rule_from_config, rule_to_config
from mri_zoo.data.trajectories import TRAJECTORIES, SamplingTrajectory

MASKS = {
    "random": masks.RandomMask,
    "equispaced": masks.EquispacedMask,
    "equispaced_fraction": masks.EquispacedFractionMask,
    "magic": masks.MagicMask,
    "magic_fraction": masks.MagicFractionMask,
    "gaussian": masks_2d.GaussianMask,
    "poisson_disc": masks_2d.PoissonDiscMask,
    "variable_density_poisson": masks_2d.VariableDensityPoissonMask,
    "circus": masks_2d.CIRCUSMask,
    "benchmark_random": masks.BenchmarkRandomMask,
    "benchmark_equidistant": masks.BenchmarkEquidistantMask,
}
SAMPLINGS = {**MASKS, **TRAJECTORIES}


def get_sampling(name, *arguments, **named_arguments):
    """The mask or trajectory of this name.

    Args:
        name: a key of `MASKS` or `TRAJECTORIES`.
        *arguments: of its class, first the acceleration; see `SamplingMask` and `SamplingTrajectory`.
        **named_arguments: of its class, for example ``offset``.

    Raises:
        ValueError: if there is none of this name (the message suggests the nearest one), or it has no such argument.
    """
    if name not in SAMPLINGS:
        raise ValueError(
            f"no sampling is called {name!r}{suggestion(name, SAMPLINGS)} There are: {', '.join(SAMPLINGS)}."
        )
    fields = [field.name for field in dataclasses.fields(SAMPLINGS[name])]
    for argument in named_arguments:
        if argument not in fields:
            raise ValueError(f"the sampling {name!r} has no `{argument}`, only {', '.join(fields)}.")
    return SAMPLINGS[name](*arguments, **named_arguments)


def sampling_to_config(sampling):
    """A dict of plain values, fit for JSON, from which `sampling_from_config` makes an equal mask or trajectory.

    Raises:
        ValueError: if it can be stored neither by name nor as a class of one's own, see `rule_to_config`.
    """
    if not _is_sampling(sampling):
        raise ValueError(
            f"a sampling must be of type SamplingMask or SamplingTrajectory, got {type(sampling).__name__}."
        )
    return rule_to_config(sampling, SAMPLINGS)


def sampling_from_config(config):
    """The mask or trajectory that `sampling_to_config` stored.

    Raises:
        ValueError: if it cannot be made, see `rule_from_config`.
    """
    return rule_from_config(config, SAMPLINGS, _is_sampling)


def _is_sampling(thing):
    return isinstance(thing, masks.SamplingMask | SamplingTrajectory)


def effective_acceleration(mask):
    """How many times fewer samples a drawn mask array, or an `Encoding`, has than the full grid."""
    if hasattr(mask, "acceleration"):
        return mask.acceleration
    mask = np.asarray(mask)
    if not mask.any():
        raise ValueError("the mask samples nothing.")
    return mask.size / np.count_nonzero(mask)
