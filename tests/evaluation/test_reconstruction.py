import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import fft_reference, random_complex, relative_error

from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.preparation import ConstantScaling, PercentileScaling
from mri_zoo.data.volume import DataError, Volume, VolumeInfo
from mri_zoo.evaluation.reconstruction import fitting_model, reconstruct
from mri_zoo.models import PDNet, ZeroFilled
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.registry import load_preset


def make_volume(rng, slices=3, coils=1, size=(15, 13)):
    # Slices differ in level, so that a factor applied to the wrong slice shows.
    kspace = random_complex(rng, (slices, coils, *size)) * np.float32(10.0) ** np.arange(slices)[:, None, None, None]
    return Volume(VolumeInfo("volume.h5", slices, coils, *size), tuple(range(slices)), kspace.astype("complex64"))


def make_mask(rng, width=13, height=1):
    mask = rng.random((height, width)) < 0.6
    mask[:, width // 2 - 2 : width // 2 + 2] = True
    return mask.astype("float32")


def make_pdnet(cls=PDNet):
    keras.utils.set_random_seed(1)
    model = cls(num_iterations=1, num_primal=2, num_dual=2, num_filters=4, physics=Cartesian(center_fraction=0.4))
    model.build()
    return model


@pytest.mark.parametrize("scaling", [ConstantScaling(1e6), PercentileScaling(90)])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_zero_filled_is_the_inverse_transform_in_the_units_of_the_volume(rng, scaling, batch_size):
    volume, mask = make_volume(rng), make_mask(rng)
    image = reconstruct(SimpleNamespace(model=ZeroFilled(), scaling=scaling), volume, mask, batch_size)
    expected = np.conj(fft_reference(np.conj(volume.kspace[:, 0] * mask)))
    assert image.dtype == np.complex64
    for slice_image, slice_expected in zip(image, expected, strict=True):
        assert relative_error(slice_image, slice_expected) < 1e-6


@pytest.mark.parametrize("coils, mask_height", [(1, 1), (3, 15)])
def test_model_sees_each_slice_masked_and_scaled(rng, coils, mask_height):
    volume, mask, model = make_volume(rng, coils=coils), make_mask(rng, height=mask_height), make_pdnet()
    scaling = PercentileScaling(90)
    image = reconstruct(SimpleNamespace(model=model, scaling=scaling), volume, mask)
    assert image.shape == (3, 15, 13)
    for kspace, slice_image in zip(volume.kspace * mask, image, strict=True):
        factor = np.float32(scaling(kspace))
        expected = model({"kspace": factor * kspace[None], "mask": mask[None, None]})
        assert relative_error(slice_image, keras.ops.convert_to_numpy(expected)[0] / factor) < 1e-5


def test_batches_give_what_single_slices_give(rng):
    volume, mask = make_volume(rng, slices=5, coils=2), make_mask(rng)
    preset = SimpleNamespace(model=make_pdnet(), scaling=PercentileScaling(90))
    expected = reconstruct(preset, volume, mask)
    for batch_size in (2, 5, 7):
        for slice_image, slice_expected in zip(reconstruct(preset, volume, mask, batch_size), expected, strict=True):
            assert relative_error(slice_image, slice_expected) < 1e-5


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles each shape, PyTorch none")
def test_varying_sizes_soon_trace_the_model_no_more(rng):
    traces = []

    class Counting(PDNet):
        def call(self, batch):
            traces.append(batch["kspace"].shape)
            return super().call(batch)

    preset = SimpleNamespace(model=make_pdnet(Counting), scaling=ConstantScaling())
    traces.clear()
    for size in [(15, 13), (21, 13), (14, 18), (30, 25), (17, 31)]:
        volume = make_volume(rng, size=size, slices=2)
        mask = make_mask(rng, size[1])
        image = reconstruct(preset, volume, mask)
        expected = preset.model({"kspace": volume.kspace * mask, "mask": np.stack([mask[None]] * 2)})
        assert relative_error(image, keras.ops.convert_to_numpy(expected)) < 1e-5
        traces.pop()  # the line above calls the model itself
    assert len(traces) == 3, traces  # any size, any height, any height and width


def test_bad_arguments_are_named(rng):
    preset = SimpleNamespace(model=ZeroFilled(), scaling=ConstantScaling())
    volume = make_volume(rng)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number >= 1, got 0"):
        reconstruct(preset, volume, make_mask(rng), batch_size=0)
    with pytest.raises(ValueError, match=r"mask of shape \(1, 14\)"):
        reconstruct(preset, volume, make_mask(rng, 14))
    with pytest.raises(DataError, match="volume.h5: no slices"):
        reconstruct(preset, make_volume(rng, slices=0), make_mask(rng))


def numpy_cg(normal, right, steps=10, weight=0.01):
    """So many steps of conjugate gradients for (normal + weight) x = right, from zero."""
    x, residual = np.zeros_like(right), right
    direction, energy = residual, np.vdot(residual, residual).real
    for _ in range(steps):
        image = normal @ direction + weight * direction
        step = energy / np.vdot(direction, image).real
        x, residual = x + step * direction, residual - step * image
        energy, before = np.vdot(residual, residual).real, energy
        direction = residual + energy / before * direction
    return x


@pytest.mark.parametrize("kind", ["mask", "trajectory", "trajectory in space"])
def test_cg_sense_by_name_is_conjugate_gradients_on_any_sampling(rng, kind):
    """Against explicit matrices and maps, in the units of the volume."""
    preset = load_preset("cg-sense")
    size = (6, 9, 8) if kind == "trajectory in space" else (27, 26)
    coils, pixels = 1 if len(size) == 3 else 2, int(np.prod(size))
    if kind == "mask":
        volume, sampled = make_volume(rng, slices=1, coils=coils, size=size), make_mask(rng, size[-1])
        volume = dataclasses.replace(volume, kspace=1e-4 * volume.kspace)
        model = preset.model
        batch = {"kspace": volume.kspace * sampled, "mask": sampled[None, None]}
        maps = keras.ops.convert_to_numpy(model.physics.complete(batch)["sensitivity_maps"])[0]
        rows = np.flatnonzero(np.broadcast_to(sampled, size).ravel())
        fourier = fft_reference(np.eye(pixels, dtype=complex).reshape(-1, *size)).reshape(pixels, pixels).T[rows]
        density, samples = np.ones(len(rows)), volume.kspace[0].reshape(coils, -1)[:, rows]
    else:
        trajectory = rng.uniform(-np.pi, np.pi, (3 * pixels, len(size))).astype("float32")
        trajectory[::20] *= 0.02  # the centre, from where maps are estimated
        info = VolumeInfo(
            *("v.h5", 1, coils, *size[-2:]), trajectory=trajectory, depth=size[0] if len(size) == 3 else None
        )
        samples = random_complex(rng, (coils, len(trajectory)))
        volume, sampled = Volume(info, (0,), samples[None]), make_encoding(trajectory, size, gain=1)
        model = fitting_model(preset, len(size))
        batch = {key: value[None] for key, value in sampled.inputs(samples).items()}
        completed = model.physics.complete(batch)
        maps = np.ones((1, *size)) if coils == 1 else keras.ops.convert_to_numpy(completed["sensitivity_maps"])[0]
        positions = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in size), indexing="ij"), -1).reshape(
            -1, len(size)
        )
        fourier, density = np.exp(-1j * trajectory @ positions.T) / np.sqrt(pixels), sampled.density
    encoding = [fourier * coil.ravel() for coil in maps]
    adjoints = [matrix.conj().T * density for matrix in encoding]
    normal = sum(adjoint @ matrix for adjoint, matrix in zip(adjoints, encoding, strict=True))
    right = sum(adjoint @ y for adjoint, y in zip(adjoints, samples, strict=True))
    image = reconstruct(preset, volume, sampled)
    assert relative_error(image.ravel(), numpy_cg(normal, right)) < 1e-3


def test_cg_sense_equals_that_of_sigpy(rng):
    app = pytest.importorskip("sigpy.mri.app", reason="sigpy is not installed")
    volume, mask = make_volume(rng, slices=1, coils=4, size=(27, 26)), make_mask(rng, 26)
    preset = load_preset("cg-sense")
    batch = {"kspace": volume.kspace * mask, "mask": mask[None, None]}
    maps = keras.ops.convert_to_numpy(preset.model.physics.complete(batch)["sensitivity_maps"])[0]
    weights = np.broadcast_to(mask, volume.kspace.shape[1:])
    theirs = app.SenseRecon(volume.kspace[0] * mask, maps, 0.01, weights, max_iter=10, show_pbar=False).run()
    assert relative_error(reconstruct(preset, volume, mask)[0], theirs) < 1e-3


def test_maps_of_any_phase_give_a_presets_network_the_same_image(rng):
    preset = load_preset("pdnet-brain-demo-multicoil-af4")
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    image = (x**2 + y**2 < 0.6) * np.exp(2j * x - 1j * y)
    coils = np.stack([np.exp(-((x - a) ** 2) + 1j * a * y) for a in (-1, 0, 1)])
    batch = {"kspace": fft_reference(coils * image)[None].astype("complex64"), "mask": np.ones((1, 1, 1, 48), "f4")}
    maps = np.asarray(preset.model.physics.estimate_maps(batch))
    others = (maps * np.exp(1j * rng.uniform(-3, 3, (48, 48)))).astype("complex64")
    expected = np.abs(preset.model.predict_on_batch(batch))
    assert relative_error(np.abs(preset.model.predict_on_batch({**batch, "sensitivity_maps": others})), expected) < 1e-3


def test_a_preset_of_magnitudes_sees_no_phase():
    preset = load_preset("pdnet-brain-demo-af4")
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    image = np.clip(1.2 - x**2 - y**2, 0, 1)
    mask = np.ones((1, 1, 1, 128), "float32")
    shown = []
    for phase in (0, 1 + x - 0.5 * y**2):
        kspace = fft_reference(image * np.exp(1j * phase))[None, None].astype("complex64")
        shown.append(np.abs(preset.model.predict_on_batch({"kspace": kspace, "mask": mask})))
    errors = [np.linalg.norm(found - image) / np.linalg.norm(image) for found in shown]
    assert max(errors) < 0.15  # as given, the second image has an error above 0.5
