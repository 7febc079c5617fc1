"""KIKINet on single-coil knees of fastMRI, random masks, acceleration 4, as in the thesis: one network at a time."""

from fastmri_data import SINGLE_COIL_KNEE

from mri_zoo.models import KIKINet
from mri_zoo.training.layerwise import train_layerwise

recipe = {
    **SINGLE_COIL_KNEE,
    "name": "kikinet-fastmri-knee-singlecoil-af4",
    "model": KIKINet,
    "strategy": train_layerwise,
    "train_options": {**SINGLE_COIL_KNEE["train_options"], "full_kspace": True},
    "validation_options": {**SINGLE_COIL_KNEE["validation_options"], "full_kspace": True},
    "schedule": "thirds",
    "epochs": 50,  # of each of the four networks
    "card": {"summary": "KIKINet for single-coil knees at acceleration 4", **SINGLE_COIL_KNEE["card"]},
}
