"""E2E-VarNet on multi-coil knees of fastMRI, random masks, accelerations 4 and 8, as for fastMRI's leaderboard."""

from fastmri_leaderboard import VARNET, setup

recipe = setup("varnet-knee-fastmri-af4-8", VARNET, "knee")
