"""Deep image prior, fitted to one knee of fastMRI: multi-coil, spiral trajectory, acceleration 4, as in the thesis."""

from noncartesian_thesis import dip_recipe

from mri_zoo.data import SpiralTrajectory

recipe = dip_recipe("multicoil", SpiralTrajectory)
