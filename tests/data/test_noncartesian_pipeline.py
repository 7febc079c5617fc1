import numpy as np
import pytest
from helpers import random_complex

from mri_zoo.data.masks import RandomMask
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.pipeline import batch_by_shape, slices_of
from mri_zoo.data.prepared import PreparedBatches, write_batches
from mri_zoo.data.trajectories import Radial3DTrajectory, RadialTrajectory, SpiralTrajectory
from mri_zoo.data.volume import DataError, Volume, VolumeInfo


class Source:
    """Random k-space in memory, as of a scanner."""

    def __init__(self, name, size=(15, 13), num_slices=4, num_coils=2):
        self.info = VolumeInfo(name, num_slices, num_coils, *size)
        self.kspace = random_complex(np.random.default_rng(sum(name.encode())), (num_slices, num_coils, *size))

    def read(self, slices=None):
        slices = range(self.info.num_slices) if slices is None else slices
        return Volume(self.info, tuple(slices), self.kspace[list(slices)])


class MeasuredSource:
    """Samples along a trajectory, with a reference."""

    def __init__(self, name, trajectory, size=(15, 13), depth=None):
        self.info = VolumeInfo(name, 2, 3, *size, trajectory=trajectory.reshape(-1, trajectory.shape[-1]), depth=depth)

    def read(self, slices=None):
        shape = len(slices), 3, len(self.info.trajectory)
        return Volume(self.info, tuple(slices), np.ones(shape, "complex64"), np.ones((len(slices), 15, 13), "float32"))


def elements(dataset):
    return list(dataset.as_numpy_iterator())


def test_elements_hold_samples_and_what_they_need():
    sampling = SpiralTrajectory(2, (18, 16))
    dataset = slices_of([Source("a.h5")], sampling, crop=(9, 7), training=False)
    shapes = {key: tuple(spec.shape) for key, spec in dataset.element_spec[0].items()}
    assert shapes == {"kspace": (2, None), "trajectory": (None, 2), "density": (None,), "kernel": (None, None)}
    encoding = make_encoding(sampling((18, 16)), (18, 16))
    for inputs, target in elements(dataset):
        assert inputs["kspace"].shape == (2, 8 * 18) and target.shape == (9, 7)
        np.testing.assert_array_equal(inputs["trajectory"], encoding.trajectory)
        np.testing.assert_array_equal(inputs["density"], encoding.density)
        np.testing.assert_array_equal(inputs["kernel"], encoding.kernel)
    assert len(elements(dataset)) == 4


def test_training_is_reproducible_and_resumable():
    sources = [Source("a.h5"), Source("b.h5")]
    whole = elements(slices_of(sources, RadialTrajectory(3), seed=3, augment=True, epochs=(0, 2)))
    tail = elements(slices_of(sources, RadialTrajectory(3), seed=3, augment=True, epochs=(1, 2)))
    assert len(whole) == 16 and len(tail) == 8
    for (inputs, target), (again, same) in zip(whole[8:], tail, strict=True):
        np.testing.assert_array_equal(inputs["kspace"], again["kspace"])
        np.testing.assert_array_equal(target, same)
    assert len({inputs["kspace"].tobytes() for inputs, _ in whole}) == 16


def test_batches_share_one_trajectory_of_each_size():
    sources = [Source("a.h5"), Source("b.h5", (16, 12))]
    batches = elements(batch_by_shape(slices_of(sources, RadialTrajectory(3), training=False), 3))
    assert sorted(inputs["kspace"].shape for inputs, _ in batches) == sorted(
        [(3, 2, 4 * 15), (1, 2, 4 * 15), (3, 2, 4 * 16), (1, 2, 4 * 16)]
    )
    for inputs, target in batches:
        assert [len(inputs[key]) for key in ("trajectory", "density", "kernel")] == [1, 1, 1]
        assert len(target) == len(inputs["kspace"]) and inputs["kernel"].shape[1:] == (
            2 * target.shape[1],
            2 * target.shape[2],
        )


def test_batches_of_different_trajectories_keep_them():
    shots = [RadialTrajectory(3, angles=angles)((15, 13)) for angles in ("golden", "uniform")]
    sources = [MeasuredSource(f"{i}.h5", trajectory) for i, trajectory in enumerate(shots)]
    ((inputs, _),) = elements(batch_by_shape(slices_of(sources, None, training=False), 4))
    np.testing.assert_array_equal(inputs["trajectory"].reshape(4, 4, 15, 2), np.repeat(shots, 2, axis=0))
    assert inputs["kernel"].shape == (4, 30, 26)


def test_three_dimensions_take_whole_volumes():
    source = Source("a.h5", (9, 11), num_slices=6)
    dataset = slices_of([source, Source("b.h5", (9, 11), num_slices=5)], Radial3DTrajectory(2, (8, 10, 12)))
    assert len(dataset) == 2
    for inputs, target in elements(dataset):
        assert inputs["kspace"].shape == (2, 8 * 6 * 10) and inputs["trajectory"].shape == (8 * 6 * 10, 3)
        assert inputs["kernel"].shape == (16, 20, 24) and target.shape == (8, 9, 11)
        planes = np.any(target != 0, axis=(1, 2))
        assert planes[1 if planes.sum() == 6 else 2] and not planes[0]


def test_prepared_batches_store_what_they_share_once(tmp_path):
    dataset = slices_of([Source("a.h5"), Source("b.h5", (16, 12))], RadialTrajectory(3), training=False).batch(1)
    assert write_batches(dataset, tmp_path / "batches") == 8
    assert len(list((tmp_path / "batches").glob("shared-*.npy"))) == 2 * 3
    prepared = PreparedBatches(tmp_path / "batches")
    for (inputs, target), (stored, stored_target) in zip(elements(dataset), prepared, strict=True):
        assert inputs.keys() == stored.keys()
        for key in inputs:
            np.testing.assert_array_equal(inputs[key], stored[key])
        np.testing.assert_array_equal(target, stored_target)
    (tmp_path / "batches" / "shared-00000.npy").unlink()
    with pytest.raises(DataError, match="shared-00000.npy is missing"):
        prepared[0]


@pytest.mark.parametrize(
    "sampling, options, message",
    [
        (RadialTrajectory(3), {"full_kspace": True}, "`full_kspace` needs a mask"),
        (Radial3DTrajectory(3), {"inner_slices": 2}, "whole volumes"),
        (Radial3DTrajectory(3), {"augment": True}, "whole volumes"),
    ],
)
def test_refuses_what_does_not_fit(sampling, options, message):
    with pytest.raises(ValueError, match=message):
        slices_of([Source("a.h5")], sampling, **options)


def test_refuses_to_mix_measured_volumes_with_masks():
    sources = [Source("a.h5"), MeasuredSource("b.h5", RadialTrajectory(3)((15, 13)))]
    with pytest.raises(ValueError, match="cannot be mixed"):
        slices_of(sources, RandomMask(3, 0.2))
    assert len(slices_of(sources, RadialTrajectory(3))) == 6
