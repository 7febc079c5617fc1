"""Tests of what an HDF5 file may name as its own, and of forms that are no dataset."""

import re
import resource
import struct
import sys

import h5py
import numpy as np
import pytest

from mri_zoo.data import hdf5_probe, open_volume
from mri_zoo.data.volume import DataError

KSPACE = np.ones((2, 1, 8, 6), np.complex64)


def external_storage(file, other):
    other.write_bytes(KSPACE.tobytes())
    file.create_dataset("kspace", KSPACE.shape, KSPACE.dtype, external=[(str(other), 0, KSPACE.nbytes)])


def virtual(file, other):
    with h5py.File(other, "w") as source:
        source["kspace"] = KSPACE
    layout = h5py.VirtualLayout(KSPACE.shape, KSPACE.dtype)
    layout[:] = h5py.VirtualSource(str(other), "kspace", KSPACE.shape)
    file.create_virtual_dataset("kspace", layout)


def link(file, other):
    with h5py.File(other, "w") as source:
        source["kspace"] = KSPACE
    file["kspace"] = h5py.ExternalLink(str(other), "/kspace")


@pytest.mark.parametrize("make", [external_storage, virtual, link])
def test_samples_in_other_files_come_from_the_same_folder_alone(tmp_path, make):
    for folder in ("outside", "inside"):
        (tmp_path / folder).mkdir()
    for name, other in (("a.h5", tmp_path / "inside" / "b.h5"), ("c.h5", tmp_path / "outside" / "d.h5")):
        with h5py.File(tmp_path / "inside" / name, "w") as file:
            make(file, other)
    np.testing.assert_array_equal(open_volume(tmp_path / "inside" / "a.h5").read().kspace, KSPACE)
    with pytest.raises(DataError, match=r"c\.h5: `kspace` lies in .*d\.h5"):
        open_volume(tmp_path / "inside" / "c.h5")


@pytest.mark.parametrize(
    "name, item",
    [
        ("mask", h5py.SoftLink("/nothing")),
        ("mask", h5py.ExternalLink("nothing.h5", "/mask")),
        ("kspace", h5py.ExternalLink("nothing.h5", "/kspace")),
        ("mask", np.dtype("f8")),
    ],
)
def test_what_is_no_dataset_is_named(tmp_path, name, item):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = KSPACE
        if name in file:
            del file[name]
        file[name] = item
    with pytest.raises(DataError, match=f"a.h5.*`{name}`"):
        open_volume(tmp_path / "a.h5")


def test_a_mask_is_not_read_before_its_size_is_known(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = KSPACE
        file.create_dataset("mask", (2 * 10**9,), "?", chunks=(10**6,), compression="gzip")
        file.create_dataset("ismrmrd_header", (2 * 10**9,), "S1", chunks=(10**6,), compression="gzip")
    with pytest.raises(DataError, match="`mask` of shape"):
        open_volume(tmp_path / "a.h5")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what a process takes")
@pytest.mark.parametrize("large", [False, True])
def test_a_text_that_declares_gigabytes_is_refused(tmp_path, monkeypatch, large):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = np.ones((2, 1, 8, 6), "complex64")
        file["ismrmrd_header"] = "x" * 12345
    content = (tmp_path / "scan.h5").read_bytes()
    reference = re.search(re.escape(struct.pack("<I", 12345)) + rb".{8}\x01\0\0\0", content, re.DOTALL)
    changed = content[: reference.start()] + struct.pack("<I", 2**31 - 1) + content[reference.start() + 4 :]
    (tmp_path / "scan.h5").write_bytes(changed)
    if large:  # what starts the process that meets the file must not hide what that takes
        monkeypatch.setattr(hdf5_probe, "_child", None)
        held = np.ones(2**28)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"scan.h5: is damaged: HDF5 takes 2\d\d\d MB of memory"):
        open_volume(tmp_path / "scan.h5")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000 and (not large or held.any())
