"""CascadeNet on single-coil knees of fastMRI, random masks, acceleration 4, as in the thesis."""

from fastmri_data import SINGLE_COIL_KNEE

from mri_zoo.models import CascadeNet

recipe = {
    **SINGLE_COIL_KNEE,
    "name": "cascadenet-fastmri-knee-singlecoil-af4",
    "model": CascadeNet,
    "epochs": 300,
    "card": {"summary": "CascadeNet for single-coil knees at acceleration 4", **SINGLE_COIL_KNEE["card"]},
}
