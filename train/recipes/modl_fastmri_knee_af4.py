"""MoDL on multi-coil knees of fastMRI, random masks, acceleration 4, as the authors of Deep J-Sense train it.

`root` is the folder that holds fastMRI's `multicoil_train` and `multicoil_val`. The loss, the optimizer and the epochs
are the paper's. Mask, scaling and choice of volumes, of which it says nothing, are those of its code for Deep J-Sense.

Departures: the sensitivity maps are those of the centre of k-space and not ESPIRiT's; masks have as many columns as the
acceleration asks for on average, and not each of them; the five slices are those in the middle of each volume, and not
13 to 17. Where it does not converge, the code first trains one epoch each with 1 to 5 iterations: so `--set epochs=1
--set model_arguments.num_iterations=1`, and from there on with `--set initial_weights=...`.

Source: Arvinte et al., Deep J-Sense, MICCAI 2021, section 4 and supplement; `train.py` and `datagen.py` of
github.com/utcsilab/deep-jsense.
"""

from mri_zoo.data import FastMRIFile, KSpacePercentileScaling, RandomMask, find_volumes
from mri_zoo.losses import SSIM
from mri_zoo.models import MoDL


def sources(root, split):
    """The volumes with 320 to 348 acquired columns."""
    folder = {"train": "multicoil_train", "validation": "multicoil_val"}[split]
    volumes = [FastMRIFile(path) for path in find_volumes(f"{root}/{folder}", "fastmri")]
    return [volume for volume in volumes if 320 <= volume.info.padding[1] - volume.info.padding[0] <= 348]


def halved_every_10_epochs(epoch):
    """The factor of the learning rate."""
    return 0.5 ** (epoch // 10)


recipe = {
    "name": "modl-fastmri-knee-af4",
    "model": MoDL,
    "sources": sources,
    "root": None,
    "sampling": RandomMask(4, 0.08),
    "scaling": KSpacePercentileScaling(100.0),  # the largest sample becomes 1
    "train_options": {"inner_slices": 5},
    "validation_options": {"inner_slices": 5},
    "loss": SSIM(),
    "optimizer_arguments": {"epsilon": 1e-8, "clipvalue": 0.1},
    "learning_rate": 1e-3,  # PyTorch's default
    "schedule": halved_every_10_epochs,
    "epochs": 30,
    "monitor": "val_slice_ssim",
    "card": {
        "summary": "MoDL for multi-coil knees at acceleration 4",
        "data": "fastMRI, multi-coil knees, five slices of each volume (Zbontar et al., arXiv:1811.08839).",
        "licence": "Weights: MIT. Training data: fastMRI's data use agreement; none of it is part of this preset.",
        "limits": "For research. Not for clinical use.",
    },
}
