import dataclasses
import json
import threading

import numpy as np
import pytest
from helpers import random_complex, relative_error

from mri_zoo.data import noncartesian
from mri_zoo.data.fourier import center_crop, fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.noncartesian import make_encoding, measure_slice, on_scan, part_of
from mri_zoo.data.preparation import ConstantScaling, PercentileScaling, draw_sampling, prepare_slice
from mri_zoo.data.sampling import sampling_from_config, sampling_to_config
from mri_zoo.data.trajectories import (
    TRAJECTORIES,
    Radial3DTrajectory,
    RadialStackTrajectory,
    RadialTrajectory,
    SpiralStackTrajectory,
    SpiralTrajectory,
    cartesian,
)
from mri_zoo.data.volume import DataError, VolumeInfo
from mri_zoo.physics import nufft


def exact_samples(images, trajectory):
    """The sum that the conventions define, of (coil, *size)."""
    size = images.shape[1:]
    samples = images.astype("complex128")
    phases = [np.exp(-1j * np.outer(trajectory[:, d], np.arange(n) - n // 2)) for d, n in enumerate(size)]
    subscripts = "chw,kh,kw->ck" if len(size) == 2 else "cdhw,kd,kh,kw->ck"
    return np.einsum(subscripts, samples, *phases, optimize=True) / np.sqrt(np.prod(size))


@pytest.fixture
def recorded(reference):
    return np.load(reference / "tensorflow" / "numeric" / "preprocessing_non_cartesian.npz")


def sample_by_sample(shots, planes=1):
    """The order of the recorded spirals."""
    return shots.reshape(planes, -1, *shots.shape[1:]).swapaxes(1, 2)


@pytest.mark.parametrize("coils, kspace", [("single", "kspace"), ("multi", "kspace_multi")])
@pytest.mark.parametrize("name, sampling", [("radial", RadialTrajectory), ("spiral", SpiralTrajectory)])
def test_slices_equal_the_recorded_preprocessing(recorded, coils, kspace, name, sampling):
    shots = sampling(4, benchmark=True)((64, 48))
    encoding = make_encoding(shots if name == "radial" else sample_by_sample(shots), (64, 48))
    kspace = recorded[kspace].reshape(-1, 1 if coils == "single" else 3, 64, 44)
    outputs = {key: recorded[f"{coils}_{name}__out_{key}"] for key in ("kspace", "trajectory", "image")}
    for index, slice_ in enumerate(kspace):
        inputs, target, factor = measure_slice(slice_, recorded["image"][index], encoding, ConstantScaling(1e6))
        assert factor == 1e6 and inputs["kspace"].dtype == np.complex64
        # The recorded scaling is 2**(-dim / 2) of ours, the error of its interpolation table 1e-3.
        assert relative_error(inputs["kspace"] / 2, outputs["kspace"][index, ..., 0]) < 2e-3
        np.testing.assert_array_equal(inputs["trajectory"].T, outputs["trajectory"][index])
        if coils == "single":
            np.testing.assert_array_equal(target, outputs["image"][index, ..., 0])


@pytest.mark.parametrize(
    "name, sampling",
    [
        ("radial_stacks", RadialStackTrajectory),
        ("spiral_stacks", SpiralStackTrajectory),
        ("radial", Radial3DTrajectory),
    ],
)
def test_volumes_equal_the_recorded_preprocessing(recorded, name, sampling):
    size, volume = (12, 12, 16), recorded["volume"]
    shots = sampling(4, benchmark=True)(size)
    encoding = make_encoding(sample_by_sample(shots, 12) if name == "spiral_stacks" else shots, size)
    kspace = fft2c(volume)[:, None]
    inputs, target, _ = measure_slice(kspace, np.abs(volume), encoding, ConstantScaling(1e-2))
    np.testing.assert_array_equal(inputs["trajectory"].T, recorded[f"volume_{name}__out_trajectory"][0])
    assert relative_error(inputs["kspace"] / 2**1.5, recorded[f"volume_{name}__out_kspace"][0, ..., 0]) < 2e-3
    # We take the volume as it is recast, the recording as it was.
    np.testing.assert_allclose(target[1:-1], recorded[f"volume_{name}__out_image"][0, ..., 0], rtol=1e-6)
    assert not target[[0, -1]].any()


@pytest.mark.parametrize("name", TRAJECTORIES)
@pytest.mark.parametrize("coils", [1, 3])
def test_samples_are_those_of_the_coil_images(rng, name, coils):
    dimensions = TRAJECTORIES[name].dimensions
    size = (15, 13) if dimensions == 2 else (6, 9, 11)
    images = random_complex(rng, (coils, *size))
    kspace = fft2c(images) if dimensions == 2 else np.swapaxes(fft2c(images), 0, 1)
    encoding = make_encoding(TRAJECTORIES[name](2)(size), size)
    inputs, target, factor = measure_slice(kspace, None, encoding, ConstantScaling(3.0))
    assert target is None and factor == 3
    assert relative_error(inputs["kspace"], 3 * exact_samples(images, encoding.trajectory)) < 1e-5
    assert inputs["kernel"].shape == tuple(2 * n for n in size) and inputs["density"].dtype == np.float32


def test_full_grid_gives_the_fourier_transform_and_unit_density(rng):
    kspace = random_complex(rng, (2, 15, 13))
    encoding = make_encoding(cartesian((15, 13)), (15, 13))
    inputs, _, _ = measure_slice(kspace, None, encoding, ConstantScaling())
    assert relative_error(inputs["kspace"].reshape(2, 15, 13), kspace) < 1e-5
    assert relative_error(encoding.adjoint(inputs["kspace"]), ifft2c(kspace)) < 1e-2  # of the density


def test_gain_at_zero_frequency_is_one_for_any_weights(rng):
    shots = RadialTrajectory(1)((15, 13))
    for density in (None, 7 * rng.uniform(0.5, 1, shots.shape[:2]).astype("float32")):
        encoding = make_encoding(shots, (15, 13), density)
        assert noncartesian.unit_gain(encoding) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(encoding.density / density.ravel(), encoding.density[0] / density.flat[0], rtol=1e-5)


def test_an_accelerator_leaves_the_transforms_of_arrays_to_the_host(rng, monkeypatch):
    shots, images = RadialTrajectory(2)((15, 13)), random_complex(rng, (3, 15, 13))

    def results():
        noncartesian._cache.clear()
        encoding = make_encoding(shots, (15, 13))
        samples = encoding.measure(images)
        return encoding.density, encoding.kernel, samples, encoding.adjoint(samples)

    expected = results()
    monkeypatch.setattr(nufft, "_is_on_cpu", lambda x: False)
    monkeypatch.delitem(nufft.IMPLEMENTATIONS, "kaiser_bessel")
    for found, value in zip(results(), expected, strict=True):
        assert relative_error(found, value) < 1e-6


@pytest.mark.parametrize("have", [(15, 13), (14, 12)])
@pytest.mark.parametrize("want", [(15, 13), (18, 16), (17, 15), (11, 9), (12, 10), (18, 9)])
@pytest.mark.parametrize("crop", [None, (8, 7), (9, 6)])
def test_target_shows_the_pixels_of_the_recast_image(rng, have, want, crop):
    images = random_complex(rng, (1, *have))
    target = root_sum_of_squares(images)
    encoding = make_encoding(cartesian(want), want, np.ones(want), kernel=False)
    inputs, target, _ = measure_slice(fft2c(images), target, encoding, ConstantScaling(), crop)
    recast = np.abs(ifft2c(inputs["kspace"].reshape(1, *want)))[0]
    np.testing.assert_allclose(center_crop(recast, target.shape), target, atol=1e-4)
    expected = np.minimum(have, want if crop is None else np.minimum(want, crop))
    assert target.shape == tuple(expected)


@pytest.mark.parametrize("have", [(15, 13), (14, 12), (16, 9)])
def test_images_come_back_to_the_grid_of_the_scan(rng, have):
    images = random_complex(rng, (1, *have))
    for want in [(18, 17), (19, 16)]:
        recast = noncartesian._centred(images, want, None)
        assert recast.shape == (1, *want)
        np.testing.assert_array_equal(on_scan(recast, have), images)


def test_scaling_sees_the_compensated_adjoint(rng):
    image = np.zeros((1, 15, 13), np.complex64)
    image[:, 4:11, 4:9] = 5
    encoding = make_encoding(RadialTrajectory(1)((15, 13)), (15, 13))
    inputs, _, factor = measure_slice(fft2c(image), None, encoding, PercentileScaling(100))
    adjoint = np.abs(encoding.adjoint(inputs["kspace"]))
    assert adjoint.max() == pytest.approx(1, rel=1e-4) and 0.05 < factor < 0.25


def test_measured_samples_are_only_scaled(rng):
    encoding = make_encoding(RadialTrajectory(2)((15, 13)), (15, 13))
    samples = random_complex(rng, (3, len(encoding.trajectory)))
    inputs, target, factor = prepare_slice(samples, np.ones((15, 13), "float32"), encoding, ConstantScaling(2.0))
    np.testing.assert_array_equal(inputs["kspace"], 2 * samples)
    np.testing.assert_array_equal(target, 2)


def test_encodings_are_computed_once(monkeypatch):
    calls, compute = [], noncartesian.normal_kernel
    monkeypatch.setattr(noncartesian, "normal_kernel", lambda *args: calls.append(args) or compute(*args))
    shots, found = SpiralTrajectory(3)((17, 14)), []

    def ask():
        found.append(make_encoding(shots, (17, 14)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and all(encoding is found[0] for encoding in found)
    assert make_encoding(shots, (17, 15)) is not found[0] and len(calls) == 2
    for size in range(20, 20 + noncartesian.NUM_CACHED):
        make_encoding(shots, (size, 14), np.ones(shots.shape[:2]), kernel=False)
    assert len(noncartesian._cache) == noncartesian.NUM_CACHED


@pytest.mark.parametrize("size, message", [((200, 200), "must have fewer pixels"), ((1, 1), "must have more pixels")])
def test_a_size_far_from_the_number_of_samples_is_refused(size, message):
    with pytest.raises(ValueError, match=f"90 samples do not fit an image of {size[0]} x {size[1]} pixels.*{message}"):
        make_encoding(RadialTrajectory(2)((15, 13)), size)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda shots, density: (shots * 2, density), "radians per pixel, from -pi to pi"),
        (
            lambda shots, density: (shots / (2 * np.pi), density),
            "reaches only 0.149 of the way.*15 x 13 pixels.*units radians/pixel right",
        ),
        (lambda shots, density: (np.where(shots == 0, np.nan, shots), density), "NaN"),
        (lambda shots, density: (shots[:0], density[:0]), r"\(..., samples, 2\), got \(0, 15, 2\)"),
        (lambda shots, density: (shots[..., :1], density), r"\(..., samples, 2\)"),
        (lambda shots, density: (shots, density[1:]), "density weights do not fit a trajectory of 90 samples"),
        (lambda shots, density: (shots, 0 * density), "zero everywhere"),
        (lambda shots, density: (shots, density - 2), "negative"),
    ],
)
def test_bad_trajectories_and_densities_are_refused(change, message):
    shots = RadialTrajectory(2)((15, 13))
    shots, density = change(shots, np.ones(shots.shape[:2], "float32"))
    with pytest.raises(ValueError, match=message):
        make_encoding(shots, (15, 13), density)


def test_what_a_volume_is_sampled_with():
    info = VolumeInfo("a.h5", 4, 1, 15, 13)
    assert draw_sampling(None, info) is None
    assert draw_sampling(RadialTrajectory(2), info).size == (15, 13)
    assert draw_sampling(RadialTrajectory(2, (18, 20)), info).size == (18, 20)
    assert draw_sampling(Radial3DTrajectory(2), info).size == (4, 15, 13)
    own = dataclasses.replace(info, trajectory=RadialTrajectory(1)((15, 13)).reshape(-1, 2))
    np.testing.assert_array_equal(draw_sampling(RadialTrajectory(2), own).trajectory, own.trajectory)
    with pytest.raises(DataError, match="a.h5.*from -pi to pi"):
        draw_sampling(None, dataclasses.replace(own, trajectory=own.trajectory * 3))


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_config_makes_an_equal_trajectory(name):
    size = (64, 48, 32)[: TRAJECTORIES[name].dimensions]
    sampling = TRAJECTORIES[name](8, size, benchmark=True)
    config = json.loads(json.dumps(sampling_to_config(sampling)))
    assert config["name"] == name and sampling_from_config(config) == sampling
    with pytest.raises(ValueError, match="has no `center_fraction`"):
        sampling_from_config({**config, "center_fraction": 0.1})


def test_a_part_has_weights_of_its_own_in_the_places_of_all(rng):
    whole = make_encoding(RadialTrajectory(1)((15, 13)), (15, 13))
    assert whole.num_shots == 13
    chosen = rng.random(len(whole.trajectory)) < 0.6
    part, smaller = part_of(whole, chosen), make_encoding(whole.trajectory[chosen], (15, 13))
    assert part.trajectory is whole.trajectory and part.num_shots == 13
    np.testing.assert_array_equal(part.density[~chosen], 0)
    np.testing.assert_allclose(part.density[chosen], smaller.density, rtol=1e-4)
    assert relative_error(part.kernel, smaller.kernel) < 1e-4
    samples = random_complex(rng, (2, len(chosen)))
    assert relative_error(part.adjoint(samples), smaller.adjoint(samples[:, chosen])) < 1e-4
    assert part_of(whole, chosen, kernel=False).kernel is None and part_of(whole, np.ones(len(chosen))) is whole
