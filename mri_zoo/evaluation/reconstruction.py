"""From a volume's k-space to its image, with any model on any Keras backend."""

import functools

import numpy as np

from mri_zoo.data.noncartesian import SHARED, Encoding, on_scan
from mri_zoo.data.preparation import prepare_slice
from mri_zoo.data.volume import DataError
from mri_zoo.models import ZeroFilled
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.noncartesian import NonCartesian


def reconstruct(preset, volume, sampled, batch_size=1):
    """Reconstruct all slices of a volume.

    Each slice is masked and scaled as in training, and its image scaled back. `ZeroFilled`, which has nothing that was
    trained, takes the acquisition that fits: along a trajectory it is the density-compensated adjoint. Volumes of
    varying sizes cost little on TensorFlow, which traces the model once and again when an axis is first seen to vary,
    then no more; JAX compiles it for each size.

    Args:
        preset: has a `model` and the `scaling` rule of its k-space.
        volume: the `Volume`; a slice is masked here, so samples outside the mask do not matter.
        sampled: of `draw_sampling`: a mask (1 or height, width) float32, 1 where sampled, or an `Encoding`.
        batch_size: slices at a time. The last batch is filled up with its last slice: all batches have one shape.

    Returns:
        (slice, image height, image width) complex64 in the units of the volume.

    Raises:
        ValueError: if the sampling does not fit the k-space or the model, or `batch_size` is below 1.
        DataError: if the volume has no slices.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be >= 1, got {batch_size}.")
    trajectory = isinstance(sampled, Encoding)
    model = _fitting(preset, sampled)
    measured = volume.info.trajectory is not None
    # Of a three-dimensional acquisition all slices are one example.
    kspace = volume.kspace[None] if trajectory and not measured and len(sampled.size) == 3 else volume.kspace
    count = len(kspace)
    if count == 0:
        raise DataError(f"{volume.info.name}: no slices to reconstruct.")
    batch_size = min(batch_size, count)
    images = []
    for first in range(0, count, batch_size):
        positions = np.minimum(np.arange(first, first + batch_size), count - 1)
        slices = [prepare_slice(kspace[i], None, sampled, preset.scaling) for i in positions]
        batch = {key: _stacked(key, [inputs[key] for inputs, _, _ in slices]) for key in slices[0][0]}
        factors = np.array([factor for _, _, factor in slices], np.float32)
        image = model.predict_on_batch(batch)
        images.append(image / factors.reshape(-1, *[1] * (image.ndim - 1)))
    images = np.concatenate(images)[:count]
    if images.ndim == 4:
        images = images[0]
    return on_scan(images, _extent(volume)[-len(sampled.size) :]) if trajectory and not measured else images


def _fitting(preset, sampled):
    """The preset's model, or the adjoint of the acquisition."""
    found = f"a trajectory of {len(sampled.size)} dimensions" if isinstance(sampled, Encoding) else "a mask"
    physics = preset.model.physics
    wanted = f"a trajectory of {physics.dimensions} dimensions" if physics.along_trajectory else "a mask"
    if found == wanted:
        return preset.model
    if isinstance(preset.model, ZeroFilled):
        return _adjoint(len(sampled.size) if isinstance(sampled, Encoding) else None)
    raise ValueError(f"{preset.name} needs k-space that was sampled with {wanted}, this was with {found}.")


@functools.cache
def _adjoint(dimensions):
    """Of a trajectory, or without dimensions of a mask; kept, as TensorFlow traces each model anew."""
    model = ZeroFilled(Cartesian() if dimensions is None else NonCartesian(dimensions=dimensions))
    model.build()
    return model


def _stacked(key, arrays):
    """With a batch axis, of extent 1 where all slices share an array."""
    return arrays[0][None] if key in SHARED else np.stack(arrays)


def _extent(volume):
    return len(volume.kspace), *volume.kspace.shape[-2:]
