"""From a volume's k-space to its image, with any model on any Keras backend."""

import functools

import numpy as np

from mri_zoo.arguments import check_counts
from mri_zoo.data.noncartesian import SHARED, Encoding, on_scan
from mri_zoo.data.preparation import drawn_encoding, prepare_slice
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError
from mri_zoo.models import CGSENSE, ZeroFilled
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.noncartesian import NonCartesian


def reconstruct(preset, volume, sampled, batch_size=1):
    """Reconstruct all slices of a volume.

    Each slice is masked and scaled as in training, and its image scaled back. `ZeroFilled` and `CGSENSE`, which have
    nothing that was trained, take the acquisition that fits: along a trajectory the first is the density-compensated
    adjoint. Volumes of
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
    check_counts(batch_size=batch_size)
    trajectory = isinstance(sampled, Encoding)
    model = fitting_model(preset, len(sampled.size) if trajectory else 0)
    sampled = _with_known_gain(preset, sampled) if trajectory else sampled
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
        with np.errstate(over="ignore", invalid="ignore"):  # whoever takes the image looks for what is not finite
            images.append(image / factors.reshape(-1, *[1] * (image.ndim - 1)))
    images = np.concatenate(images)[:count]
    if images.ndim == 4:
        images = images[0]
    return on_scan(images, _extent(volume)[-len(sampled.size) :]) if trajectory and not measured else images


def _with_known_gain(preset, encoding):
    """An encoding as bright as the network was trained with; 1 where nothing was trained."""
    if isinstance(preset.model, ZeroFilled | CGSENSE):
        return encoding.with_gain(1)
    if isinstance(preset.sampling, SamplingTrajectory):
        return encoding.with_gain(drawn_encoding(preset.sampling, encoding.size).gain)
    return encoding


def fitting_model(preset, dimensions):
    """The preset's model, or in place of one that has learned nothing the same with another acquisition.

    Args:
        preset: has a `name` and a `model`.
        dimensions: of the trajectory that the k-space was sampled along; 0 for a mask.

    Raises:
        ValueError: if the model cannot take such k-space.
    """
    physics = preset.model.physics
    wanted = physics.dimensions if physics.along_trajectory else 0
    if wanted == dimensions:
        return preset.model
    if isinstance(preset.model, ZeroFilled | CGSENSE):
        config = preset.model.get_config()
        options = tuple((key, config[key]) for key in ("num_steps", "weight") if key in config)
        return _untrained(type(preset.model), options, dimensions)
    wanted, found = (f"a trajectory of {n} dimensions" if n else "a mask" for n in (wanted, dimensions))
    raise ValueError(f"{preset.name} needs k-space that was sampled with {wanted}, this was with {found}.")


@functools.cache
def _untrained(cls, options, dimensions):
    """Kept, as TensorFlow traces each model anew."""
    model = cls(**dict(options), physics=NonCartesian(dimensions=dimensions) if dimensions else Cartesian())
    model.build()
    return model


def _stacked(key, arrays):
    """With a batch axis, of extent 1 where all slices share an array."""
    return arrays[0][None] if key in SHARED else np.stack(arrays)


def _extent(volume):
    return len(volume.kspace), *volume.kspace.shape[-2:]
