"""PDNet without density compensation: single-coil knees of fastMRI, spiral trajectory, acceleration 4."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import SpiralTrajectory

recipe = knee_recipe("pdnet-no-dcp", "singlecoil", SpiralTrajectory)
