"""U-net on the density-compensated adjoint: single-coil knees of fastMRI, radial trajectory, acceleration 4."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import RadialTrajectory

recipe = knee_recipe("unet-adjoint", "singlecoil", RadialTrajectory)
