import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire, fft_reference, inner, random_complex, relative_error

from mri_zoo.data import fourier
from mri_zoo.data.preparation import ConstantScaling, prepare_partitions
from mri_zoo.data.splits import FullTarget
from mri_zoo.models import base
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import estimate_sensitivity_maps, root_sum_of_squares
from mri_zoo.physics.consistency import replace_measured
from mri_zoo.physics.fourier import fft2c, ifft2c, ifft3c

SIZES = [(8, 6), (9, 7), (8, 7), (4, 6, 5), (3, 5, 8)]


@pytest.mark.parametrize("full_height_mask", [False, True])
@pytest.mark.parametrize("coils, maps", [(1, False), (1, True), (3, True)])
@pytest.mark.parametrize("size", SIZES)
def test_adjoint_passes_dot_product_test(rng, size, coils, maps, full_height_mask):
    batch, x = acquire(rng, size, coils, maps, full_height_mask)
    y, physics = random_complex(rng, batch["kspace"].shape), Cartesian(len(size))
    lhs, rhs = inner(physics.forward(x, batch), y), inner(x, physics.adjoint(y, batch))
    assert abs(lhs - rhs) < 1e-5 * np.linalg.norm(x) * np.linalg.norm(y)
    np.testing.assert_allclose(lhs, rhs, rtol=1e-4)


@pytest.mark.parametrize("full_height_mask", [False, True])
@pytest.mark.parametrize("coils, maps", [(1, False), (3, True)])
@pytest.mark.parametrize("size", SIZES)
def test_forward_and_normal(rng, size, coils, maps, full_height_mask):
    batch, x = acquire(rng, size, coils, maps, full_height_mask)
    physics = Cartesian(len(size))
    assert relative_error(physics.forward(x, batch), batch["kspace"]) < 1e-6
    expected = physics.adjoint(physics.forward(x, batch), batch)
    assert relative_error(physics.normal(x, batch), expected) < 1e-6


def test_forms_per_coil_are_those_of_the_image_before_combination(rng):
    batch, x = acquire(rng, (9, 6), coils=3, maps=True)
    physics, coils = Cartesian(), random_complex(rng, (2, 3, 9, 6))
    sampled = batch["mask"] * fft_reference(coils)
    assert relative_error(physics.expand(x, batch), batch["sensitivity_maps"] * x[:, None]) < 1e-6
    assert relative_error(physics.coil_normal(coils, batch), physics.coil_adjoint(sampled, batch)) < 1e-6
    assert relative_error(fft_reference(physics.coil_normal(coils, batch)), sampled) < 1e-6
    combined = physics.combine(physics.coil_adjoint(batch["kspace"], batch), batch)
    assert relative_error(combined, physics.adjoint(batch["kspace"], batch)) < 1e-6


def test_coil_kspace_is_fully_sampled_and_combine_inverts_it(rng):
    batch, x = acquire(rng, (9, 6), coils=3, maps=True)
    physics = Cartesian()
    kspace = physics.coil_kspace(x, batch)
    assert relative_error(kspace, fft_reference(batch["sensitivity_maps"] * x[:, None])) < 1e-6
    everything = {**batch, "mask": np.ones_like(batch["mask"])}
    # The maps have unit root-sum-of-squares, so S^H F^H F S is the identity.
    assert relative_error(physics.adjoint(kspace, everything), x) < 1e-6
    assert relative_error(physics.combine_kspace(kspace, batch), x) < 1e-6


@pytest.fixture
def direct(reference):
    # The recording's transforms without unit norm, resizing and padding (the larger half before the image) have no
    # equivalent, as none of DIRECT's configurations uses them, nor have random crops, which would need k-space that was
    # not sampled; products and quotients are the framework's.
    with np.load(reference / "pytorch" / "numeric" / "direct_operators.npz") as file:
        return dict(file)


def test_equals_the_operators_of_direct(direct):
    recorded = direct
    mask, target_mask = (recorded[name][..., 0].astype("float32") for name in ("mask", "target_mask"))
    kspace, physics = recorded["kspace"], Cartesian()
    for size in ("8x6", "7x5", "9x16"):
        assert relative_error(fft2c(recorded[f"z_{size}"]), recorded[f"fft2_c1_n1_{size}"]) < 1e-6
        assert relative_error(ifft2c(recorded[f"z_{size}"]), recorded[f"ifft2_c1_n1_{size}"]) < 1e-6
    batch = {"mask": mask, "sensitivity_maps": recorded["maps"]}
    assert relative_error(physics.expand(recorded["image"], batch), recorded["expand"]) < 1e-6
    assert relative_error(physics.combine(kspace, batch), recorded["reduce"]) < 1e-6
    assert relative_error(root_sum_of_squares(kspace), recorded["rss"]) < 1e-6
    # What self-supervised training makes of an image: its k-space with the samples put back, of which the target.
    batch |= {"sensitivity_maps": recorded["dc_maps"], "kspace": recorded["dc_masked_kspace"]}
    predicted = physics.coil_kspace(recorded["image"], batch)
    assert relative_error(predicted * (1 - mask), recorded["dc_A_image_unmeasured"]) < 1e-6
    consistent = replace_measured(predicted, batch["kspace"], mask)
    assert relative_error(consistent, recorded["dc_kspace"]) < 1e-6
    assert relative_error(np.abs(physics.combine_kspace(consistent, batch)), recorded["dc_image"]) < 1e-6
    assert relative_error(consistent * target_mask, recorded["projected_on_target"]) < 1e-6
    # And of fully sampled k-space with two empty columns, which its target leaves out.
    slice_target, padding = np.zeros((14, 11), "float32"), recorded["padding"][..., 0]
    arguments = slice_target, mask[0, 0], FullTarget(), ConstantScaling(1.0)
    masked, _, target, target_mask, *_ = prepare_partitions(kspace[0], *arguments, padding=(2, 11))
    np.testing.assert_array_equal(target_mask[0], 1 - padding[0])
    np.testing.assert_array_equal(masked[0], recorded["apply_mask"][0])
    np.testing.assert_array_equal(target[0], recorded["apply_padding"][0])
    assert relative_error(consistent * target_mask, recorded["dc_kspace_padded"]) < 1e-6


@pytest.mark.parametrize("crop", [base.center_crop, fourier.center_crop])
def test_equals_the_crops_of_direct(direct, crop):
    np.testing.assert_array_equal(crop(np.abs(direct["kspace"]), (9, 6)), direct["center_crop_9x6"])
    np.testing.assert_array_equal(crop(direct["kspace"][0], (8, 7)), direct["complex_center_crop_8x7"])


def test_alternating_signs_equal_the_transforms_of_direct_that_are_not_centred(direct):
    physics, z = Cartesian(alternating_signs=True), direct["z_8x6"]
    assert relative_error(physics.maps_as_seen(ifft2c(physics.kspace_as_seen(z))), direct["ifft2_c0_n1_8x6"]) < 1e-6
    assert relative_error(physics.kspace_as_seen(fft2c(physics.maps_as_seen(z))), direct["fft2_c0_n1_8x6"]) < 1e-6


@pytest.mark.parametrize("case", ["s8x8", "s6x10"])
def test_equals_the_recorded_operators(reference, case):
    with np.load(reference / "tensorflow" / "numeric" / "fft.npz") as file:
        recorded = {key: file[f"{case}__{key}"] for key in ("x", "mask", "smaps", "kspace_mc")}
        outputs = {key: file[key][..., 0] for key in file if key.startswith(f"{case}__") and "FFT" in key}
    image, physics = recorded["x"][..., 0], Cartesian()
    single = {"mask": recorded["mask"][:, None].astype("float32")}
    multi = {**single, "sensitivity_maps": recorded["smaps"]}
    assert relative_error(physics.forward(image, single)[:, 0], outputs[f"{case}__FFT_masked"]) < 1e-6
    assert relative_error(physics.adjoint(image[:, None], single), outputs[f"{case}__IFFT_masked"]) < 1e-6
    assert relative_error(physics.forward(image, multi), outputs[f"{case}__FFT_multicoil_masked"]) < 1e-6
    adjoint = physics.adjoint(recorded["kspace_mc"][..., 0], multi)
    assert relative_error(adjoint, outputs[f"{case}__IFFT_multicoil_masked"]) < 1e-6


def test_complete_estimates_maps_of_several_coils_only(rng):
    physics = Cartesian(center_fraction=0.4)
    one_coil, _ = acquire(rng, (15, 13))
    assert physics.complete(one_coil) is one_coil
    given, _ = acquire(rng, (15, 13), coils=3, maps=True)
    assert physics.complete(given) is given
    several, _ = acquire(rng, (15, 13), coils=3)
    completed = physics.complete(several)
    np.testing.assert_array_equal(
        completed["sensitivity_maps"], estimate_sensitivity_maps(several["kspace"], center_fraction=0.4)
    )
    assert "sensitivity_maps" not in several


@pytest.mark.parametrize("coils", [1, 3])
def test_complete_decides_at_run_time_where_the_coil_count_is_unknown(rng, coils):
    physics = Cartesian(center_fraction=0.4)
    spec = physics.batch_spec()
    signature = {key: tf.TensorSpec(spec[key].shape, spec[key].dtype) for key in ("kspace", "mask")}

    @tf.function(input_signature=[signature])
    def adjoint(batch):
        return physics.adjoint(batch["kspace"], physics.complete(batch))

    batch, _ = acquire(rng, (15, 13), coils)
    expected = physics.adjoint(batch["kspace"], physics.complete(batch))
    assert relative_error(adjoint(batch), expected) < 1e-5


def test_three_dimensional_coils_need_maps(rng):
    physics = Cartesian(dimensions=3)
    single, _ = acquire(rng, (4, 6, 5))
    assert physics.complete(single) is single
    several, _ = acquire(rng, (4, 6, 5), coils=2)
    with pytest.raises(ValueError, match="3-D multi-coil data needs `sensitivity_maps`"):
        physics.complete(several)


def test_missing_mask_is_named(rng):
    batch, x = acquire(rng, (8, 6))
    del batch["mask"]
    with pytest.raises(KeyError, match="mask"):
        Cartesian().forward(x, batch)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dimensions": 1}, "`dimensions` must be 2 or 3, got 1"),
        ({"center_fraction": 0}, r"`center_fraction` must be in \(0, 1\], got 0"),
        ({"center_fraction": 1.5}, "got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cartesian(**arguments)


def test_serialisation_keeps_the_arguments(rng):
    physics = Cartesian(dimensions=3, center_fraction=0.2, alternating_signs=True)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(physics))
    assert copy.get_config() == {"dimensions": 3, "center_fraction": 0.2, "alternating_signs": True}
    assert Cartesian.from_config(Cartesian(phase="calibrated").get_config()).phase == "calibrated"
    batch, x = acquire(rng, (4, 6, 5))
    np.testing.assert_array_equal(copy.forward(x, batch), physics.forward(x, batch))


@pytest.mark.parametrize("size", [(6, 8), (10, 8), (12, 4)])
def test_alternating_signs_turn_centred_transforms_into_plain_ones(rng, size):
    physics, kspace, image = Cartesian(alternating_signs=True), *random_complex(rng, (2, 3, 2, *size))
    images = np.fft.ifft2(physics.kspace_as_seen(kspace), norm="ortho")
    assert relative_error(physics.maps_as_seen(ifft2c(kspace)), images) < 1e-5
    np.testing.assert_array_equal(physics.kspace_as_seen(np.ones(size, "complex64"))[0, :2], [1, -1])
    np.testing.assert_array_equal(physics.maps_as_seen(physics.maps_as_seen(image)), image)
    np.testing.assert_array_equal(Cartesian().kspace_as_seen(kspace), kspace)


def test_alternating_signs_in_three_dimensions(rng):
    physics, kspace = Cartesian(3, alternating_signs=True), random_complex(rng, (2, 4, 6, 8))
    images = np.fft.ifftn(physics.kspace_as_seen(kspace), axes=(-3, -2, -1), norm="ortho")
    assert relative_error(physics.maps_as_seen(ifft3c(kspace)), images) < 1e-5
