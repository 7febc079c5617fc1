"""SSL of the VarNet of appendix C."""

from jssl_fastmri import APPENDIX, SELF_SUPERVISED, datasets, setup, varnet

recipe = setup("varnet-prostate-ssl", datasets(SELF_SUPERVISED), varnet, **APPENDIX)
