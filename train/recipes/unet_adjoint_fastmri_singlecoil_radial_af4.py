"""U-net on the density-compensated adjoint: single-coil knees of fastMRI, radial trajectory, acceleration 4."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import RadialTrajectory
from mri_zoo.models import DealiasingNet

recipe = knee_recipe(DealiasingNet, "singlecoil", RadialTrajectory)
