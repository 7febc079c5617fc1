import json
import re

import numpy as np
import pytest
from scipy.spatial import KDTree

from mri_zoo.data import masks, sampling
from mri_zoo.data.masks import MASKS, BenchmarkEquidistantMask, BenchmarkRandomMask, GaussianMask, PoissonDiscMask

EXACT = [PoissonDiscMask(4), PoissonDiscMask(12), GaussianMask(4), GaussianMask(8, dimensions=2)]


def center_lines(size, fraction):
    start = (size - round(size * fraction) + 1) // 2
    return slice(start, start + round(size * fraction))


def test_masks_equal_those_of_fastmri(reference):
    recording = np.load(reference / "pytorch" / "fastmri_masks.npz")
    records = json.loads(recording["records"].item())["records"]
    for record, expected in zip(records, recording["masks"], strict=True):
        mask = sampling.get_sampling(
            record["func"],
            record["accelerations"],
            record["center_fractions"],
            any_combination=record["allow_any_combination"],
            **({} if record["offset"] is None else {"offset": record["offset"]}),
        )
        if record["seed"] is None:  # calls one after the other on one generator
            if record["call_number"] == 0:
                generator = np.random.RandomState(record["constructor_seed"])
            seed = generator
        else:
            seed = record["seed"] if isinstance(record["seed"], int) else masks.seed_from_name(record["seed"])
        drawn = mask(20, record["width"], seed)
        assert drawn.shape == (1, record["width"]) and drawn.dtype == np.float32
        np.testing.assert_array_equal(drawn[0], expected[: record["width"]], err_msg=str(record))


# Of the recorded mask functions of DIRECT, those that the zoo has.
OF_DIRECT = {
    "FastMRIRandom": masks.RandomMask,
    "CartesianRandom": masks.RandomMask,
    "FastMRIEquispaced": masks.EquispacedFractionMask,
    "CartesianEquispaced": masks.EquispacedFractionMask,
    "FastMRIMagic": masks.MagicFractionMask,
    "CartesianMagic": masks.MagicFractionMask,
}


def test_masks_equal_those_of_direct(reference):
    recording = np.load(reference / "pytorch" / "numeric" / "direct_masks.npz")
    records = json.loads(recording["records"].item())
    assert len(records) == 72 and {record["func"] for record in records} == set(OF_DIRECT)
    for record, expected in zip(records, recording["masks"], strict=True):
        height, width = record["size"]
        # The functions called Cartesian take a number of lines.
        fractions = [f / width if f >= 1 else f for f in record["center_fractions"]]
        mask = OF_DIRECT[record["func"]](record["accelerations"], fractions)
        seed = record["seed"] if isinstance(record["seed"], int) else masks.seed_from_name(record["seed"])
        generator = np.random.RandomState(seed)
        drawn = [mask(height, width, generator)[0] for _ in range(record["frames"])]
        np.testing.assert_array_equal(drawn, expected[: record["frames"], :width], err_msg=str(record))


def test_padding_equals_fastmri(reference):
    expected = np.load(reference / "pytorch" / "fastmri_masks.npz")["padded_mask"]
    mask = masks.RandomMask(3, 0.1)(20, 48, masks.seed_from_name("file1000001.h5"), padding=(5, 41))
    np.testing.assert_array_equal(mask[0], expected)


def test_random_masks_equal_those_of_the_predecessor(reference):
    recording = np.load(reference / "tensorflow" / "masks.npz")
    names = [name for name in recording if name.startswith("np_gen_mask")]
    assert len(names) == 37
    for name in names:
        width, acceleration, seed = map(int, re.search(r"w(\d+)_af(\d+)_seed(\d+)", name).groups())
        drawn = BenchmarkRandomMask(acceleration)(9, width, seed)
        np.testing.assert_array_equal(drawn[0], recording[name], err_msg=name)


def test_equidistant_masks_equal_those_of_the_predecessor(reference):
    recording = np.load(reference / "tensorflow" / "masks.npz")
    names = [name for name in recording if "equidistant" in name and not name.endswith("offset")]
    assert len(names) == 40
    for name in names:
        kind, width, acceleration = re.search(r"equidistant_(\w+)__w(\d+)_af(\d+)", name).groups()
        mask = BenchmarkEquidistantMask(int(acceleration), kind=kind, offset=int(recording[name + "__offset"]))
        np.testing.assert_array_equal(mask(9, int(width))[0], recording[name], err_msg=name)


@pytest.mark.parametrize("mask", EXACT, ids=repr)
@pytest.mark.parametrize("height, width", [(192, 161), (95, 128), (256, 256)])
def test_number_of_samples_is_exact(mask, height, width):
    drawn = mask(height, width, seed=5)
    assert np.count_nonzero(drawn) == round(drawn.size / mask.acceleration)
    assert sampling.effective_acceleration(drawn) == pytest.approx(mask.acceleration, rel=0.05)


@pytest.mark.parametrize("name", ["random", "equispaced_fraction", "benchmark_random"])
@pytest.mark.parametrize("acceleration", [4, 8])
def test_acceleration_holds_on_average(name, acceleration):
    mask = sampling.get_sampling(name, acceleration)
    accelerations = [sampling.effective_acceleration(mask(1, 640, seed)) for seed in range(100)]
    assert np.mean(accelerations) == pytest.approx(acceleration, rel=0.05)


@pytest.mark.parametrize("name", ["equispaced", "magic"])
def test_exact_spacing_ignores_the_centre(name):
    drawn = sampling.get_sampling(name, 4, 0.1, offset=0)(1, 401)[0]
    outside = np.delete(drawn, np.arange(401)[center_lines(401, 0.1)])
    assert sampling.effective_acceleration(outside) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("height, width", [(63, 61), (64, 60), (15, 13)])
def test_centre_is_fully_sampled(name, height, width):
    drawn = sampling.get_sampling(name, 4, 0.13)(height, width, seed=1)
    rows = center_lines(height, 0.13) if drawn.shape[0] > 1 else slice(None)
    assert drawn[rows, center_lines(width, 0.13)].all()
    assert drawn[drawn.shape[0] // 2, width // 2] == 1
    assert drawn.mean() < 0.5


@pytest.mark.parametrize("name", MASKS)
def test_seed_fixes_the_mask(name):
    mask = sampling.get_sampling(name, 4, 0.05)
    first = mask(60, 150, seed=(3, 1))
    np.testing.assert_array_equal(first, mask(60, 150, seed=(3, 1)))
    others = [mask(60, 150, seed=(3, 2 + i)) for i in range(8)]
    assert any(not np.array_equal(first, other) for other in others)
    assert any(not np.array_equal(mask(60, 150), other) for other in others)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_generator_as_seed_advances(name, make):
    mask = sampling.get_sampling(name, 4, 0.05)
    generator, again = make(3), make(3)
    drawn = [mask(60, 150, generator) for _ in range(12)]
    np.testing.assert_array_equal(drawn[0], mask(60, 150, again))
    assert any(not np.array_equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.parametrize("name", MASKS)
def test_acceleration_one_samples_everything(name):
    drawn = sampling.get_sampling(name, 1)(15, 13, seed=0)
    assert drawn.all() and drawn.shape[1] == 13


@pytest.mark.parametrize("name", MASKS)
def test_nothing_is_sampled_in_the_padding(name):
    mask = sampling.get_sampling(name, 2)
    drawn, unpadded = mask(15, 53, seed=0, padding=(4, 48)), mask(15, 53, seed=0)
    assert not drawn[:, :4].any() and not drawn[:, 48:].any()
    np.testing.assert_array_equal(drawn[:, 4:48], unpadded[:, 4:48])


def test_poisson_disc_keeps_a_distance_that_grows_outwards():
    mask = PoissonDiscMask(10, slope=2.0)
    drawn = mask(200, 161, seed=2)
    rows, columns = drawn.nonzero()
    relative = 1 + 2.0 * np.hypot(rows / 100 - 1, (columns - 80) / 80.5)
    outside = relative > 1.2  # beyond the fully sampled block
    points = np.stack([rows, columns], axis=1)[outside]
    nearest = KDTree(points).query(points, k=2)[0][:, 1]
    shuffled = np.random.default_rng(0).permutation(drawn.ravel()).reshape(drawn.shape)
    by_chance = KDTree(np.argwhere(shuffled)).query(np.argwhere(shuffled), k=2)[0][:, 1]
    assert by_chance.min() == 1
    assert np.min(nearest / relative[outside]) > 1
    assert np.median(nearest[relative[outside] > 2.5]) > 1.5 * np.median(nearest[relative[outside] < 1.5])


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_poisson_disc_density_follows_the_inverse_square_of_the_distance(slope):
    drawn = PoissonDiscMask(12, 0.02, slope=slope)(301, 251, seed=0)
    frequency = np.hypot(*np.meshgrid(np.linspace(-1, 1, 301), np.linspace(-1, 1, 251), indexing="ij"))
    inner, outer = drawn[(frequency > 0.55) & (frequency < 0.65)], drawn[(frequency > 0.95) & (frequency < 1.05)]
    expected = ((1 + slope * 1.0) / (1 + slope * 0.6)) ** 2
    assert inner.mean() / outer.mean() == pytest.approx(expected, rel=0.15)  # distances on a grid are coarse


@pytest.mark.parametrize("dimensions", [1, 2])
def test_gaussian_falls_off_from_the_centre(dimensions):
    mask = GaussianMask(8, 0.01, dimensions=dimensions, std=0.2)
    density = np.mean([mask(101, 121, seed).mean(axis=0) for seed in range(200)], axis=0)
    positions = np.arange(121) - 60
    spread = np.sqrt(np.average(positions**2, weights=density))
    # A Gaussian of std 0.2 * 121 cut off at 60 has 21.8; drawing without replacement spreads it.
    assert 21 < spread < 27
    assert density[50:71].mean() > 4 * density[:10].mean()


def test_draws_one_of_several_accelerations():
    mask = masks.EquispacedFractionMask([4, 8])
    found = {round(sampling.effective_acceleration(mask(1, 400, seed))) for seed in range(20)}
    assert found == {4, 8}


@pytest.mark.parametrize("name", MASKS)
def test_config_makes_an_equal_mask(name):
    mask = sampling.get_sampling(name, [4, 8], [np.float32(0.08), 0.04])
    config = json.loads(json.dumps(sampling.sampling_to_config(mask)))
    assert config["name"] == name
    assert sampling.sampling_from_config(config) == mask


def test_config_keeps_every_argument():
    mask = BenchmarkEquidistantMask(4, 0.1, kind="fake", offset=3)
    assert sampling.sampling_from_config(sampling.sampling_to_config(mask)) == mask
    with pytest.raises(ValueError, match="got int"):
        sampling.sampling_to_config(3)


def test_default_centre_fractions():
    assert masks.RandomMask([4, 8]).center_fraction == (0.08, 0.04)
    assert BenchmarkRandomMask(3).center_fraction == 0.1


def test_effective_acceleration():
    assert sampling.effective_acceleration(np.array([[0, 1, 0, 0, 1]], np.float32)) == 2.5
    with pytest.raises(ValueError, match="samples nothing"):
        sampling.effective_acceleration(np.zeros((1, 4)))


@pytest.mark.parametrize("name", MASKS)
def test_refuses_bad_arguments(name):
    def make(*args):
        return sampling.get_sampling(name, *args)

    with pytest.raises(ValueError, match="`acceleration` must be >= 1, got 0.5"):
        make(0.5)
    with pytest.raises(ValueError, match="`acceleration` must be >= 1, got nan"):
        make(float("nan"))
    for fraction in (0, -0.1, 1.5):
        with pytest.raises(ValueError, match=r"`center_fraction` must be in \(0, 1\], got"):
            make(4, fraction)
    with pytest.raises(ValueError, match="same number of values.*got 2 and 1"):
        make([4, 8], 0.08)
    with pytest.raises(ValueError, match="gives no line of 11"):
        make(8, 0.04)(15, 11, seed=0)
    for height, width in ((0, 16), (16, 0), (16, -3)):
        with pytest.raises(ValueError, match="at least 1"):
            make(4)(height, width)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: masks.RandomMask(8, 0.3), "alone samples more than `acceleration` 8 allows"),
        (lambda: masks.EquispacedFractionMask(8, 0.3), "alone samples more"),
        (lambda: PoissonDiscMask(4, 0.6), "alone samples more"),
        (lambda: GaussianMask(4, 0.3), "alone samples more"),
        (lambda: masks.EquispacedMask(4.5), "whole number.*got 4.5"),
        (lambda: masks.MagicMask(4.5), "whole number.*got 4.5"),
        (lambda: masks.EquispacedMask(4, offset=-1), "`offset` must be >= 0, got -1"),
        (lambda: BenchmarkEquidistantMask(4, kind="true"), '"real" or "fake", got \'true\''),
        (lambda: GaussianMask(4, dimensions=3), "`dimensions` must be 1 or 2, got 3"),
        (lambda: GaussianMask(4, std=0), "`std` must be > 0, got 0"),
        (lambda: PoissonDiscMask(4, slope=-1), "`slope` must be >= 0, got -1"),
    ],
)
def test_refuses_bad_arguments_of_one_mask(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_large_centre_is_right_where_it_may_be():
    GaussianMask(4, 0.3, dimensions=2)  # 9 % of the samples
    assert masks.EquispacedMask(8, 0.3, offset=0)(1, 80)[0, center_lines(80, 0.3)].all()
    drawn = masks.MagicFractionMask(8, 0.3)(1, 80, seed=0)
    np.testing.assert_array_equal(np.flatnonzero(drawn[0]), np.arange(35, 45))  # cut to a centre of 80 / 8


@pytest.mark.parametrize("name", ["random", "equispaced_fraction", "gaussian", "benchmark_equidistant"])
def test_rounded_centre_may_be_all_that_is_sampled(name):
    drawn = sampling.get_sampling(name, 4, 0.25)(6, 6, seed=0)  # two central lines of 1.5 that are allowed
    np.testing.assert_array_equal(drawn, [[0, 0, 1, 1, 0, 0]])
    assert sampling.get_sampling(name, 1.05, 0.9)(1, 3, seed=0).all()


@pytest.mark.parametrize("name, nearest", [("equispaced-fraction", "equispaced_fraction"), ("poison", "poisson_disc")])
def test_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name}.*did you mean '{nearest}'"):
        sampling.get_sampling(name, 4)
