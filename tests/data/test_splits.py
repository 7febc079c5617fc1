import json
import re

import numpy as np
import pytest

from mri_zoo.data.masks import EquispacedFractionMask, RandomMask
from mri_zoo.data.masks_2d import VariableDensityPoissonMask
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.splits import FullTarget, GaussianSplit, HalfSplit, ShotSplit, UniformSplit
from mri_zoo.data.trajectories import cartesian, radial

MASK = np.broadcast_to(RandomMask(3, 0.2)(39, 33, seed=1), (39, 33))


@pytest.fixture(scope="module")
def recording():
    from conftest import ROOT

    with np.load(ROOT / "tests" / "reference" / "pytorch" / "direct_ssl_splits.npz") as arrays:
        return dict(arrays) | json.loads(arrays["records"].item())


def make(splitter, ratio=None, acs_region=(0, 0), std_scale=None, direction=None, keep_acs=False):
    if splitter.startswith("Half"):
        return HalfSplit(direction, shared_center=keep_acs)
    arguments = {"ratio": ratio, "window": tuple(acs_region), "partial_window": True, "shared_center": keep_acs}
    if splitter.startswith("Uniform"):
        return UniformSplit(**arguments)
    return GaussianSplit(**arguments, std_scale=std_scale, compatible=True)


def test_partitions_equal_those_of_direct(recording):
    assert len(recording["records"]) == 162
    packed = recording["targets"]
    for record in recording["records"]:
        mask, seed = recording[f"mask_{record['mask']}"], record["seed"]
        seed = tuple(map(ord, seed)) if isinstance(seed, str) else seed
        drawn = make(record["splitter"], **record["kwargs"])(mask, seed)
        target = np.unpackbits(packed[: -(-mask.size // 8)], count=mask.size).reshape(mask.shape) > 0
        packed = packed[-(-mask.size // 8) :]
        shared = recording[f"center_{record['mask']}"] if record["kwargs"].get("keep_acs") else False
        np.testing.assert_array_equal(drawn[1], target, err_msg=str(record))
        np.testing.assert_array_equal(drawn[0], mask & (~target | shared), err_msg=str(record))
        assert drawn[0].dtype == drawn[1].dtype == np.float32
    assert len(packed) == 0


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_partitions_of_files_equal_those_of_direct(recording, kind):
    forward = recording["forward"]
    for i, name in enumerate(forward["filenames"]):
        std_scale = {"std_scale": forward["std_scale"]} if kind == "gaussian" else {}
        split = make(kind.capitalize(), forward["ratio"], forward["acs_region"], **std_scale)
        _, target = split(recording["fwd_sampling_mask"][i], tuple(map(ord, f"{name}{forward['slice_no'][i]}")))
        np.testing.assert_array_equal(target, recording[f"fwd_{kind}_target_mask"][i])


@pytest.mark.parametrize("split", [GaussianSplit(0.3, 4), UniformSplit(0.3, (3, 5)), GaussianSplit(0.99, 2)])
def test_a_partition_is_disjoint_complete_and_reproducible(split):
    inputs, target = split(MASK, seed=(3, 4))
    np.testing.assert_array_equal(inputs + target, MASK)
    np.testing.assert_array_equal(split(MASK, seed=(3, 4))[1], target)
    assert np.any(split(MASK, seed=(3, 5))[1] != target)
    height, width = np.broadcast_to(split.window, 2)
    window = inputs[19 - height // 2 :][:height, 16 - width // 2 :][:, :width]
    assert window.shape == (height, width) and np.all(window == 1)
    assert np.any(inputs) and np.any(target)


@pytest.mark.parametrize("split", [GaussianSplit, UniformSplit])
@pytest.mark.parametrize(
    "kind, columns", [(EquispacedFractionMask(4, 0.13, 1), range(15, 19)), (RandomMask(3, 0.2), range(13, 20))]
)
def test_a_shared_center_of_columns_is_in_both_parts(split, kind, columns):
    """Of 33 columns, with a window that would not fit."""
    mask = np.broadcast_to(kind(39, 33, seed=2), (39, 33))
    inputs, target = split(0.3, 40, shared_center=True)(mask, 3)
    shared = (inputs + target == 2).all(axis=0)
    np.testing.assert_array_equal(np.maximum(inputs, target), mask)
    np.testing.assert_array_equal(inputs + target == 2, np.broadcast_to(shared, (39, 33)))
    np.testing.assert_array_equal(np.flatnonzero(shared), columns)
    outside = mask.sum() - 39 * shared.sum()
    assert abs((target - shared).sum() - 0.3 * outside) < 1


def test_a_shared_center_may_be_a_disc():
    mask = VariableDensityPoissonMask(3, 0.02)(45, 39, seed=1)
    inputs, target = UniformSplit(0.4, shared_center=True)(mask, 3)
    rows, columns = np.nonzero(inputs * target)
    distance = np.hypot(np.arange(45)[:, None] - 22, np.arange(39) - 19)
    np.testing.assert_array_equal(inputs * target == 1, distance < distance[mask == 0].min())
    assert len(rows) >= 25 and np.all(rows - 22 == -(rows - 22)[::-1]) and np.any(inputs != target)
    np.testing.assert_array_equal(np.maximum(inputs, target), mask)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal_left", "diagonal_right"])
def test_halves_lie_on_either_side_of_a_line(direction):
    mask = np.ones((5, 9))
    inputs, target = HalfSplit(direction)(mask)
    expected = {
        "horizontal": [9, 9, 0, 0, 0],
        "vertical": [4] * 5,
        "diagonal_left": [9, 7, 5, 3, 1],
        "diagonal_right": [9, 7, 5, 3, 1],
    }[direction]
    np.testing.assert_array_equal(inputs.sum(axis=1), expected)
    np.testing.assert_array_equal(inputs + target, mask)
    assert inputs[0, 0 if direction != "diagonal_left" else 8] == 1
    assert inputs[3].tolist() == sorted(inputs[3], reverse=direction != "diagonal_left")
    assert len(HalfSplit(direction).several(mask, 3)) == 1


def test_the_target_has_the_share_that_was_asked_for():
    total, window = int(MASK.sum()), 16
    assert GaussianSplit(0.3)(MASK, 0)[1].sum() == np.ceil(np.float32(total) * np.float32(0.3))
    assert UniformSplit(0.3)(MASK, 0)[1].sum() == int(0.3 * (total - window))
    assert GaussianSplit(0.999)(MASK, 0)[1].sum() == total - window  # no more are left
    shares = {round(float(GaussianSplit()(MASK, seed)[1].sum() / total), 1) for seed in range(60)}
    assert shares == {0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}


def test_the_gaussian_has_its_width_and_the_uniform_has_none():
    everything, distance = np.ones((41, 61)), np.square(np.arange(61) - 30) + np.zeros((41, 1))

    def width(split):
        return np.sqrt(np.mean([distance[split(everything, seed)[1] > 0].mean() for seed in range(30)]))

    assert width(GaussianSplit(0.01, 0, std_scale=7.0)) == pytest.approx(60 / 7, rel=0.1)
    assert width(GaussianSplit(0.01, 0)) == pytest.approx(width(GaussianSplit(0.01, 0, compatible=True)), rel=0.1)
    assert width(UniformSplit(0.01, 0)) == pytest.approx(61 / np.sqrt(12), rel=0.1)


def test_several_partitions_of_one_mask_differ():
    targets = [target for _, target in GaussianSplit(0.4).several(MASK, 3, seed=7)]
    assert len({target.tobytes() for target in targets}) == 3
    again = [target for _, target in GaussianSplit(0.4).several(MASK, 3, seed=7)]
    np.testing.assert_array_equal(targets, again)
    np.testing.assert_array_equal(GaussianSplit(0.4).several(MASK, 1, seed=7)[0][1], GaussianSplit(0.4)(MASK, 7)[1])
    with pytest.raises(ValueError, match="must be >= 1, got 0"):
        GaussianSplit(0.4).several(MASK, 0)


def test_a_full_target_leaves_the_input_as_it_is():
    inputs, target = FullTarget()(MASK, 0)
    np.testing.assert_array_equal(inputs, MASK)
    np.testing.assert_array_equal(target, np.ones((39, 33)))
    assert not FullTarget.self_supervised and GaussianSplit.self_supervised
    assert len(FullTarget().several(MASK, 3)) == 1


@pytest.mark.parametrize("split", [GaussianSplit(0.4), UniformSplit((0.3, 0.6)), GaussianSplit(0.4, compatible=True)])
def test_seeds_are_those_of_masks(split):
    np.testing.assert_array_equal(split(MASK, np.int64(7)), split(MASK, 7))
    if not getattr(split, "compatible", False):
        drawn = [split(MASK, np.random.RandomState(7)), split(MASK, 7)]
        np.testing.assert_array_equal(*drawn)
        generator = np.random.default_rng(7)
        first, second = split(MASK, generator), split(MASK, generator)  # which advances
        assert np.any(first[1] != second[1])
        np.testing.assert_array_equal(split(MASK, np.random.default_rng(7)), first)
        targets = [target.tobytes() for _, target in split.several(MASK, 3, np.random.default_rng(7))]
        assert len(set(targets)) == 3


@pytest.mark.parametrize("split", [UniformSplit, GaussianSplit])
@pytest.mark.parametrize("ratio, moved", [(0.99999999, 62), (1e-60, 1)])  # in single precision 1 and 0
def test_neither_part_is_ever_empty(split, ratio, moved):
    inputs, target = split(ratio, 0)(np.ones((9, 7)), 0)
    assert (inputs.sum(), target.sum()) == (63 - moved, moved)


@pytest.mark.parametrize(
    "ratio",
    [0, 1, 1.5, -0.1, (0.5, 1.0), (), float("nan"), "half", "0.5", None, [0.2, None], [[0.2, None]], [0.2, [0.3]]],
)
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match=r"`ratio` must be in \(0, 1\)"):
        UniformSplit(ratio)


def test_what_cannot_be_split_is_refused():
    for window in (-1, (1, 2, 3), 2.5, "4", None, (), [[4, 4]], (4, [4])):
        message = f"`window` must be a whole number >= 0, or two, got {window!r}."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            GaussianSplit(0.5, window)
    assert GaussianSplit(np.float64(0.5), np.array([4, 4])) == GaussianSplit([0.5], 4)
    for scale in (0, None, "a", np.inf):
        with pytest.raises(ValueError, match=f"`std_scale` must be a number > 0, got {scale!r}"):
            GaussianSplit(0.5, std_scale=scale)
    for window in (12, 40):
        with pytest.raises(ValueError, match=f"`window` {window} is larger than the fully sampled centre"):
            GaussianSplit(0.5, window)(MASK)
    target = GaussianSplit(0.5, 12, partial_window=True)(MASK, 0)[1]
    assert not target[13:25, 10:22].any() and target.any()
    center = np.zeros((15, 13))
    center[5:9, 4:8] = 1
    with pytest.raises(ValueError, match="needs samples outside the window of 4: of the mask's 16 samples 0 lie there"):
        UniformSplit(0.5, 4)(center)
    with pytest.raises(ValueError, match=r"needs a mask \(height, width\), got one of shape \(1, 15, 13\)"):
        UniformSplit(0.5)(center[None])
    for split in (GaussianSplit(0.5), UniformSplit(0.5), HalfSplit()):
        with pytest.raises(ValueError, match="a split needs a mask of numbers, 2 of 195 are NaN"):
            split(np.where(center == 1, center, np.where(np.arange(195).reshape(15, 13) < 2, np.nan, 1)))
    with pytest.raises(ValueError, match="a target of 16 samples exceeds the 12 that can be taken from the input"):
        GaussianSplit(0.9, 2, compatible=True)(center, 0)
    with pytest.raises(ValueError, match="a target of 16 samples exceeds the 15 that can"):
        GaussianSplit(0.9, 0, compatible=True)(center, 0)
    with pytest.raises(ValueError, match="outside the fully sampled centre: of the mask's 195 samples 0 lie there"):
        UniformSplit(0.5, shared_center=True)(np.ones((15, 13)))
    with pytest.raises(ValueError, match=r"halves need samples each, got 0 and 16 \(horizontal\)"):
        HalfSplit()(np.roll(center, 2, axis=0))
    with pytest.raises(ValueError, match="`direction` must be 'horizontal', .* got 'up'"):
        HalfSplit("up")
    with pytest.raises(ValueError, match="`compatible` needs a whole number or a tuple"):
        GaussianSplit(0.5, 2, compatible=True)(center)


def along(shots, size=(15, 13)):
    return make_encoding(shots, size, np.ones(shots.shape[:-1]), kernel=False)


SPOKES = along(radial(11, 15))


@pytest.mark.parametrize("split", [GaussianSplit(0.3, 4), UniformSplit((0.2, 0.4), (3, 5)), ShotSplit(0.4, 2)])
def test_a_partition_of_samples_is_disjoint_complete_and_reproducible(split):
    inputs, target = split(SPOKES, seed=(3, 4))
    assert inputs.shape == target.shape == (165,) and inputs.dtype == target.dtype == np.float32
    np.testing.assert_array_equal(inputs + target, np.ones(165))
    np.testing.assert_array_equal(split(SPOKES, seed=(3, 4))[1], target)
    assert np.any(split(SPOKES, seed=(3, 5))[1] != target)
    steps = SPOKES.trajectory * [15, 13] / (2 * np.pi)
    inside = np.all(np.abs(steps) <= np.broadcast_to(split.window, 2) / 2, axis=1)
    assert inside.sum() >= 11 and np.all(inputs[inside] == 1) and np.any(target)
    targets = [target for _, target in split.several(SPOKES, 3, seed=7)]
    assert len({target.tobytes() for target in targets}) == 3


def test_whole_shots_are_moved_but_for_their_samples_in_the_window():
    targets = ShotSplit(0.4, 2)(SPOKES, 0)[1].reshape(11, 15)
    moved = targets.any(axis=1)
    assert moved.sum() == 4 and np.all(targets[moved].sum(axis=1) >= 11)
    np.testing.assert_array_equal(ShotSplit(0.4, 0)(SPOKES, 0)[1].reshape(11, 15)[moved][:, 8:], 1)
    for ratio, count in ((0.001, 1), (0.999, 10)):
        assert ShotSplit(ratio, 2)(SPOKES, 0)[1].reshape(11, 15).any(axis=1).sum() == count


def test_samples_of_the_full_grid_are_split_as_its_mask():
    """With another order of random numbers the shares are the same, and so is the window."""
    grid = along(cartesian((41, 61)), (41, 61))
    for split in (GaussianSplit(0.1, 6), UniformSplit(0.1, 6)):
        masks, samples = (np.mean([split(sampled, seed)[1].reshape(41, 61) for seed in range(40)], axis=0)
                          for sampled in (np.ones((41, 61)), grid))  # fmt: skip
        assert samples.sum() == pytest.approx(masks.sum(), rel=0.01)
        assert not samples[18:23, 28:33].any()
        halves = [np.array([m[:20].mean(), m[14:27, 20:41].mean()]) for m in (masks, samples)]
        np.testing.assert_allclose(*halves, rtol=0.1)


def test_a_full_target_of_samples_leaves_them_all():
    np.testing.assert_array_equal(FullTarget()(SPOKES), np.ones((2, 165)))


def test_what_cannot_be_split_along_a_trajectory_is_refused():
    with pytest.raises(ValueError, match="needs a trajectory of two or more, got a mask"):
        ShotSplit(0.4)(MASK)
    with pytest.raises(ValueError, match="needs a trajectory of two or more, got 1 shot"):
        ShotSplit(0.4)(along(SPOKES.trajectory))
    with pytest.raises(ValueError, match="`compatible` partitions are those of masks"):
        GaussianSplit(0.4, compatible=True)(SPOKES, 0)
    with pytest.raises(ValueError, match="`shared_center` is for masks, this is a trajectory"):
        UniformSplit(0.4, shared_center=True)(SPOKES)
    with pytest.raises(ValueError, match="`HalfSplit` is for masks, this is a trajectory"):
        HalfSplit()(SPOKES)
    with pytest.raises(ValueError, match="of the mask's 165 samples 0 lie there"):
        UniformSplit(0.4, 20)(SPOKES)
