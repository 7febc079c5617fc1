"""Brains at 0.055 T as the target of trainings with and without ground truth, and brains at 1.5 and 3 T as proxies.

`root` is a folder with `train/kspace_singlecoil` and `test/kspace_singlecoil`, raw k-space of the 0.055 T scanner
(CC0; Liu et al., Nature Communications 2021), and `train/volumes`, magnitude volumes of other heads. Subjects are kept
apart: three to train on, one to choose the best epoch by, one to judge by, none of them in the volumes.
"""

import functools
import itertools
from pathlib import Path

from mri_zoo.data import (
    FastMRIFile,
    FullTarget,
    GaussianSplit,
    NIfTIFile,
    PercentileScaling,
    RandomMask,
    SimulatedAcquisition,
    Volume,
)
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.losses import DualDomainLoss
from mri_zoo.models import VSHARP, DataConsistent
from mri_zoo.optimizers import WarmupStepDecay
from mri_zoo.training.self_supervised import train_jointly

SUBJECTS = {"train": ("p6A", "p6B", "p7A"), "validation": ("pS6A",), "test": ("pS6B",)}
SIZES = [(128, 126), (196, 128)]  # of the scans
MASK = RandomMask(3, 0.12)


class Kept:
    """A source of which the inner slices are read once and kept in memory."""

    def __init__(self, source, num_slices):
        self.info, self._source = source.info, source
        first = (source.info.num_slices - num_slices) // 2
        self._slices = range(first, first + num_slices)

    @functools.cached_property
    def _volume(self):
        return self._source.read(self._slices)

    def read(self, slices=None):
        """Some of the inner slices."""
        slices = self._slices if slices is None else slices
        chosen, volume = [self._slices.index(i) for i in slices], self._volume
        return Volume(self.info, tuple(slices), volume.kspace[chosen], volume.target[chosen])


def scans(root, split):
    """The raw scans of the subjects of a split."""
    folder = Path(root) / ("test" if split == "test" else "train") / "kspace_singlecoil"
    paths = [path for path in sorted(folder.glob("ulf055_p*.h5")) if path.stem.split("_")[1] in SUBJECTS[split]]
    return [FastMRIFile(path) for path in paths]


def proxies(root):
    """The other heads, through one coil with a phase, in the scans' matrix sizes."""
    paths, sizes = sorted((Path(root) / "train" / "volumes").glob("*.nii.gz")), itertools.cycle(SIZES)
    sources = [SimulatedAcquisition(NIfTIFile(path), 1, next(sizes), seed) for seed, path in enumerate(paths)]
    return [Kept(source, min(source.info.num_slices, 20)) for source in sources]


def network(num_iterations=4, num_filters=8, data_consistent=False):
    """A small vSHARP; its output keeps the samples if `data_consistent`."""
    model = VSHARP(InstanceUNet(2, num_filters, 3), num_iterations, 4, initializer_filters=(8, 8, 16, 16))
    return DataConsistent(model) if data_consistent else model


def target(split):
    """The data set of the scans, with its split."""
    return {"sources": functools.partial(scans, split="train"), "sampling": MASK, "split": split}


SELF_SUPERVISED, SUPERVISED = GaussianSplit(), FullTarget()
PROXY = {"sources": proxies, "sampling": MASK, "split": SUPERVISED, "slices": "random", "inner_slices": 20}


def setup(name, datasets, data_consistent=False):
    """The recipe of a set-up. All have the same number of steps, of slices in a step, and the same network."""
    return {
        "name": f"vsharp-low-field-{name}",
        "model": network,
        "model_arguments": {"data_consistent": data_consistent},
        "sources": scans,
        "datasets": datasets,
        "root": None,
        "sampling": MASK,
        "scaling": PercentileScaling(),
        "loss": DualDomainLoss(),
        "strategy": train_jointly,
        "optimizer_arguments": {"epsilon": 1e-8},
        "learning_rate": WarmupStepDecay(3e-3, warmup_steps=100, decay_steps=1000),
        "steps_per_epoch": 100,
        "batch_size": 2,
        "epochs": 12,
        "card": {
            "summary": f"A small vSHARP for one-coil brains at 0.055 T, acceleration 3; set-up {name}",
            "data": "Raw k-space of three subjects at 0.055 T"
            + (" and magnitude volumes at 1.5 and 3 T" if "proxy" in datasets else "")
            + ", see train/recipes/low_field_data.py of mri_zoo.",
            "licence": "Weights: MIT. Training data: CC0, CC-BY and MIT; none of it is part of this preset.",
            "limits": "For demonstration: three subjects, at 0.055 T. Not for other scans: the table tells where it is "
            "worse than the zero-filled image. Not for clinical use.",
        },
    }
