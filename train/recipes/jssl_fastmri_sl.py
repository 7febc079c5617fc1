"""SL: supervised on the target."""

from jssl_fastmri import SUPERVISED, datasets, setup

recipe = setup("vsharp-prostate-sl", datasets(SUPERVISED), every_step=False)
