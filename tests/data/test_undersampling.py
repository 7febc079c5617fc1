import dataclasses

import numpy as np
import pytest

from mri_zoo.data import Volume, VolumeInfo
from mri_zoo.data.undersampling import as_measured, check_fully_sampled, find_mask
from mri_zoo.data.volume import DataError

SLICES, COILS, HEIGHT, WIDTH = 3, 2, 15, 24


@pytest.fixture
def kspace(rng):
    return rng.standard_normal((SLICES, COILS, HEIGHT, WIDTH)) + 1j


def ellipse():
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return rows**2 + columns**2 <= 1


def full(kspace):
    return kspace


def one_zero(kspace):
    kspace[:, :, 7, 9] = 0
    return kspace


def some_zeros_in_each_slice(kspace):
    kspace[0, :, 3, 4:6] = kspace[1, :, 10, 20] = 0
    return kspace


def padded(kspace):
    kspace[..., :4] = kspace[..., -4:] = kspace[:, :, :2] = kspace[:, :, -2:] = 0
    return kspace


def without_corners(kspace):
    return kspace * ellipse()


def empty_slice(kspace):
    kspace[1] = 0
    return kspace


def dead_coil(kspace):
    kspace[:, 0] = 0
    return kspace


@pytest.mark.parametrize(
    "change", [full, one_zero, some_zeros_in_each_slice, padded, without_corners, empty_slice, dead_coil]
)
def test_full_scans_have_no_mask_and_their_gaps_are_found(kspace, change):
    volume = Volume(VolumeInfo("a.h5", SLICES, COILS, HEIGHT, WIDTH), (0, 1, 2), change(kspace))
    assert find_mask("a.h5", volume.kspace)[0] is None
    check_fully_sampled("a.h5", volume.slices, volume.kspace)
    assert as_measured(None, volume) is volume
    lines = np.ones(WIDTH)
    lines[4::3] = 0
    gaps = dataclasses.replace(volume, kspace=volume.kspace * lines)
    mask, _ = find_mask("a.h5", gaps.kspace)
    measured = np.any(volume.kspace != 0, axis=(0, 1))  # a mask of columns also covers zeros of padding and chance
    np.testing.assert_array_equal(mask * measured, measured * lines)
    np.testing.assert_array_equal(as_measured(None, gaps).info.mask, mask)
    with pytest.raises(DataError, match="a.h5: .* of slice [012] are empty, and it has no `mask`; expected"):
        check_fully_sampled("a.h5", gaps.slices, gaps.kspace)


def test_padding_and_a_zero_sample_are_no_gaps_for_trainings_either(kspace):
    padded = one_zero(kspace)
    padded[..., -2:] = 0
    assert find_mask("a.h5", padded, padded=True)[0] is None
    check_fully_sampled("a.h5", (0, 1, 2), padded, padded=True)


def test_a_single_empty_line_and_scattered_samples_are_undersampling(kspace, rng):
    lines, points = np.ones(WIDTH), rng.random((HEIGHT, WIDTH)) < 0.7
    lines[17] = 0
    np.testing.assert_array_equal(find_mask("", kspace * lines)[0], lines[None])
    np.testing.assert_array_equal(find_mask("", kspace * points)[0], points)
    np.testing.assert_array_equal(find_mask("", kspace * np.r_[1.0, 0, np.ones(13)][:, None])[0][1], np.zeros(WIDTH))


def test_zeros_that_are_taken_for_samples_are_told(kspace):
    assert find_mask("", one_zero(kspace))[1] == "1 sample is exactly zero, and taken for sampled"
    assert find_mask("", without_corners(kspace + 9))[1] == ""


def test_slices_that_were_sampled_differently_are_refused(kspace):
    for index in range(SLICES):
        kspace[index, ..., index::3] = 0
    with pytest.raises(DataError, match="a.h5: its slices were sampled at different places"):
        find_mask("a.h5", kspace)


def test_nothing_was_measured():
    assert find_mask("", np.zeros((2, 1, 4, 5))) == (None, "")
