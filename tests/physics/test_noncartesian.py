import keras
import numpy as np
import pytest
from helpers import inner, random_complex, relative_error

from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.physics.nufft import nufft

SIZES = [(15, 13), (8, 9), (5, 7, 4)]


def measure(rng, size, coils=1, maps=False, groups=2):
    """A batch of two along random trajectories, and its image."""
    image = random_complex(rng, (2, *size))
    sensitivities = random_complex(rng, (2, coils, *size))
    sensitivities /= np.linalg.norm(sensitivities, axis=1, keepdims=True)
    if not maps:
        sensitivities = np.ones_like(sensitivities)
    trajectory = rng.uniform(-np.pi, np.pi, (groups, 90, len(size))).astype("float32")
    batch = {
        "kspace": np.array(nufft(sensitivities * image[:, None], trajectory, "ndft")),
        "trajectory": trajectory,
        "density": rng.uniform(0.5, 2, (groups, 90)).astype("float32"),
    }
    return (batch | {"sensitivity_maps": sensitivities} if maps else batch), image


@pytest.mark.parametrize("coils, maps, groups", [(1, False, 2), (1, True, 1), (3, True, 2), (3, True, 1)])
@pytest.mark.parametrize("size", SIZES)
def test_operators(rng, size, coils, maps, groups):
    batch, image = measure(rng, size, coils, maps, groups)
    physics, y = NonCartesian(size, len(size)), random_complex(rng, batch["kspace"].shape)
    assert relative_error(physics.forward(image, batch), batch["kspace"]) < 2e-5
    # The adjoint includes the density D, so D y takes the place of y in the dot-product test.
    lhs = inner(physics.forward(image, batch), batch["density"][:, None] * y)
    assert abs(lhs - inner(image, physics.adjoint(y, batch))) < 1e-5 * abs(lhs)
    expected = physics.adjoint(physics.forward(image, batch), batch)
    assert relative_error(physics.normal(image, batch), expected) < 2e-5
    assert relative_error(physics.normal(image, physics.complete(batch)), expected) < 2e-5


def test_a_density_is_shared_by_several_trajectories(rng):
    batch, image = measure(rng, (8, 9))
    physics, several = NonCartesian((8, 9)), {**batch, "density": np.repeat(batch["density"][:1], 2, axis=0)}
    for prepare in (physics.complete, physics.uncompensated):
        one, other = prepare({**batch, "density": batch["density"][:1]}), prepare(several)
        assert relative_error(physics.normal(image, one), physics.normal(image, other)) < 1e-6


def test_serialisation_keeps_the_arguments():
    physics = NonCartesian((6, 5, 4), 3, "ndft", 0.2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(physics))
    assert copy.get_config() == physics.get_config()
    assert copy.image_size == (6, 5, 4) and copy.implementation == "ndft"


@pytest.mark.parametrize(
    "case, size", [("layers_pad", (40, 44)), ("layers_multicoil_pad", (40, 44)), ("layers_pad3d", None)]
)
def test_equals_the_recorded_layers(reference, case, size):
    with np.load(reference / "tensorflow" / "numeric" / "nufft.npz") as file:
        recorded = {k.removeprefix(f"{case}__"): file[k] for k in file if k.startswith(f"{case}__")}
    image = recorded["image"][..., 0]
    batch = {"trajectory": np.swapaxes(recorded["trajectory"], 1, 2), "density": recorded["density"]}
    if "smaps" in recorded:
        batch["sensitivity_maps"] = recorded["smaps"]
    physics = NonCartesian(image.shape[1:], image.ndim - 1)
    # The predecessor pads the image to a size of its own, and its "ortho" divides by that of a grid twice as large.
    samples, expected = np.asarray(physics.forward(image, batch)), recorded["kspace"][..., 0]
    factor = np.linalg.norm(expected) / np.linalg.norm(samples)
    if size is not None:
        assert factor == pytest.approx(np.sqrt(np.prod(image.shape[1:]) / np.prod(size)) / 2, rel=1e-3)
    assert relative_error(samples * factor, expected) < 3e-3
    adjoint = physics.adjoint(expected, batch) * factor
    assert relative_error(adjoint, recorded["adjoint_dcomp"][..., 0]) < 3e-3


@pytest.mark.parametrize("case", ["nc_radial", "nc_spiral"])
def test_maps_equal_the_recorded_estimate(reference, case):
    with np.load(reference / "tensorflow" / "numeric" / "nufft.npz") as file:
        kspace, trajectory, density, maps = (
            file[f"{case}__{key}"] for key in ("kspace", "trajectory", "density", "smaps")
        )
    batch = {"kspace": kspace[..., 0], "trajectory": np.swapaxes(trajectory, 1, 2), "density": density}
    completed = NonCartesian(maps.shape[2:]).complete(batch)
    assert relative_error(completed["sensitivity_maps"], maps) < 5e-3
    assert completed["kernel"].shape == (1, *(2 * n for n in maps.shape[2:]))


def test_equals_the_sense_operator_of_mri_nufft(reference):
    with np.load(reference / "pytorch" / "numeric" / "nufft.npz") as file:
        image, maps = file["image"][None], file["smaps"][None]
        for kind in ("radial", "random"):
            keys = ("mrinufft_op", "mrinufft_op_smaps", "mrinufft_adj_smaps", "mrinufft_adj_density", "density")
            recorded = {key: file[f"{key}_{kind}"][None] for key in keys}
            # Both of its transforms divide by sqrt(prod(2 n)).
            batch = {"trajectory": 2 * np.pi * file[f"traj_{kind}"].reshape(1, -1, 2), "sensitivity_maps": maps}
            kspace = recorded["mrinufft_op_smaps"]
            assert relative_error(NonCartesian().forward(image, batch), 2 * kspace) < 2e-6
            batch["density"] = np.ones(kspace.shape[::2], "float32")
            assert relative_error(NonCartesian().adjoint(kspace, batch), 2 * recorded["mrinufft_adj_smaps"]) < 2e-6
            batch = {"trajectory": batch["trajectory"], "density": recorded["density"]}
            image_of_one_coil = NonCartesian(image.shape[1:]).adjoint(recorded["mrinufft_op"][:, None], batch)
            assert relative_error(image_of_one_coil, 2 * recorded["mrinufft_adj_density"]) < 2e-6


def test_complete_adds_kernel_and_maps_of_several_coils_only(rng):
    physics = NonCartesian((15, 13), center_fraction=0.6)
    one_coil, image = measure(rng, (15, 13))
    completed = physics.complete(one_coil)
    assert set(completed) - set(one_coil) == {"kernel"} and completed["kernel"].shape == (2, 30, 26)
    assert physics.complete(completed) is completed
    several, _ = measure(rng, (15, 13), coils=3)
    completed = physics.complete(several)
    assert completed["sensitivity_maps"].shape == (2, 3, 15, 13)
    norm = np.linalg.norm(completed["sensitivity_maps"], axis=1)
    np.testing.assert_allclose(norm, 1, rtol=1e-5)
    assert "kernel" not in several


@pytest.mark.parametrize("missing", ["trajectory", "density"])
def test_maps_without_samples_in_the_centre_are_refused(rng, missing):
    batch, _ = measure(rng, (15, 13), coils=3)
    inside = np.all(np.abs(batch["trajectory"][1]) <= 0.3 * np.pi, axis=-1)
    assert 0 < inside.sum() < 45
    batch[missing][1, inside] = {"trajectory": np.pi, "density": 0}[missing]
    with pytest.raises(ValueError, match="No sample lies within 0.942 .*`center_fraction`.*--center-echo"):
        NonCartesian((15, 13), center_fraction=0.6).complete(batch)
    one_coil = batch | {"kspace": batch["kspace"][:, :1]}
    assert "sensitivity_maps" not in NonCartesian((15, 13), center_fraction=0.6).complete(one_coil)


def test_size_comes_from_maps_then_kernel_then_argument(rng):
    batch, image = measure(rng, (15, 13), coils=2, maps=True)
    assert NonCartesian((5, 5)).size(batch) == (15, 13)
    batch = NonCartesian().complete(batch)
    del batch["sensitivity_maps"]
    assert NonCartesian((5, 5)).size(batch) == (15, 13)
    del batch["kernel"]
    assert NonCartesian((5, 5)).size(batch) == (5, 5)
    with pytest.raises(ValueError, match="size of the image is unknown"):
        NonCartesian().adjoint(batch["kspace"], batch)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"trajectory": np.zeros((2, 90, 3), "float32")}, ValueError, r"samples, 2\), got \(2, 90, 3\)"),
        (
            {"trajectory": np.zeros((2, 80, 2), "float32")},
            ValueError,
            r"`trajectory` .*got \(2, 80, 2\) with",
        ),
        ({"trajectory": np.zeros((3, 90, 2), "float32")}, ValueError, r"\(batch or 1, samples, 2\), got \(3, 90, 2\)"),
        ({"kspace": np.ones((2, 90), "complex64")}, ValueError, r"`kspace` .*\(batch, coil, samples\), got \(2, 90\)"),
        ({"density": np.ones(90, "float32")}, ValueError, r"`density` .*\(batch or 1, samples\), got \(90,\)"),
        (
            {"sensitivity_maps": np.ones((2, 1, 8, 9, 4), "complex64")},
            ValueError,
            r"`sensitivity_maps` .*\(batch or 1, coil, height, width\), got \(2, 1, 8, 9, 4\)",
        ),
        ({"sensitivity_maps": np.ones((2, 3, 8, 9), "complex64")}, ValueError, r"got \(2, 3, 8, 9\) with `kspace` of"),
        ({"kernel": np.ones((2, 16), "float32")}, ValueError, r"twice the height, twice the width\), got \(2, 16\)"),
        ({"density": np.ones((1, 91), "float32")}, ValueError, r"`density` .*got \(1, 91\)"),
        ({"trajectory": np.full((2, 90, 2), 4, "float32")}, ValueError, "radians per pixel"),
        ({"trajectory": np.full((2, 90, 2), np.nan, "float32")}, ValueError, "trajectory holds NaN"),
        (
            {"trajectory": np.full((2, 90, 2), 0.5, "float32")},
            ValueError,
            "reaches only 0.159 .* image of 8 x 9 pixels",
        ),
        ({"density": np.zeros((2, 90), "float32")}, ValueError, "zero everywhere"),
        ({"density": np.full((2, 90), np.nan, "float32")}, ValueError, "density compensation holds NaN"),
        ({"kspace": np.full((2, 1, 90), np.nan, "complex64")}, ValueError, "`kspace` holds NaN"),
        ({"density": None}, KeyError, "no `density`; compute it"),
        ({"kspace": None}, KeyError, "no `kspace`, which this acquisition needs; it has trajectory, density"),
        ({"trajectory": None}, KeyError, "no `trajectory`, which this acquisition needs; it has kspace, density"),
    ],
)
def test_bad_batches_are_refused(rng, change, error, message):
    batch, _ = measure(rng, (8, 9))
    batch = {key: value for key, value in {**batch, **change}.items() if value is not None}
    with pytest.raises(error, match=message):
        NonCartesian((8, 9)).complete(batch)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dimensions": 1}, "`dimensions` must be 2 or 3, got 1"),
        ({"image_size": (8, 8, 8)}, "`image_size` must be 2 positive numbers"),
        ({"implementation": "fft"}, "got 'fft'"),
        ({"center_fraction": 0}, r"in \(0, 1\], got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NonCartesian(**arguments)
