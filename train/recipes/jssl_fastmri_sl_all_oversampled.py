"""SL ALL with the target ten times in an epoch."""

from jssl_fastmri import SUPERVISED, datasets, setup

recipe = setup(
    "vsharp-prostate-sl-all-oversampled", datasets(SUPERVISED, SUPERVISED, repeats=10), every_step=False, batch_size=1
)
