import gc

import h5py
import numpy as np
import psutil
import pytest

from mri_zoo.data.files import FastMRIFile
from mri_zoo.data.fourier import fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.masks import EquispacedMask, RandomMask, seed_from_name
from mri_zoo.data.pipeline import batch_by_shape, data_errors, fastmri, joint_batches, oasis, slices_of
from mri_zoo.data.preparation import ConstantScaling, PercentileScaling
from mri_zoo.data.splits import FullTarget, GaussianSplit, UniformSplit
from mri_zoo.data.trajectories import Radial3DTrajectory, RadialTrajectory
from mri_zoo.data.volume import DataError, Volume, VolumeInfo


class Source:
    """A volume in memory whose slice s has the constant image s + 1."""

    def __init__(self, name, size=(15, 13), num_slices=4, num_coils=1, mask=None, target_size=None):
        self.info = VolumeInfo(name, num_slices, num_coils, *size, mask=mask, target_size=target_size)
        self.reads = []

    def read(self, slices=None):
        slices = range(self.info.num_slices) if slices is None else slices
        self.reads.append(tuple(slices))
        shape = (len(slices), self.info.num_coils, self.info.height, self.info.width)
        images = np.broadcast_to(np.add(slices, 1).reshape(-1, 1, 1, 1), shape).astype("complex64")
        return Volume(self.info, tuple(slices), fft2c(images))


def elements(dataset):
    return list(dataset.as_numpy_iterator())


def slice_numbers(dataset):
    return [round(float(target.max())) for _, target in elements(dataset)]


MASK = RandomMask(3, 0.2)


def test_evaluation_is_in_order_with_masks_fixed_by_basename():
    sources = [Source("a.h5"), Source("b.h5")]
    dataset = slices_of(sources, MASK, training=False)
    assert slice_numbers(dataset) == [1, 2, 3, 4] * 2
    masks = [inputs["mask"] for inputs, _ in elements(dataset)]
    np.testing.assert_array_equal(masks[0][0], MASK(15, 13, seed=seed_from_name("a.h5")))
    np.testing.assert_array_equal(masks[4][0], MASK(15, 13, seed=seed_from_name("b.h5")))
    for mask in masks[1:4]:
        np.testing.assert_array_equal(mask, masks[0])


def test_element_is_masked_kspace_mask_and_target():
    (inputs, target), *_ = elements(
        slices_of([Source("a.h5", num_coils=4)], MASK, scaling=ConstantScaling(3.0), crop=(9, 7), training=False)
    )
    assert inputs["kspace"].shape == (4, 15, 13) and inputs["kspace"].dtype == np.complex64
    assert inputs["mask"].shape == (1, 1, 13) and inputs["mask"].dtype == np.float32
    assert target.shape == (9, 7) and target.dtype == np.float32
    np.testing.assert_array_equal(inputs["kspace"] * (1 - inputs["mask"]), 0)
    np.testing.assert_allclose(target, 6, rtol=1e-5)  # RSS of four coils of ones, times 3


def test_training_is_shuffled_fresh_each_epoch_and_reproducible():
    def dataset(seed):
        return slices_of([Source("a.h5", num_slices=12)], MASK, seed=seed)

    once = dataset(0)
    first, second = elements(once), elements(once)
    again = elements(dataset(0))
    for (x, y), (u, v) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x["kspace"], u["kspace"])
        np.testing.assert_array_equal(y, v)
    numbers = [[round(float(y.max())) for _, y in epoch] for epoch in (first, second, elements(dataset(1)))]
    assert all(sorted(n) == list(range(1, 13)) for n in numbers)
    assert numbers[0] != numbers[1] and numbers[0] != numbers[2]
    masks = {inputs["mask"].tobytes() for inputs, _ in first + second}
    assert len(masks) > 12


def test_epochs_by_number_equal_the_same_epochs_of_a_longer_run():
    sources = [Source("a.h5", num_slices=5)]
    whole = elements(slices_of(sources, MASK, seed=3, epochs=(0, 3)))
    tail = elements(slices_of(sources, MASK, seed=3, epochs=(2, 3)))
    assert len(whole) == 15 and len(tail) == 5
    for (x, _), (u, _) in zip(whole[10:], tail, strict=True):
        np.testing.assert_array_equal(x["kspace"], u["kspace"])
        np.testing.assert_array_equal(x["mask"], u["mask"])


def test_slice_selection():
    source = Source("a.h5", num_slices=10)
    assert slice_numbers(slices_of([source], MASK, inner_slices=4, training=False)) == [4, 5, 6, 7]
    assert slice_numbers(slices_of([source], MASK, inner_slices=3, training=False)) == [4, 5, 6]
    assert slice_numbers(slices_of([source], MASK, inner_slices=99, training=False)) == list(range(1, 11))
    random = slices_of([source, Source("b.h5", num_slices=10)], MASK, slices="random", inner_slices=4)
    assert len(random) == 2
    drawn = [slice_numbers(random) for _ in range(12)]
    assert {number for epoch in drawn for number in epoch} == {4, 5, 6, 7}


def test_own_mask_of_an_undersampled_volume_is_kept():
    own = np.zeros((1, 13), np.float32)
    own[:, ::2] = 1
    source = Source("a.h5", mask=own)
    source.read = lambda slices, read=source.read: Volume(
        source.info, tuple(slices), read(slices).kspace, np.ones((len(slices), 15, 13), np.float32)
    )
    for inputs, _ in elements(slices_of([source], MASK)):
        np.testing.assert_array_equal(inputs["mask"][0], own)


def test_full_kspace_is_that_of_the_target_in_the_units_of_the_input(rng):
    source = Source("a.h5", num_coils=2)
    parts = rng.normal(size=(1, 2, 15, 13, 2)).astype("float32")
    source.read = lambda slices: Volume(source.info, tuple(slices), parts.view("complex64")[..., 0])
    for inputs, target in elements(slices_of([source], MASK, scaling=ConstantScaling(3.0), full_kspace=True)):
        full = inputs["full_kspace"]
        assert full.shape == (2, 15, 13) and full.dtype == np.complex64
        np.testing.assert_array_equal(inputs["kspace"], full * inputs["mask"])
        np.testing.assert_allclose(root_sum_of_squares(ifft2c(full)), target, atol=1e-4)
    with pytest.raises(ValueError, match="`full_kspace` needs fully sampled volumes"):
        slices_of([Source("b.h5", mask=np.ones((1, 13), np.float32))], MASK, full_kspace=True)


def test_augmented_target_is_the_image_of_the_full_kspace():
    source = Source("a.h5", num_coils=2)

    def read(slices):
        parts = np.random.default_rng(slices).normal(size=(1, 2, 15, 13, 2)).astype("float32")
        return Volume(source.info, tuple(slices), parts.view("complex64")[..., 0])

    source.read = read
    full = RandomMask(1)
    shapes = set()
    for _ in range(4):
        for inputs, target in elements(slices_of([source], full, augment=True)):
            np.testing.assert_allclose(root_sum_of_squares(ifft2c(inputs["kspace"])), target, atol=1e-4)
            shapes.add(target.shape)
    assert shapes == {(15, 13), (13, 15)}


def test_batches_larger_than_one_hold_one_shape_each():
    sources = [Source("a.h5", (15, 13), 5), Source("b.h5", (9, 10), 3), Source("c.h5", (15, 13), 2)]
    batches = elements(batch_by_shape(slices_of(sources, MASK), 4))
    assert sum(len(target) for _, target in batches) == 10
    assert sorted(inputs["kspace"].shape for inputs, _ in batches) == [
        (3, 1, 9, 10),
        (3, 1, 15, 13),
        (4, 1, 15, 13),
    ]


@pytest.mark.parametrize(
    "options, message",
    [({"slices": "some"}, "`slices`"), ({"inner_slices": 0}, "`inner_slices`"), ({"sources": []}, "No volumes")],
)
def test_bad_arguments_are_refused(options, message):
    sources = options.pop("sources", [Source("a.h5")])
    with pytest.raises(ValueError, match=message):
        slices_of(sources, MASK, **options)


def test_folders_of_files_become_datasets(tmp_path, rng):
    kspace = (rng.normal(size=(2, 12, 10)) + 1j * rng.normal(size=(2, 12, 10))).astype("complex64")
    for name in ("one.h5", "two.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["kspace"] = kspace
            file["reconstruction_esc"] = np.abs(ifft2c(kspace))[:, 2:10, 1:9]
    dataset = fastmri(tmp_path, MASK, training=False)
    assert len(dataset) == 4
    inputs, target = elements(dataset)[1]
    np.testing.assert_allclose(inputs["kspace"][0], 1e6 * kspace[1] * inputs["mask"][0], rtol=1e-5)
    np.testing.assert_allclose(target, 1e6 * np.abs(ifft2c(kspace[1]))[2:10, 1:9], rtol=1e-5)
    with pytest.raises(DataError, match="no .nii"):
        oasis(tmp_path, MASK)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path, rng):
    kspace = (rng.normal(size=(4, 256, 256)) + 1j * rng.normal(size=(4, 256, 256))).astype("complex64")
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["kspace"] = kspace  # 2 MiB
    few = [FastMRIFile(tmp_path / "one.h5")]

    def peak(sources):
        process, highest = psutil.Process(), 0
        gc.collect()
        before = process.memory_info().rss
        for _ in slices_of(sources, MASK).as_numpy_iterator():
            highest = max(highest, process.memory_info().rss - before)
        return highest

    peak(few * 8)  # buffers of the runtime
    assert peak(few * 100) < 60 * 2**20  # the files hold 200 MiB


def test_volumes_that_are_read_as_a_whole_are_mixed_a_few_at_a_time():
    sources = [Source(f"{i}.nii.gz") for i in range(9)]
    for source in sources:
        source.whole = True
    reads = []
    for i, source in enumerate(sources):
        source.read = lambda slices, i=i, read=source.read: reads.append(i) or read(slices)
    elements(slices_of(sources, MASK, slices="all", seed=1))
    assert len(reads) == 36
    spans = [max(k for k, i in enumerate(reads) if i == v) - reads.index(v) for v in range(9)]
    assert max(spans) < 20  # four volumes of four slices; the threads that read may overtake each other
    assert reads != sorted(reads)


def test_samples_of_undersampled_volumes_cannot_be_turned():
    mask = np.ones((1, 13), "float32")
    with pytest.raises(ValueError, match="`augment` needs fully sampled volumes: the samples of a.h5 cannot"):
        slices_of([Source("a.h5", mask=mask)], MASK, augment=True)


class Noise(Source):
    """A volume of noise, of which `hidden` is added where `mask` has no samples, and to its stored reference."""

    def __init__(self, name, mask=None, hidden=0.0, **kwargs):
        super().__init__(name, **kwargs)
        self.unsampled, self.hidden = None if mask is None else mask(self.info.height, self.info.width) == 0, hidden

    def read(self, slices):
        shape = (1, self.info.num_coils, self.info.height, self.info.width, 2)
        seed = (*seed_from_name(self.info.name), *slices)
        parts = np.random.default_rng(seed).normal(size=shape).astype("float32")
        kspace = parts.view("complex64")[..., 0]
        if self.unsampled is not None:
            kspace = kspace + np.where(self.unsampled, self.hidden, 0).astype("complex64")
        target = np.full((1, 9, 7), self.hidden or 1, "float32")
        return Volume(self.info, tuple(slices), kspace, target)


FIXED = EquispacedMask(3, 0.5, offset=1)  # the same for every seed
SPLIT = GaussianSplit((0.3, 0.6), 4)


@pytest.mark.parametrize("training", [True, False])
def test_a_partition_holds_nothing_that_was_not_sampled(training):
    def batches(hidden):
        sources = [Noise("a.h5", FIXED, hidden, num_coils=2), Noise("b.h5", FIXED, hidden, num_coils=2)]
        options = {"scaling": PercentileScaling(), "split": SPLIT, "partitions": 2, "seed": 5, "crop": (11, 9)}
        return elements(slices_of(sources, FIXED, training=training, **options))

    found = batches(0.0)
    assert len(found) == 16
    for (inputs, target), (others, other) in zip(found, batches(1e30), strict=True):
        assert sorted(inputs) == ["kspace", "mask", "self_supervised", "target_kspace", "target_mask"]
        for key in inputs:
            np.testing.assert_array_equal(inputs[key], others[key], err_msg=key)
        np.testing.assert_array_equal(target, other)
        assert np.all(np.isfinite(target)) and target.shape == (11, 9)


def test_a_partition_is_of_the_samples_in_their_scaling():
    source = Noise("a.h5", num_coils=2)
    whole = elements(slices_of([source], FIXED, scaling=PercentileScaling(), training=False))
    parts = elements(slices_of([source], FIXED, scaling=PercentileScaling(), training=False, split=SPLIT))
    again = elements(slices_of([source], FIXED, scaling=PercentileScaling(), training=False, split=SPLIT))
    assert len(parts) == len(whole) == 4
    for (expected, _), (inputs, target), (same, _) in zip(whole, parts, again, strict=True):
        np.testing.assert_array_equal(inputs["kspace"] + inputs["target_kspace"], expected["kspace"])
        np.testing.assert_array_equal(inputs["mask"] + inputs["target_mask"], np.repeat(expected["mask"], 15, axis=1))
        np.testing.assert_array_equal(inputs["target_kspace"] * (1 - inputs["target_mask"]), 0)
        np.testing.assert_allclose(target, root_sum_of_squares(ifft2c(inputs["target_kspace"])), rtol=1e-5)
        assert inputs["self_supervised"] == 1 and inputs["mask"].shape == (1, 15, 13)
        np.testing.assert_array_equal(inputs["mask"], same["mask"])
    masks = {inputs["mask"].tobytes() for inputs, _ in elements(slices_of([source], FIXED, split=SPLIT, partitions=3))}
    assert len(masks) == 12


def test_a_volume_measured_undersampled_is_split_too():
    own = FIXED(15, 13)
    source = Noise("a.h5", mask=None)
    source.info = VolumeInfo("a.h5", 4, 1, 15, 13, mask=own)
    for inputs, _ in elements(slices_of([source], MASK, split=SPLIT)):
        np.testing.assert_array_equal(inputs["mask"] + inputs["target_mask"], np.repeat(own[None], 15, axis=1))


def test_a_full_target_is_all_of_kspace_without_its_padding():
    source = Source("a.h5", num_coils=2)
    source.info = VolumeInfo("a.h5", 4, 2, 15, 13, padding=(2, 12))
    options = {"scaling": ConstantScaling(3.0), "training": False}
    whole = elements(slices_of([source], MASK, full_kspace=True, **options))
    for (expected, image), (inputs, target) in zip(
        whole, elements(slices_of([source], MASK, split=FullTarget(), **options)), strict=True
    ):
        inside = np.isin(np.arange(13), np.arange(2, 12)).astype("float32")
        np.testing.assert_array_equal(inputs["target_mask"], np.broadcast_to(inside, (1, 15, 13)))
        np.testing.assert_array_equal(inputs["target_kspace"], expected["full_kspace"] * inside)
        np.testing.assert_array_equal(inputs["kspace"], expected["kspace"])
        np.testing.assert_array_equal(target, image)
        assert inputs["self_supervised"] == 0


def joint(repeats=1, **options):
    datasets = [
        {
            "sources": [Noise("a.h5", num_slices=5, num_coils=2), Noise("b.h5", num_slices=4, size=(17, 11))],
            "sampling": FIXED,
            "split": SPLIT,
            "repeats": repeats,
        },
        {
            "sources": [Source("c.h5", num_slices=6)],
            "sampling": RandomMask(2, 0.3),
            "split": FullTarget(),
            "crop": (9, 9),
        },
    ]
    return joint_batches(datasets, **{"batch_size": 2, **options})


def test_a_joint_batch_is_of_one_data_set_and_one_shape():
    dataset = joint(seed=1)
    batches = elements(dataset)
    assert len(batches) == len(dataset) == 3 + 2 + 3
    shapes = [inputs["kspace"].shape for inputs, _ in batches]
    assert sorted(shapes) == [(2, 1, 15, 13)] * 3 + [(2, 1, 17, 11)] * 2 + [(2, 2, 15, 13)] * 3
    assert shapes != sorted(shapes)
    numbers = []
    for inputs, target in batches:
        supervised = target.shape[1:] == (9, 9)
        np.testing.assert_array_equal(inputs["self_supervised"], [not supervised] * 2)
        numbers += [round(float(image.max())) for image in target] if supervised else []
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]  # each slice once


def test_mixed_batches_hold_slices_of_all_data_sets_of_a_shape():
    shared = {"sampling": RandomMask(2, 0.3), "split": FullTarget()}
    datasets = [
        {"sources": [Noise("a.h5", num_slices=5), Noise("b.h5", size=(17, 11))], "sampling": FIXED, "split": SPLIT},
        {"sources": [Source("c.h5", num_slices=7)], **shared},
        {"sources": [Source("d.h5", num_slices=4)], **shared, "crop": (9, 9)},
    ]
    kinds, numbers = [], []
    for inputs, target in elements(joint_batches(datasets, 4, mixed=True, seed=2)):
        kinds.append((*target.shape[1:], *inputs["self_supervised"].astype(int)))
        numbers += [round(float(image.max())) for image in target] if target.shape[1:] == (9, 9) else []
        shared_samples = np.any(inputs["kspace"] * inputs["target_mask"], axis=(1, 2, 3))
        np.testing.assert_array_equal(shared_samples, inputs["self_supervised"] == 0)
    assert sorted(kind[:2] for kind in kinds) == [(9, 9), (15, 13), (15, 13), (15, 13), (17, 11)]
    own = [kind[2:] for kind in kinds if kind[:2] == (15, 13)]
    assert np.sum(own) == 5 and any(0 < sum(flags) < 4 for flags in own)
    assert sorted(numbers) == [1, 2, 3, 4]


def test_mixed_batches_have_one_shape_of_the_target_too():
    """A reference may be smaller than the k-space, from which the target of a partition comes."""
    sources = [Noise("a.h5", num_slices=3, target_size=(9, 7))]
    datasets = [{"sources": sources, "sampling": FIXED, "split": split} for split in (SPLIT, FullTarget())]
    sizes = [target.shape[1:] for _, target in elements(joint_batches(datasets, 3, mixed=True))]
    assert sorted(sizes) == [(9, 7), (15, 13)]
    datasets = [data | {"crop": (8, 6)} for data in datasets]
    assert [target.shape[1:] for _, target in elements(joint_batches(datasets, 6, mixed=True))] == [(8, 6)]


def test_mixed_batches_have_one_trajectory():
    shared = {"sources": [Source("a.h5", num_slices=2)], "split": FullTarget()}
    datasets = [{**shared, "sampling": RadialTrajectory(acceleration)} for acceleration in (1, 1, 2)]
    samples = [inputs["kspace"].shape[::2] for inputs, _ in elements(joint_batches(datasets, 4, mixed=True))]
    assert len(samples) == len(set(samples)) == 2 and {batch for batch, _ in samples} == {4}


@pytest.mark.parametrize("size", [(20, 18), (12, 11)])
def test_mixed_batches_have_one_shape_on_a_grid_of_its_own(size):
    """The target of a partition is on the trajectory's grid, a reference is no larger than it was."""
    shared = {"sources": [Source("a.h5", num_slices=2)], "sampling": RadialTrajectory(2, image_size=size)}
    datasets = [{**shared, "split": split} for split in (GaussianSplit(0.4, 2), FullTarget())]
    shapes = [target.shape for _, target in elements(joint_batches(datasets, 2, mixed=True))]
    assert sorted(shapes) == sorted([(2, *np.minimum(size, (15, 13))), (2, *size)])


def test_joint_batches_read_a_few_whole_volumes_at_a_time():
    reads, sources = [], [Source(f"{i}.nii.gz", num_slices=8) for i in range(12)]
    for i, source in enumerate(sources):
        source.whole = True
        source.read = lambda slices, i=i, read=source.read: reads.append(i) or read(slices)
    shared = {"sampling": MASK, "split": FullTarget()}
    for mixed in (False, True):
        reads.clear()
        numbers = slice_numbers(
            joint_batches(
                [{"sources": sources[:9], **shared}, {"sources": sources[9:], **shared}], 2, mixed=mixed, seed=1
            )
        )
        assert len(numbers) == 48 and sorted(set(reads)) == list(range(12)) and reads != sorted(reads)
        spans = [max(k for k, i in enumerate(reads) if i == v) - reads.index(v) for v in range(9)]
        assert max(spans) < 60  # four volumes of eight slices, and what the other data set has meanwhile


def test_joint_batches_of_volumes_have_one_depth():
    sources = [Source(f"{depth}.h5", num_slices=depth) for depth in (4, 6, 4)]
    data = {"sources": sources, "sampling": Radial3DTrajectory(2), "split": FullTarget()}
    depths = [target.shape[:2] for _, target in elements(joint_batches([data], 2))]
    assert sorted(depths) == [(2, 4), (2, 6)]


def test_joint_batches_follow_repeats_steps_seed_and_epoch():
    assert [len(elements(joint(repeats))) for repeats in (2, 3)] == [5 + 4 + 3, 8 + 6 + 3]
    assert len(elements(joint(steps=3))) == 3 and len(elements(joint(steps=20))) == len(joint(steps=20)) == 20
    whole, tail = elements(joint(seed=3, epochs=(0, 2))), elements(joint(seed=3, epochs=(1, 2)))
    assert len(whole) == 16 and len(tail) == 8
    for (inputs, target), (others, other) in zip(whole[8:], tail, strict=True):
        np.testing.assert_array_equal(inputs["mask"], others["mask"])
        np.testing.assert_array_equal(target, other)
    assert any(x["mask"].tobytes() != u["mask"].tobytes() for (x, _), (u, _) in zip(whole[:8], tail, strict=True))


def test_several_partitions_of_a_slice_share_a_joint_batch():
    data = {"sources": [Noise("a.h5", num_slices=3)], "sampling": MASK, "split": UniformSplit(0.5, 0), "partitions": 2}
    for inputs, _ in elements(joint_batches([data], 4)):
        samples = inputs["kspace"] + inputs["target_kspace"]
        np.testing.assert_array_equal(samples[::2], samples[1::2])
        assert np.any(inputs["mask"][::2] != inputs["mask"][1::2])


def test_bad_partitions_and_data_sets_are_refused():
    own = Source("own.h5", mask=np.ones((1, 13), np.float32))
    for options, message in [
        ({"split": SPLIT, "augment": True}, "`augment` needs fully sampled volumes"),
        ({"split": SPLIT, "full_kspace": True}, "`full_kspace` and `split` exclude each other"),
        ({"split": FullTarget(), "partitions": 2}, "`partitions` needs a `split`"),
        ({"partitions": 2}, "`partitions` needs a `split`"),
        ({"split": SPLIT, "partitions": 0}, "`partitions` must be a whole number >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            slices_of([Source("a.h5")], MASK, **options)
    with pytest.raises(ValueError, match="`FullTarget` needs fully sampled volumes: own.h5 was measured undersampled"):
        slices_of([own], MASK, split=FullTarget())
    with pytest.raises(DataError, match="a.h5, slice 0: `window` 8 is larger than the fully sampled centre"):
        with data_errors():
            elements(slices_of([Source("a.h5")], FIXED, training=False, split=GaussianSplit(0.5, 8)))
    window = np.zeros((15, 13), np.float32)
    window[5:9, 4:8] = 1
    with pytest.raises(DataError, match="a.h5, slice .: a split needs samples outside the window of 4: .* 0 lie there"):
        with data_errors():
            data = {"sources": [Source("a.h5", mask=window)], "sampling": MASK, "split": SPLIT}
            elements(joint_batches([data], 1))
    data = {"sources": [Source("a.h5")], "sampling": MASK, "split": SPLIT}
    for changes, batch_size, message in [
        ({"split": None}, 1, "The `split` of a data set must be of .*, got None"),
        ({"split": "gaussian"}, 1, "`split` must be of `mri_zoo.data.splits`, got 'gaussian'"),
        ({"weight": 2}, 1, "A data set needs .*; got sampling, sources, split, weight"),
        ({"repeats": 0}, 1, "`repeats` must be a whole number >= 1, got 0"),
        ({"repeats": True}, 1, "`repeats` must be a whole number >= 1, got True"),
        ({"partitions": 1.5}, 1, "`partitions` must be a whole number >= 1, got 1.5"),
        ({"crop": 9}, 1, r"`crop` must be \(height, width\), got 9"),
        ({"partitions": 2}, 3, "`batch_size` 3 must be a multiple of the 2 `partitions`"),
        ({}, 0, "`batch_size` must be a whole number >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            joint_batches([data | changes], batch_size)
    for datasets, options, message in [
        ({"a": data}, {}, "`datasets` must be a list of one dict or more"),
        ([data], {"steps": 2.5}, "`steps` must be a whole number >= 1, got 2.5"),
        ([data], {"mixed": "no"}, "`mixed` must be a bool, got 'no'"),
    ]:
        with pytest.raises(ValueError, match=message):
            joint_batches(datasets, 1, **options)


@pytest.mark.parametrize("factors, text", [((0, 1), "has no sample that is not zero"), ((1, 0), "reference is black")])
def test_a_slice_that_is_empty_in_one_of_the_two_is_refused(factors, text):
    class Empty(Source):
        def read(self, slices=None):
            volume = super().read(slices)
            kspace, target = volume.kspace * factors[0], np.full((len(volume.slices), 15, 13), factors[1], "float32")
            return Volume(self.info, volume.slices, kspace.astype("complex64"), target)

    with pytest.raises(DataError, match=f"a.h5, slice 0: .*{text}"), data_errors():
        elements(slices_of([Empty("a.h5")], MASK, training=False))
