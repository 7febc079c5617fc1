import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import JOINT_LOSSES, acquire, center, fft_reference, random_complex, relative_error

from mri_zoo.data.fourier import ifft2c, root_sum_of_squares
from mri_zoo.data.masks import RandomMask
from mri_zoo.data.preparation import ConstantScaling, prepare_partitions
from mri_zoo.data.splits import GaussianSplit, HalfSplit
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.losses import SSIM, DualDomainLoss, kspace_nmse
from mri_zoo.models import VSHARP, VSHARP3D, DataConsistent, PDNet, RefinedMaps, VarNet, ZeroFilled
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import estimate_sensitivity_maps
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.training.self_supervised import JointTraining, step_weights

SIZE = (15, 13)
TESTS = Path(__file__).parent.parent


def partition(rng, coils=1, self_supervised=(1, 1), maps=False):
    """A batch with targets, and the image that it comes from."""
    batch, image = acquire(rng, SIZE, coils, maps, batch_size=len(self_supervised))
    sensitivities = batch.get("sensitivity_maps", np.ones((1, 1, 1, 1)))
    full = fft_reference(sensitivities * image[:, None]).astype("complex64") if maps or coils == 1 else batch["kspace"]
    moved = np.broadcast_to(batch["mask"], (len(image), 1, *SIZE)) * (rng.random((len(image), 1, *SIZE)) < 0.4)
    flags = np.array(self_supervised, "float32").reshape(-1, 1, 1, 1)
    moved = moved.astype("float32") * flags
    batch |= {"mask": batch["mask"] - moved, "kspace": batch["kspace"] * (1 - moved)}
    batch |= {"target_mask": np.where(flags > 0, moved, 1).astype("float32"), "self_supervised": flags[:, 0, 0, 0]}
    batch["target_kspace"] = full * batch["target_mask"]
    target = np.stack([root_sum_of_squares(ifft2c(samples)) for samples in batch["target_kspace"]])
    return batch, target


@pytest.mark.parametrize("consistent", [True, False])
def test_each_sample_of_a_batch_is_judged_by_its_own_kind(rng, consistent):
    """The definition of the loss in NumPy, on a batch of one self-supervised and one supervised sample."""
    batch, target = partition(rng, 3, (1, 0), maps=True)
    network = DataConsistent(ZeroFilled()) if consistent else ZeroFilled()
    model = JointTraining(network)
    loss = DualDomainLoss([(3.0, keras.losses.MeanAbsoluteError())], [(5.0, kspace_nmse)])
    model.compile(loss=loss, metrics=["mae"])
    value, error = model.evaluate(batch, center(target, (9, 7)), batch_size=2, verbose=0)

    maps = batch["sensitivity_maps"]
    image = np.sum(np.conj(maps) * ifft2c(batch["kspace"]), 1)
    kspace = (1 - batch["mask"]) * fft_reference(maps * image[:, None]) + batch["kspace"]
    kspace = kspace * batch["target_mask"]
    projected = np.sum(np.conj(maps) * ifft2c(kspace), 1)
    judged = np.stack([projected[0], projected[1] if consistent else image[1]])
    l1 = np.mean(np.abs(np.abs(center(judged, (9, 7))) - center(target, (9, 7))))
    nmse = np.sum(np.abs(kspace - batch["target_kspace"]) ** 2) / np.sum(np.abs(batch["target_kspace"]) ** 2)
    assert value == pytest.approx(3 * l1 + 5 * nmse, rel=1e-4)
    assert error == pytest.approx(l1, rel=1e-4)


class Steps(ZeroFilled):
    """Three images, the adjoint times 1, 2 and 3."""

    def steps(self, batch):
        return [self(batch) * factor for factor in (1, 2, 3)]


@pytest.mark.parametrize("every_step", [True, False])
def test_every_step_counts_with_its_weight(rng, every_step):
    batch, target = partition(rng)
    expected, weights = 0, [0.1, 10**-0.5, 1.0]
    for i, weight in enumerate(weights):
        model = JointTraining(Steps())
        for part in (JOINT_LOSSES["l1_loss"], JOINT_LOSSES["kspace_nmse_loss"]):
            model.compile(loss=part)
            prediction = {"images": [ZeroFilled()(batch) * (i + 1)]}
            if every_step or i == 2 or part is JOINT_LOSSES["l1_loss"]:
                expected += weight * float(model.compute_loss(batch, target, prediction))
    model.compile(
        loss=DualDomainLoss(
            JOINT_LOSSES["l1_loss"].image, JOINT_LOSSES["kspace_nmse_loss"].kspace, every_step=every_step
        )
    )
    assert model.evaluate(batch, target, verbose=0) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(step_weights(3), weights, rtol=1e-6)
    assert step_weights(1) == [1.0] and len(step_weights(12)) == 12


@pytest.mark.parametrize("physics", [Cartesian(), Cartesian(dimensions=3)])
def test_frames_and_volumes_are_trained_with_the_default_loss(rng, physics):
    parts = [partition(rng, 2, (1, 0), maps=True) for _ in range(3)]
    batch = {key: np.stack([part[key] for part, _ in parts], axis=2) for key in parts[0][0] if key != "self_supervised"}
    batch["self_supervised"], target = parts[0][0]["self_supervised"], np.stack([image for _, image in parts], axis=1)
    options = {"num_gradient_steps": 1, "initializer_filters": (3,), "initializer_dilations": (1,)}
    network = VSHARP3D(InstanceUNet(2, 2, 1, dimensions=3), num_iterations=1, physics=physics, **options)
    model = JointTraining(network)
    model.compile(keras.optimizers.Adam(0.01), DualDomainLoss())
    values = model.fit(batch, target, batch_size=2, epochs=4, verbose=0).history["loss"]
    assert np.all(np.isfinite(values)) and values[-1] < values[0]
    measured = {key: batch[key] for key in ("kspace", "mask", "sensitivity_maps")}
    assert model.evaluate(measured, target, verbose=0) > 0  # validation is by the image


def regularised():
    denoiser = keras.layers.Conv2D(2, 3, padding="same", kernel_regularizer="l2", activity_regularizer="l1")
    options = {"initializer_filters": (3,), "initializer_dilations": (1,)}
    return VSHARP(denoiser, num_iterations=1, num_gradient_steps=1, **options)


def test_what_layers_add_to_the_loss_is_added(rng):
    batch, target = partition(rng)
    model = JointTraining(regularised())
    model.compile(loss=JOINT_LOSSES["l1_loss"])
    value = model.evaluate(batch, target, verbose=0)
    prediction = model(batch)
    added = [float(loss) for loss in model.losses]
    l1 = 2 * np.mean(np.abs(np.abs(model._predicted(batch, prediction, 0)[1]) - target))
    assert len(added) == 2 and min(added) > 0.01 * l1
    assert value == pytest.approx(l1 + sum(added), rel=1e-5)


TWO_DEVICES = """
import json, sys
import keras, numpy as np, tensorflow as tf
from test_self_supervised import JOINT_LOSSES, JointTraining, partition, regularised
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
data = tf.data.Dataset.from_tensor_slices(partition(np.random.default_rng(0))).batch(2, drop_remainder=True).repeat()
losses = []
for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(devices).scope():
        model = JointTraining(regularised())
        model.build()
        model.compile(keras.optimizers.SGD(0.1), JOINT_LOSSES["l1_loss"])  # unlike Adam it shows a wrong scale
    losses.append(model.fit(data, epochs=3, steps_per_epoch=1, verbose=0).history["loss"])
print(json.dumps(losses))
"""


def test_two_devices_train_as_one(tmp_path):
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS, Path(__file__).parent)))
    run = [sys.executable, "-c", TWO_DEVICES]
    finished = subprocess.run(run, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr[-3000:]
    one, two = json.loads(finished.stdout.splitlines()[-1])
    np.testing.assert_allclose(two, one, rtol=1e-5)
    assert one[-1] < one[0]


def test_maps_come_from_all_samples_of_a_partition_and_the_input_of_others(rng):
    batch, _ = partition(rng, 3, (1, 0))
    refined = RefinedMaps(ZeroFilled(), keras.layers.Identity())
    maps = JointTraining(refined)._maps(batch)["sensitivity_maps"]
    samples = batch["kspace"] + batch["target_kspace"] * np.array([1, 0]).reshape(2, 1, 1, 1)
    mask = batch["mask"] + batch["target_mask"] * np.array([1, 0]).reshape(2, 1, 1, 1)
    expected = refined.sensitivity_maps({"kspace": samples.astype("complex64"), "mask": mask.astype("float32")})
    assert relative_error(maps, expected) < 1e-6
    assert JointTraining(ZeroFilled())._maps(partition(rng)[0]) == {}


@pytest.mark.parametrize(
    "split", [GaussianSplit(0.5, 2), GaussianSplit(0.5, shared_center=True), HalfSplit(shared_center=True)]
)
def test_maps_of_a_partition_are_those_of_all_samples(rng, split):
    kspace = random_complex(rng, (3, 39, 45))
    mask = RandomMask(4, 0.06)(39, 45, seed=1)
    parts = prepare_partitions(kspace, np.zeros((39, 45), "float32"), mask, split, ConstantScaling(1.0), seed=3)
    names = ("kspace", "mask", "target_kspace", "target_mask", "self_supervised")
    physics = Cartesian(center_fraction=0.4)
    found = JointTraining(PDNet(1, physics=physics))._maps(dict(zip(names, parts, strict=False)))
    expected = estimate_sensitivity_maps((kspace * mask)[None], physics.center_fraction)
    np.testing.assert_array_equal(found["sensitivity_maps"], expected)


@pytest.mark.parametrize("coils", [1, 3])
def test_data_consistent_output_keeps_the_samples(rng, coils):
    batch, image = acquire(rng, SIZE, coils, maps=True)
    maps = batch["sensitivity_maps"]
    expected = batch["kspace"] + (1 - batch["mask"]) * fft_reference(maps * np.asarray(ZeroFilled()(batch))[:, None])
    expected = np.sum(np.conj(maps) * ifft2c(expected), 1)
    found = DataConsistent(ZeroFilled()).predict(batch, verbose=0)
    assert relative_error(found, expected) < 1e-5 and found.dtype == np.complex64
    refined = RefinedMaps(ZeroFilled(), keras.layers.Identity(), sigma=None)
    model = DataConsistent(refined)
    given = {**batch, "sensitivity_maps": refined.sensitivity_maps(batch)}
    assert relative_error(model(batch), DataConsistent(ZeroFilled())(given)) < 1e-5


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("wrapper", [DataConsistent, JointTraining])
def test_saved_model_gives_equal_outputs(rng, tmp_path, wrapper):
    batch, _ = acquire(rng, SIZE, 2)
    network = PDNet(num_iterations=1, num_filters=4, num_primal=2, primal_only=True)
    refiner = SensitivityRefiner(ComplexNet(InstanceUNet(2, 4, 1), residual=False))
    model = wrapper(RefinedMaps(network, refiner))
    expected = model(batch)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy(batch), expected)
    assert copy.get_config() == model.get_config() and len(copy.weights) == len(model.weights) > 10


def test_loss_survives_serialisation(rng):
    loss = DualDomainLoss([(2.0, SSIM("batch"))], [(0.5, kspace_nmse)], every_step=False)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config() and again.every_step is False
    images = rng.random((2, 2, 15, 13)).astype("float32")
    np.testing.assert_allclose(again(*images), 2 * SSIM("batch")(*images), rtol=1e-6)
    kspace = images[0] + 1j * images[1]
    assert float(again.of_kspace(kspace, 2 * kspace)) == pytest.approx(0.5, rel=1e-5)


def test_what_cannot_be_trained_so_is_refused(rng):
    with pytest.raises(ValueError, match="This VarNet has a network of its own for the sensitivity maps"):
        JointTraining(VarNet(1, 4, 2, 4, 2))
    with pytest.raises(ValueError, match="DataConsistent needs k-space on a grid"):
        DataConsistent(VarNet(1, 4, 2, refiner_filters=None, physics=NonCartesian()))
    with pytest.raises(ValueError, match="`model` must be a ReconstructionModel, got None"):
        DataConsistent(None)
    with pytest.raises(ValueError, match="weights >= 0, got the weights \\[-1"):
        DualDomainLoss([(-1, SSIM())], [])
    with pytest.raises(ValueError, match="`network` must be a ReconstructionModel, got None"):
        JointTraining(None)
    model = JointTraining(PDNet(num_iterations=1, num_filters=4, num_primal=2, primal_only=True))
    batch, target = partition(rng)
    model.compile("adam", "mae")
    with pytest.raises(ValueError, match="needs a `DualDomainLoss`, got the loss 'mae'"):
        model.train_on_batch(batch, target)
    model.compile("adam", DualDomainLoss())
    with pytest.raises(ValueError, match="takes no `sample_weight`"):
        model.compute_loss(batch, target, model(batch), sample_weight=np.ones(2))
    batch, image = acquire(rng, SIZE)
    with pytest.raises(ValueError, match="needs `target_kspace` in the batch.* The batch has kspace, mask"):
        model.fit(batch, np.abs(image), verbose=0)
    assert model.evaluate(batch, np.abs(image), verbose=0) > 0  # validation is by the image
    batch, _ = partition(rng, 3, maps=True)
    for key in ("target_kspace", "sensitivity_maps"):
        with pytest.raises(ValueError, match=rf"(?s)(same coils|`{key}` must).*\(2, 2, 15, 13\)"):
            model({**batch, key: batch[key][:, :2]})
    for key in ("target_mask", "self_supervised"):
        rest = {name: value for name, value in batch.items() if name != key}
        with pytest.raises(ValueError, match=f"with `target_kspace` needs `{key}`. The batch has {', '.join(rest)}"):
            model(rest)
    for mask in (batch["target_mask"][:, 0], batch["target_mask"][..., 1:], np.ones((2, 3, *SIZE), "float32")):
        for key in ("mask", "target_mask"):
            with pytest.raises(ValueError, match=rf"`{key}` must have .* got .*{re.escape(str(mask.shape))}"):
                model({**batch, key: mask})


def test_a_network_whose_sizes_are_open_refuses_other_coils_too(rng):
    """Two trainings with other numbers of coils, and TensorFlow's graph leaves them open."""
    model = JointTraining(PDNet(num_iterations=1, num_filters=4, num_primal=2, primal_only=True))
    model.compile("adam", DualDomainLoss())
    for coils in (2, 3, 2):
        batch, target = partition(rng, coils, maps=True)
        model.fit(batch, target, verbose=0)
    for use in (model.fit, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"same coils and size, got .* `target_kspace` of shape \(2, 1, 15, 13\)"):
            use({**batch, "target_kspace": batch["target_kspace"][:, :1]}, target)
