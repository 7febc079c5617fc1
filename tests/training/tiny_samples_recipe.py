"""A training of seconds on samples along spokes and no ground truth, for the tests."""

import numpy as np
from tiny_recipe import Blobs

from mri_zoo.data.fourier import ifft2c
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.preparation import PercentileScaling
from mri_zoo.data.splits import ShotSplit
from mri_zoo.data.trajectories import RadialTrajectory, radial
from mri_zoo.data.volume import Volume, VolumeInfo
from mri_zoo.losses import DualDomainLoss
from mri_zoo.models import NCPDNet
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.training.self_supervised import train_jointly

SIZE = (17, 14)
SHOTS = radial(9, 17)


class Spokes:
    """Blobs measured along spokes by two coils, with a reference that must not matter."""

    def __init__(self, seed, reference):
        self.blobs, self.reference = Blobs(seed), reference
        self.info = VolumeInfo(
            f"spokes{seed}.h5", 3, 2, *SIZE, trajectory=SHOTS.reshape(-1, 2), num_shots=9, target_size=SIZE
        )

    def read(self, slices=None):
        images = ifft2c(self.blobs.read(slices).kspace) * np.array([0.6, 0.8j], "complex64")[:, None, None]
        encoding = make_encoding(SHOTS, SIZE, np.ones(SHOTS.shape[:2]), kernel=False)
        samples = np.stack([encoding.measure(slice_) for slice_ in images])
        target = np.full((len(images), *SIZE), self.reference, "float32")
        return Volume(self.info, self.blobs.read(slices).slices, samples, target)


def spokes(root):
    return [Spokes(seed, root if isinstance(root, float) else 1.0) for seed in range(3)]


recipe = {
    "name": "ncpdnet-samples",
    "model": NCPDNet,
    # The exact sum: FINUFFT's threads add in any order.
    "model_arguments": {
        "num_iterations": 2,
        "num_primal": 2,
        "num_filters": 4,
        "physics": NonCartesian(implementation="ndft", center_fraction=0.3),
    },
    "sources": lambda root, split: [Blobs(9)],
    "datasets": {"scans": {"sources": spokes, "sampling": None, "split": ShotSplit((0.3, 0.5), 3)}},
    "root": "nowhere",
    "sampling": RadialTrajectory(1.6),
    "scaling": PercentileScaling(),
    "validation_options": {"inner_slices": 1},
    "loss": DualDomainLoss(image=[]),
    "strategy": train_jointly,
    "learning_rate": 0.01,
    "batch_size": 2,
    "steps_per_epoch": 5,
    "epochs": 2,
    "card": {"summary": "NC-PDNet on blobs"},
}
