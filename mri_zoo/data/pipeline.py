"""`tf.data` pipelines from volumes to `(batch dict, target)`.

Nothing but an index of (volume, slice) is held in memory; slices are read, masked and scaled as they are asked for, in
parallel, and always in the same order for the same seed.
"""

import collections
import contextlib
import dataclasses
import math
import re

import numpy as np
import tensorflow as tf

from mri_zoo.arguments import check_counts
from mri_zoo.data.files import open_volume
from mri_zoo.data.masks import seed_from_name
from mri_zoo.data.nifti import NUM_CACHED_VOLUMES
from mri_zoo.data.noncartesian import SHARED, scaled
from mri_zoo.data.preparation import (
    ConstantScaling,
    draw_sampling,
    flip_and_rotate,
    prepare_partitions,
    prepare_slice,
    reference_image,
)
from mri_zoo.data.search import find_volumes
from mri_zoo.data.splits import FullTarget, HalfSplit, Split
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.undersampling import check_fully_sampled
from mri_zoo.data.volume import DataError


def fastmri(root, sampling, *, crop=(320, 320), scaling=None, **options):
    """Dataset of the fastMRI HDF5 files of a folder.

    Args:
        root: folder such as ``knee/singlecoil_train``, or one file.
        sampling: a mask of `mri_zoo.data.masks` or a trajectory of `mri_zoo.data.trajectories`.
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
        sampling: a mask of `mri_zoo.data.masks` or a trajectory of `mri_zoo.data.trajectories`.
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
    split=None,
    partitions=1,
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
        sampling: a mask of `mri_zoo.data.masks` or a trajectory of `mri_zoo.data.trajectories`; volumes that were
            measured undersampled keep their own.
        scaling: rule of `mri_zoo.data.preparation`, no scaling by default.
        slices: "all", or "random" for one slice per volume and epoch, as in the thesis.
        inner_slices: take only this many slices around the middle of each volume.
        crop: targets are centre-cropped to this (height, width) where they are larger.
        full_kspace: add each slice's k-space before undersampling, scaled like the input, to the batch as `full_kspace`
            (coil, height, width), for strategies that learn from it; with masks alone.
        augment: flip and turn the images at random; the target is then the root-sum-of-squares of the turned images.
        split: a split of `mri_zoo.data.splits`, which leaves the input a part of the samples and makes a target of the
            others: see `prepare_partitions`, whose arrays the batch then has. What a self-supervised one gives holds
            nothing that was not sampled.
        partitions: how many partitions of each slice follow each other.
        training: see above.
        seed: of the order, the masks, the partitions and the augmentation.
        epochs: (first, last + 1) to have these epochs of a training one after the other, for resuming; by default each
            iteration over the dataset is one new epoch.

    Returns:
        `tf.data.Dataset` of (dict of `kspace` (coil, height, width) complex64 and `mask` (1, 1 or height, width)
        float32, target (height, width) float32), without a batch axis: use ``.batch(1)`` or `batch_by_shape`. With a
        trajectory the dict holds `kspace` (coil, samples) complex64, `trajectory` (samples, dimension), `density`
        (samples,) and the `kernel` of the normal operator (twice the image's size), all float32, which are computed
        once; in three dimensions the target is (depth, height, width).

    Raises:
        ValueError: if an argument is not one of those above, there are no sources, some are fully sampled and there is
            no sampling, or some were measured along a trajectory and others are to be sampled by a mask.
    """
    examples = _Examples(
        sources,
        sampling,
        scaling=scaling,
        slices=slices,
        inner_slices=inner_slices,
        crop=crop,
        full_kspace=full_kspace,
        augment=augment,
        split=split,
        partitions=partitions,
        training=training,
    )

    def order(epoch):
        """(number of examples, 3): volume, slice and seed of each."""
        rng = np.random.default_rng((seed, int(epoch)))
        rows = examples.order(rng)
        return np.column_stack([rows, rng.integers(2**31, size=len(rows))])

    dataset = _read(order, examples.load, [examples], seed, epochs)
    count = len(order(0)) * partitions * (epochs[1] - epochs[0] if epochs else 1)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def joint_batches(datasets, batch_size, *, mixed=False, scaling=None, steps=None, seed=0, epochs=None):
    """Batches for one training on several data sets, each of which has masks and a split of its own.

    A batch holds slices of one shape, and comes from one data set unless they are mixed. In an epoch each slice of each
    data set is there once, so data sets take turns in proportion to their slices; a batch that the slices of a shape do
    not fill gets others of them again.

    Args:
        datasets: dicts of `sources`, `sampling` and `split`, and optionally of `partitions`, `slices`, `inner_slices`
            and `crop`, all of `slices_of`, and of `repeats`, which is how often each slice is there in an epoch.
        batch_size: slices in a batch, several partitions of one counted each.
        mixed: fill a batch with slices of all data sets that have its shape, as many partitions and, where there are
            trajectories, the same one.
        scaling: rule of `mri_zoo.data.preparation`, no scaling by default.
        steps: batches in an epoch, drawn from all; by default all of them.
        seed: of the order, the masks and the partitions.
        epochs: see `slices_of`.

    Returns:
        `tf.data.Dataset` of batches of what `slices_of` returns with a split.

    Raises:
        ValueError: if a data set has no split or unknown options, a number is out of range, or as `slices_of` does.
    """
    if not datasets or not isinstance(datasets, list | tuple) or not all(isinstance(data, dict) for data in datasets):
        raise ValueError(f"`datasets` must be a list of one dict or more, got {datasets!r}.")
    if not isinstance(mixed, bool):
        raise ValueError(f"`mixed` must be a bool, got {mixed!r}.")
    check_counts(batch_size=batch_size, steps=1 if steps is None else steps)
    repeats = [dataset.get("repeats", 1) for dataset in datasets]
    parts = [_part(dataset, scaling, batch_size) for dataset in datasets]
    if len({part.trajectory for part in parts}) > 1:
        raise ValueError("Data sets with masks and with trajectories of 2 or 3 dimensions cannot share a training.")
    # Then the order is that of the parts, which reads a few volumes at a time, and is not shuffled again.
    whole = any(part.whole for part in parts)

    def batches(rng):
        """Every batch of an epoch once: a list of (slices, 3), data set, volume and slice."""
        found = []
        for group in [range(len(parts))] if mixed else [[index] for index in range(len(parts))]:
            drawn = []
            for index in group:
                orders = [parts[index].order(rng) for _ in range(repeats[index])]
                drawn.append(np.insert(np.concatenate(orders), 0, index, axis=1))
            rows = np.array(_interleaved(drawn, rng)) if whole else np.concatenate(drawn)
            kinds = [parts[index].kind(volume) for index, volume in rows[:, :2]]
            for kind in sorted(set(kinds)):
                own, size = rows[[other == kind for other in kinds]], batch_size // kind[0]
                own = own if whole else rng.permutation(own)
                own = np.concatenate([own, own[rng.integers(len(own), size=-len(own) % size)]])
                found.append(list(own.reshape(-1, size, 3)))
        if whole:
            return _interleaved(found, rng)
        found = sum(found, [])
        return [found[i] for i in rng.permutation(len(found))]

    def order(epoch):
        """(number of slices, 4): data set, volume, slice and seed of each, one batch after the other."""
        rng = np.random.default_rng((seed, int(epoch)))
        rows = []
        while not rows or len(rows) < (steps or 0):
            rows += batches(rng)
        rows = np.concatenate(rows[:steps])
        return np.column_stack([rows, rng.integers(2**31, size=len(rows))])

    def load(row):
        return parts[int(row[0])].load(row[1:])

    dataset = _read(order, load, parts, seed, epochs).batch(batch_size)
    count = (steps or len(batches(np.random.default_rng(0)))) * (epochs[1] - epochs[0] if epochs else 1)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def _interleaved(lists, rng):
    """One list of several, at random, in which each keeps its order."""
    places = np.concatenate([np.sort(rng.random(len(items))) for items in lists])
    joined = [item for items in lists for item in items]
    return [joined[i] for i in np.argsort(places)]


class _Examples:
    """The slices of a data set: their order, and how one is read, sampled and scaled; arguments of `slices_of`."""

    def __init__(
        self,
        sources,
        sampling,
        *,
        scaling,
        slices,
        inner_slices,
        crop,
        full_kspace,
        augment,
        split,
        partitions,
        training,
    ):
        if not sources:
            raise ValueError("No volumes to read.")
        full = next((source.info.name for source in sources if not _is_undersampled(source.info)), None)
        if sampling is None and full:
            raise ValueError(f"`sampling` must be a mask or a trajectory, as {full} is fully sampled; got None.")
        self.trajectory = trajectory = _dimensions(sources, sampling)
        if trajectory == 3 and (slices != "all" or inner_slices is not None or augment):
            raise ValueError(
                "A three-dimensional sampling takes whole volumes: no `slices`, `inner_slices` or `augment`."
            )
        if trajectory and full_kspace:
            raise ValueError("`full_kspace` needs a mask: along a trajectory there is none of which it takes a part.")
        if slices not in ("all", "random"):
            raise ValueError(f'`slices` must be "all" or "random", got {slices!r}.')
        check_counts(inner_slices=1 if inner_slices is None else inner_slices)
        if crop is not None and len(np.atleast_1d(crop)) != 2:
            raise ValueError(f"`crop` must be (height, width), got {crop!r}.")
        undersampled = next((source.info.name for source in sources if _is_undersampled(source.info)), None)
        if augment and undersampled:
            raise ValueError(f"`augment` needs fully sampled volumes: the samples of {undersampled} cannot be turned.")
        if full_kspace and undersampled:
            raise ValueError(f"`full_kspace` needs fully sampled volumes: {undersampled} was measured undersampled.")
        _check_split(split, partitions, augment, full_kspace, undersampled)
        self.sources, self.sampling, self.scaling = sources, sampling, scaling or ConstantScaling()
        self.slices, self.inner_slices, self.crop = slices, inner_slices, crop
        self.full_kspace, self.augment, self.training = full_kspace, augment, training
        self.split, self.partitions = split, partitions
        self.whole = any(getattr(source, "whole", False) for source in sources)

    def spec(self, coils):
        """{key: (shape, type)} of what `load` returns, the target last."""
        spec = _spec(self.trajectory, coils, self.full_kspace, self.split is not None)
        return spec | {"target": ((None,) * (self.trajectory or 2), tf.float32)}

    def kind(self, volume):
        """What the slices in a batch must have in common: the number of partitions, and the shapes of all arrays."""
        info = self.sources[volume].info
        samples = 0 if info.trajectory is None else len(info.trajectory)
        sampling = repr(self.sampling) if self.trajectory and not samples else ""
        blind = self.split is not None and self.split.self_supervised
        return self.partitions, *_extents(info, self.sampling, self.trajectory, self.crop, blind), samples, sampling

    def order(self, rng):
        """(number of examples, 2): volume and slice of each, in the order of an epoch."""
        inner = 1 if self.trajectory == 3 else self.inner_slices
        numbers = rng.permutation(len(self.sources)) if self.training else range(len(self.sources))
        rows = [[(v, s) for s in _chosen(self.sources[v].info, self.slices, inner, rng)] for v in numbers]
        # Slices of all volumes are mixed, or of as many as are kept in memory where each is read as a whole.
        window = NUM_CACHED_VOLUMES if self.whole and self.slices == "all" else len(rows)
        rows = [np.concatenate(rows[i : i + window]) for i in range(0, len(rows), window)]
        if self.training:
            for mixed in rows:
                rng.shuffle(mixed)
        return np.concatenate(rows).astype("int64")

    def load(self, row):
        """The arrays of one example (volume, slice, seed); those of a partitioned one have a leading axis."""
        volume_index, slice_index, example_seed = (int(value) for value in row)
        rng = np.random.default_rng(example_seed)
        kspace, target, info = self._read(self.sources[volume_index], slice_index)
        if self.augment:
            kspace, target = flip_and_rotate(kspace, rng, info.recon_size)
            info = dataclasses.replace(info, height=kspace.shape[-2], width=kspace.shape[-1], padding=None)
        name = seed_from_name(info.name)
        seed = int(rng.integers(2**31)) if self.training else name
        try:  # TensorFlow keeps the text of an error alone
            sampled = draw_sampling(self.sampling, info, seed, info.padding)
            if self.split is not None:
                seed = int(rng.integers(2**31)) if self.training else (*name, slice_index)
                return prepare_partitions(
                    *(kspace, target, sampled, self.split, self.scaling, self.crop),
                    *(self.partitions, seed, info.padding),
                )
            inputs, target, factor = prepare_slice(kspace, target, sampled, self.scaling, self.crop)
            _require_signal(inputs["kspace"], target)
            if self.full_kspace:
                inputs["full_kspace"] = scaled(kspace, factor).astype("complex64")
        except ValueError as error:
            text = str(error).removeprefix(f"{info.name}: ")
            raise DataError(f"{info.name}, slice {slice_index}: {text}") from error
        return *(inputs[key] for key in _spec(self.trajectory, None, self.full_kspace)), target.astype("float32")

    def _read(self, source, slice_index):
        """The k-space and the reference of a slice, or of all of them where the sampling is three-dimensional."""
        whole = self.trajectory == 3 and source.info.trajectory is None
        volume = source.read(None if whole else [slice_index])
        kspace = volume.kspace if whole else volume.kspace[0]
        measured = getattr(source, "path", None) is not None and not getattr(source, "simulated", False)
        if measured and not _is_undersampled(source.info):  # sources that are no files know their mask
            check_fully_sampled(source.info.name, volume.slices, volume.kspace, volume.target is not None)
        if self.split is not None and self.split.self_supervised:
            return kspace, None, volume.info
        targets = [reference_image(volume, index) for index in range(len(volume.kspace))]
        return kspace, np.stack(targets) if whole else targets[0], volume.info


def _read(order, load, parts, seed, epochs):
    """Dataset of (inputs, target): what `load` makes of the rows of `order`, a function of the number of the epoch."""
    coils = {source.info.num_coils for part in parts for source in part.sources}
    spec, partitioned = parts[0].spec(coils.pop() if len(coils) == 1 else None), parts[0].split is not None

    def load_tensors(row):
        arrays = tf.numpy_function(load, [row], [dtype for _, dtype in spec.values()])
        for array, (shape, _) in zip(arrays, spec.values(), strict=True):
            array.set_shape((None, *shape) if partitioned else shape)
        *inputs, target = arrays
        return dict(zip(list(spec)[:-1], inputs, strict=True)), target

    if epochs is None:
        numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    else:
        numbers = tf.data.Dataset.range(*epochs)
    rows = numbers.flat_map(
        lambda epoch: tf.data.Dataset.from_tensor_slices(
            tf.ensure_shape(tf.numpy_function(order, [epoch], tf.int64), (None, None))
        )
    )
    dataset = rows.map(load_tensors, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.unbatch() if partitioned else dataset  # of the partitions


def _check_split(split, partitions, augment, full_kspace, undersampled):
    check_counts(partitions=partitions)
    if split is not None and not isinstance(split, Split | HalfSplit | FullTarget):
        raise ValueError(f"`split` must be of `mri_zoo.data.splits`, got {split!r}.")
    if split is None or not split.self_supervised:
        if partitions > 1:
            raise ValueError("`partitions` needs a `split` of the samples: there is nothing to draw several times.")
    if split is None:
        return
    if full_kspace:
        raise ValueError("`full_kspace` and `split` exclude each other: a split makes a target of its own.")
    if split.self_supervised and augment:
        raise ValueError("`augment` needs fully sampled volumes, of which a self-supervised `split` must see nothing.")
    if not split.self_supervised and undersampled:
        raise ValueError(f"`FullTarget` needs fully sampled volumes: {undersampled} was measured undersampled.")


def _part(dataset, scaling, batch_size):
    """The slices of one of the dicts of `joint_batches`."""
    defaults = {"partitions": 1, "slices": "all", "inner_slices": None, "crop": None}
    needed = {"sources", "sampling", "split"}
    unknown = set(dataset) - needed - set(defaults) - {"repeats"}
    if unknown or not needed <= set(dataset):
        raise ValueError(
            f"A data set needs {', '.join(sorted(needed))}, and takes {', '.join(defaults)} and repeats; "
            f"got {', '.join(sorted(dataset))}."
        )
    if dataset["split"] is None:
        raise ValueError("The `split` of a data set must be of `mri_zoo.data.splits`, got None.")
    check_counts(repeats=dataset.get("repeats", 1))
    options = {key: value for key, value in dataset.items() if key != "repeats"}
    part = _Examples(**{**defaults, **options}, scaling=scaling, full_kspace=False, augment=False, training=True)
    if batch_size % part.partitions:
        raise ValueError(f"`batch_size` {batch_size} must be a multiple of the {part.partitions} `partitions`.")
    return part


def batch_by_shape(dataset, batch_size, number=None):
    """Batches of slices of one shape, in the order in which they fill; the last ones may be smaller.

    What all slices of a batch share of an acquisition off the Cartesian grid has a batch axis of 1.

    Args:
        dataset: of `slices_of`, volumes of any sizes.
        batch_size: slices in a batch.
        number: of batches, where it is certain: the dataset has this length then.
    """

    def key(inputs, target):
        shape = tf.concat([tf.shape(tensor) for tensor in (*inputs.values(), target)], axis=0)
        return tf.strings.to_hash_bucket_fast(tf.strings.reduce_join(tf.strings.as_string(shape), separator="x"), 2**62)

    batches = dataset.group_by_window(key, lambda _, window: window.batch(batch_size), window_size=batch_size)
    batches = batches.map(_shared_once) if "trajectory" in dataset.element_spec[0] else batches
    return batches if number is None else batches.apply(tf.data.experimental.assert_cardinality(number))


def count_batches(sources, sampling, batch_size, *, slices="all", inner_slices=None, partitions=1, **options):
    """How many batches `batch_by_shape` makes of an epoch of `slices_of`, whose arguments these are, without reading.

    Returns:
        The number, and whether it is certain. It is a guess along trajectories, for volumes that were measured
        undersampled, and where images of unequal sides are turned (`augment`).
    """
    dimensions, counts, certain = _dimensions(sources, sampling), collections.Counter(), True
    for info in (source.info for source in sources):
        blind = options.get("augment") or getattr(options.get("split"), "self_supervised", False)
        chosen = 1 if dimensions == 3 else len(_chosen(info, slices, inner_slices, np.random.default_rng(0)))
        counts[_extents(info, sampling, dimensions, options.get("crop"), blind)] += partitions * chosen
        turned = options.get("augment") and (info.height != info.width or info.recon_size is not None)
        certain = certain and not (dimensions or turned or _is_undersampled(info))
    return sum(math.ceil(count / batch_size) for count in counts.values()), certain


def _extents(info, sampling, dimensions, crop, blind):
    """The numbers that shape a slice's input and target; `blind` where the target comes from k-space."""
    size = (info.height, info.width)
    grid = size if info.trajectory is None else info.image_size
    if dimensions and info.trajectory is None:
        grid = sampling.image_size or (info.num_slices, *size)[-dimensions:]
    target = grid[-2:] if blind else map(min, info.target_size or info.recon_size or size, grid[-2:])
    return info.num_coils, *grid, *map(min, target, crop or grid[-2:])


@contextlib.contextmanager
def data_errors():
    """A block in which what TensorFlow makes of a `DataError` inside a dataset becomes that error again."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"DataError: (.*)", error.message)
        if found is None:
            raise
        # Without its traceback, whose frames would keep the dataset's iterator until that is freed.
        raise DataError(found[1]) from error.with_traceback(None)


def _dimensions(sources, sampling):
    """Of the trajectories, or 0 where masks are drawn."""
    own = {2 if source.info.depth is None else 3 for source in sources if source.info.trajectory is not None}
    if any(source.info.trajectory is None for source in sources):
        own.add(sampling.dimensions if isinstance(sampling, SamplingTrajectory) else 0)
    if len(own) > 1:
        raise ValueError("Volumes that were measured along a trajectory cannot be mixed with those of other samplings.")
    return own.pop()


def _spec(trajectory, coils, full_kspace, partitioned=False):
    """{key: (shape, type)} of a slice's input."""
    if not trajectory:
        kspace, mask = ((coils, None, None), tf.complex64), ((1, None, None), tf.float32)
        spec = {"kspace": kspace, "mask": mask}
        if full_kspace:
            spec["full_kspace"] = kspace
        if partitioned:
            spec |= {"target_kspace": kspace, "target_mask": mask, "self_supervised": ((), tf.float32)}
        return spec
    kspace, weights = ((coils, None), tf.complex64), ((None,), tf.float32)
    points, kernel = ((None, trajectory), tf.float32), ((None,) * trajectory, tf.float32)
    spec = {"kspace": kspace, "trajectory": points, "density": weights, "kernel": kernel}
    if partitioned:
        spec |= {"target_kspace": kspace, "target_mask": ((1, None), tf.float32), "target_density": weights}
        spec["self_supervised"] = ((), tf.float32)
    return spec


def _shared_once(inputs, target):
    """The batch with one trajectory, where all are equal, and their weights."""
    equal = tf.reduce_all([tf.reduce_all(inputs[key] == inputs[key][:1]) for key in ("trajectory", "density")])
    end = tf.where(equal, 1, tf.shape(target)[0])
    return {key: tensor[:end] if key in SHARED else tensor for key, tensor in inputs.items()}, target


def _require_signal(samples, target):
    """Refuse a slice that is empty in only one of the two, of which neither loss nor metric tells anything."""
    measured, shown = samples.any(), target.any()
    if shown and not measured:
        raise ValueError("has no sample that is not zero, and its reference is not black.")
    if measured and not shown:
        raise ValueError("has samples, and its reference is black.")


def _is_undersampled(info):
    return info.mask is not None or info.trajectory is not None


def _chosen(info, slices, inner_slices, rng):
    count = info.num_slices
    inner = min(inner_slices or count, count)
    first = (count - inner) // 2
    return [first + int(rng.integers(inner))] if slices == "random" else range(first, first + inner)
