"""What the trainings of JSSL on fastMRI have in common: prostate as target, knee and brain as proxies.

`root` is a folder with `training`, `validation` and `test`, as the authors ask for it (projects/JSSL of
github.com/NKI-AI/direct): fastMRI's knees, brains and prostates, the latter's averages combined by the GRAPPA code of
github.com/cai2r/fastMRI_prostate; and with `lists`, the authors' files of file names from there.

Departures from the authors:

- No flips, rotations and random crops to the reconstruction size, which need the k-space that a self-supervised sample
  must not show: masks and splits are those of the whole k-space.
- Losses and metrics of images see the central 320 x 320 at most, theirs the reconstruction size of each file.
- In a pass each slice is there once, or `repeats` times; they draw the list of each batch by its number of slices.
- Validation draws one of the accelerations 4, 8 and 16 for each volume, theirs has all three as data sets of their own.
  All set-ups validate after each 10,000 steps, those with oversampling, `_ssl_all_half`, the U-net's and the VarNet's
  of theirs after 20,000.
- `_ssl_all_oversampled` has the window w = 4; theirs has 10 but for eight of the ten copies of the prostates, which
  have 4. The set-ups with w = 10 are those of the paper's tables; their configurations have none.
- In SSL too the rate falls after each 150,000 steps, as in the paper.
- VarNet's coil images are its image times the maps.

Reference: Yiasemis et al., JSSL, arXiv:2311.15856, section 4 and appendices B and C; projects/JSSL/configs.
"""

import functools
from pathlib import Path

from mri_zoo.data import (
    EquispacedFractionMask,
    FastMRIFile,
    FullTarget,
    GaussianSplit,
    KSpacePercentileScaling,
    RandomMask,
)
from mri_zoo.data.volume import DataError
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.losses import DualDomainLoss
from mri_zoo.models import VSHARP, DataConsistent, DirectUNet, RefinedMaps, VarNet
from mri_zoo.optimizers import WarmupStepDecay
from mri_zoo.training.self_supervised import train_jointly

ACCELERATIONS, CENTERS = (4, 8, 16), (0.08, 0.04, 0.02)
EQUISPACED, RANDOM = EquispacedFractionMask(ACCELERATIONS, CENTERS), RandomMask(ACCELERATIONS, CENTERS)
SELF_SUPERVISED, SUPERVISED = GaussianSplit(), FullTarget()
LEFT_OUT = "train_brain_16_coils_640x320.lst"  # in none of the authors' configurations


def volumes(root, lists, folder="training"):
    """The volumes whose names are in the lists of a pattern."""
    found = [path for path in sorted((Path(root) / "lists").glob(lists)) if path.name != LEFT_OUT]
    if not found:
        raise DataError(f"{Path(root) / 'lists'} has no list of file names {lists}: see the recipe's documentation.")
    names = [name for path in found for name in path.read_text().split()]
    return [FastMRIFile(Path(root) / folder / name) for name in names]


def prostates(root, split):
    """The prostates to choose the best epoch by and to judge by; those to train on are in `datasets`."""
    lists = {"validation": "val_prostate.lst", "test": "test_prostate.lst"}
    return volumes(root, lists[split], split)


def datasets(target, proxy=None, repeats=1):
    """The data sets with the split of the target and that of the proxies, if these take part."""
    prostate = {"sources": functools.partial(volumes, lists="train_prostate_*.lst"), "sampling": EQUISPACED}
    knee = {"sources": functools.partial(volumes, lists="train_knee.lst"), "sampling": EQUISPACED}
    brain = {"sources": functools.partial(volumes, lists="train_brain_*.lst"), "sampling": RANDOM}
    found = {"prostate": {**prostate, "split": target, "repeats": repeats}}
    if proxy is not None:
        found |= {"knee": {**knee, "split": proxy}, "brain": {**brain, "split": proxy}}
    return {name: {**data, "crop": (320, 320)} for name, data in found.items()}


def network(model, data_consistent):
    """A model with the authors' network for the sensitivity maps; its output keeps the samples if asked to."""
    refiner = SensitivityRefiner(ComplexNet(InstanceUNet(2, 16), residual=False))
    refined = RefinedMaps(model(), refiner, sigma=0.7)
    return DataConsistent(refined) if data_consistent else refined


def vsharp():
    """vSHARP; with the maps' network 95,095,539 parameters."""
    return VSHARP()


def unet():
    """The image U-net of appendix C; with the maps' network 32,963,652 parameters."""
    return DirectUNet(64, 4, normalized=True, combine_coils=True)


def varnet():
    """The end-to-end VarNet of appendix C; with the maps' network 13,574,868 parameters."""
    return VarNet(6, 16, 4, refiner_filters=None, normalized=False)


def setup(name, data, model=vsharp, data_consistent=False, every_step=True, **changes):
    """The recipe of a set-up; of 1,000,000 steps, with a validation after each 10,000 of them."""
    return {
        "name": name,
        "model": network,
        "model_arguments": {"model": model, "data_consistent": data_consistent},
        "sources": prostates,
        "datasets": data,
        "root": None,
        "sampling": EQUISPACED,
        "scaling": KSpacePercentileScaling(99.5),
        "validation_options": {"crop": (320, 320)},
        "loss": DualDomainLoss(every_step=every_step),
        "strategy": train_jointly,
        "optimizer_arguments": {"epsilon": 1e-8},
        "learning_rate": WarmupStepDecay(3e-3),
        "steps_per_epoch": 10_000,
        "batch_size": 2,
        "epochs": 100,
        "monitor": "val_slice_ssim",
        "card": {
            "summary": f"{name}: multi-coil prostates at accelerations 4, 8 and 16",
            "data": "fastMRI: prostates, and knees and brains as proxies (Tibrewala et al., Zbontar et al.).",
            "licence": "Weights: MIT. Training data: fastMRI's data use agreement; none of it is part of this preset.",
            "limits": "For research. Not for clinical use.",
        },
        **changes,
    }


# The U-net and the VarNet of appendix C.
APPENDIX = {
    "data_consistent": True,
    "batch_size": 4,
    "epochs": 25,
    "learning_rate": WarmupStepDecay(3e-3, decay_steps=50_000),
}
