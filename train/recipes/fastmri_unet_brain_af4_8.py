"""fastMRI's U-net on its multi-coil brains, equispaced masks, accelerations 4 and 8, as for its leaderboard.

fastMRI crops what the network sees to the size of the target, which differs from file to file; here the image is.
"""

from fastmri_leaderboard import UNET, setup

recipe = setup("unet-fastmri-brain-leaderboard", UNET, "brain")
