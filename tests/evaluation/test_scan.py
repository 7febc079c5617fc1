import errno
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest
from helpers import disk_of

from mri_zoo.data.files import FastMRIFile
from mri_zoo.data.fourier import fft2c
from mri_zoo.data.masks import EquispacedMask
from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.data.volume import DataError
from mri_zoo.evaluation.scan import measured_sampling, reconstruct_file
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets import load_preset


def sampling_of(path, kspace, **datasets):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        for name, value in datasets.items():
            file[name] = value
    return measured_sampling(FastMRIFile(path))[0]


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


def test_one_zero_sample_leaves_a_full_scan_to_the_sampling_that_was_asked_for(kspace, tmp_path):
    kspace = kspace[:, :1]
    kspace[:, :, 6, 4] = 0
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = kspace
    line = reconstruct_file(load_preset("zero-filled"), tmp_path / "scan.h5", tmp_path / "o.h5", EquispacedMask(4))
    assert "undersampled here" in line and line.endswith("1 sample is exactly zero, and taken for sampled")


@pytest.mark.parametrize("axis, extension, kind", [(0, ".nii", 1), (1, ".nii.gz", 1), (2, ".nii.gz", 2)])
def test_nifti_keeps_its_header(tmp_path, rng, axis, extension, kind):
    data = np.moveaxis((100 * rng.random((3, 12, 10))).astype(np.int16), 0, axis)
    image = getattr(nibabel, f"Nifti{kind}Image")(data, None)
    header, (c, s) = image.header, np.array([np.cos(0.3), np.sin(0.3)])
    header.set_qform(np.array([[-2 * c, -2 * s, 0, 7], [-2 * s, 2 * c, 0, -5], [0, 0, 1.5, 3], [0, 0, 0, 1]]), 1)
    header.set_sform(None, 0)  # orientation and position are in the qform alone
    header.set_xyzt_units("micron", "msec")
    header["descrip"], header["cal_max"] = b"a scan", 80
    header.set_slope_inter(0.5, 2)
    nibabel.save(image, tmp_path / f"a_T1w{extension}")
    output = tmp_path / f"out{extension}"
    reconstruct_file(load_preset("zero-filled"), tmp_path / f"a_T1w{extension}", output)
    scan, found = nibabel.load(tmp_path / f"a_T1w{extension}"), nibabel.load(output)
    for field in scan.header:
        if field not in ("datatype", "bitpix", "scl_slope", "scl_inter", "vox_offset"):
            np.testing.assert_array_equal(found.header[field], scan.header[field], field)
    np.testing.assert_array_equal(found.affine, scan.affine)
    np.testing.assert_allclose(found.get_fdata(), scan.get_fdata(), rtol=1e-4, atol=1e-3)


def write_scan(path, kspace):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
    return path


@pytest.mark.parametrize("extension", [".h5", ".nii", ".nii.gz", ".png"])
def test_a_full_disk_names_the_output_and_leaves_the_old_one(kspace, tmp_path, extension):
    scan, output = write_scan(tmp_path / "scan.h5", kspace[:, :1]), tmp_path / f"image{extension}"
    output.write_text("old")
    with disk_of(100), pytest.raises(OSError) as caught:
        reconstruct_file(load_preset("zero-filled"), scan, output)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(output))
    assert sorted(tmp_path.iterdir()) == [output, scan] and output.read_text() == "old"
    reconstruct_file(load_preset("zero-filled"), scan, output)
    assert output.stat().st_size > 100


@pytest.mark.parametrize("scaling", [ConstantScaling(1e-300), ConstantScaling(1e300), ConstantScaling(2e-38)])
@pytest.mark.filterwarnings("error")
def test_an_image_that_is_not_finite_is_not_written(kspace, tmp_path, scaling):
    # The smallest factor leaves the network's output, which divided by it is too large.
    model = SimpleNamespace(physics=Cartesian(), predict_on_batch=lambda batch: np.full((1, 15, 13), 1e3, np.complex64))
    preset = SimpleNamespace(name="mine", model=model, scaling=scaling, sampling=None)
    with pytest.raises(DataError, match="gives the factor|by mine holds NaN or infinity"):
        reconstruct_file(preset, write_scan(tmp_path / "scan.h5", kspace), tmp_path / "image.h5")
    assert list(tmp_path.iterdir()) == [tmp_path / "scan.h5"]
