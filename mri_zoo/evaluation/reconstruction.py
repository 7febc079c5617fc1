"""From a volume's k-space to its image, with any model on any Keras backend."""

import numpy as np

from mri_zoo.data.preparation import prepare_slice
from mri_zoo.data.volume import DataError


def reconstruct(preset, volume, mask, batch_size=1):
    """Reconstruct all slices of a volume.

    Each slice is masked and scaled as in training, and its image scaled back. Volumes of varying sizes cost little on
    TensorFlow, which traces the model once and again when an axis is first seen to vary, then no more; JAX compiles it
    for each size.

    Args:
        preset: has a `model` and the `scaling` rule of its k-space.
        volume: the `Volume`; a slice is masked here, so samples outside the mask do not matter.
        mask: (1 or height, width) float32, 1 where sampled.
        batch_size: slices at a time. The last batch is filled up with its last slice: all batches have one shape.

    Returns:
        (slice, image height, image width) complex64 in the units of the volume.

    Raises:
        ValueError: if the mask does not fit the k-space or `batch_size` is below 1.
        DataError: if the volume has no slices.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1, got {batch_size}.")
    count = len(volume.kspace)
    if count == 0:
        raise DataError(f"{volume.info.name}: no slices to reconstruct.")
    batch_size = min(batch_size, count)
    images = []
    for first in range(0, count, batch_size):
        positions = np.minimum(np.arange(first, first + batch_size), count - 1)
        slices = [prepare_slice(volume.kspace[i], None, mask, preset.scaling) for i in positions]
        batch = {key: np.stack([inputs[key] for inputs, _, _ in slices]) for key in slices[0][0]}
        factors = np.array([factor for _, _, factor in slices], np.float32)
        images.append(preset.model.predict_on_batch(batch) / factors[:, None, None])
    return np.concatenate(images)[:count]
