"""What undersamples a scan: masks and trajectories by name, as dicts for JSON, and the acceleration that they reach."""

import dataclasses
import difflib

import numpy as np

from mri_zoo.data import masks, masks_2d
from mri_zoo.data.trajectories import TRAJECTORIES

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
        nearest = difflib.get_close_matches(str(name), SAMPLINGS, n=1, cutoff=0)[0]
        raise ValueError(
            f"no sampling is called {name!r}; did you mean {nearest!r}? There are: {', '.join(SAMPLINGS)}."
        )
    fields = [field.name for field in dataclasses.fields(SAMPLINGS[name])]
    for argument in named_arguments:
        if argument not in fields:
            raise ValueError(f"the sampling {name!r} has no `{argument}`, only {', '.join(fields)}.")
    return SAMPLINGS[name](*arguments, **named_arguments)


def sampling_to_config(sampling):
    """A dict of plain values, fit for JSON, from which `sampling_from_config` makes an equal mask or trajectory."""
    names = {cls: name for name, cls in SAMPLINGS.items()}
    if type(sampling) not in names:
        raise ValueError(f"only `MASKS` and `TRAJECTORIES` can be stored, got {type(sampling).__name__}.")
    return {"name": names[type(sampling)], **dataclasses.asdict(sampling)}


def sampling_from_config(config):
    """The mask or trajectory that `sampling_to_config` stored."""
    return get_sampling(**config)


def effective_acceleration(mask):
    """How many times fewer samples a drawn mask array, or an `Encoding`, has than the full grid."""
    if hasattr(mask, "acceleration"):
        return mask.acceleration
    mask = np.asarray(mask)
    if not mask.any():
        raise ValueError("the mask samples nothing.")
    return mask.size / np.count_nonzero(mask)
