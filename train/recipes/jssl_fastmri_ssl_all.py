"""SSL ALL: self-supervised on the target and the proxies."""

from jssl_fastmri import SELF_SUPERVISED, datasets, setup

recipe = setup("vsharp-prostate-ssl-all", datasets(SELF_SUPERVISED, SELF_SUPERVISED, repeats=2), data_consistent=True)
