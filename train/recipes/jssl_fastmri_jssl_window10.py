"""JSSL with the window w = 10."""

from jssl_fastmri import SUPERVISED, datasets, setup

from mri_zoo.data import GaussianSplit

WINDOW_10 = GaussianSplit(window=10, partial_window=True)  # the centre has fewer columns at acceleration 16
recipe = setup("vsharp-prostate-jssl-window10", datasets(WINDOW_10, SUPERVISED, repeats=2))
