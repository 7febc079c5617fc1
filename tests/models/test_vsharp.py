import direct_formulas
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire, acquire_frames, direct_batches, fft_reference, random_complex, relative_error
from keras import ops

from mri_zoo import import_checkpoint
from mri_zoo.data.fourier import ifft2c
from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.models import VSHARP, VSHARP3D, RefinedMaps
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.gridded import Gridded
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.presets.importers import find_architecture
from mri_zoo.presets.importers.checkpoint import Checkpoint

SMALL = {"num_iterations": 2, "num_gradient_steps": 2, "initializer_filters": (3,), "initializer_dilations": (2,)}


def small_3d(**options):
    return VSHARP3D(InstanceUNet(2, 2, 1, dimensions=3), **SMALL, **options)


def test_published_numbers_of_parameters():
    """One iteration is built, to save time; the others have as many weights."""
    published, one = VSHARP(), VSHARP(num_iterations=1)
    of_maps = InstanceUNet(2, 16)
    of_maps.build((None, None, None, 2))
    one.build()
    total = one.count_params() + 11 * (one.denoisers[0].count_params() + 1)
    assert total == 93_156_273
    assert total + of_maps.count_params() == 95_095_539
    volumes = VSHARP3D(num_iterations=1)
    volumes.build()
    assert volumes.count_params() + 7 * (volumes.denoisers[0].count_params() + 1) == 180_805_665
    assert len(published.denoisers) == 12 and {net.num_filters for net in published.denoisers} == {32}


@pytest.mark.parametrize(
    "case, activation, parameters",
    [
        # The denoisers of DIRECT share a slope, ours have one each.
        ("vsharp2d_conv", 0.01, 3_833 + 1),
        ("vsharp2d_normunet", 0.01, 16_472),
        ("vsharp2d_resnet", 0.01, 10_380),
        ("vsharp2d_unet_auxall", "prelu", 92_314),
        ("vsharp2d_unet_lastonly", "relu", 244_312),
        ("vsharp3d", "prelu", 27_091),
    ],
)
def test_equals_the_recorded_network(reference, case, activation, parameters):
    folder = reference / "pytorch" / f"direct_{case}"
    architecture = "VSHARP3D" if case == "vsharp3d" else "VSHARP"
    config = {} if activation == "prelu" else {"initializer_activation": activation}
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", architecture, config)
    assert model.initializer.activation == activation
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == parameters
    for batch, outputs in direct_batches(folder / "io.npz"):
        images = model.steps(batch)
        recorded = {i: outputs[f"output_step{i}"] for i in range(len(images)) if f"output_step{i}" in outputs}
        assert len(images) - 1 in recorded
        for i, expected in recorded.items():
            assert relative_error(images[i], expected) < 1e-5
        np.testing.assert_array_equal(model(batch), images[-1])


def test_equals_direct_with_its_network_for_the_maps(reference):
    pytest.importorskip("torch")
    folder = reference / "pytorch" / "direct_jssl_engine_vsharp"
    model = import_checkpoint(folder / "model_7.pt", "direct", "VSHARP")  # a checkpoint of a training
    assert isinstance(model, RefinedMaps) and model.count_params() == 30_612
    with np.load(folder / "io.npz") as io:
        batch = {"kspace": io["masked_kspace"], "mask": io["sampling_mask"][..., 0].astype("float32")}
        batch["sensitivity_maps"] = io["sensitivity_map"]
        assert relative_error(model.sensitivity_maps(batch), io["jssl_eval_sensitivity_map"]) < 1e-5
        # The recorded image is by 6e-6 off the one in double precision.
        assert relative_error(np.abs(model(batch)), io["jssl_eval_output_image"]) < 3e-5
    assert len(model.steps(batch)) == 3


def test_what_an_activation_without_weights_was_is_asked_for(reference):
    path = reference / "pytorch" / "direct_vsharp2d_unet_lastonly" / "checkpoint.safetensors"
    with pytest.raises(ValueError, match="does not tell `initializer_activation`"):
        import_checkpoint(path, "direct", "VSHARP")


def test_without_a_penalty_it_descends_the_gradient(rng):
    model, (batch, _) = VSHARP(ConvNet(2, 3, 1), **SMALL), acquire(rng, coils=3, maps=True)
    model.build()
    for output in model.initializer.outputs:
        output.set_weights([0 * weight for weight in output.get_weights()])  # a PReLU of zero is zero
    model.penalties.assign([1e-20, 1e-20])
    model.step_sizes.assign([0.5, 0.8])
    maps, mask, measured = batch["sensitivity_maps"], batch["mask"], batch["kspace"]
    image = np.sum(maps.conj() * ifft2c(measured), axis=1)
    for step_size in (0.5, 0.8, 0.5, 0.8):
        residual = mask * fft_reference(maps * image[:, None]) - measured
        image = image - step_size * np.sum(maps.conj() * ifft2c(residual), axis=1)
    assert relative_error(model(batch), image) < 1e-5


def test_runs_on_other_acquisitions_as_it_is(rng):
    """All positions of the grid, as samples of a trajectory."""
    batch, _ = acquire(rng, coils=2, maps=True)
    full = {**batch, "mask": np.ones_like(batch["mask"]), "kspace": random_complex(rng, batch["kspace"].shape)}
    grid = np.meshgrid(*(2 * np.pi * (np.arange(n) - n // 2) / n for n in (15, 13)), indexing="ij")
    samples = {
        "kspace": full["kspace"].reshape(2, 2, -1),
        "trajectory": np.stack(grid, axis=-1).reshape(1, -1, 2).astype("float32"),
        "density": np.ones((1, 15 * 13), "float32"),
        "sensitivity_maps": full["sensitivity_maps"],
    }
    cartesian = VSHARP(ConvNet(2, 3, 1), **SMALL)
    other = VSHARP(ConvNet(2, 3, 1), **SMALL, physics=NonCartesian((15, 13)))
    cartesian.build()
    other.build()
    other.set_weights(cartesian.get_weights())
    assert relative_error(other(samples), cartesian(full)) < 1e-4


def test_denoisers_that_are_computed_again_give_the_same_gradients(rng, monkeypatch):
    """As the docstring shows it."""
    calls, call = [], ConvNet.call
    monkeypatch.setattr(ConvNet, "call", lambda self, x: calls.append(self.name) or call(self, x))
    with keras.RematScope("list_of_layers", layer_names=["denoiser"]):
        recomputed = VSHARP(ConvNet(2, 3, 1, name="denoiser"), **SMALL)
    plain, (batch, image) = VSHARP(ConvNet(2, 3, 1), **SMALL), acquire(rng, coils=2, maps=True)
    gradients = []
    for model, number in ((plain, 2), (recomputed, 4)):
        model.build()
        model.set_weights(plain.get_weights())
        calls.clear()
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.abs(model(batch) - image))
        gradients.append(tape.gradient(loss, model.trainable_variables))
        assert len(calls) == number
    for found, expected in zip(*gradients, strict=True):
        assert relative_error(found, expected) < 1e-5


def test_first_step_sizes_and_penalties_are_positive():
    keras.utils.set_random_seed(0)
    model = VSHARP(ConvNet(2, 3, 1), 500, 500, shared=True)
    for weight, deviation in ((model.step_sizes, 1), (model.penalties, 0.1)):
        values = np.asarray(weight)
        assert 0 <= values.min() and values.max() <= 2
        assert np.mean(values) == pytest.approx(deviation * np.sqrt(2 / np.pi), rel=0.15)


def test_frames_of_different_sizes_and_one_mask(rng):
    model = small_3d()
    for frames, coils, size in [(1, 2, (15, 13)), (5, 3, (12, 17))]:
        batch, image = acquire_frames(rng, size, frames, coils=coils, maps=True)
        batch["mask"] = batch["mask"][:, :, :1]
        found = model.predict(batch, verbose=0)
        assert found.dtype == np.complex64 and found.shape == image.shape
        assert relative_error(found, model({**batch, "mask": np.repeat(batch["mask"], frames, axis=2)})) < 1e-5


def test_maps_of_frames_are_refined_one_by_one(rng):
    refiner = SensitivityRefiner(ComplexNet(InstanceUNet(2, 2, 2), residual=False))
    model, (batch, _) = RefinedMaps(small_3d(), refiner), acquire_frames(rng, frames=3, coils=2, maps=True)
    model.build()
    assert model(batch).shape == (2, 3, 15, 13)
    maps = np.asarray(model.sensitivity_maps(batch))
    assert relative_error(maps[:, :, 1], model.refiner(batch["sensitivity_maps"][:, :, 1])) < 1e-5


def test_a_volume_may_have_three_fourier_axes(rng):
    model = small_3d(physics=Cartesian(dimensions=3))
    model.build()
    batch, image = acquire(rng, (6, 15, 13), coils=2, maps=True)
    found = model(batch)
    assert found.shape == image.shape
    other = {**batch, "kspace": batch["kspace"] + random_complex(rng, batch["kspace"].shape)}
    assert relative_error(model(other), found) > 1e-3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"num_iterations": 2.0}, "`num_iterations` must be a whole number >= 1, got 2.0"),
        ({"num_gradient_steps": 0}, "`num_gradient_steps` must be a whole number >= 1, got 0"),
        ({"denoiser": ConvNet(6)}, "`denoiser` must have 2 outputs, got 6"),
        ({"denoiser": ConvNet(2, dimensions=3)}, "`denoiser` must have 2 dimensions, got 3"),
        ({"denoiser": "unet"}, "`denoiser` must be a Keras layer, got 'unet'"),
        (
            {"initializer_filters": (32, 32, 64, 6.5)},
            r"`num_filters` must be whole numbers >= 1, got \(32, 32, 64, 6.5\)",
        ),
        ({"initializer_dilations": (1, 2)}, "`dilations` must be as many as `num_filters`"),
        ({"initializer_scales": 5}, "`num_scales` must be a whole number from 1 to 4, got 5"),
        ({"initializer_scales": 1.0}, "`num_scales` must be a whole number from 1 to 4, got 1.0"),
        (
            {"physics": NonCartesian(dimensions=3)},
            "networks of VSHARP have 2 dimensions, `physics` is NonCartesian in 3",
        ),
        ({"physics": Cartesian(dimensions=3)}, "networks of VSHARP have 2 dimensions, `physics` is Cartesian in 3"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VSHARP(**arguments)


def test_in_three_dimensions_other_arguments_are_refused():
    for physics in (NonCartesian(), Gridded()):  # frames along trajectories are not supported
        with pytest.raises(ValueError, match=f"VSHARP3D have 3 dimensions, `physics` is {type(physics).__name__} in 2"):
            small_3d(physics=physics)
    with pytest.raises(ValueError, match="`denoiser` must have 3 dimensions, got 2"):
        VSHARP3D(InstanceUNet(2, 2, 1))
    assert small_3d(physics=NonCartesian(dimensions=3)).physics.dimensions == 3


@pytest.mark.parametrize("start, theirs", [("adjoint", "sense"), ("coil_sum", "zero_filled")])
def test_image_of_the_start_equals_the_formulas_of_direct(reference, start, theirs):
    folder = reference / "pytorch" / "direct_jssl_engine_vsharp"
    model = import_checkpoint(folder / "model_7.pt", "direct", "VSHARP", {"start": start})
    checkpoint = Checkpoint(folder / "model_7.pt")
    direct = direct_formulas.Direct(find_architecture("direct", "VSHARP").select(checkpoint.arrays))
    with np.load(folder / "io.npz") as io:
        batch = {"kspace": io["masked_kspace"], "mask": io["sampling_mask"][..., 0].astype("float32")}
        batch["sensitivity_maps"] = io["sensitivity_map"]
    kspace, mask, maps = (direct_formulas.double(batch[key]) for key in ("kspace", "mask", "sensitivity_maps"))
    expected = direct.vsharp(kspace, mask, direct.refined(maps), theirs)
    for image, other in zip(model.steps(batch), expected, strict=True):
        assert relative_error(image, other.detach()) < 2e-5
    assert model.model.get_config()["start"] == start
    with pytest.raises(ValueError, match='`start` must be "adjoint" or "coil_sum", got \'zeros\''):
        VSHARP(start="zeros", **SMALL)
