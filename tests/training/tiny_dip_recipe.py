"""A fit of the deep image prior of a second, for the tests."""

from tiny_recipe import sources

from mri_zoo.data.preparation import PercentileScaling
from mri_zoo.data.trajectories import SpiralTrajectory
from mri_zoo.models import DIP
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.training.untrained import fit_one_slice

TINY = {"latent_size": 6, "num_hidden": 8, "base_size": 5, "num_upsamplings": 2, "num_filters": 6, "num_steps": 60}

recipe = {
    "name": "dip-blobs",
    "model": DIP,
    "model_arguments": {**TINY, "physics": NonCartesian()},
    "sources": sources,
    "root": "nowhere",
    "sampling": SpiralTrajectory(2),
    "scaling": PercentileScaling(),
    "strategy": fit_one_slice,
    "epochs": 1,
    "card": {"summary": "DIP on blobs"},
}
