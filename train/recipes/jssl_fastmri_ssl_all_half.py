"""SSL ALL with the ratio q = 0.5."""

from jssl_fastmri import datasets, setup

from mri_zoo.data import GaussianSplit

HALF = GaussianSplit(0.5)
recipe = setup("vsharp-prostate-ssl-all-half", datasets(HALF, HALF, repeats=2), data_consistent=True, batch_size=1)
