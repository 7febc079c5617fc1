"""E2E-VarNet on multi-coil knees of fastMRI, random masks, accelerations 4 and 8, as for fastMRI's leaderboard."""

from fastmri_leaderboard import VARNET, setup

recipe = setup("varnet-fastmri-knee-leaderboard", VARNET, "knee")
