"""JSSL of the U-net of appendix C."""

from jssl_fastmri import APPENDIX, SELF_SUPERVISED, SUPERVISED, datasets, setup, unet

recipe = setup("unet-prostate-jssl", datasets(SELF_SUPERVISED, SUPERVISED, repeats=2), unet, **APPENDIX)
