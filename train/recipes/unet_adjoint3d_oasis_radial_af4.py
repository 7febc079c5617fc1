"""U-net (V-net) on the density-compensated adjoint: volumes of OASIS-3, stacked radial planes, acceleration 4."""

from noncartesian_thesis import oasis_recipe

recipe = oasis_recipe("unet-adjoint")
