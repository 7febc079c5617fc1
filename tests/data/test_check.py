import h5py
import nibabel
import numpy as np
import pytest

from mri_zoo.data import DataError, check
from mri_zoo.data.check import check_folder


def write(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value


def test_every_file_gets_a_line_and_the_command_that_fits_it(tmp_path):
    kspace, mask = np.ones((2, 3, 8, 6), "complex64"), np.arange(6) % 2
    write(tmp_path / "full.h5", kspace=kspace)
    write(tmp_path / "test.h5", kspace=kspace * mask, mask=mask)
    write(tmp_path / "images.h5", T1w=np.ones((2, 8, 6)), T2w=np.ones((2, 8, 6)))
    write(tmp_path / "zeros.h5", kspace=0 * kspace)
    write(tmp_path / "large.h5", kspace=kspace, reconstruction_rss=np.ones((2, 9, 6)))
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 6, 2), "float32"), np.eye(4)), tmp_path / "sub-1_T1w.nii")
    for name in (".hidden.h5", "notes.txt"):
        (tmp_path / name).write_text("not a scan")
    found = {finding.path.name: finding for finding in check_folder(tmp_path)}
    assert list(found) == ["full.h5", "images.h5", "large.h5", "sub-1_T1w.nii", "test.h5", "zeros.h5"]
    assert f"3 coils, without a reference, use: mri-zoo evaluate --dataset fastmri --root {tmp_path}/full.h5" in (
        found["full.h5"].line
    )
    assert f"undersampled 2.0 times, without a reference, use: mri-zoo reconstruct {tmp_path}" in found["test.h5"].line
    assert "--images T1w" in found["images.h5"].line and "--images T2w" in found["images.h5"].line
    assert f"evaluate --dataset oasis --root {tmp_path}/sub-1_T1w.nii" in found["sub-1_T1w.nii"].line
    assert found["zeros.h5"].problem == f"{tmp_path}/zeros.h5: all samples are zero; expected a scan."
    cropped = "with a reference of (9, 6) pixels, which is larger than the k-space and is cropped to (8, 6)"
    assert found["large.h5"].problem is None and cropped in found["large.h5"].line


def test_a_file_that_fails_in_an_unforeseen_way_does_not_hide_the_others(tmp_path, monkeypatch):
    for name in "abc":
        write(tmp_path / f"{name}.h5", kspace=np.ones((2, 3, 8, 6), "complex64"))
    sources = check._sources

    def failing(path):
        return [{}["shape"]] if path.name == "b.h5" else sources(path)

    monkeypatch.setattr(check, "_sources", failing)
    first, second, third = check_folder(tmp_path)
    assert first.problem is None and third.problem is None
    assert second.problem == second.line == f"{tmp_path}/b.h5: KeyError: 'shape'"


def test_nothing_to_check_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no scan"):
        list(check_folder(tmp_path))
    with pytest.raises(DataError, match="no such file or folder"):
        list(check_folder(tmp_path / "missing"))
