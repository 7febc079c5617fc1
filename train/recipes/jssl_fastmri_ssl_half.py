"""SSL with the ratio q = 0.5."""

from jssl_fastmri import datasets, setup

from mri_zoo.data import GaussianSplit

HALF = GaussianSplit(0.5)
recipe = setup("vsharp-prostate-ssl-half", datasets(HALF), data_consistent=True)
