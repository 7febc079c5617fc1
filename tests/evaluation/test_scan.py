import h5py
import numpy as np
import pytest

from mri_zoo.data.files import FastMRIFile
from mri_zoo.data.fourier import fft2c
from mri_zoo.evaluation.scan import _sampling


def sampling_of(path, kspace, **datasets):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        for name, value in datasets.items():
            file[name] = value
    return _sampling(FastMRIFile(path))


@pytest.fixture
def kspace(rng):
    return fft2c(rng.normal(size=(2, 3, 15, 13)).astype("complex64"))


def test_fully_sampled_and_zero_padded_scans_have_no_mask(kspace, tmp_path):
    assert sampling_of(tmp_path / "a.h5", kspace) is None
    kspace[..., :3] = kspace[..., 10:] = kspace[:, :, :4] = kspace[:, :, 11:] = 0
    assert sampling_of(tmp_path / "b.h5", kspace) is None
    assert sampling_of(tmp_path / "c.h5", 0 * kspace) is None


def test_missing_columns_and_points_are_found(kspace, tmp_path):
    kspace[..., 2::3] = 0
    columns = sampling_of(tmp_path / "a.h5", kspace)
    np.testing.assert_array_equal(columns, [[1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1]])
    kspace[:, :, 5, 4] = 0  # by chance
    np.testing.assert_array_equal(sampling_of(tmp_path / "b.h5", kspace), columns)
    kspace[:, :, 5:10, 4] = 0
    points = sampling_of(tmp_path / "c.h5", kspace)
    assert points.shape == (15, 13) and points[5, 4] == 0 and points[4, 4] == 1


def test_lines_missing_at_one_edge_are_no_padding(kspace, tmp_path):
    kspace[..., :3] = 0
    partial = sampling_of(tmp_path / "a.h5", kspace)
    np.testing.assert_array_equal(partial, [[0] * 3 + [1] * 10])
    # A stored reference tells what the image of all of the k-space is.
    assert sampling_of(tmp_path / "b.h5", kspace, reconstruction_rss=np.ones((2, 15, 13))) is None
    kspace[:, :, :4] = 0
    asymmetric = sampling_of(tmp_path / "c.h5", kspace)
    np.testing.assert_array_equal(asymmetric, np.outer([0] * 4 + [1] * 11, [0] * 3 + [1] * 10))


def test_stored_mask_is_taken(kspace, tmp_path):
    stored = np.zeros(13)
    stored[3:9] = 1
    np.testing.assert_array_equal(sampling_of(tmp_path / "a.h5", kspace, mask=stored)[0], stored)
