import re

import h5py
import numpy as np
import pytest
from helpers import random_complex
from raw_files import write_bart, write_cfl, write_ismrmrd

from mri_zoo.data.bart import BARTFile
from mri_zoo.data.check import check_folder
from mri_zoo.data.files import open_volume
from mri_zoo.data.fourier import fft2c, root_sum_of_squares
from mri_zoo.data.ismrmrd import ISMRMRDFile
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.preparation import draw_sampling
from mri_zoo.data.raw import TrajectoryFile
from mri_zoo.data.trajectories import radial, radial_3d
from mri_zoo.data.volume import DataError

SIZE = (15, 13)  # height, width


def cycles(shots):
    """Cycles per pixel, x first, as files have them."""
    return shots[..., ::-1] / (2 * np.pi)


def measured(rng, shots, size=SIZE, coils=3):
    """Coil images and their samples (coil, shot, sample)."""
    images = random_complex(rng, (coils, *size))
    samples = make_encoding(shots, size, np.ones(shots.shape[:2]), kernel=False).measure(images)
    return images, samples.reshape(coils, *shots.shape[:2])


def write(path, kspace=None, trajectory=None, units="cycles/pixel", matrix_size=(13, 15), **datasets):
    shots = radial(6, 15)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones((3, 6, 15), "complex64") if kspace is None else kspace
        file["trajectory"] = cycles(shots) if trajectory is None else trajectory
        if units is not None:
            file["trajectory"].attrs["units"] = units
        if matrix_size is not None:
            file.attrs["matrix_size"] = matrix_size
        for name, array in datasets.items():
            file[name] = array
    return path


def test_hdf5_of_all_units_and_layouts(rng, tmp_path):
    shots = radial(6, 15)
    _, samples = measured(rng, shots)
    for units, stored in [
        ("cycles per pixel of the nominal matrix, -0.5 .. 0.5, last axis (x, y)", cycles(shots)),
        ("cycles/FOV", cycles(shots) * [13, 15]),
        ("radians/pixel", shots[..., ::-1]),
    ]:
        source = open_volume(write(tmp_path / "a.h5", samples, stored, units))
        assert isinstance(source, TrajectoryFile) and source.info.image_size == SIZE
        np.testing.assert_allclose(source.info.trajectory, shots.reshape(-1, 2), atol=1e-6)
        volume = source.read()
        np.testing.assert_array_equal(volume.kspace, samples.reshape(1, 3, -1))
    density = np.ones((6, 15))
    density[1] = 0  # a shot that is left out
    source = TrajectoryFile(write(tmp_path / "b.h5", np.stack([samples, 2 * samples]), density=density))
    assert source.info.num_slices == 2 and source.info.num_coils == 3 and source.info.density.shape == (90,)
    np.testing.assert_array_equal(source.read([1]).kspace, 2 * samples.reshape(1, 3, -1))
    assert TrajectoryFile(tmp_path / "b.h5", image_size=(20, 18)).info.image_size == (20, 18)
    path = write(tmp_path / "c.h5", samples, cycles(shots) * [13, 15], "?")
    for units in ("cycles/FOV", "Cycles per FOV", "cycles per field of view"):
        source = open_volume(path, units=units)
        np.testing.assert_allclose(source.info.trajectory, shots.reshape(-1, 2), atol=1e-6)


def test_reconstruction_of_a_file_is_the_image(rng, tmp_path):
    shots = radial(40, 15, "uniform")
    image = np.zeros((1, *SIZE), np.complex64)
    image[:, 3:9, 5:10] = 1 + 1j  # off the centre, so that swapped axes and signs show
    samples = make_encoding(shots, SIZE).measure(image).reshape(1, 40, 15)
    for path in (
        write(tmp_path / "a.h5", samples, cycles(shots)),
        write_bart(tmp_path, samples, np.pad(cycles(shots) * [13, 15], [(0, 0), (0, 0), (0, 1)])),
        write_ismrmrd(
            tmp_path / "b.h5",
            [{"data": samples[:, i], "traj": cycles(shots)[i].astype("float32"), "step": i} for i in range(len(shots))],
            (13, 15, 1),
        ),
    ):
        source = open_volume(path)
        info = source.info
        size = SIZE if path.suffix == ".h5" else info.image_size
        encoding = draw_sampling(None, info)
        found = root_sum_of_squares(encoding.adjoint(source.read().kspace[0]))
        if size == SIZE:
            assert np.corrcoef(found.ravel(), np.abs(image).ravel())[0, 1] > 0.9
        else:
            assert size == (14, 14)
            rows, columns = np.nonzero(found > found.max() / 2)
            assert (rows.mean(), columns.mean()) == pytest.approx((5 - 0.5, 7 + 0.5), abs=1)


def test_bart_pairs_in_two_and_three_dimensions(rng, tmp_path):
    shots = radial_3d(7, 12)
    kspace = random_complex(rng, (2, 7, 12))
    path = write_bart(tmp_path, kspace, cycles(shots) * 12)
    source = open_volume(path)
    assert isinstance(source, BARTFile) and source.info.image_size == (12, 12, 10) and source.info.num_slices == 1
    expected = shots.reshape(-1, 3) * [1, 1, 1.2]  # of ten pixels
    np.testing.assert_allclose(source.info.trajectory, expected, atol=1e-5)
    np.testing.assert_array_equal(source.read().kspace, kspace.reshape(1, 2, -1))
    flat = np.pad(cycles(radial(7, 12)) * 12, [(0, 0), (0, 0), (0, 1)])
    slices = np.stack([kspace, 3 * kspace], axis=-1).transpose(2, 1, 0, 3)[None]
    write_cfl(tmp_path / "traj.cfl", flat.T)
    path = write_cfl(tmp_path / "more.cfl", slices.reshape(1, 12, 7, 2, *[1] * 9, 2, order="F"))
    source = BARTFile(path, image_size=(12, 14))
    assert source.info.num_slices == 2 and source.info.image_size == (12, 14)
    np.testing.assert_array_equal(source.read([1]).kspace, 3 * kspace.reshape(1, 2, -1))


def test_ismrmrd_with_a_trajectory(rng, tmp_path):
    shots = radial(5, 15)
    kspace = random_complex(rng, (2, 3, 5, 15))
    stored = cycles(shots).astype("float32")
    readouts = [{"data": np.ones((3, 15), "complex64"), "traj": stored[0], "noise": True}]
    readouts += [
        {"data": kspace[s, :, i], "traj": stored[i], "step": i, "slice": s} for i in range(5) for s in range(2)
    ]
    source = open_volume(write_ismrmrd(tmp_path / "a.h5", readouts, (13, 15, 1)))
    assert isinstance(source, ISMRMRDFile) and source.info.image_size == SIZE and source.info.num_slices == 2
    np.testing.assert_allclose(source.info.trajectory, shots.reshape(-1, 2), atol=1e-6)
    np.testing.assert_array_equal(source.read([1]).kspace, kspace[1:].reshape(1, 3, -1))


def test_ismrmrd_on_the_cartesian_grid(rng, tmp_path):
    kspace = fft2c(random_complex(rng, (2, 3, 14, 13)))
    readouts = [{"data": kspace[s, :, :, i], "step": i, "slice": s} for s in range(2) for i in range(13)]
    source = ISMRMRDFile(write_ismrmrd(tmp_path / "a.h5", readouts, (14, 13, 1)))
    assert source.info.mask is None and source.info.padding == (0, 13)
    np.testing.assert_array_equal(source.read().kspace, kspace)
    # Half of the lines, from the second on, and the last twelve samples of each.
    readouts = [{"data": kspace[0, :, :, i], "step": i - 1, "pre": 2, "center": 7} for i in range(1, 13, 2)]
    source = ISMRMRDFile(write_ismrmrd(tmp_path / "b.h5", readouts, (14, 13, 1), limits=(5, 11)))
    assert source.info.padding == (0, 13)
    mask = np.zeros((14, 13))
    mask[2:, 1:13:2] = 1
    np.testing.assert_array_equal(source.info.mask, mask)
    expected = kspace[:1] * source.info.mask
    np.testing.assert_array_equal(source.read().kspace, expected)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"trajectory": 2 * cycles(radial(6, 15))},
            r"`trajectory`.*reaches 0.933333 cycles/pixel.*\[-0.5, 0.5\). Are the units right\? Then `wrap=True` takes",
        ),
        (
            {"trajectory": cycles(radial(6, 15))[0]},
            r"`trajectory` has shape \(15, 2\); expected \(shot, sample, 2 or 3\)",
        ),
        ({"trajectory": np.zeros((6, 15, 4))}, r"\(6, 15, 4\)"),
        ({"trajectory": cycles(radial(5, 15))}, r"`trajectory` has shape \(5, 15, 2\); expected \(6, 15\)"),
        ({"trajectory": np.full((6, 15, 2), np.nan)}, "`trajectory`.*NaN"),
        ({"trajectory": np.zeros((6, 15, 2), complex)}, "`trajectory` has type complex128; expected real"),
        ({"kspace": np.ones((6, 15), "complex64")}, r"`kspace` has shape \(6, 15\)"),
        ({"kspace": np.ones((3, 6, 15))}, "`kspace` has type float64"),
        ({"units": None}, "`trajectory` has the units ''; expected an attribute `units`.*give `units` .--units"),
        ({"units": "1/m"}, "has the units '1/m'"),
        ({"units": "radians/pixel"}, "reaches only 0.149 of the way.*15 x 13 pixels.*units radians/pixel right"),
        (
            {"units": "cycles/FOV", "trajectory": 20 * cycles(radial(6, 15))},
            r"beyond the edge.*the image must have more pixels, or `wrap=True`",
        ),
        (
            {"trajectory": cycles(radial(6, 15)) * [1, 0.2]},
            "Along the height, the trajectory reaches only 0.187 .*cycles/pixel right",
        ),
        (
            {"units": "cycles/FOV", "matrix_size": (15, 64), "trajectory": 15 * cycles(radial(6, 15))},
            "Along the height, .* 64 x 15 pixels. Are the units cycles/FOV right. Then the image must have fewer pix",
        ),
        (
            {"matrix_size": (150, 150)},
            "90 samples do not fit an image of 150 x 150 pixels. The image must have fewer pixels",
        ),
        ({"matrix_size": (1, 1)}, "90 samples do not fit an image of 1 x 1 pixels. The image must have more pixels"),
        ({"matrix_size": None}, "no attribute `matrix_size`.*or give `image_size` .--image-size"),
        ({"matrix_size": (13, 15, 4)}, r"image size \(4, 15, 13\) does not fit a trajectory of 2 dimensions"),
        ({"density": np.zeros((6, 15))}, "`density`.*zero everywhere"),
        ({"density": np.full((6, 15), np.nan)}, "`density`.*NaN"),
        ({"density": np.ones((6, 14))}, r"`density` has shape \(6, 14\); expected \(6, 15\)"),
    ],
)
def test_bad_hdf5_is_refused(tmp_path, change, message):
    path = write(tmp_path / "bad.h5", **change)
    with pytest.raises(DataError, match=f"bad.h5.*{message}"):
        open_volume(path)
    (finding,) = check_folder(tmp_path)
    assert finding.problem and "bad.h5" in finding.line


def test_samples_that_are_not_finite_are_refused(rng, tmp_path):
    kspace = random_complex(rng, (3, 6, 15))
    kspace[1, 2, 3] = np.nan
    paths = [
        write(tmp_path / "a.h5", kspace),
        write_bart(tmp_path, kspace, np.pad(cycles(radial(6, 15)) * 15, [(0, 0), (0, 0), (0, 1)])),
        write_ismrmrd(tmp_path / "b.h5", [{"data": kspace[:, i], "step": i} for i in range(6)], (15, 6, 1)),
    ]
    for path in paths:
        with pytest.raises(DataError, match=f"{path.name}.*NaN"):
            open_volume(path).read()


def test_bad_bart_pairs_are_refused(tmp_path):
    good = np.pad(cycles(radial(6, 15)) * 15, [(0, 0), (0, 0), (0, 1)])
    ones = np.ones((3, 6, 15), "complex64")
    path = write_bart(tmp_path, ones, good)
    assert open_volume(path.with_suffix(".hdr")).info.num_coils == 3
    with pytest.raises(DataError, match="scan_traj.cfl.*beyond the edge"):
        BARTFile(path, image_size=(12, 12))
    with pytest.raises(DataError, match="scan_traj.cfl.*does not fit a trajectory of 2 dimensions"):
        BARTFile(path, image_size=(16, 16, 16))
    with pytest.raises(DataError, match=r"bad_traj.cfl: has \(15, 5\) samples and shots; expected \(15, 6\)"):
        BARTFile(write_bart(tmp_path, ones, good[1:], "bad"))
    with pytest.raises(DataError, match="bad_traj.cfl.*NaN"):
        BARTFile(write_bart(tmp_path, ones, good * np.nan, "bad"))
    with pytest.raises(DataError, match=r"bad_traj.cfl: has dimensions \(2, 15, 6\); expected \(3, sample, shot\)"):
        BARTFile(write_bart(tmp_path, ones, good[..., :2], "bad"))
    with pytest.raises(DataError, match=r"grid.cfl: has dimensions \(5, 4\); expected \(1, sample, shot, coil\)"):
        BARTFile(write_cfl(tmp_path / "grid.cfl", np.ones((5, 4))), tmp_path / "scan_traj.cfl")
    many = np.pad(cycles(radial(30, 40)), [(0, 0), (0, 0), (0, 1)])
    with pytest.raises(DataError, match="1200 samples do not fit an image of 2 x 2 pixels. Are the units cycles/FOV"):
        BARTFile(write_bart(tmp_path, np.ones((3, 30, 40), "complex64"), many, "pixels"))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="scan.cfl: has 2152 bytes; expected 2160"):
        BARTFile(path)
    path.with_suffix(".hdr").write_text("# Dimensions\n1 15 6 ³\n")
    with pytest.raises(DataError, match="scan.hdr: tells no dimensions"):
        BARTFile(path)
    path.with_suffix(".hdr").write_text("nothing")
    with pytest.raises(DataError, match="scan.hdr: tells no dimensions"):
        BARTFile(path)
    alone = write_cfl(tmp_path / "alone.cfl", np.ones((1, 15, 6)))
    with pytest.raises(DataError, match="alone.cfl: .*no trajectory beside it; expected alone_traj.cfl or traj.cfl"):
        BARTFile(alone)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"traj": np.full((15, 2), 0.7, "float32")}, "reaches 0.7 cycles/pixel"),
        ({"traj": np.full((15, 1), 0.2, "float32")}, "trajectory of 1 dimensions"),
        ({"traj": np.full((15, 2), np.nan, "float32")}, "NaN"),
        ({"contrast": 1}, "2 values of `contrast`"),
        ({"data": np.ones((3, 12), "complex64")}, r"differ in `number_of_samples` \(12, 15\)"),
        ({"partition": 1}, "partitions with a trajectory of 2 dimensions; expected slices, or one of 3 dimensions"),
        ({"partition": 1, "traj": None}, "do not fit the encoded matrix"),
        ({"slice": 1, "traj": np.full((15, 2), 0.1, "float32")}, "slices differ in their trajectory"),
    ],
)
def test_bad_ismrmrd_is_refused(tmp_path, change, message):
    good = {"data": np.ones((3, 15), "complex64"), "traj": cycles(radial(2, 15))[1].astype("float32")}
    changed = {**good, **change}
    if "data" in change:
        changed["traj"] = good["traj"][:12]
    both = "traj" in change and "slice" not in change
    path = write_ismrmrd(tmp_path / "bad.h5", [changed if both else good, changed], (13, 15, 1))
    with pytest.raises(DataError, match=f"bad.h5.*{message}"):
        open_volume(path)


def test_ismrmrd_without_its_parts_is_refused(tmp_path):
    lines = [{"data": np.ones((3, 15), "complex64"), "step": 20}]
    with pytest.raises(DataError, match="do not fit the encoded matrix of 15 x 13"):
        open_volume(write_ismrmrd(tmp_path / "far.h5", lines))
    with pytest.raises(DataError, match="holds 1 readouts, none of image data"):
        open_volume(write_ismrmrd(tmp_path / "noise.h5", [{**lines[0], "noise": True}]))
    with h5py.File(write_ismrmrd(tmp_path / "no-header.h5", lines), "a") as file:
        del file["dataset/xml"]
    with pytest.raises(DataError, match="no-header.h5: has no `dataset/xml`"):
        open_volume(tmp_path / "no-header.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["dataset/data"] = np.zeros(3)
    with pytest.raises(DataError, match="empty.h5: has no readouts"):
        open_volume(tmp_path / "empty.h5")


@pytest.mark.parametrize("name", ["center", "maximum"])
@pytest.mark.parametrize("text", ["", "abc", "³", "-4"])
def test_damaged_limits_of_an_ismrmrd_header_are_refused(tmp_path, name, text):
    path = write_ismrmrd(tmp_path / "bad.h5", [{"data": np.ones((3, 15), "complex64")}])
    with h5py.File(path, "a") as file:
        header = re.sub(rf"<{name}>\d+", f"<{name}>{text}", file["dataset/xml"][0].decode())
        file["dataset/xml"][0] = (header if text else header.replace(f"<{name}></{name}>", "")).encode()
    with pytest.raises(DataError, match=f"bad.h5: `dataset/xml` has '{text}' as `{name}`.*expected a whole number"):
        open_volume(path)


def test_readouts_that_discard_all_samples_are_refused(tmp_path):
    line = {"data": np.ones((3, 15), "complex64"), "traj": cycles(radial(1, 15))[0].astype("float32"), "pre": 15}
    for number, readout in enumerate((line, {**line, "traj": None})):
        path = write_ismrmrd(tmp_path / f"bad{number}.h5", [readout], (13, 15, 1))
        with pytest.raises(DataError, match=f"bad{number}.h5: readouts discard 15 of 15 samples"):
            open_volume(path)


def test_cartesian_readouts_that_run_backwards_are_refused(tmp_path):
    lines = [{"data": np.ones((3, 15), "complex64"), "step": i, "reversed": i % 2} for i in range(13)]
    with pytest.raises(DataError, match="epi.h5: 6 of 13 Cartesian readouts run backwards, as those of EPI; expected"):
        open_volume(write_ismrmrd(tmp_path / "epi.h5", lines))
    # The coordinates of a trajectory tell the direction.
    spokes = [{**line, "traj": spoke} for line, spoke in zip(lines, cycles(radial(13, 15)), strict=True)]
    spokes = [{**spoke, "traj": spoke["traj"].astype("float32")} for spoke in spokes]
    assert open_volume(write_ismrmrd(tmp_path / "spokes.h5", spokes, (13, 15, 1))).info.num_shots == 13


def test_check_tells_what_raw_files_are(tmp_path):
    write(tmp_path / "a.h5")
    write_bart(tmp_path, np.ones((3, 6, 15), "complex64"), np.pad(cycles(radial(6, 15)) * 15, [(0, 0)] * 2 + [(0, 1)]))
    write(tmp_path / "zero.h5", np.zeros((3, 6, 15), "complex64"))
    hdf5, bart, zero = check_folder(tmp_path)
    assert "1 slices of 15 x 13, 3 coils, along a trajectory of 90 samples, undersampled 2.2 times" in hdf5.line
    assert f"mri-zoo reconstruct {tmp_path / 'a.h5'}" in hdf5.line and "1 slices of 14 x 14" in bart.line
    assert "all samples are zero" in zero.problem


def test_measured_spiral_of_a_phantom(shared_data):
    path = shared_data / "copyleft" / "test" / "octopus_phantom_spiral_20ch.h5"
    source = open_volume(path)
    assert source.info.num_coils == 20 and source.info.image_size == (192, 192)
    encoding = draw_sampling(None, source.info)
    image = root_sum_of_squares(encoding.adjoint(source.read().kspace[0]))
    # A round phantom in the middle, air around it.
    rows, columns = np.indices(image.shape) - 96
    radius = np.hypot(rows, columns)
    assert image[radius < 40].mean() > 3 * image[radius > 90].mean()
