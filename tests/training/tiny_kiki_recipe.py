"""A training in stages of a few seconds, for the tests."""

import tiny_recipe

from mri_zoo.models import KIKINet
from mri_zoo.training.layerwise import train_layerwise

recipe = {
    **tiny_recipe.recipe,
    "name": "kiki-blobs",
    "model": KIKINet,
    "model_arguments": {"num_convolutions": 1, "num_filters": 4},
    "strategy": train_layerwise,
    "train_options": {"slices": "random", "full_kspace": True},
    "validation_options": {"full_kspace": True},
    "schedule": "thirds",
    "epochs": 2,
    "card": {"summary": "KIKINet on blobs"},
}
