"""PDNet on single-coil brains, random masks, acceleration 4."""

import functools

from demo_data import CARD, SINGLE_COIL_LIMITS, sources

from mri_zoo.data import PercentileScaling, RandomMask
from mri_zoo.models import PDNet

recipe = {
    "name": "pdnet-brain-demo-af4",
    "model": PDNet,
    "model_arguments": {"buffers": "adjoint"},
    "sources": functools.partial(sources, num_coils=1),
    "root": None,
    "sampling": RandomMask(4),
    "scaling": PercentileScaling(),
    "train_options": {"slices": "random", "inner_slices": 24},
    "validation_options": {"inner_slices": 4},
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "epochs": 45,
    "card": {
        **CARD,
        "summary": "PDNet for single-coil brains at acceleration 4",
        "limits": SINGLE_COIL_LIMITS + CARD["limits"],
    },
}
