"""PDNet on gridded k-space: single-coil knees of fastMRI, spiral trajectory, acceleration 4."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import SpiralTrajectory

recipe = knee_recipe("pdnet-gridded", "singlecoil", SpiralTrajectory)
