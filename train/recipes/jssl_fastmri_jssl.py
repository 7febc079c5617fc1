"""JSSL: self-supervised on the target, supervised on the proxies."""

from jssl_fastmri import SELF_SUPERVISED, SUPERVISED, datasets, setup

recipe = setup("vsharp-prostate-jssl", datasets(SELF_SUPERVISED, SUPERVISED, repeats=2))
