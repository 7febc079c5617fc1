"""U-net on brains with 8 coils, random masks, acceleration 4."""

import functools

from demo_data import CARD, sources

from mri_zoo.data import PercentileScaling, RandomMask
from mri_zoo.models import UNet

recipe = {
    "name": "unet-brain-demo-multicoil-af4",
    "model": UNet,
    "sources": functools.partial(sources, num_coils=8),
    "root": None,
    "sampling": RandomMask(4),
    "scaling": PercentileScaling(),
    "train_options": {"slices": "random", "inner_slices": 24},
    "validation_options": {"inner_slices": 4},
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "epochs": 80,
    "card": {"summary": "U-net for brains with 8 coils at acceleration 4", **CARD},
}
