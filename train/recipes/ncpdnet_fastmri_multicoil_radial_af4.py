"""NC-PDNet: multi-coil knees of fastMRI, radial trajectory, acceleration 4, as in the thesis."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import RadialTrajectory

recipe = knee_recipe("ncpdnet", "multicoil", RadialTrajectory)
