"""Along a measured trajectory the image is as bright as the scan, as other tools show it."""

import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from mri_zoo.data import RadialTrajectory, open_volume
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.preparation import ConstantScaling, draw_sampling
from mri_zoo.evaluation.reconstruction import reconstruct
from mri_zoo.models import CGSENSE, ZeroFilled
from mri_zoo.presets import load_preset


def spokes(shift, number=48, samples=64):
    angles, radius = (
        np.pi * np.arange(number) / number,
        2 * np.pi / samples * (np.arange(samples) - samples // 2 + shift),
    )
    return np.stack([radius * np.sin(angles)[:, None], radius * np.cos(angles)[:, None]], axis=-1).astype("float32")


@pytest.fixture
def image():
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = (x / 0.7) ** 2 + (y / 0.85) ** 2 < 1
    return (disc - 0.4 * ((x - 0.2) ** 2 + y**2 < 0.05)).astype("complex64")


def brightness(shown, image):
    return np.vdot(image, shown).real / np.vdot(image, image).real


@pytest.mark.parametrize("shift", [0, 0.5])  # with a sample in the centre, and without
def test_gain_is_the_brightness_of_an_object(image, shift):
    encoding = make_encoding(spokes(shift), (64, 64), gain=1)
    shown = encoding.adjoint(encoding.measure(image[None]))[0]
    assert encoding.gain == pytest.approx(1, rel=1e-3) and brightness(shown, image) == pytest.approx(1, abs=0.08)
    published = make_encoding(spokes(shift), (64, 64))
    assert published.gain > 1.2 if not shift else published.gain < 0.8
    scaled = published.with_gain(1)
    np.testing.assert_allclose(scaled.density, encoding.density, rtol=1e-3)
    np.testing.assert_allclose(scaled.kernel, encoding.kernel, rtol=1e-3, atol=1e-5)
    assert encoding.with_gain(1) is encoding


@pytest.mark.parametrize("shift", [0, 0.5])
@pytest.mark.parametrize("model", [ZeroFilled, CGSENSE])
def test_models_without_weights_show_the_brightness_of_the_scan(image, model, shift):
    preset = SimpleNamespace(name="m", model=model(), scaling=ConstantScaling(), sampling=None)
    encoding = make_encoding(spokes(shift), (64, 64))
    kspace = encoding.measure(image[None])[None]
    info = SimpleNamespace(name="v", trajectory=encoding.trajectory)
    shown = reconstruct(preset, SimpleNamespace(info=info, kspace=kspace), encoding)[0]
    assert brightness(np.abs(shown), image) == pytest.approx(1, abs=0.08)


def test_a_network_sees_the_gain_that_it_was_trained_with(image, monkeypatch):
    preset = load_preset("ncpdnet-brain-demo-radial-af4")
    trained = make_encoding(preset.sampling((64, 64)), (64, 64))
    assert isinstance(preset.sampling, RadialTrajectory) and abs(trained.gain - 1.25) < 0.05
    seen = []
    monkeypatch.setattr(preset.model, "predict_on_batch", lambda b: seen.append(b) or np.ones((1, 64, 64), "complex64"))
    for shift in (0, 0.5):
        encoding = make_encoding(spokes(shift), (64, 64), gain=1)
        info = SimpleNamespace(name="v", trajectory=encoding.trajectory)
        volume = SimpleNamespace(info=info, kspace=encoding.measure(image[None])[None])
        reconstruct(preset, volume, encoding)
        np.testing.assert_allclose(seen[-1]["density"][0], trained.gain * encoding.density, rtol=2e-3)


@pytest.mark.skipif(shutil.which("bart") is None, reason="needs BART's tools (Debian's package `bart`)")
@pytest.mark.parametrize("centre", [[], ["-c"]])
def test_brightness_is_that_of_bart(tmp_path, centre):
    def bart(*arguments):
        subprocess.run(["bart", *arguments], check=True, capture_output=True, cwd=tmp_path)

    bart("traj", "-r", "-x64", "-y64", *centre, "traj")
    bart("phantom", "-k", "-t", "traj", "ksp")
    bart("nufft", "-i", "-d64:64:1", "traj", "ksp", "inverse")
    expected = np.abs(np.fromfile(tmp_path / "inverse.cfl", "complex64")).reshape(64, 64)
    source = open_volume(tmp_path / "ksp.cfl", image_size=(64, 64))
    volume = source.read()
    shown = draw_sampling(None, source.info).adjoint(volume.kspace[0])
    assert brightness(np.abs(shown[0]), expected) == pytest.approx(1, abs=0.08)
