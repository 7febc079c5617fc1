"""SSL: self-supervised on the target."""

from jssl_fastmri import SELF_SUPERVISED, datasets, setup

# The authors train this one for 500,000 steps.
recipe = setup("vsharp-prostate-ssl", datasets(SELF_SUPERVISED), data_consistent=True, epochs=50)
