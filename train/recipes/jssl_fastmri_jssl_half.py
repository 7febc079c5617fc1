"""JSSL with the ratio q = 0.5."""

from jssl_fastmri import SUPERVISED, datasets, setup

from mri_zoo.data import GaussianSplit

HALF = GaussianSplit(0.5)
recipe = setup("vsharp-prostate-jssl-half", datasets(HALF, SUPERVISED, repeats=2))
