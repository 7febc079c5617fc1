"""`tf.data` pipelines from volumes to `(batch dict, target)`.

Nothing but an index of (volume, slice) is held in memory; slices are read, masked and scaled as they are asked for, in
parallel, and always in the same order for the same seed.
"""

import contextlib
import re

import numpy as np
import tensorflow as tf

from mri_zoo.data.files import NUM_CACHED_VOLUMES, find_volumes, open_volume
from mri_zoo.data.preparation import ConstantScaling, flip_and_rotate, prepare_slice, reference_image
from mri_zoo.data.sampling import seed_from_name
from mri_zoo.data.volume import DataError


def fastmri(root, mask, *, crop=(320, 320), scaling=None, **options):
    """Dataset of the fastMRI HDF5 files of a folder.

    Args:
        root: folder such as ``knee/singlecoil_train``, or one file.
        mask: a mask of `mri_zoo.data.sampling`.
        crop: targets are centre-cropped to this size where they are larger.
        scaling: by default a factor of 1e6, as in the thesis.
        **options: of `slices_of`.

    Returns:
        See `slices_of`.
    """
    sources = [open_volume(path) for path in find_volumes(root, "fastmri")]
    return slices_of(sources, mask, crop=crop, scaling=scaling or ConstantScaling(1e6), **options)


def oasis(root, mask, *, scaling=None, **options):
    """Dataset of the NIfTI magnitude volumes below a folder; k-space is the Fourier transform of the magnitude.

    Args:
        root: folder, searched recursively, or one file.
        mask: a mask of `mri_zoo.data.sampling`.
        scaling: by default a factor of 1e-2.
        **options: of `slices_of`.

    Returns:
        See `slices_of`.
    """
    sources = [open_volume(path) for path in find_volumes(root, "oasis")]
    return slices_of(sources, mask, scaling=scaling or ConstantScaling(1e-2), **options)


def slices_of(
    sources,
    mask,
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
    """Dataset of the slices of volumes.

    In training the order is shuffled (of compressed NIfTI volumes, a few at a time) and every slice has a fresh mask,
    anew in each epoch and reproducible from `seed`; otherwise slices come in order, and the mask of a volume is seeded
    by its file name, as fastMRI does it.

    Args:
        sources: `VolumeSource`s.
        mask: a mask of `mri_zoo.data.sampling`; volumes that were measured undersampled keep their own.
        scaling: rule of `mri_zoo.data.preparation`, no scaling by default.
        slices: "all", or "random" for one slice per volume and epoch, as in the thesis.
        inner_slices: take only this many slices around the middle of each volume.
        crop: targets are centre-cropped to this (height, width) where they are larger.
        full_kspace: add each slice's k-space before undersampling, scaled like the input, to the batch as `full_kspace`
            (coil, height, width), for strategies that learn from it.
        augment: flip and turn the images at random; the target is then the root-sum-of-squares of the turned images.
        training: see above.
        seed: of the order, the masks and the augmentation.
        epochs: (first, last + 1) to have these epochs of a training one after the other, for resuming; by default each
            iteration over the dataset is one new epoch.

    Returns:
        `tf.data.Dataset` of (dict of `kspace` (coil, height, width) complex64 and `mask` (1, 1 or height, width)
        float32, target (height, width) float32), without a batch axis: use ``.batch(1)`` or `batch_by_shape`.

    Raises:
        ValueError: if an argument is not one of those above, or there are no sources.
    """
    if not sources:
        raise ValueError("No volumes to read.")
    if slices not in ("all", "random"):
        raise ValueError(f'`slices` must be "all" or "random", got {slices!r}.')
    if inner_slices is not None and inner_slices < 1:
        raise ValueError(f"`inner_slices` must be >= 1, got {inner_slices}.")
    if augment and any(source.info.mask is not None for source in sources):
        raise ValueError("`augment` needs fully sampled volumes: the samples of others cannot be turned.")
    if full_kspace and any(source.info.mask is not None for source in sources):
        raise ValueError("`full_kspace` needs fully sampled volumes, some of these were measured undersampled.")
    scaling = scaling or ConstantScaling()

    def order(epoch):
        """(number of examples, 3): volume, slice and seed of each."""
        rng = np.random.default_rng((seed, int(epoch)))
        volumes = rng.permutation(len(sources)) if training else range(len(sources))
        rows = [[(v, s) for s in _chosen(sources[v], slices, inner_slices, rng)] for v in volumes]
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
        volume = sources[volume_index].read([slice_index])
        kspace, info = volume.kspace[0], volume.info
        target = reference_image(volume, 0)
        if augment:
            kspace, target = flip_and_rotate(kspace, rng)
        chosen = info.mask
        if chosen is None:
            mask_seed = int(rng.integers(2**31)) if training else seed_from_name(info.name)
            chosen = mask(*kspace.shape[-2:], seed=mask_seed, padding=None if augment else info.padding)
        inputs, target, factor = prepare_slice(kspace, target, chosen, scaling, crop)
        full = [(kspace * factor).astype("complex64")] if full_kspace else []
        return inputs["kspace"], inputs["mask"], target.astype("float32"), *full

    coils = {source.info.num_coils for source in sources}
    coils = coils.pop() if len(coils) == 1 else None

    def load_tensors(row):
        types = (tf.complex64, tf.float32, tf.float32, *[tf.complex64] * full_kspace)
        kspace, sampled, target, *full = tf.numpy_function(load, [row], types)
        for samples in (kspace, *full):
            samples.set_shape((coils, None, None))
        sampled.set_shape((1, None, None))
        target.set_shape((None, None))
        inputs = {"kspace": kspace, "mask": sampled}
        return (inputs | {"full_kspace": full[0]} if full else inputs), target

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

    Args:
        dataset: of `slices_of`, volumes of any sizes.
        batch_size: slices in a batch.
    """

    def key(inputs, target):
        shape = tf.concat([tf.shape(inputs["kspace"]), tf.shape(inputs["mask"]), tf.shape(target)], axis=0)
        return tf.strings.to_hash_bucket_fast(tf.strings.reduce_join(tf.strings.as_string(shape), separator="x"), 2**62)

    return dataset.group_by_window(key, lambda _, window: window.batch(batch_size), window_size=batch_size)


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


def _chosen(source, slices, inner_slices, rng):
    count = source.info.num_slices
    inner = min(inner_slices or count, count)
    first = (count - inner) // 2
    return [first + int(rng.integers(inner))] if slices == "random" else range(first, first + inner)
