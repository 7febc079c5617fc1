import json

import numpy as np
import pytest

from mri_zoo.data.fourier import fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.preparation import (
    ConstantScaling,
    KSpacePercentileScaling,
    PercentileScaling,
    flip_and_rotate,
    parse_scaling,
    prepare_partitions,
    prepare_slice,
    reference_image,
    scaling_from_config,
    scaling_to_config,
)
from mri_zoo.data.splits import GaussianSplit
from mri_zoo.data.trajectories import radial
from mri_zoo.data.volume import DataError, Volume, VolumeInfo


@pytest.fixture
def coils(rng):
    return (rng.normal(size=(3, 15, 13)) + 1j * rng.normal(size=(3, 15, 13))).astype("complex64")


@pytest.mark.parametrize("size", [(15, 13), (16, 10), (7, 8)])
def test_fourier_transform_is_centred_orthonormal_and_inverted(rng, size):
    image = (rng.normal(size=(2, *size)) + 1j * rng.normal(size=(2, *size))).astype("complex64")
    expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    kspace = fft2c(image)
    assert kspace.dtype == np.complex64
    np.testing.assert_allclose(kspace, expected, atol=1e-5)
    np.testing.assert_allclose(ifft2c(kspace), image, atol=1e-6)


def test_prepare_slice_masks_scales_and_crops(coils):
    mask = np.zeros((1, 13), np.float32)
    mask[:, 5:8] = 1
    target = np.arange(15 * 13, dtype="float32").reshape(15, 13)
    inputs, cropped, factor = prepare_slice(coils, target, mask, ConstantScaling(10.0), crop=(9, 320))
    np.testing.assert_allclose(inputs["kspace"], 10 * coils * mask, rtol=1e-6)
    assert inputs["mask"].shape == (1, 1, 13) and factor == 10
    np.testing.assert_allclose(cropped, 10 * target[3:12], rtol=1e-6)


def test_percentile_scaling_sees_measured_data_only(coils):
    mask = np.zeros((1, 13), np.float32)
    mask[:, 4:9] = 1
    changed = coils + 1e3 * (1 - mask)
    first, _, factor = prepare_slice(coils, None, mask, PercentileScaling(90))
    second, _, same = prepare_slice(changed, None, mask, PercentileScaling(90))
    np.testing.assert_array_equal(first["kspace"], second["kspace"])
    assert factor == same
    zero_filled = root_sum_of_squares(ifft2c(first["kspace"]))
    assert np.percentile(zero_filled, 90) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("scaling", [PercentileScaling(), KSpacePercentileScaling()])
def test_percentile_scaling_leaves_an_empty_slice_alone(scaling):
    assert scaling(np.zeros((1, 5, 4), np.complex64)) == 1


def test_a_power_of_the_percentile_is_the_option_normalize_of_direct(coils):
    """It divides by the square of the factor what was divided by the factor already."""
    kspace = 7 * coils
    level = 1 / KSpacePercentileScaling(99)(kspace)
    assert KSpacePercentileScaling(99, power=3)(kspace) == pytest.approx(1 / level / level**2)


@pytest.mark.parametrize("percentile, level", [(99, 196), (97.5, 190), (100, 200)])
def test_percentile_of_kspace_counts_missing_samples(rng, percentile, level):
    """The rank is that of DIRECT's code."""
    kspace = np.zeros(400, np.complex64)
    kspace[::2] = 1j * rng.permutation(np.arange(1, 201))
    assert KSpacePercentileScaling(percentile)(kspace.reshape(2, 20, 10)) == pytest.approx(1 / level)


@pytest.mark.parametrize("shape", [(1, 12), (14, 13), (13,)])
def test_mask_that_does_not_fit_is_refused(coils, shape):
    with pytest.raises(ValueError, match=r"mask of shape .* does not fit k-space of \(15, 13\)"):
        prepare_slice(coils, None, np.ones(shape, np.float32), ConstantScaling())


def test_reference_is_stored_or_computed_or_refused(coils):
    info = VolumeInfo("a.h5", 1, 3, 15, 13)
    np.testing.assert_allclose(
        reference_image(Volume(info, (0,), coils[None]), 0), root_sum_of_squares(ifft2c(coils)), rtol=1e-6
    )
    stored = np.ones((1, 5, 5), np.float32)
    assert reference_image(Volume(info, (0,), coils[None], stored), 0).shape == (5, 5)
    undersampled = VolumeInfo("a.h5", 1, 3, 15, 13, mask=np.ones((1, 13), np.float32))
    with pytest.raises(DataError, match="a.h5: undersampled and without a reference"):
        reference_image(Volume(undersampled, (0,), coils[None]), 0)


def test_flips_and_turns_are_the_eight_symmetries_of_the_image(coils, rng):
    image = root_sum_of_squares(ifft2c(coils))
    seen = set()
    for _ in range(80):
        kspace, target = flip_and_rotate(coils, rng)
        np.testing.assert_allclose(root_sum_of_squares(ifft2c(kspace)), target, atol=1e-5)
        turned = [np.rot90(flipped, k) for flipped in (image, image[:, ::-1]) for k in range(4)]
        matches = [i for i, t in enumerate(turned) if t.shape == target.shape and np.allclose(t, target, atol=1e-5)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == set(range(8))


@pytest.mark.parametrize("scaling", [ConstantScaling(1e6), PercentileScaling(95.0), KSpacePercentileScaling(98.0, 3.0)])
def test_scaling_survives_json(scaling):
    assert scaling_from_config(json.loads(json.dumps(scaling_to_config(scaling)))) == scaling


def test_scalings_are_written_with_their_number():
    assert parse_scaling("constant:1e-2") == ConstantScaling(0.01)
    assert parse_scaling("percentile:95") == PercentileScaling(95.0)
    assert parse_scaling("kspace_percentile:100") == KSpacePercentileScaling(100.0)
    assert parse_scaling("kspace_percentile:99:3") == KSpacePercentileScaling(99.0, 3.0)


@pytest.mark.parametrize(
    "text", ["constant", "constant:x", "constant:0", "constant:nan", "percentile:101", "percentile:9:3", "mean:1"]
)
def test_other_scalings_are_refused(text):
    with pytest.raises(ValueError, match=f"Unknown scaling '{text}'; expected `constant:FACTOR`"):
        parse_scaling(text)


def test_partitions_equal_the_self_supervised_pipeline_of_direct(reference):
    with np.load(reference / "pytorch" / "direct_ssl_pipeline.npz") as arrays:
        recorded = dict(arrays)
    measured = recorded["kspace"] * recorded["scaling_factor"]
    split = GaussianSplit(window=4, compatible=True)
    seed = tuple(map(ord, "file_prostate_AXT2_0042.h5" + "5"))
    mask = recorded["sampling_mask"].astype("float32")
    kspace, input_mask, target_kspace, target_mask, flag, target = prepare_partitions(
        measured, None, mask, split, KSpacePercentileScaling(99.5), seed=seed
    )
    np.testing.assert_array_equal(input_mask[0, 0], recorded["input_sampling_mask"])
    np.testing.assert_array_equal(target_mask[0, 0], recorded["target_sampling_mask"])
    for found, sampled in ((kspace, input_mask), (target_kspace, target_mask)):
        np.testing.assert_allclose(found[0], recorded["kspace"] * sampled[0], atol=1e-5)
    np.testing.assert_allclose(target[0], recorded["target"], atol=1e-6)
    assert flag == 1 and all(len(array) == 1 for array in (kspace, target))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "scaling, found",
    [
        (ConstantScaling(1e-300), r"ConstantScaling\(factor=1e-300\) gives the factor 0 in single precision"),
        (ConstantScaling(1e-40), "gives the factor 1e-40 in single precision"),
        (ConstantScaling(1e300), "gives the factor inf in single precision"),
        (KSpacePercentileScaling(99, 100), "gives the factor inf in single precision"),  # beyond double precision, too
        (lambda kspace, adjoint: -1.0, "gives the factor -1"),
        (lambda kspace, adjoint: np.nan, "gives the factor nan"),
        (ConstantScaling(1e38), "numbers up to .*, scaled by 1e.38, are too large for single precision"),
    ],
)
def test_a_factor_beyond_single_precision_is_refused(coils, scaling, found):
    encoding = make_encoding(radial(20, 15), (15, 13))
    kspace = coils * np.float32(1e-5 if isinstance(scaling, KSpacePercentileScaling) else 10)
    for sampled in (np.ones((1, 13), np.float32), encoding):
        with pytest.raises(DataError, match=found):
            prepare_slice(kspace, None, sampled, scaling)


def test_the_smallest_factors_are_taken(coils):
    inputs, _, factor = prepare_slice(coils, None, np.ones((1, 13), np.float32), ConstantScaling(2e-38))
    assert factor == np.float32(2e-38) and np.isfinite(1 / factor) and inputs["kspace"].any()
