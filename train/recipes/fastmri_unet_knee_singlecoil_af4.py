"""fastMRI's U-net on its single-coil knees, random masks, acceleration 4, as for its leaderboard."""

from fastmri_leaderboard import UNET, setup

from mri_zoo.data import RandomMask

recipe = setup(
    "unet-fastmri-knee-singlecoil-leaderboard",
    UNET,
    "knee",
    "singlecoil",
    model_arguments={"num_filters": 256, "crop": (320, 320)},
    sampling=RandomMask(4, 0.08),
)
