import gc
import os
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest

from mri_zoo.data import noncartesian
from mri_zoo.data.masks import RandomMask
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.data.trajectories import Radial3DTrajectory, RadialTrajectory
from mri_zoo.data.volume import DataError, Volume, VolumeInfo
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.evaluation.report import write_figures
from mri_zoo.evaluation.scan import reconstruct_file
from mri_zoo.models import NCPDNet, PDNet, ZeroFilled
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.presets import load_preset


def adjoint(sampling=None, dimensions=2):
    model = ZeroFilled(NonCartesian(dimensions=dimensions))
    return SimpleNamespace(name="adjoint", model=model, scaling=ConstantScaling(3.0), sampling=sampling, metadata={})


@pytest.fixture
def volume(tmp_path):
    """A bright box of 6 slices of 17 x 14."""
    image = np.zeros((17, 14, 6), np.float32)
    image[4:11, 5:12, 1:5] = 2
    path = tmp_path / "sub-1_T1w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), path)
    return path, np.moveaxis(image, -1, 0)


@pytest.mark.parametrize(
    "sampling, dimensions", [(RadialTrajectory(1, (20, 18)), 2), (Radial3DTrajectory(1, (8, 18, 16)), 3)]
)
def test_volumes_are_judged_along_a_trajectory(tmp_path, volume, sampling, dimensions):
    result = evaluate([adjoint(sampling, dimensions)], [volume[0]], tmp_path / "results", batch_size=4)
    assert not result.failures
    assert result.rows[0].psnr > 12 and result.rows[0].num_slices == 6
    assert result.rows[0].acceleration == pytest.approx(1, rel=0.2)
    assert len(write_figures(tmp_path / "results", result)) == 1


def network(name, model, sampling=None):
    model.build()
    return SimpleNamespace(name=name, model=model, scaling=ConstantScaling(), sampling=sampling, metadata={})


@pytest.mark.parametrize(
    "sampling, dimensions", [(RadialTrajectory(2), 2), (Radial3DTrajectory(2), 3), (RandomMask(2, 0.2), 0)]
)
def test_zero_filled_is_the_adjoint_of_what_the_others_were_sampled_with(tmp_path, volume, sampling, dimensions):
    if dimensions:
        physics = NonCartesian(dimensions=dimensions)
        other, expected = network("other", NCPDNet(1, 1, 2, physics=physics), sampling), adjoint(sampling, dimensions)
    else:
        other, expected = network("other", PDNet(1, 2, 1, 2), sampling), network("adjoint", ZeroFilled(), sampling)
    expected.scaling = ConstantScaling()
    result = evaluate([load_preset("zero-filled"), other, expected], [volume[0]], tmp_path / "results")
    assert not result.failures
    baseline, _, wanted = result.rows
    assert baseline.psnr == pytest.approx(wanted.psnr, rel=1e-5) and baseline.acceleration == wanted.acceleration


def test_models_of_masks_and_of_trajectories_keep_their_own_in_one_table(tmp_path, volume):
    grid = network("grid", PDNet(1, 2, 1, 2), RandomMask(2, 0.2))
    spokes = network("spokes", NCPDNet(1, 1, 2), RadialTrajectory(3))
    result = evaluate([load_preset("zero-filled"), grid, spokes], [volume[0]], tmp_path / "results")
    accelerations = {row.model: row.acceleration for row in result.rows}
    assert accelerations["zero-filled"] == accelerations["grid"] != accelerations["spokes"]
    table = (tmp_path / "results" / "table.md").read_text()
    assert "Sampling for zero-filled, grid" in table and "Sampling for spokes" in table
    assert len(write_figures(tmp_path / "results", result)) == 1


@pytest.mark.parametrize(
    "sampling, found", [(RandomMask(2, 0.2), "a mask"), (Radial3DTrajectory(2), "a trajectory of 3 dimensions")]
)
def test_another_sampling_than_a_network_takes_is_a_failure(tmp_path, volume, sampling, found):
    result = evaluate([network("net", NCPDNet(1, 1, 2))], [volume[0]], tmp_path / "results", sampling=sampling)
    expected = f"net needs k-space that was sampled with a trajectory of 2 dimensions, this was with {found}"
    assert expected in result.failures[0].reason


def test_scans_are_reconstructed_along_a_trajectory(tmp_path, volume):
    line = reconstruct_file(adjoint(RadialTrajectory(1, (20, 18))), volume[0], tmp_path / "out.h5")
    assert "undersampled here" in line
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.corrcoef(file["reconstruction"][()].ravel(), volume[1].ravel())[0, 1] > 0.85


def test_measured_files_are_reconstructed_as_they_are(tmp_path, volume):
    image, shots = volume[1][2], RadialTrajectory(1)((17, 14))
    samples = make_encoding(shots, (17, 14)).measure(image[None])
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = samples.reshape(1, *shots.shape[:2])
        file["trajectory"] = shots[..., ::-1]
        file["trajectory"].attrs["units"] = "radians/pixel"
        file.attrs["matrix_size"] = (14, 17)
    assert "as measured" in reconstruct_file(adjoint(), tmp_path / "scan.h5", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.corrcoef(file["reconstruction"][0].ravel(), image.ravel())[0, 1] > 0.85
    with pytest.raises(DataError, match="scan.h5: c needs k-space that was sampled with a mask"):
        reconstruct_file(network("c", PDNet(1, 2, 1, 2)), tmp_path / "scan.h5", tmp_path / "out.h5")


class Scan:
    """Measured along random points, another number of them in each scan; it costs little to have many."""

    def __init__(self, seed, size=(256, 240)):
        rng = np.random.default_rng(seed)
        points = rng.uniform(-3, 3, (900 + seed, 2)).astype("float32")
        weights = np.ones(len(points), "float32")
        self.info = VolumeInfo(f"{seed}.h5", 1, 1, *size, target_size=size, trajectory=points, density=weights)

    def read(self, slices=None):
        kspace = np.ones((1, 1, len(self.info.trajectory)), "complex64")
        return Volume(self.info, (0,), kspace, np.ones((1, *self.info.image_size), "float32"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_trajectories(tmp_path):
    """Each has a kernel of 1 MB, which is kept for the last ones alone."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        pytest.skip("needs Linux")
    used = []

    def record(done, total, text):
        gc.collect()
        used.append(int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    result = evaluate([network("net", NCPDNet(1, 1, 2))], map(Scan, range(60)), tmp_path, progress=record)
    assert not result.failures and len(used) == 61
    assert used[-1] - used[20] < 20
    assert len(noncartesian._cache) <= noncartesian.NUM_CACHED
