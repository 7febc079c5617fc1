"""A training of a few seconds, for the tests."""

import keras
import numpy as np

from mri_zoo.data.fourier import fft2c
from mri_zoo.data.masks import RandomMask
from mri_zoo.data.volume import Volume, VolumeInfo
from mri_zoo.models import PDNet


class Blobs:
    """Smooth random images."""

    def __init__(self, seed, num_slices=3, size=(17, 14)):
        self.seed = seed
        self.info = VolumeInfo(f"blobs{seed}.h5", num_slices, 1, *size)

    def read(self, slices=None):
        slices = tuple(range(self.info.num_slices) if slices is None else slices)
        y, x = np.ogrid[: self.info.height, : self.info.width]
        images = [np.exp(-((y - 8) ** 2 + (x - 7 - s) ** 2) / (5 + self.seed)) for s in slices]
        return Volume(self.info, slices, fft2c(np.array(images, "complex64"))[:, None])


def sources(root, split):
    return [Blobs(seed) for seed in (range(4) if split == "train" else [9])]


recipe = {
    "name": "pdnet-blobs",
    "model": PDNet,
    "model_arguments": {"num_iterations": 1, "num_filters": 4, "num_primal": 2, "num_dual": 1, "buffers": "adjoint"},
    "sources": sources,
    "root": "nowhere",
    "sampling": RandomMask(3, 0.2),
    "optimizer": keras.optimizers.Adam,
    "schedule": "cosine",
    "learning_rate": 0.01,
    "epochs": 3,
    "card": {"summary": "PDNet on blobs"},
}
