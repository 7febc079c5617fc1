"""JSSL of the VarNet of appendix C."""

from jssl_fastmri import APPENDIX, SELF_SUPERVISED, SUPERVISED, datasets, setup, varnet

recipe = setup("varnet-prostate-jssl", datasets(SELF_SUPERVISED, SUPERVISED, repeats=2), varnet, **APPENDIX)
