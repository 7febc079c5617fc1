"""U-net on the density-compensated adjoint: single-coil knees of fastMRI, spiral trajectory, acceleration 4."""

from noncartesian_thesis import knee_recipe

from mri_zoo.data import SpiralTrajectory

recipe = knee_recipe("unet-adjoint", "singlecoil", SpiralTrajectory)
