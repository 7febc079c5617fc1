"""BART's Cartesian k-space, compared with BART's own transforms where it is installed."""

import shutil
import subprocess

import numpy as np
import pytest
from helpers import random_complex
from raw_files import write_cfl

from mri_zoo.data.bart import BARTFile
from mri_zoo.data.check import check_folder
from mri_zoo.data.files import open_volume
from mri_zoo.data.fourier import fft2c, ifft2c
from mri_zoo.data.volume import DataError

needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


def bart(folder, command):
    subprocess.run(["bart", *command.split()], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def read_cfl(path):
    shape = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), "complex64").reshape(shape, order="F").squeeze()


def test_slices_and_their_masks(rng, tmp_path):
    kspace = random_complex(rng, (2, 3, 15, 13))  # slice, coil, read, phase
    dimensions = np.transpose(kspace, (2, 3, 1, 0)).reshape(15, 13, 1, 3, *[1] * 9, 2)
    write_cfl(tmp_path / "traj.cfl", np.zeros((3, 5, 7)))  # of another scan
    source = open_volume(write_cfl(tmp_path / "scan.cfl", dimensions))
    assert isinstance(source, BARTFile) and source.info.mask is None and source.info.num_slices == 2
    np.testing.assert_array_equal(source.read([1, 0]).kspace, kspace[::-1])
    assert "taken as Cartesian k-space of 2 slices" in next(check_folder(tmp_path)).line
    lines = np.arange(13) % 3 == 0
    info = open_volume(write_cfl(tmp_path / "lines.cfl", dimensions * lines[:, *[None] * 12])).info
    np.testing.assert_array_equal(info.mask, lines[None])
    points = rng.random((15, 13)) < 0.5
    info = open_volume(write_cfl(tmp_path / "points.cfl", dimensions * points[:, :, *[None] * 12])).info
    np.testing.assert_array_equal(info.mask, points)
    partial = (np.arange(13) > 2)[:, *[None] * 12]
    np.testing.assert_array_equal(
        BARTFile(write_cfl(tmp_path / "p.cfl", dimensions * partial)).info.mask[0, :4], [0, 0, 0, 1]
    )
    dimensions[4, 5] = 0  # a sample by chance
    assert open_volume(write_cfl(tmp_path / "zero.cfl", dimensions)).info.mask is None


def test_what_is_no_scan_is_refused(tmp_path):
    for axis, name in ((4, "maps"), (5, "echoes"), (10, "time"), (14, "averages"), (15, "")):
        shape = [8, 7, 1, 2, *[1] * 12]
        shape[axis] = 2
        with pytest.raises(DataError, match=rf"a.cfl: has 2 entries in dimension {axis}.*{name}"):
            open_volume(write_cfl(tmp_path / "a.cfl", np.ones(shape)))
    with pytest.raises(DataError, match="b.cfl: holds 2 slabs of 3 partitions"):
        open_volume(write_cfl(tmp_path / "b.cfl", np.ones([8, 7, 3, 2, *[1] * 9, 2])))
    volume = np.ones((8, 7, 4, 2))
    volume[:, 3, 1] = 0
    with pytest.raises(DataError, match="c.cfl: is undersampled along its 4 partitions"):
        open_volume(write_cfl(tmp_path / "c.cfl", volume))
    with pytest.raises(DataError, match="d.cfl: all samples are zero"):
        open_volume(write_cfl(tmp_path / "d.cfl", 0 * volume))
    slices = np.ones([8, 7, 1, 2, *[1] * 9, 2])
    slices[:, 2, ..., 1] = 0
    with pytest.raises(DataError, match="e.cfl: slices differ in their lines"):
        open_volume(write_cfl(tmp_path / "e.cfl", slices))
    with pytest.raises(DataError, match="c.cfl: `image_size` cannot be given, as the scan is Cartesian"):
        open_volume(tmp_path / "c.cfl", image_size=(8, 8))


@needs_bart
def test_images_are_those_of_bart(tmp_path):
    bart(tmp_path, "phantom -k -s 3 -x 24 k")
    bart(tmp_path, "resize -c 1 19 k odd")
    for name in ("k", "odd"):
        bart(tmp_path, f"fft -iu 3 {name} image")
        source = open_volume(tmp_path / f"{name}.cfl")
        images = ifft2c(source.read().kspace[0])
        expected = np.moveaxis(read_cfl(tmp_path / "image"), -1, 0)
        np.testing.assert_allclose(images, expected, atol=1e-5 * np.abs(expected).max())


@needs_bart
def test_partitions_and_patterns_of_bart(tmp_path):
    bart(tmp_path, "phantom -3 -k -s 2 -x 12 k")
    bart(tmp_path, "fft -iu 7 k image")
    source = open_volume(tmp_path / "k.cfl")
    assert source.info.num_slices == 12 and source.info.mask is None and source.whole
    expected = np.moveaxis(read_cfl(tmp_path / "image"), (2, 3), (0, 1))
    volume = source.read()
    np.testing.assert_allclose(ifft2c(volume.kspace), expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(source.read([4]).kspace[0], volume.kspace[4])
    np.testing.assert_allclose(fft2c(expected), volume.kspace, atol=1e-4 * np.abs(volume.kspace).max())
    bart(tmp_path, "upat -Y 12 -Z 1 -y 2 -c 4 pattern")
    bart(tmp_path, "fmac k pattern under")
    np.testing.assert_array_equal(open_volume(tmp_path / "under.cfl").info.mask[0], read_cfl(tmp_path / "pattern").real)


def test_the_phase_axis_may_be_the_third_dimension(rng, tmp_path):
    kspace = random_complex(rng, (3, 15, 13))  # coil, read, phase
    source = open_volume(write_cfl(tmp_path / "scan.cfl", np.transpose(kspace, (1, 2, 0))[:, None]))
    assert (source.info.num_slices, source.info.height, source.info.width) == (1, 15, 13)
    np.testing.assert_array_equal(source.read().kspace[0], kspace)
