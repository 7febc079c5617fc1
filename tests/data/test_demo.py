import importlib.resources
import sys

import nibabel
import numpy as np
import pytest

from mri_zoo.data import demo
from mri_zoo.data.demo import DrawnContrastBrain, DrawnContrastVolume, HeldOutBrain
from mri_zoo.data.fourier import ifft2c, root_sum_of_squares
from mri_zoo.data.volume import DataError


def correlation(x, y):
    return np.corrcoef(x.ravel(), y.ravel())[0, 1]


@pytest.mark.parametrize("num_coils", [1, 8])
def test_held_out_brain_measures_the_file(num_coils):
    brain = HeldOutBrain(num_coils)
    volume = brain.read([20, 3])
    assert volume.kspace.shape == (2, num_coils, 96, 128) and volume.kspace.dtype == np.complex64
    frame = nibabel.load(importlib.resources.files("nibabel") / "tests/data/example4d.nii.gz").get_fdata()[..., 0]
    for index, target in zip(volume.slices, volume.target, strict=True):
        np.testing.assert_array_equal(target, np.rot90(frame[:, :, index]))
    np.testing.assert_allclose(root_sum_of_squares(ifft2c(volume.kspace)), volume.target, atol=1e-3)
    np.testing.assert_array_equal(HeldOutBrain(num_coils).read([3]).kspace[0], volume.kspace[1])


def test_held_out_brain_is_upright():
    slice_12 = HeldOutBrain().read([12]).target[0] > 0
    columns, rows = np.flatnonzero(slice_12.any(0)), np.flatnonzero(slice_12.any(1))
    assert np.ptp(rows) > 1.2 * np.ptp(columns)  # longer from front to back than from left to right
    assert correlation(slice_12[:, 63 - 40 : 63], slice_12[:, 63 : 63 + 40][:, ::-1]) > 0.9


def test_held_out_brain_describes_itself():
    info = HeldOutBrain().info
    assert (info.name, info.contrast, info.num_slices, info.num_coils) == ("example4d.nii.gz", "T2star", 24, 1)
    assert HeldOutBrain(8).info.name == "example4d.nii.gz"
    assert HeldOutBrain().read().target.max((1, 2)).min() > 500


def test_held_out_brain_without_its_file(monkeypatch, tmp_path):
    demo._load_example4d.cache_clear()
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match="example4d.nii.gz is missing.*pip install nibabel"):
        HeldOutBrain()


class TestDrawnContrastBrain:
    @pytest.fixture(autouse=True)
    def _needs_nilearn(self):
        pytest.importorskip("nilearn", reason="needs nilearn: pip install mri-zoo[demo]")

    def test_is_reproducible(self):
        first, second = DrawnContrastBrain(3, 2), DrawnContrastBrain(3, 2)
        assert first.info == second.info
        whole = first.read([5, 9])
        np.testing.assert_array_equal(whole.kspace[1], second.read([9]).kspace[0])
        np.testing.assert_allclose(root_sum_of_squares(ifft2c(whole.kspace)), whole.target, atol=1e-5)
        assert np.abs(whole.target - DrawnContrastBrain(4).read([5, 9]).target).max() > 0.1

    def test_has_the_asked_shape_and_a_centred_brain(self):
        brain = DrawnContrastBrain(1, num_coils=3, num_slices=7, size=(75, 90))
        volume = brain.read()
        assert volume.kspace.shape == (7, 3, 75, 90) and volume.target.shape == (7, 75, 90)
        assert volume.target.dtype == np.float32 and volume.target.min() >= 0
        middle = volume.target[3]
        assert (middle[27:48, 30:60] > 0.05 * middle.max()).mean() > 0.6
        assert (middle > 0.05).mean() < 0.9 and (middle[[0, 0, -1, -1], [0, -1, 0, -1]] < 0.02).all()

    def test_draws_every_orientation_and_contrast(self):
        infos = [DrawnContrastBrain(seed).info for seed in range(60)]
        assert {info.name.split("_")[1] for info in infos} == {"axial", "coronal", "sagittal"}
        assert {info.contrast for info in infos} == {"T1w", "MPRAGE", "PDw", "T2w", "FLAIR"}
        assert len({info.name for info in infos}) == 60

    @pytest.mark.parametrize(
        "contrast, dark_to_bright",
        [
            ("T1w", ["skull", "fluid", "grey matter", "white matter", "scalp fat"]),
            ("MPRAGE", ["skull", "fluid", "grey matter", "white matter", "scalp fat"]),
            ("PDw", ["skull", "white matter", "grey matter", "fluid"]),
            ("T2w", ["skull", "white matter", "grey matter", "fluid"]),
            ("FLAIR", ["skull", "fluid", "white matter", "grey matter"]),
        ],
    )
    def test_tissues_are_as_bright_as_in_real_scans(self, rng, contrast, dark_to_bright):
        signals = np.stack([demo._draw_signals(contrast, rng) for _ in range(100)])
        np.testing.assert_array_equal(signals.max(1), 1)
        means = dict(zip(demo._TISSUES, signals.mean(0), strict=True))
        brightness = [means[tissue] for tissue in dark_to_bright]
        assert brightness == sorted(brightness)
        assert means["fluid"] < 1e-6 or contrast != "FLAIR"

    def test_slices_of_a_volume_fit_each_other(self):
        """Neighbours differ less than those of separately bent slices, and much less than distant ones."""
        together = DrawnContrastVolume(2, num_slices=40, size=(48, 40)).read([19, 20, 32]).target
        apart = DrawnContrastBrain(2, 1, 40, (48, 40), phase=False).read([19, 20]).target
        step, jump, bent = (np.abs(a - b).mean() for a, b in (together[:2], together[1:], apart))
        assert step < 0.8 * bent and step < 0.5 * jump

    def test_needs_nilearn(self, monkeypatch):
        demo._load_templates.cache_clear()
        monkeypatch.setitem(sys.modules, "nilearn", None)
        with pytest.raises(ImportError, match=r"pip install mri-zoo\[demo\]"):
            DrawnContrastBrain(0)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"num_slices": 0}, "`num_slices` must be at least 1"),
            ({"num_coils": 0}, "`num_coils` must be at least 1"),
            ({"size": (32, 0)}, "`width` must be at least 1"),
            ({"seed": -1}, "`seed` not negative, got 32 and -1"),
        ],
    )
    def test_refuses_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            DrawnContrastBrain(**{"seed": 0, **arguments})
