"""E2E-VarNet on multi-coil brains of fastMRI, equispaced masks, accelerations 4 and 8, as for fastMRI's leaderboard."""

from fastmri_leaderboard import VARNET, setup

recipe = setup("varnet-fastmri-brain-leaderboard", VARNET, "brain")
