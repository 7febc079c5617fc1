"""What of an ISMRMRD file is the image, and where it lies."""

import re
import shutil
import subprocess

import h5py
import nibabel
import numpy as np
import pytest
from helpers import random_complex
from raw_files import ismrmrd_encoding, write_ismrmrd

from mri_zoo.data.check import check_folder
from mri_zoo.data.files import FastMRIFile, open_volume
from mri_zoo.data.fourier import center_crop, fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.masks import RandomMask
from mri_zoo.data.pipeline import slices_of
from mri_zoo.data.preparation import reference_image
from mri_zoo.data.trajectories import radial
from mri_zoo.data.volume import DataError
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.evaluation.scan import reconstruct_file
from mri_zoo.presets.registry import load_preset

HEIGHT, WIDTH = 14, 13


@pytest.fixture
def kspace(rng):
    return fft2c(random_complex(rng, (3, HEIGHT, WIDTH)))


def lines(kspace, steps=range(WIDTH), **fields):
    return [{"data": kspace[:, :, i], "step": i, **fields} for i in steps]


def opened(path, readouts, **options):
    return open_volume(write_ismrmrd(path, readouts, (HEIGHT, WIDTH, 1), **options))


def test_every_flag_is_image_data_or_left_out(kspace, tmp_path):
    other = 1000 * kspace
    image = lines(kspace)
    # The place in a loop, calibration and imaging, and what is a user's.
    for line, flag in zip(image, [*range(1, 14)], strict=True):
        line["flags"] = [flag]
    for line, flags in zip(image, [[*range(14, 19)], [21], [20, 21], [25], [57], [64]], strict=False):
        line["flags"] = [*line["flags"], *flags]
    # A readout of everything else comes after its image line, and once more with other sizes before it.
    dropped = [19, 23, 24, 26, 27, 28, 29, 30, 31]
    after = [{**line, "flags": [flag]} for line, flag in zip(lines(other), dropped, strict=False)]
    after += [{**line, "flags": [flag, 20]} for line, flag in zip(lines(other), dropped, strict=False)]
    after += [{**line, "flags": [flag, 21, 22]} for line, flag in zip(lines(other), dropped, strict=False)]
    before = [{"data": np.ones((2, 40), "complex64"), "flags": [flag], "contrast": 3, "space": 7} for flag in dropped]
    source = opened(tmp_path / "a.h5", before + image + after)
    assert source.info.mask is None
    np.testing.assert_array_equal(source.read().kspace[0], kspace)
    (note, *_) = source.info.notes
    assert "4 of noise" in note and "4 of phase stabilisation reference" in note and "4 of feedback" in note
    assert note in next(check_folder(tmp_path)).line


@pytest.mark.parametrize(
    "mode, fill",
    [
        (m, m not in ("separate", "external"))
        for m in ("embedded", "interleaved", "separate", "external", "other", None)
    ],
)
def test_calibration_lines_fill_what_no_imaging_line_has(kspace, tmp_path, mode, fill):
    imaging, calibration = range(0, WIDTH, 4), range(3, 9)
    extra = [line for line in lines(kspace, calibration, flags=[20]) if line["step"] not in imaging]
    extra += lines(100 * kspace, imaging, flags=[20])  # these are measured as imaging lines
    # Other forms, encoding spaces and images.
    extra += lines(kspace[:, :10], [9], flags=[20]) + lines(kspace, [10], flags=[20], space=1)
    extra += lines(kspace, [11], flags=[20], set=1) + lines(kspace, [11], flags=[20], center=3)
    readouts = extra + lines(kspace, imaging, flags=[21])
    encodings = [ismrmrd_encoding((HEIGHT, WIDTH, 1), calibration=mode), ismrmrd_encoding((6, 6, 1))]
    source = opened(tmp_path / "a.h5", readouts, encodings=encodings)
    expected = np.zeros(WIDTH)
    expected[[*imaging, *(calibration if fill else ())]] = 1
    np.testing.assert_array_equal(source.info.mask[0], expected)
    np.testing.assert_array_equal(source.read().kspace[0], kspace * expected)
    assert any("4 lines for calibration are lines of the image" in note for note in source.info.notes) == fill


def test_calibration_shots_along_a_trajectory(rng, tmp_path):
    shots = (radial(6, 15)[..., ::-1] / (2 * np.pi)).astype("float32")
    data = random_complex(rng, (6, 2, 15))
    readouts = [{"data": data[i], "traj": shots[i], "step": i, "flags": [20] if i == 2 else []} for i in range(6)]
    for mode, count in (("embedded", 6), ("separate", 5), (None, 5)):
        path = tmp_path / f"{mode}.h5"
        encodings = [ismrmrd_encoding((15, 15, 1), (30, 30, 5), (8, 8, 1), (16, 16, 5), calibration=mode)]
        info = open_volume(write_ismrmrd(path, readouts, encodings=encodings)).info
        assert info.num_shots == count
        assert info.recon_size == (8, 8) and info.voxel_size == (5, 2, 2)


def test_the_encoding_of_the_image_is_taken(kspace, tmp_path):
    encodings = [ismrmrd_encoding((6, 6, 1)), ismrmrd_encoding((HEIGHT, WIDTH, 1))]
    readouts = lines(kspace[:, :6], range(6), flags=[20]) + lines(kspace, space=1)
    source = opened(tmp_path / "a.h5", readouts, encodings=encodings)
    np.testing.assert_array_equal(source.read().kspace[0], kspace)
    with pytest.raises(DataError, match="two.h5: holds images of 2 encoding spaces; expected those of one"):
        opened(tmp_path / "two.h5", lines(kspace, [0]) + lines(kspace, space=1), encodings=encodings)
    with pytest.raises(DataError, match="far.h5: names encoding space 2, of which its header has 2"):
        opened(tmp_path / "far.h5", lines(kspace, space=2), encodings=encodings)


def test_lines_that_were_measured_several_times_are_averaged(kspace, tmp_path):
    readouts = lines(kspace) + lines(3 * kspace, average=1) + lines(8 * kspace, [4], average=2)
    source = opened(tmp_path / "a.h5", readouts)
    expected = 2 * kspace
    expected[:, :, 4] *= 2
    np.testing.assert_allclose(source.read().kspace[0], expected, rtol=1e-6)
    assert "lines that were measured up to 3 times are averaged" in source.info.notes
    # Segments that share no line are one image.
    halves = lines(kspace, range(7)) + lines(kspace, range(7, WIDTH), segment=1)
    np.testing.assert_array_equal(opened(tmp_path / "b.h5", halves).read().kspace[0], kspace)
    for name in ("segment", "user"):
        with pytest.raises(DataError, match=f"{name}.h5: holds line 4 of slice 0 several times, in different segments"):
            opened(tmp_path / f"{name}.h5", lines(kspace) + lines(kspace, [4], **{name: 1}))


def test_what_cannot_be_one_image_is_refused(kspace, tmp_path):
    with pytest.raises(DataError, match=r"readouts differ in `center_sample` \(5, 7\)"):
        opened(tmp_path / "a.h5", lines(kspace, range(12)) + lines(kspace, [12], center=5))
    with pytest.raises(DataError, match=r"holds readouts that are compressed \(flag 53\)"):
        opened(tmp_path / "b.h5", lines(kspace, flags=[53]))
    with pytest.raises(DataError, match="slices differ in their lines, slice 0 has 13 and slice 1 12"):
        opened(tmp_path / "c.h5", lines(kspace) + lines(kspace, range(12), slice=1))
    path = write_ismrmrd(tmp_path / "d.h5", lines(kspace), (HEIGHT, WIDTH, 1))
    for option in ({"image_size": (15, 15)}, {"units": "cycles/FOV"}):
        with pytest.raises(DataError, match=f"d.h5: `{[*option][0]}` cannot be given, as the scan is Cartesian"):
            open_volume(path, **option)


def test_partial_fourier_is_as_measured(kspace, tmp_path):
    full = fft2c(random_complex(np.random.default_rng(0), (3, HEIGHT, 16)))

    def scan(name, first, stop, pre=0):
        steps = range(first, stop)
        readouts = [{"data": full[:, pre:, i], "step": i - first, "center": HEIGHT // 2 - pre} for i in steps]
        encodings = [ismrmrd_encoding((HEIGHT, 16, 1), limits=(8 - first, stop - first - 1))]
        return open_volume(write_ismrmrd(tmp_path / name, readouts, encodings=encodings))

    info = scan("partial.h5", 4, 16).info
    np.testing.assert_array_equal(info.mask, [[0] * 4 + [1] * 12])
    assert info.padding == (0, 16) and "4 lines are missing at one edge of k-space (partial Fourier)" in info.notes
    np.testing.assert_array_equal(scan("other.h5", 0, 11).info.mask, [[1] * 11 + [0] * 5])
    # An image of fewer pixels than the matrix.
    info = scan("padded.h5", 3, 13).info
    assert info.mask is None and info.padding == (3, 13)
    source = scan("echo.h5", 0, 16, pre=4)
    np.testing.assert_array_equal(source.info.mask, np.repeat([[0], [1]], [4, 10], axis=0) * np.ones((1, 16)))
    assert "4 of 14 samples of each readout are missing (asymmetric echo)" in source.info.notes
    np.testing.assert_array_equal(source.read().kspace[0], full * source.info.mask)
    result = evaluate([load_preset("zero-filled")], [tmp_path / "partial.h5"], tmp_path, sampling=RandomMask(4))
    assert not result.rows and "undersampled and without a reference" in result.failures[0].reason


def test_empty_lines_without_a_mask_are_no_ground_truth(kspace, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = kspace[None] * np.array([0] * 3 + [1] * 10)
    (failure,) = evaluate([load_preset("zero-filled")], [tmp_path / "a.h5"], tmp_path, sampling=RandomMask(4)).failures
    assert "undersampled and without a reference" in failure.reason


OVERSAMPLED = ismrmrd_encoding((HEIGHT, WIDTH, 1), (280, 260, 4), (7, 13, 1), (140, 260, 4))


def test_oversampling_does_not_stay_in_the_image(kspace, tmp_path):
    kspace = kspace[:1]
    path = write_ismrmrd(tmp_path / "a.h5", lines(kspace), encodings=[OVERSAMPLED])
    source = open_volume(path)
    assert source.info.recon_size == (7, 13) and source.read().kspace.shape == (1, 1, HEIGHT, WIDTH)
    full = root_sum_of_squares(ifft2c(kspace))
    expected = center_crop(full, (7, 13))
    np.testing.assert_array_equal(reference_image(source.read(), 0), expected)
    line = reconstruct_file(load_preset("zero-filled"), path, tmp_path / "o.h5", RandomMask(1.0001, 0.99))
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["reconstruction"].shape == (1, 7, 13)
    assert "cropped to the 7 x 13 pixels of the header's reconSpace" in line
    result = evaluate([load_preset("zero-filled")], [path], tmp_path, sampling=RandomMask(2))
    assert result.examples[0].reference.shape == (7, 13)
    inputs, target = next(iter(slices_of([source], RandomMask(2))))
    assert inputs["kspace"].shape == (1, HEIGHT, WIDTH)
    np.testing.assert_allclose(target, expected, rtol=1e-5)
    shapes = {t.shape for _, t in slices_of([source], RandomMask(2), augment=True, seed=1, slices="random").repeat(12)}
    assert shapes == {(7, 13), (13, 7)}


@pytest.mark.parametrize(
    "spaces, kept, voxel_size, note",
    [
        # Unequal pixels: the scanner interpolates, we do not.
        (
            ((280, 260, 4), (28, 26, 1), (140, 260, 4)),
            (7, 13),
            (4, 20, 20),
            "asks for 28 x 26 pixels, of which .* 7 x 13",
        ),
        (
            ((280, 260, 4), (64, 64, 1), (280, 260, 4)),
            None,
            (4, 20, 20),
            "asks for 64 x 64 pixels, of which .* 14 x 13",
        ),
        (((280, 260, 4), (7, 6, 1), (280, 260, 4)), None, (4, 20, 20), "7 x 6 pixels, of which .* 14 x 13"),
        (((280, 260, 4), (20, 13, 1), (400, 260, 4)), None, (4, 20, 20), "asks for 20 x 13 pixels"),
        ((None, (7, 13, 1), None), (7, 13), None, "tells no field of view"),
        ((None, (7, 13, 1), (70, 65, 3)), (7, 13), (3, 10, 5), "tells no field of view"),
        (((0, 0, 0), (7, 13, 1), (0, 0, 0)), (7, 13), None, "tells no voxel size"),
        (((280, 260, 4), None, None), None, (4, 20, 20), "tells no reconSpace"),
    ],
)
def test_recon_space_of_all_kinds(kspace, tmp_path, spaces, kept, voxel_size, note):
    encodings = [ismrmrd_encoding((HEIGHT, WIDTH, 1), *spaces)]
    info = opened(tmp_path / "a.h5", lines(kspace), encodings=encodings).info
    assert info.recon_size == kept and info.voxel_size == (None if voxel_size is None else pytest.approx(voxel_size))
    assert re.search(note, "; ".join(info.notes))


def test_geometry_of_fastmri_headers(kspace, tmp_path):
    header = f'<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{OVERSAMPLED}</ismrmrdHeader>'
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["ismrmrd_header"] = kspace[None], header
    info = FastMRIFile(tmp_path / "a.h5").info
    assert info.recon_size == (7, 13) and info.voxel_size == (4, 20, 20) and info.padding == (0, 13)
    with h5py.File(tmp_path / "b.h5", "w") as file:  # a header of another k-space
        file["kspace"], file["ismrmrd_header"] = kspace[None, :, :12], header
    info = FastMRIFile(tmp_path / "b.h5").info
    assert info.recon_size is None and info.voxel_size is None and "nothing is cropped" in info.notes[0]
    with h5py.File(tmp_path / "c.h5", "w") as file:  # lines of the encoded matrix that were not measured are not there
        file["kspace"], file["ismrmrd_header"] = kspace[None, :, :, :9], header
    info = FastMRIFile(tmp_path / "c.h5").info
    assert info.recon_size == (7, 9) and "only the oversampling of readouts is cropped" in info.notes[0]


@pytest.mark.parametrize("trajectory", ["radial", "goldenangle", "spiral", "other"])
def test_readouts_along_a_trajectory_that_is_not_stored_are_refused(kspace, tmp_path, trajectory):
    encoding = ismrmrd_encoding((HEIGHT, WIDTH, 1)).replace("cartesian", trajectory)
    with pytest.raises(DataError, match=rf"lie along one \({trajectory}\); expected the coordinates"):
        opened(tmp_path / "a.h5", lines(kspace), encodings=[encoding])


def test_a_centre_that_no_writer_has_set_is_assumed_and_told(kspace, tmp_path):
    source = opened(tmp_path / "a.h5", lines(kspace, center=0))
    np.testing.assert_array_equal(source.read().kspace[0], kspace)
    assert f"sample {HEIGHT // 2} is taken for the centre" in source.info.notes[0]


def test_nifti_lies_where_the_scanner_measured(rng, tmp_path):
    """The brightest pixel of each slice is where the scanner's coordinates say."""
    images = np.zeros((3, HEIGHT, WIDTH), "complex64")
    places = [(8, 3), (5, 9), (6, 7)]
    for image, place in zip(images, places, strict=True):
        image[place] = 1
    kspace = fft2c(images)
    read, phase, across = np.linalg.qr(rng.normal(size=(3, 3)))[0].T
    center = np.array([11.0, -7.0, 30.0])
    readouts = []
    for s in range(3):
        position = center + across * 6.5 * (s - 1)
        readouts += lines(kspace[None, s], slice=s, position=position, read_dir=read, phase_dir=phase, slice_dir=across)
    path = write_ismrmrd(tmp_path / "a.h5", readouts, encodings=[OVERSAMPLED])
    reconstruct_file(load_preset("zero-filled"), path, tmp_path / "o.nii.gz", RandomMask(1.0001, 0.99))
    found = nibabel.load(tmp_path / "o.nii.gz")
    assert found.shape == (7, 13, 3) and found.header.get_zooms() == pytest.approx((20, 20, 6.5))
    assert found.header.get_xyzt_units()[0] == "mm"
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 1)
    for s, (i, j) in enumerate(places):
        brightest = np.unravel_index(np.argmax(found.dataobj[..., s]), (7, 13))
        lps = center + across * 6.5 * (s - 1) + read * 20 * (i - HEIGHT // 2) + phase * 20 * (j - WIDTH // 2)
        np.testing.assert_allclose(found.affine @ [*brightest, s, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-3)
        np.testing.assert_allclose(found.get_qform(), found.affine, atol=1e-3)
    for line in readouts:
        line["position"] = center  # slices that are all in one place
    info = open_volume(write_ismrmrd(tmp_path / "b.h5", readouts, encodings=[OVERSAMPLED])).info
    assert info.affine is None and info.voxel_size == (4, 20, 20)
    assert any("slices are not told to be equally spaced" in note for note in info.notes)


def test_fully_sampled_partitions_become_slices(rng, tmp_path):
    size, coils = (8, 6, 5), 2
    images = random_complex(rng, (5, coils, 8, 6))
    kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(fft2c(images), axes=0), axis=0, norm="ortho"), axes=0)
    directions = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1), "position": (1, 2, 3)}
    readouts = [
        {"data": kspace[p, :, :, i].astype("complex64"), "step": i, "partition": p, **directions}
        for p in range(5)
        for i in range(6)
    ]
    encodings = [ismrmrd_encoding(size, (16, 12, 15), (8, 6, 3), (16, 12, 9))]
    source = open_volume(write_ismrmrd(tmp_path / "a.h5", readouts, encodings=encodings))
    assert source.info.num_slices == 3 and source.info.mask is None and source.info.voxel_size == (3, 2, 2)
    np.testing.assert_allclose(source.read([2, 0]).kspace, fft2c(images)[[3, 1]], atol=1e-5)
    # The middle partition of five, which is the second slice of three, lies at the position.
    np.testing.assert_allclose(source.info.affine @ [4, 3, 1, 1], [-1, -2, 3, 1], atol=1e-5)
    kept = [r for r in readouts if r["step"] != 1]
    source = open_volume(write_ismrmrd(tmp_path / "b.h5", kept, encodings=encodings))
    np.testing.assert_array_equal(source.info.mask, [[1, 0, 1, 1, 1, 1]])
    with pytest.raises(DataError, match="c.h5: is undersampled along its 5 partitions"):
        open_volume(write_ismrmrd(tmp_path / "c.h5", readouts[:-1], encodings=encodings))
    with pytest.raises(DataError, match="d.h5: is undersampled along its 5 partitions"):
        open_volume(write_ismrmrd(tmp_path / "d.h5", readouts[6:], encodings=encodings))


@pytest.mark.skipif(shutil.which("ismrmrd_recon_cartesian_2d") is None, reason="ISMRMRD's tools are not installed")
@pytest.mark.parametrize("options", ["-O 2", "-O 1", "-O 3 -C"])
def test_image_is_that_of_ismrmrd_tools(tmp_path, options):
    subprocess.run(
        f"ismrmrd_generate_cartesian_shepp_logan -m 32 -c 3 -n 0 {options} -o s.h5".split(),
        **{"cwd": tmp_path, "check": True, "stdout": subprocess.DEVNULL},
    )
    path = tmp_path / "s.h5"
    source = open_volume(path)
    assert source.info.mask is None
    ours = reference_image(source.read(), 0)
    subprocess.run(["ismrmrd_recon_cartesian_2d", path], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(path) as file:
        theirs = file["dataset/cpp/data"][0, 0, 0].T
        field_of_view = file["dataset/cpp/header"]["field_of_view"][0]
    assert ours.shape == theirs.shape
    scale = np.vdot(theirs, ours) / np.vdot(theirs, theirs)
    np.testing.assert_allclose(ours, scale * theirs, atol=1e-3 * ours.max())
    np.testing.assert_allclose(source.info.voxel_size, [field_of_view[2], *field_of_view[:2] / theirs.shape], rtol=1e-6)
    assert source.info.affine is None


@pytest.mark.skipif(shutil.which("ismrmrd_generate_cartesian_shepp_logan") is None, reason="needs ISMRMRD's tools")
def test_calibration_of_ismrmrd_tools(tmp_path):
    command = "ismrmrd_generate_cartesian_shepp_logan -m 32 -c 3 -n 0 -a 2 -w 8 -C -o s.h5"
    subprocess.run(command.split(), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(DataError, match="2 values of `repetition`"):
        open_volume(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        rows = file["dataset/data"][()]
        del file["dataset/data"]
        file["dataset/data"] = rows[rows["head"]["idx"]["repetition"] == 0]
    info = open_volume(tmp_path / "s.h5").info
    expected = np.arange(32) % 2 == 0
    expected[12:20] = True
    np.testing.assert_array_equal(info.mask[0], expected)
