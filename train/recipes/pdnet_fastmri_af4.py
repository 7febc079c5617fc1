"""PDNet on single-coil knees of fastMRI, random masks, acceleration 4, as in the thesis."""

from fastmri_data import SINGLE_COIL_KNEE

from mri_zoo.models import PDNet

recipe = {
    **SINGLE_COIL_KNEE,
    "name": "pdnet-fastmri-knee-singlecoil-af4",
    "model": PDNet,
    "epochs": 300,
    "card": {"summary": "PDNet for single-coil knees at acceleration 4", **SINGLE_COIL_KNEE["card"]},
}
