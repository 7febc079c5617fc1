"""SSL: self-supervised on the target."""

from jssl_fastmri import SELF_SUPERVISED, datasets, setup

recipe = setup("vsharp-prostate-ssl", datasets(SELF_SUPERVISED), data_consistent=True)
