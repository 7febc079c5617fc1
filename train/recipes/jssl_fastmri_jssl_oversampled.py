"""JSSL with the target ten times in an epoch."""

from jssl_fastmri import SELF_SUPERVISED, SUPERVISED, datasets, setup

recipe = setup("vsharp-prostate-jssl-oversampled", datasets(SELF_SUPERVISED, SUPERVISED, repeats=10), batch_size=1)
