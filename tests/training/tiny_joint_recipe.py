"""A joint training of a few seconds, for the tests: targets without, and proxies with ground truth."""

import numpy as np
from tiny_recipe import Blobs

from mri_zoo.data.masks import EquispacedMask, RandomMask
from mri_zoo.data.splits import FullTarget, GaussianSplit
from mri_zoo.data.volume import Volume
from mri_zoo.losses import DualDomainLoss
from mri_zoo.models import DataConsistent, PDNet
from mri_zoo.optimizers import WarmupStepDecay
from mri_zoo.training.self_supervised import train_jointly

FIXED = EquispacedMask(3, 0.3, offset=1)  # of the target, the same for every seed


class Hiding(Blobs):
    """Blobs whose unsampled k-space and reference may be replaced by a constant."""

    def __init__(self, seed, hidden):
        super().__init__(seed)
        self.hidden = hidden

    def read(self, slices=None):
        volume = super().read(slices)
        if self.hidden is None:
            return volume
        unsampled = FIXED(self.info.height, self.info.width) == 0
        kspace = np.where(unsampled, np.complex64(self.hidden), volume.kspace)
        return Volume(self.info, volume.slices, kspace, np.full((len(kspace), 17, 14), self.hidden, "float32"))


def target(root):
    return [Hiding(seed, root if isinstance(root, float) else None) for seed in range(2)]


def network(**arguments):
    return DataConsistent(PDNet(**arguments))


recipe = {
    "name": "pdnet-joint-blobs",
    "model": network,
    "model_arguments": {"num_iterations": 1, "num_filters": 4, "num_primal": 2, "num_dual": 1, "buffers": "adjoint"},
    "sources": lambda root, split: [Blobs(9 if split == "validation" else 8)],
    "datasets": {
        "target": {"sources": target, "sampling": FIXED, "split": GaussianSplit((0.3, 0.5), 2), "repeats": 2},
        "proxy": {"sources": lambda root: [Blobs(3)], "sampling": RandomMask(3, 0.2), "split": FullTarget()},
    },
    "root": "nowhere",
    "sampling": FIXED,
    "loss": DualDomainLoss(),
    "strategy": train_jointly,
    "learning_rate": WarmupStepDecay(0.01, warmup_steps=4, decay_steps=10),
    "batch_size": 2,
    "epochs": 2,
    "card": {"summary": "PDNet on blobs"},
}
