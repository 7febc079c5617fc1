"""What the thesis' non-Cartesian trainings have in common (section 5.2 and appendix B).

Shots are ours; those of the predecessor, on which its published weights were trained, are
``--set sampling.benchmark=True``.
"""

import functools

from keras.optimizers import Adam

from mri_zoo.data import ConstantScaling, FastMRIFile, NIfTIFile, RadialStackTrajectory, find_volumes
from mri_zoo.losses import L1MultiScaleSSIM
from mri_zoo.models import DIP, DealiasingNet, NCPDNet, PDNet
from mri_zoo.optimizers import RectifiedAdam
from mri_zoo.physics.gridded import Gridded
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.training.untrained import fit_one_slice

KNEE_SIZE = (640, 400)  # to which coil images are padded or cropped: 100 shots of 640 samples at acceleration 4
OASIS_SIZE = (176, 256, 256)
KNEE_COILS = 15

# By the first part of a preset's name: title, model, arguments.
NETWORKS = {
    "ncpdnet": ("NC-PDNet", NCPDNet, {}),
    "unet-adjoint": ("U-net on the adjoint", DealiasingNet, {}),
    "pdnet-no-dcp": ("PDNet without density compensation", NCPDNet, {"normalized": True}),
    "pdnet-gridded": (
        "PDNet with gridding",
        PDNet,
        {"primal_only": True, "buffers": "adjoint", "physics": Gridded()},
    ),
    "dip": ("Deep image prior", DIP, {}),
}

_TRAINING = {
    "root": None,
    "loss": L1MultiScaleSSIM(),
    "optimizer": RectifiedAdam,
    "learning_rate": 1e-4,
}
_CARD = {
    "licence": "Weights: MIT. Training data: its data use agreement; none of it is part of this preset.",
    "limits": "For research. Not for clinical use.",
}


def knee_sources(root, split, coils):
    """The volumes of `root`, a folder with fastMRI's `singlecoil_train`, `singlecoil_val` or the multi-coil ones."""
    folder = coils + {"train": "_train", "validation": "_val"}[split]
    return [FastMRIFile(path) for path in find_volumes(f"{root}/{folder}", "fastmri")]


def oasis_sources(root, split):
    """The NIfTI volumes below `train` and `val` of `root`."""
    folder = {"train": "train", "validation": "val"}[split]
    return [NIfTIFile(path) for path in find_volumes(f"{root}/{folder}", "oasis")]


def knee_recipe(network, coils, trajectory, acceleration=4):
    """The recipe of a 2-D network; an epoch sees one slice of each volume.

    Args:
        network: one of `NETWORKS`, of which NC-PDNet refines the sensitivity maps of several coils.
        coils: "singlecoil" or "multicoil", as fastMRI's folders are called.
        trajectory: class of the sampling, `RadialTrajectory` or `SpiralTrajectory`.
        acceleration: columns for each shot.
    """
    title, model, arguments = NETWORKS[network]
    shape = trajectory.__name__.removesuffix("Trajectory").lower()
    arguments = {"physics": NonCartesian(), **arguments}
    if network == "ncpdnet" and coils == "multicoil":
        arguments["refiner_filters"] = (4, 8, 16)
    return {
        **_TRAINING,
        "name": f"{network}-fastmri-knee-{coils}-{shape}-af{acceleration}",
        "model": model,
        "model_arguments": arguments,
        "sources": functools.partial(knee_sources, coils=coils),
        "sampling": trajectory(acceleration, KNEE_SIZE),
        "scaling": ConstantScaling(1e6),
        "train_options": {"slices": "random", "crop": (320, 320)},
        "validation_options": {"inner_slices": 4, "crop": (320, 320)},
        "epochs": 100,
        "card": {
            "summary": f"{title} for {coils} knees, {shape} trajectory at acceleration {acceleration}",
            "data": f"fastMRI, {coils} knees (Zbontar et al., arXiv:1811.08839).",
            **_CARD,
        },
    }


def dip_recipe(coils, trajectory, acceleration=4):
    """The recipe of a decoder that is fitted to one knee, for all others to start from; arguments of `knee_recipe`."""
    recipe = knee_recipe("dip", coils, trajectory, acceleration)
    if coils == "multicoil":
        recipe["model_arguments"]["num_coils"] = KNEE_COILS
    # Near the middle of a volume, where all coils see something; optimizer and rate are the predecessor's.
    recipe["train_options"]["inner_slices"] = 4
    return {**recipe, "strategy": fit_one_slice, "optimizer": Adam, "learning_rate": 1e-3, "epochs": 1}


def oasis_recipe(network, arguments=None):
    """The recipe of a 3-D network of `NETWORKS`, on radial planes that are stacked (figure 5.2-5)."""
    title, model, _ = NETWORKS[network]
    return {
        **_TRAINING,
        "name": f"{network}-oasis-3d-radial-stack-af4",
        "model": model,
        "model_arguments": {**(arguments or {}), "physics": NonCartesian(dimensions=3)},
        "sources": oasis_sources,
        "sampling": RadialStackTrajectory(4, OASIS_SIZE),
        "scaling": ConstantScaling(1e-2),
        "epochs": 8,
        "card": {
            "summary": f"{title} for single-coil brain volumes, stacked radial planes at acceleration 4",
            "data": "OASIS-3: magnitude images, their Fourier transform as k-space.",
            **_CARD,
        },
    }
