"""`tf.data` pipelines from volumes to `(batch dict, target)`.

Nothing but an index of (volume, slice) is held in memory; slices are read, masked and scaled as they are asked for, in
parallel, and always in the same order for the same seed.
"""

import contextlib
import dataclasses
import re

import numpy as np
import tensorflow as tf

from mri_zoo.data.files import NUM_CACHED_VOLUMES, find_volumes, open_volume
from mri_zoo.data.noncartesian import SHARED
from mri_zoo.data.preparation import (
    ConstantScaling,
    draw_sampling,
    flip_and_rotate,
    prepare_slice,
    reference_image,
)
from mri_zoo.data.sampling import seed_from_name
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError


def fastmri(root, sampling, *, crop=(320, 320), scaling=None, **options):
    """Dataset of the fastMRI HDF5 files of a folder.

    Args:
        root: folder such as ``knee/singlecoil_train``, or one file.
        sampling: a mask of `mri_zoo.data.sampling` or a trajectory of `mri_zoo.data.trajectories`.
        crop: targets are centre-cropped to this size where they are larger.
        scaling: by default a factor of 1e6, as in the thesis.
        **options: of `slices_of`.

    Returns:
        See `slices_of`.
    """
    sources = [open_volume(path) for path in find_volumes(root, "fastmri")]
    return slices_of(sources, sampling, crop=crop, scaling=scaling or ConstantScaling(1e6), **options)


def oasis(root, sampling, *, scaling=None, **options):
    """Dataset of the NIfTI magnitude volumes below a folder; k-space is the Fourier transform of the magnitude.

    Args:
        root: folder, searched recursively, or one file.
        sampling: a mask of `mri_zoo.data.sampling` or a trajectory of `mri_zoo.data.trajectories`.
        scaling: by default a factor of 1e-2.
        **options: of `slices_of`.

    Returns:
        See `slices_of`.
    """
    sources = [open_volume(path) for path in find_volumes(root, "oasis")]
    return slices_of(sources, sampling, scaling=scaling or ConstantScaling(1e-2), **options)


def slices_of(
    sources,
    sampling,
    *,
    scaling=None,
    slices="all",
    inner_slices=None,
    crop=None,
    full_kspace=False,
    augment=False,
    training=True,
    seed=0,
    epochs=None,
):
    """Dataset of the slices of volumes, or of whole volumes where the sampling is three-dimensional.

    In training the order is shuffled (of compressed NIfTI volumes, a few at a time) and every slice has a fresh mask,
    anew in each epoch and reproducible from `seed`; otherwise slices come in order, and the mask of a volume is seeded
    by its file name, as fastMRI does it.

    Args:
        sources: `VolumeSource`s.
        sampling: a mask of `mri_zoo.data.sampling` or a trajectory of `mri_zoo.data.trajectories`; volumes that were
            measured undersampled keep their own.
        scaling: rule of `mri_zoo.data.preparation`, no scaling by default.
        slices: "all", or "random" for one slice per volume and epoch, as in the thesis.
        inner_slices: take only this many slices around the middle of each volume.
        crop: targets are centre-cropped to this (height, width) where they are larger.
        full_kspace: add each slice's k-space before undersampling, scaled like the input, to the batch as `full_kspace`
            (coil, height, width), for strategies that learn from it; with masks alone.
        augment: flip and turn the images at random; the target is then the root-sum-of-squares of the turned images.
        training: see above.
        seed: of the order, the masks and the augmentation.
        epochs: (first, last + 1) to have these epochs of a training one after the other, for resuming; by default each
            iteration over the dataset is one new epoch.

    Returns:
        `tf.data.Dataset` of (dict of `kspace` (coil, height, width) complex64 and `mask` (1, 1 or height, width)
        float32, target (height, width) float32), without a batch axis: use ``.batch(1)`` or `batch_by_shape`. With a
        trajectory the dict holds `kspace` (coil, samples) complex64, `trajectory` (samples, dimension), `density`
        (samples,) and the `kernel` of the normal operator (twice the image's size), all float32, which are computed
        once; in three dimensions the target is (depth, height, width).

    Raises:
        ValueError: if an argument is not one of those above, there are no sources, or some were measured along a
            trajectory and others are to be sampled by a mask.
    """
    if not sources:
        raise ValueError("No volumes to read.")
    trajectory = _dimensions(sources, sampling)
    volumes = trajectory == 3
    if volumes and (slices != "all" or inner_slices is not None or augment):
        raise ValueError("A three-dimensional sampling takes whole volumes: no `slices`, `inner_slices` or `augment`.")
    if trajectory and full_kspace:
        raise ValueError("`full_kspace` needs a mask: along a trajectory there is no k-space of which it takes a part.")
    if slices not in ("all", "random"):
        raise ValueError(f'`slices` must be "all" or "random", got {slices!r}.')
    if inner_slices is not None and inner_slices < 1:
        raise ValueError(f"`inner_slices` must be >= 1, got {inner_slices}.")
    if augment and any(_is_undersampled(source.info) for source in sources):
        raise ValueError("`augment` needs fully sampled volumes: the samples of others cannot be turned.")
    if full_kspace and any(_is_undersampled(source.info) for source in sources):
        raise ValueError("`full_kspace` needs fully sampled volumes, some of these were measured undersampled.")
    scaling = scaling or ConstantScaling()

    def order(epoch):
        """(number of examples, 3): volume, slice and seed of each."""
        rng = np.random.default_rng((seed, int(epoch)))
        numbers = rng.permutation(len(sources)) if training else range(len(sources))
        rows = [[(v, s) for s in _chosen(sources[v], slices, 1 if volumes else inner_slices, rng)] for v in numbers]
        # Slices of all volumes are mixed, or of as many as are kept in memory where each is read as a whole.
        whole = any(getattr(source, "whole", False) for source in sources)
        window = NUM_CACHED_VOLUMES if whole and slices == "all" else len(rows)
        rows = [np.concatenate(rows[i : i + window]) for i in range(0, len(rows), window)]
        if training:
            for mixed in rows:
                rng.shuffle(mixed)
        rows = np.concatenate(rows).astype("int64")
        return np.column_stack([rows, rng.integers(2**31, size=len(rows))])

    def load(row):
        volume_index, slice_index, example_seed = (int(value) for value in row)
        rng = np.random.default_rng(example_seed)
        source = sources[volume_index]
        if volumes and source.info.trajectory is None:
            volume = source.read()
            kspace, info = volume.kspace, volume.info
            target = np.stack([reference_image(volume, index) for index in range(len(kspace))])
        else:
            volume = source.read([slice_index])
            kspace, info = volume.kspace[0], volume.info
            target = reference_image(volume, 0)
        if augment:
            kspace, target = flip_and_rotate(kspace, rng)
            info = dataclasses.replace(info, height=kspace.shape[-2], width=kspace.shape[-1], padding=None)
        mask_seed = int(rng.integers(2**31)) if training else seed_from_name(info.name)
        sampled = draw_sampling(sampling, info, mask_seed, info.padding)
        inputs, target, factor = prepare_slice(kspace, target, sampled, scaling, crop)
        if full_kspace:
            inputs["full_kspace"] = (kspace * factor).astype("complex64")
        return *(inputs[key] for key in spec), target.astype("float32")

    coils = {source.info.num_coils for source in sources}
    coils = coils.pop() if len(coils) == 1 else None

    spec = _spec(trajectory, coils, full_kspace)

    def load_tensors(row):
        *inputs, target = tf.numpy_function(load, [row], [*(dtype for _, dtype in spec.values()), tf.float32])
        for tensor, (shape, _) in zip(inputs, spec.values(), strict=True):
            tensor.set_shape(shape)
        target.set_shape([None] * (trajectory or 2))
        return dict(zip(spec, inputs, strict=True)), target

    if epochs is None:
        numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    else:
        numbers = tf.data.Dataset.range(*epochs)
    rows = numbers.flat_map(
        lambda epoch: tf.data.Dataset.from_tensor_slices(
            tf.ensure_shape(tf.numpy_function(order, [epoch], tf.int64), (None, 3))
        )
    )
    dataset = rows.map(load_tensors, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.apply(
        tf.data.experimental.assert_cardinality(len(order(0)) * (epochs[1] - epochs[0] if epochs else 1))
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def batch_by_shape(dataset, batch_size):
    """Batches of slices of one shape, in the order in which they fill; the last ones may be smaller.

    What all slices of a batch share of an acquisition off the Cartesian grid has a batch axis of 1.

    Args:
        dataset: of `slices_of`, volumes of any sizes.
        batch_size: slices in a batch.
    """

    def key(inputs, target):
        shape = tf.concat([tf.shape(tensor) for tensor in (*inputs.values(), target)], axis=0)
        return tf.strings.to_hash_bucket_fast(tf.strings.reduce_join(tf.strings.as_string(shape), separator="x"), 2**62)

    batches = dataset.group_by_window(key, lambda _, window: window.batch(batch_size), window_size=batch_size)
    return batches.map(_shared_once) if "trajectory" in dataset.element_spec[0] else batches


@contextlib.contextmanager
def data_errors():
    """A block in which what TensorFlow makes of a `DataError` inside a dataset becomes that error again."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"DataError: (.*)", error.message)
        if found is None:
            raise
        raise DataError(found[1]) from error


def _dimensions(sources, sampling):
    """Of the trajectories, or 0 where masks are drawn."""
    own = {2 if source.info.depth is None else 3 for source in sources if source.info.trajectory is not None}
    if any(source.info.trajectory is None for source in sources):
        own.add(sampling.dimensions if isinstance(sampling, SamplingTrajectory) else 0)
    if len(own) > 1:
        raise ValueError("Volumes that were measured along a trajectory cannot be mixed with those of other samplings.")
    return own.pop()


def _spec(trajectory, coils, full_kspace):
    """{key: (shape, type)} of a slice's input."""
    if not trajectory:
        space = (coils, None, None)
        spec = {"kspace": (space, tf.complex64), "mask": ((1, None, None), tf.float32)}
        return spec | {"full_kspace": (space, tf.complex64)} if full_kspace else spec
    return {
        "kspace": ((coils, None), tf.complex64),
        "trajectory": ((None, trajectory), tf.float32),
        "density": ((None,), tf.float32),
        "kernel": ((None,) * trajectory, tf.float32),
    }


def _shared_once(inputs, target):
    """The batch with one trajectory, where all are equal."""
    equal = tf.reduce_all(inputs["trajectory"] == inputs["trajectory"][:1])
    end = tf.where(equal, 1, tf.shape(target)[0])
    return {key: tensor[:end] if key in SHARED else tensor for key, tensor in inputs.items()}, target


def _is_undersampled(info):
    return info.mask is not None or info.trajectory is not None


def _chosen(source, slices, inner_slices, rng):
    count = source.info.num_slices
    inner = min(inner_slices or count, count)
    first = (count - inner) // 2
    return [first + int(rng.integers(inner))] if slices == "random" else range(first, first + inner)
