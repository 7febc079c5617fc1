"""SSL of the U-net of appendix C."""

from jssl_fastmri import APPENDIX, SELF_SUPERVISED, datasets, setup, unet

recipe = setup("unet-prostate-ssl", datasets(SELF_SUPERVISED), unet, **APPENDIX)
