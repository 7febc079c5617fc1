"""SL ALL: supervised on the target and the proxies."""

from jssl_fastmri import SUPERVISED, datasets, setup

recipe = setup("vsharp-prostate-sl-all", datasets(SUPERVISED, SUPERVISED, repeats=2), every_step=False)
