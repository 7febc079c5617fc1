"""PDNet without k-space networks on brains with 8 coils, random masks, acceleration 4."""

import functools

from demo_data import CARD, sources

from mri_zoo.data import PercentileScaling, RandomMask
from mri_zoo.models import PDNet

recipe = {
    "name": "pdnet-brain-demo-multicoil-af4",
    "model": PDNet,
    "model_arguments": {"buffers": "adjoint", "primal_only": True},
    "sources": functools.partial(sources, num_coils=8),
    "root": None,
    "sampling": RandomMask(4),
    "scaling": PercentileScaling(),
    "train_options": {"slices": "random", "inner_slices": 24},
    "validation_options": {"inner_slices": 4},
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "epochs": 45,
    "card": {"summary": "PDNet (primal only) for brains with 8 coils at acceleration 4", **CARD},
}
