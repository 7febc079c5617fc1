import h5py
import numpy as np
import pytest

from mri_zoo.data.demo import HeldOutBrain
from mri_zoo.data.files import open_volume
from mri_zoo.data.fourier import ifft2c
from mri_zoo.data.noncartesian import CenteredEcho, Encoding, make_encoding
from mri_zoo.data.trajectories import RadialTrajectory
from mri_zoo.data.volume import DataError
from mri_zoo.evaluation.measured import SomeShots, cg_sense, evaluate_measured
from mri_zoo.evaluation.reconstruction import reconstruct


@pytest.fixture
def scan(tmp_path):
    """One slice of the held-out brain along 48 spokes, in a file."""
    volume = HeldOutBrain(4).read([12])
    shots = RadialTrajectory(2)((96, 96))
    encoding = make_encoding(shots, (96, 96))
    images = ifft2c(volume.kspace[0])[..., 16:112]
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = encoding.measure(images).reshape(4, *shots.shape[:2])
        file["trajectory"] = shots[..., ::-1]
        file["trajectory"].attrs["units"] = "radians/pixel"
        file.attrs["matrix_size"] = 96
    return tmp_path / "scan.h5", shots


def test_every_third_shot_is_taken(scan):
    path, shots = scan
    source = SomeShots(path, 3)
    whole = CenteredEcho(open_volume(path)).info.trajectory.reshape(shots.shape)
    np.testing.assert_array_equal(source.info.trajectory, whole[::3].reshape(-1, 2))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(source.read().kspace[0], file["kspace"][:, ::3].reshape(4, -1))


def test_a_linear_phase_is_taken_off_the_image(scan):
    """The scan of an image whose phase turns by (0.4, -0.7) radians from pixel to pixel."""
    path, shots = scan
    turned = np.mod(shots + np.array([0.4, -0.7]) + np.pi, 2 * np.pi) - np.pi
    with h5py.File(path, "a") as file:
        kspace = file["kspace"][()].reshape(4, -1)
        file["trajectory"][...] = turned[..., ::-1]
    plain, centered = open_volume(path), CenteredEcho(open_volume(path))
    shift = np.angle(np.exp(1j * (plain.info.trajectory - centered.info.trajectory)))
    # The echo itself is as far from the centre as the simulated phase and coils move it: less than two samples of 96.
    np.testing.assert_allclose(shift, np.broadcast_to([0.4, -0.7], shift.shape), atol=2 * 2 * np.pi / 96)
    assert np.ptp(shift, axis=0).max() < 1e-5 and np.abs(centered.info.trajectory).max() <= np.float32(np.pi)
    magnitudes = [
        np.abs(Encoding((96, 96), info.trajectory, np.ones(len(kspace[0]), "float32")).adjoint(kspace))
        for info in (plain.info, centered.info)
    ]
    np.testing.assert_allclose(*magnitudes, atol=1e-4 * magnitudes[0].max())


def test_a_scan_without_an_echo_is_refused(scan):
    with h5py.File(scan[0], "a") as file:
        file["kspace"][...] = 0
    with pytest.raises(DataError, match="slice 0 is empty; expected an echo"):
        CenteredEcho(open_volume(scan[0]))


def test_a_cartesian_scan_has_no_trajectory_to_shift():
    with pytest.raises(DataError, match="was measured on the Cartesian grid"):
        CenteredEcho(HeldOutBrain(4))


def test_with_all_shots_cg_sense_is_the_reference(scan, tmp_path):
    source = SomeShots(scan[0], 1)
    volume = source.read()
    image = np.abs(reconstruct(cg_sense(), volume, make_encoding(source.info.trajectory, (96, 96))))
    np.testing.assert_allclose(image, volume.target, atol=1e-4 * volume.target.max())


def test_cg_sense_of_half_the_shots_is_nearer_than_the_adjoint(scan, tmp_path):
    rows = evaluate_measured(scan[0], tmp_path / "results").rows
    assert [row.model for row in rows] == ["zero-filled", "cg-sense"]
    assert rows[1].psnr > rows[0].psnr + 3


def test_too_few_shots_are_refused(scan):
    with pytest.raises(DataError, match="has 48 shots"):
        SomeShots(scan[0], 49)


def test_measured_spiral_of_a_phantom(shared_data, tmp_path):
    path = shared_data / "copyleft" / "test" / "octopus_phantom_spiral_20ch.h5"
    result = evaluate_measured(path, tmp_path, ["ncpdnet-brain-demo-radial-af4"])
    adjoint, sense, network = result.rows
    # Where the echo is left off the centre, CG-SENSE stays below 26 dB. The network learned along spokes alone.
    assert not result.failures and sense.psnr > 26 and 22 < adjoint.psnr < network.psnr < sense.psnr
