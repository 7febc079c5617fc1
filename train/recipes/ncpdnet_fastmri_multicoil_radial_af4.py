"""NC-PDNet: multi-coil knees of fastMRI, radial trajectory, acceleration 4, as in the thesis."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import RadialTrajectory
from mri_zoo.models import NCPDNet

recipe = knee_recipe(NCPDNet, "multicoil", RadialTrajectory)
