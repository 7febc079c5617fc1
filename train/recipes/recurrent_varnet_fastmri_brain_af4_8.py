"""RecurrentVarNet on T1-weighted multi-coil brains of fastMRI, random masks, accelerations 4 and 8.

`root` is the folder that holds fastMRI's `multicoil_train` and `multicoil_val` of the brains. The authors train on the
248 volumes of kind AXT1 (3,844 slices), each slice with either acceleration in turn, for 500,000 steps of one slice on
each GPU; here an epoch sees each slice once, with either one. They validate on the first half of the volumes in
`multicoil_val`, and test on the other.

Source: Yiasemis et al., RecurrentVarNet, CVPR 2022, appendix B; `projects/cvpr2022_recurrentvarnet/fastmri/AXT1_brain`
of github.com/NKI-AI/direct.
"""

import keras

from mri_zoo.data import FastMRIFile, KSpacePercentileScaling, RandomMask, find_volumes
from mri_zoo.losses import SSIM, DualDomainLoss
from mri_zoo.models import RecurrentVarNet, RefinedMaps
from mri_zoo.optimizers import WarmupStepDecay


def sources(root, split):
    """The T1-weighted volumes without contrast agent."""
    folder = {"train": "multicoil_train", "validation": "multicoil_val"}[split]
    paths = [path for path in find_volumes(f"{root}/{folder}", "fastmri") if "_AXT1_" in path.name]
    return [FastMRIFile(path) for path in (paths if split == "train" else paths[: len(paths) // 2])]


def network():
    """With the network of 8 filters that refines the sensitivity maps."""
    return RefinedMaps(RecurrentVarNet(num_iterations=8, num_filters=96, num_layers=3))


recipe = {
    "name": "recurrentvarnet-fastmri-brain-af4-8",
    "model": network,
    "sources": sources,
    "root": None,
    "sampling": RandomMask((4, 8), (0.08, 0.04)),
    "scaling": KSpacePercentileScaling(99.0),
    "loss": DualDomainLoss(image=[(1, keras.losses.MeanAbsoluteError()), (1, SSIM("batch"))], kspace=[]),
    "optimizer_arguments": {"epsilon": 1e-8},
    "learning_rate": WarmupStepDecay(5e-4, warmup_steps=500, decay_steps=30_000, decay=0.2),
    "epochs": 130,
    "monitor": "val_slice_ssim",
    "card": {
        "summary": "RecurrentVarNet for multi-coil T1-weighted brains at accelerations 4 and 8",
        "data": "fastMRI, multi-coil brains of kind AXT1 (Zbontar et al., arXiv:1811.08839).",
        "licence": "Weights: MIT. Training data: fastMRI's data use agreement; none of it is part of this preset.",
        "limits": "For research. Not for clinical use.",
    },
}
