import json
import re
from functools import partial

import numpy as np
import pytest
from conftest import ROOT
from scipy.spatial import KDTree

from mri_zoo.data import masks, masks_2d, sampling
from mri_zoo.data.masks import BenchmarkEquidistantMask, BenchmarkRandomMask
from mri_zoo.data.masks_2d import CIRCUSMask, GaussianMask, PoissonDiscMask, VariableDensityPoissonMask
from mri_zoo.data.masks_kt import KtGaussianMask, KtRadialMask, KtUniformMask
from mri_zoo.data.sampling import MASKS

EXACT = [PoissonDiscMask(4), PoissonDiscMask(12), GaussianMask(4), GaussianMask(8, dimensions=2)]
KT = [KtGaussianMask, KtRadialMask, KtUniformMask]


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


# The recorded mask functions of DIRECT, and what they are in the zoo.
OF_DIRECT = {
    "FastMRIRandom": masks.RandomMask,
    "CartesianRandom": masks.RandomMask,
    "FastMRIEquispaced": masks.EquispacedFractionMask,
    "CartesianEquispaced": masks.EquispacedFractionMask,
    "FastMRIMagic": masks.MagicFractionMask,
    "CartesianMagic": masks.MagicFractionMask,
    "Gaussian1D": GaussianMask,
    "Gaussian2D": partial(GaussianMask, dimensions=2),
    "Radial": CIRCUSMask,
    "Spiral": partial(CIRCUSMask, kind="spiral"),
    "VariableDensityPoisson": VariableDensityPoissonMask,
    "KtRadial": KtRadialMask,
    "KtUniform": KtUniformMask,
    "KtGaussian1D": KtGaussianMask,
}


def recorded_arrays(bits, shapes):
    """Boolean arrays of these shapes, packed one after the other."""
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    flat = np.split(np.unpackbits(bits)[: ends[-1]].astype(bool), ends[:-1])
    return [values.reshape(shape) for values, shape in zip(flat, shapes, strict=True)]


@pytest.fixture(scope="module")
def of_direct():
    """Records of DIRECT's masks, each with its `mask` and, where it was asked for, its `center`."""
    with np.load(ROOT / "tests" / "reference" / "pytorch" / "numeric" / "direct_masks.npz") as recording:
        records, centers = json.loads(recording["records"].item()), recording["center_shapes"].tolist()
        shapes = [(r["frames"] or 1, 1 if r["columns"] else r["size"][0], r["size"][1]) for r in records]
        drawn, centers = recorded_arrays(recording["masks"], shapes), recorded_arrays(recording["centers"], centers)
    for record, mask in zip(records, drawn, strict=True):
        record["mask"] = mask if record["frames"] else mask[0]
        record["center"] = None if record["center"] is None else centers[record["center"]]
    assert len(records) == 180
    return records


@pytest.mark.parametrize("function", OF_DIRECT)
def test_masks_equal_those_of_direct(of_direct, function):
    records = [record for record in of_direct if record["func"] == function]
    assert len(records) >= 3
    for record in records:
        height, width = record["size"]
        fractions = record["center_fractions"]
        if fractions is not None:  # the functions called Cartesian take a number of lines
            fractions = [f / width if f >= 1 else f for f in fractions]
        mask = OF_DIRECT[function](record["accelerations"], fractions, **record["options"])
        seed = record["seed"] if isinstance(record["seed"], int) else masks.seed_from_name(record["seed"])
        drawn = mask(height, width, seed, frames=record["frames"])
        assert drawn.dtype == np.float32
        np.testing.assert_array_equal(drawn, record["mask"], err_msg=str(record))


def test_centres_equal_those_of_direct(of_direct):
    discs = columns = 0
    for record in of_direct:
        if (
            record["center"] is None
            or len(record["accelerations"]) > 1
            or record["func"] in ("KtUniform", "KtGaussian1D")
        ):
            continue
        (height, width), fraction = record["size"], record["center_fractions"][0]
        if record["columns"]:
            center = np.zeros((1, width), bool)
            center[:, masks.central_lines(width, fraction / width if fraction >= 1 else fraction)] = True
            columns += 1
        else:
            center = masks.centered_disc(height, width, fraction)
            discs += 1
        np.testing.assert_array_equal(center, record["center"], err_msg=str(record))
    assert columns == 63 and discs == 66


@pytest.mark.parametrize("function", ["KtUniform", "KtGaussian1D"])
def test_centres_of_kt_columns_equal_those_of_direct(of_direct, function):
    record = next(record for record in of_direct if record["func"] == function)
    # Of 36 columns an acceleration of 12 allows the three of the centre and no other.
    drawn = OF_DIRECT[function](12, record["center_fractions"][0])(*record["size"], seed=0, frames=4)
    np.testing.assert_array_equal(drawn, np.broadcast_to(record["center"], (4, 1, 36)))


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
    if drawn.shape[0] == 1:
        assert drawn[:, center_lines(width, 0.13)].all()
    else:
        assert drawn[masks.centered_disc(height, width, 0.13)].all()
    assert drawn[drawn.shape[0] // 2, width // 2] == 1
    assert drawn.mean() < 0.5


@pytest.mark.parametrize("name", MASKS)
def test_seed_fixes_the_mask(name):
    mask = sampling.get_sampling(name, 4, 0.05)
    first = mask(45, 90, seed=(3, 1))
    np.testing.assert_array_equal(first, mask(45, 90, seed=(3, 1)))
    others = [mask(45, 90, seed=(3, 2 + i)) for i in range(8)]
    assert any(not np.array_equal(first, other) for other in others)
    assert any(not np.array_equal(first, mask(45, 90)) for _ in range(40))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_generator_as_seed_advances(name, make):
    mask = sampling.get_sampling(name, 4, 0.05)
    generator, again = make(3), make(3)
    drawn = [mask(45, 90, generator) for _ in range(8)]
    np.testing.assert_array_equal(drawn[0], mask(45, 90, again))
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


@pytest.mark.parametrize("name", MASKS)
def test_frames_are_draws_one_after_the_other(name):
    mask = sampling.get_sampling(name, 4, 0.05)
    frames, generator = mask(60, 41, np.random.RandomState(3), frames=3), np.random.RandomState(3)
    np.testing.assert_array_equal(frames, [mask(60, 41, generator) for _ in range(3)])


@pytest.mark.parametrize("make", [*MASKS.values(), *KT])
def test_frames_share_one_acceleration(make):
    for seed in range(3):
        found = [sampling.effective_acceleration(mask) for mask in make([2, 8])(41, 64, seed, frames=3)]
        assert max(found) < 4 or min(found) > 4, found


@pytest.mark.parametrize("make", KT)
@pytest.mark.parametrize("frames, height, width", [(7, 21, 35), (6, 20, 35), (5, 15, 36), (1, 20, 16)])
def test_kt_masks_sample_the_centre_in_all_frames(make, frames, height, width):
    drawn = make(4, 0.1)(height, width, seed=(1, 2), frames=frames)
    assert drawn.shape == (frames, height if make is KtRadialMask else 1, width)
    assert drawn[:, drawn.shape[1] // 2, width // 2].all()
    np.testing.assert_array_equal(drawn, make(4, 0.1)(height, width, seed=(1, 2), frames=frames))
    assert make(1)(height, width, frames=2).all()
    padded = make(4, 0.1)(height, width, seed=(1, 2), frames=frames, padding=(3, width - 2))
    np.testing.assert_array_equal(padded[..., 3:-2], drawn[..., 3:-2])
    assert not padded[..., :3].any() and not padded[..., -2:].any()
    if frames > 1:
        assert not np.array_equal(drawn[0], drawn[1])


def test_kt_columns_meet_the_acceleration():
    for make in (KtUniformMask, KtGaussianMask):
        drawn = make(4)(1, 320, seed=0, frames=12)
        assert sampling.effective_acceleration(drawn) == pytest.approx(4, rel=0.1)
        assert np.mean(drawn.max(axis=0)) > 0.8  # other columns in other frames


def test_poisson_disc_keeps_a_distance_that_grows_outwards():
    mask = PoissonDiscMask(10, slope=2.0)
    drawn = mask(200, 161, seed=2)
    rows, columns = drawn.nonzero()
    relative = 1 + 2.0 * np.hypot(rows / 100 - 1, (columns - 80) / 80.5)
    outside = relative > 1.3  # beyond the fully sampled disc
    points = np.stack([rows, columns], axis=1)[outside]
    nearest = KDTree(points).query(points, k=2)[0][:, 1]
    shuffled = np.random.default_rng(0).permutation(drawn.ravel()).reshape(drawn.shape)
    by_chance = KDTree(np.argwhere(shuffled)).query(np.argwhere(shuffled), k=2)[0][:, 1]
    assert by_chance.min() == 1
    assert np.min(nearest / relative[outside]) > 1
    assert np.median(nearest[relative[outside] > 2.5]) > 1.5 * np.median(nearest[relative[outside] < 1.5])


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_poisson_disc_density_follows_the_inverse_square_of_the_distance(slope):
    drawn = PoissonDiscMask(12, 0.001, slope=slope)(301, 251, seed=0)
    frequency = np.hypot(*np.meshgrid(np.linspace(-1, 1, 301), np.linspace(-1, 1, 251), indexing="ij"))
    inner, outer = drawn[(frequency > 0.55) & (frequency < 0.65)], drawn[(frequency > 0.95) & (frequency < 1.05)]
    expected = ((1 + slope * 1.0) / (1 + slope * 0.6)) ** 2
    assert inner.mean() / outer.mean() == pytest.approx(expected, rel=0.15)  # distances on a grid are coarse


@pytest.mark.parametrize("height, width", [(95, 128), (160, 93)])
def test_variable_density_poisson_meets_the_acceleration(height, width):
    mask = VariableDensityPoissonMask(6, tolerance=0.1, crop_corner=True)
    drawn = mask(height, width, seed=5)
    assert sampling.effective_acceleration(drawn) == pytest.approx(6, abs=0.1)
    corner = np.hypot(*np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")) > 1.03
    assert not drawn[corner].any() and corner.any()
    assert VariableDensityPoissonMask(6)(height, width, seed=5)[corner].any()


@pytest.mark.parametrize("kind", ["radial", "spiral"])
def test_circus_takes_as_many_samples_of_each_square(kind):
    drawn = CIRCUSMask(5, kind=kind)(81, 81, seed=2)[1:, 1:]  # the squares around the centre, all of an even side
    distance = np.abs(np.arange(80) - 39.5)
    square = np.maximum(distance[:, None], distance)
    counts = [drawn[square == distance[start]].sum() for start in range(40)]
    expected = 81 * 81 // (5 * 40)
    assert counts[-1] == 4 and all(0.8 * expected < count <= expected for count in counts[:30])


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


@pytest.mark.parametrize(
    "mask, arguments, expected",
    [
        (GaussianMask(4, dimensions=2), {"acceleration": 8}, GaussianMask(8, 0.01, dimensions=2)),
        (GaussianMask(4, 0.08, dimensions=2), {"acceleration": 8}, GaussianMask(8, 0.08, dimensions=2)),
        (GaussianMask(4), {"dimensions": 2}, GaussianMask(4, 0.02, dimensions=2)),
        (CIRCUSMask(4, kind="spiral"), {"acceleration": 7}, CIRCUSMask(7, 0, kind="spiral")),
        (masks.EquispacedMask(4, offset=1), {"acceleration": 5}, masks.EquispacedMask(5, 0.064, offset=1)),
        (masks.RandomMask(4), {"center_fraction": 0.1}, masks.RandomMask(4, 0.1)),
        (masks.RandomMask([4, 8]), {"acceleration": 5}, masks.RandomMask(5, 0.064)),
        (masks.RandomMask([4, 8], [0.1, 0.05]), {"acceleration": 8}, masks.RandomMask(8, 0.05)),
        (PoissonDiscMask([5, 10], [0.03, 0.03]), {"acceleration": 7}, PoissonDiscMask(7, 0.03)),
        (BenchmarkRandomMask(40, 0.02), {"acceleration": 4}, BenchmarkRandomMask(4, 0.02)),
        (
            masks.RandomMask([4, 8], 0.06, any_combination=True),
            {"acceleration": 5},
            masks.RandomMask(5, 0.06, any_combination=True),
        ),
    ],
)
def test_changed_masks_keep_their_other_arguments(mask, arguments, expected):
    assert mask.changed(**arguments) == expected


def test_changed_masks_need_a_centre():
    with pytest.raises(ValueError, match=r"\(0.1, 0.05\) belongs to `acceleration` \(4, 8\): give one for 6"):
        masks.RandomMask([4, 8], [0.1, 0.05]).changed(acceleration=6)


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
    with pytest.raises(ValueError, match="`acceleration` must be >= 1, got '4'"):
        make("4")
    with pytest.raises(ValueError, match="`acceleration` must be a number >= 1, or several, got none"):
        make([])
    with pytest.raises(ValueError, match=r"`center_fraction` must be in \(0, 1\], got 'half'"):
        make(4, "half")
    with pytest.raises(ValueError, match="same number of values.*got 1 and 0"):
        sampling.get_sampling(name, 4, [], any_combination=True)
    for fraction in (-0.1, 1.5) if name == "circus" else (0, -0.1, 1.5):
        with pytest.raises(ValueError, match=r"`center_fraction` must be in \(0, 1\], got"):
            make(4, fraction)
    with pytest.raises(ValueError, match="same number of values.*got 2 and 1"):
        make([4, 8], 0.08)
    with pytest.raises(ValueError, match="0.01 gives no (line of 11|sample of 15 x 11)"):
        make(8, 0.01)(15, 11, seed=0)
    for height, width in ((0, 16), (16, 0), (16, -3)):
        with pytest.raises(ValueError, match="at least 1"):
            make(4)(height, width)
    with pytest.raises(ValueError, match="`frames` must be >= 1, got 0"):
        make(4)(16, 16, frames=0)


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
        (lambda: CIRCUSMask(4, 0.3), "alone samples more"),
        (lambda: CIRCUSMask(4, kind="cross"), '"radial" or "spiral", got \'cross\''),
        (lambda: CIRCUSMask(40)(7, 9), "`acceleration` 40 leaves no sample on the squares of 7 x 9"),
        (lambda: PoissonDiscMask(4, slope=-1), "`slope` must be >= 0, got -1"),
        (lambda: VariableDensityPoissonMask(4, max_attempts=0), "`max_attempts` must be >= 1, got 0"),
        (lambda: VariableDensityPoissonMask(4, tolerance=0), "`tolerance` must be > 0, got 0"),
        (lambda: VariableDensityPoissonMask(4, slopes=(2, 1)), r"`slopes` must be two .*, got \(2, 1\)"),
        (
            lambda: VariableDensityPoissonMask(4, slopes=(0, 0.1))(40, 30, 0),
            "no variable-density Poisson mask of 40 x 30 .*`acceleration` 4",
        ),
        (lambda: KtGaussianMask(4, alpha=1), r"`alpha` must be in \[0, 1\), got 1"),
        (lambda: KtGaussianMask(4, std_scale=0), "`std_scale` must be > 0, got 0"),
        (lambda: KtUniformMask(4)(16, 16), "KtUniformMask draws all frames together.*`frames`"),
        (lambda: KtUniformMask(4, 0.01)(16, 16, frames=2), "0.01 gives no line of 16"),
        (lambda: KtRadialMask(4, 0.01)(16, 16, frames=2), "0.01 gives no sample of 16 x 16"),
    ],
)
def test_refuses_bad_arguments_of_one_mask(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_large_centre_is_right_where_it_may_be():
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


def test_an_acceleration_that_no_slope_reaches_is_refused_at_once(monkeypatch):
    throw, masks_drawn = masks_2d._throw, []

    def counted(*arguments):
        masks_drawn.append(throw(*arguments))
        return masks_drawn[-1]

    monkeypatch.setattr(masks_2d, "_throw", counted)
    for options in ({}, {"crop_corner": True}):
        with pytest.raises(ValueError, match=r"of 64 x 56 reach `acceleration` 1\.\d\d, not 1.0001 within 0.2; try"):
            VariableDensityPoissonMask(1.0001, **options)(64, 56, seed=3)
    assert len(masks_drawn) == 2


def test_the_least_accelerations_are_reached():
    mask = VariableDensityPoissonMask(1.15)(24, 20, seed=0)
    assert mask.size / mask.sum() == pytest.approx(1.3186814)
