"""What fastMRI's own trainings for its leaderboard have in common: E2E-VarNet, and the U-net with 256 filters.

`root` is the folder of the knees or of the brains that holds `multicoil_train` and `multicoil_val`, or the same for
`singlecoil`.

Departures: fastMRI trained on 32 GPUs with one slice each, here the gradients of 32 slices are added up one after the
other for each step of the optimizer; its published weights have learned from the validation volumes, too. The SSIM's
data range is the maximum of each slice and not of its volume. The U-net's L1 loss was of images divided by the standard
deviation of the zero-filled one, and clipped at 6 of these; here it is of images divided by its 99th percentile, which
weights the slices alike.

Source: `varnet_reproduce_20201111` and `unet_reproduce_20201111.py` in `fastmri_examples` of
github.com/facebookresearch/fastMRI; Sriram et al., MICCAI 2020; Zbontar et al., arXiv:1811.08839.
"""

import functools

import keras

from mri_zoo.data import EquispacedFractionMask, FastMRIFile, PercentileScaling, RandomMask, find_volumes
from mri_zoo.losses import SSIM
from mri_zoo.models import FastMRIUNet, VarNet

MASKS = {"knee": RandomMask((4, 8), (0.08, 0.04)), "brain": EquispacedFractionMask((4, 8), (0.08, 0.04))}


def sources(root, split, coils="multicoil"):
    """The volumes of a split."""
    folder = {"train": f"{coils}_train", "validation": f"{coils}_val"}[split]
    return [FastMRIFile(path) for path in find_volumes(f"{root}/{folder}", "fastmri")]


def tenth_after_40_epochs(epoch):
    """The factor of the learning rate."""
    return 0.1 ** (epoch // 40)


VARNET = {
    "model": VarNet,
    "loss": SSIM(),
    "optimizer_arguments": {"epsilon": 1e-8, "gradient_accumulation_steps": 32},
    "learning_rate": 3e-4,
}
UNET = {
    "model": FastMRIUNet,
    "model_arguments": {"num_filters": 256},
    "scaling": PercentileScaling(),
    "loss": "mae",
    "optimizer": keras.optimizers.RMSprop,
    # PyTorch's rho; it adds its epsilon of 1e-8 to the root, and Keras adds one below the root.
    "optimizer_arguments": {"rho": 0.99, "epsilon": 1e-16, "gradient_accumulation_steps": 32},
    "learning_rate": 1e-3,
}


def setup(name, settings, anatomy, coils="multicoil", **changes):
    """The recipe of `VARNET` or `UNET` for one anatomy."""
    data = f"{coils.replace('coil', '-coil')} {anatomy}s"
    return {
        "name": name,
        "sources": functools.partial(sources, coils=coils),
        "root": None,
        "sampling": MASKS[anatomy],
        "schedule": tenth_after_40_epochs,
        "epochs": 50,
        "monitor": "val_slice_ssim",
        "card": {
            "summary": f"{settings['model'].__name__} of fastMRI's leaderboard for {data}",
            "data": f"fastMRI, {data} (Zbontar et al., arXiv:1811.08839).",
            "licence": "Weights: MIT. Training data: fastMRI's data use agreement; none of it is part of this preset.",
            "limits": "For research. Not for clinical use.",
        },
        **settings,
        **changes,
    }
