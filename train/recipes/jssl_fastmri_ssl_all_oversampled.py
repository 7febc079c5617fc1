"""SSL ALL with the target ten times in an epoch."""

from jssl_fastmri import SELF_SUPERVISED, datasets, setup

recipe = setup(
    "vsharp-prostate-ssl-all-oversampled", datasets(SELF_SUPERVISED, SELF_SUPERVISED, repeats=10), data_consistent=True
)
