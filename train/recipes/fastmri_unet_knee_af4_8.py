"""fastMRI's U-net on its multi-coil knees, random masks, accelerations 4 and 8, as for its leaderboard."""

from fastmri_leaderboard import UNET, setup

recipe = setup(
    "unet-fastmri-knee-multicoil-leaderboard", UNET, "knee", model_arguments={"num_filters": 256, "crop": (320, 320)}
)
