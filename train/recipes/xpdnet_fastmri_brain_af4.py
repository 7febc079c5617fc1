"""XPDNet on multi-coil brains of fastMRI, equidistant masks, acceleration 4: the network of the 2020 challenge.

The settings are those of section 5.1 of the thesis, and of the predecessor's `xpdnet_train.py` where the thesis is
silent (learning rate, scaling, largest size). For acceleration 8 use `--set sampling.acceleration=8` and a
`Cartesian(center_fraction=0.04)`. The challenge's weights were then fine-tuned for 10 epochs on each contrast, with
`initial_weights` and a learning rate of 1e-7.
"""

from mri_zoo.data import BenchmarkEquidistantMask, ConstantScaling, FastMRIFile, find_volumes
from mri_zoo.losses import L1MultiScaleSSIM
from mri_zoo.models import XPDNet
from mri_zoo.optimizers import RectifiedAdam

LARGEST = (640, 400)  # the predecessor leaves larger volumes out, less than one in two hundred
NUM_VALIDATION_VOLUMES = 30


def sources(root, split):
    """The volumes of `root`, a folder with fastMRI's `brain_multicoil_train` and `brain_multicoil_val`."""
    folder = {"train": "brain_multicoil_train", "validation": "brain_multicoil_val"}[split]
    volumes = [FastMRIFile(path) for path in find_volumes(f"{root}/{folder}", "fastmri")]
    if split == "validation":
        return volumes[:NUM_VALIDATION_VOLUMES]
    return [volume for volume in volumes if volume.info.height <= LARGEST[0] and volume.info.width <= LARGEST[1]]


recipe = {
    "name": "xpdnet-fastmri-brain-af4",
    "model": XPDNet,
    "sources": sources,
    "root": None,
    "sampling": BenchmarkEquidistantMask(4),
    "scaling": ConstantScaling(1e6),
    "train_options": {"slices": "random"},  # an epoch sees one slice of each volume
    "validation_options": {"inner_slices": 4},
    "loss": L1MultiScaleSSIM(),
    "optimizer": RectifiedAdam,
    "learning_rate": 1e-4,
    "epochs": 100,
    "card": {
        "summary": "XPDNet for multi-coil brains at acceleration 4",
        "data": "fastMRI, multi-coil brains (Zbontar et al., arXiv:1811.08839).",
        "licence": "Weights: MIT. Training data: fastMRI's data use agreement; none of it is part of this preset.",
        "limits": "For research. Not for clinical use.",
    },
}
