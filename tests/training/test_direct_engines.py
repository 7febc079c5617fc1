"""Training steps of DIRECT's engines: losses, images and gradients."""

import json

import direct_formulas
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from helpers import JOINT_LOSSES, center, direct_batches, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.data.fourier import ifft2c, root_sum_of_squares
from mri_zoo.losses import DualDomainLoss
from mri_zoo.models import DataConsistent
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.models.data_consistent import reconstruction_of
from mri_zoo.presets.importers import find_architecture
from mri_zoo.presets.importers.checkpoint import Checkpoint, channels_last
from mri_zoo.training.self_supervised import JointTraining


def recorded_batch(folder, partitioned):
    """The batch of a recorded training step, its target image, and the recording."""
    recording = {}
    for name in ("io", "training"):
        with np.load(folder / f"{name}.npz") as arrays:
            recording |= dict(arrays)
    recording["about"] = json.loads(recording["about"].item())
    names = "sampling_mask", "target_sampling_mask"
    mask, target = (recording[name][..., 0].astype("float32") for name in names)
    full, maps = recording["full_kspace"], recording["sensitivity_map"]
    masks = (mask - target, target) if partitioned else (mask, np.ones_like(mask))
    batch = {"kspace": full * masks[0], "mask": masks[0], "target_kspace": full * masks[1], "target_mask": masks[1]}
    batch |= {"sensitivity_maps": maps, "self_supervised": np.full(len(full), partitioned, "float32")}
    image = np.stack([root_sum_of_squares(ifft2c(samples)) for samples in batch["target_kspace"]])
    return batch, center(image, recording["about"]["reconstruction_size"]), recording


def unet_network(reference, consistent):
    folder = reference / "pytorch" / "direct_jssl_engine_unet"
    arguments = {"residual": False, "combine_coils": True, "data_consistent": consistent}
    return folder, import_checkpoint(folder / "checkpoint.safetensors", "direct", "UNet", arguments)


def vsharp_network(reference, consistent):
    folder = reference / "pytorch" / "direct_jssl_engine_vsharp"
    return folder, import_checkpoint(folder / "model_7.pt", "direct", "VSHARP", {"data_consistent": consistent})


CASES = [
    (vsharp_network, "jssl_train_ssl", True, False, DualDomainLoss()),
    (vsharp_network, "jssl_train_sl", False, False, DualDomainLoss()),
    # The same numbers as of the first.
    pytest.param(vsharp_network, "ssl_train_ssl", True, True, DualDomainLoss(), marks=pytest.mark.slow),
    (vsharp_network, "supervised_train_sl", False, False, DualDomainLoss(every_step=False)),
    (unet_network, "jssl_train_ssl", True, True, DualDomainLoss()),
    (unet_network, "jssl_train_sl", False, True, DualDomainLoss()),
    (unet_network, "supervised_train_sl", False, False, DualDomainLoss(kspace=[])),  # of its plain engine
]


@pytest.mark.parametrize("make, path, partitioned, consistent, whole", CASES)
def test_losses_and_gradients_equal_those_of_direct(reference, monkeypatch, make, path, partitioned, consistent, whole):
    """Losses equal the recorded ones; gradients those of the same network in double precision, with smooth activations.

    The recorded gradients are on one side of each kink of a leaky ReLU, and inputs that differ by 1e-7 are on the other
    side of some, which changes gradients by up to 2 %. Only the formulas in double precision are compared with them.
    """
    folder, network = make(reference, consistent)
    batch, target, recording = recorded_batch(folder, partitioned)
    model = JointTraining(network)
    model.compile(loss=whole)
    prediction = model(batch)
    total = 0
    for name, part in JOINT_LOSSES.items():
        expected = recording[f"{path}_loss_{name}"].item()
        if not whole.kspace and name.startswith("kspace"):
            assert expected == 0
            continue
        model.compile(loss=DualDomainLoss(part.image, part.kspace, whole.every_step))
        value = float(model.compute_loss(batch, target, prediction))
        assert value == pytest.approx(expected, rel=1e-4), name
        total += expected
    image = np.abs(model._predicted(batch, prediction, -1)[1])
    assert relative_error(image, recording[f"{path}_output_image"]) < 1e-4

    names = names_of_weights(network, folder)
    judged = partitioned or consistent, whole
    losses, image, gradients = in_double_precision(folder, batch, target, judged, direct_formulas.leaky_relu)
    assert sum(losses) == pytest.approx(total, rel=1e-5)
    assert relative_error(image, recording[f"{path}_output_image"]) < 3e-5
    assert recorded_gradient_error(gradients, recording, path) < 0.02

    losses, _, gradients = in_double_precision(folder, batch, target, judged, direct_formulas.smooth_leaky_relu)
    weights = network.trainable_variables
    make_smooth(network, monkeypatch)
    model.compile(loss=whole)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, target, model(batch))
    assert float(loss) == pytest.approx(sum(losses), rel=1e-5)
    for name, gradient in zip(names, tape.gradient(loss, weights), strict=True):
        expected = channels_last(gradients[name])
        assert relative_error(np.reshape(gradient, expected.shape), expected) < 2e-4, name


def in_double_precision(folder, batch, target, judged, activation):
    """The losses, the image and the gradients, by the names of the recording, of a recorded step."""
    _, checkpoint = foreign_weights(folder)
    direct = direct_formulas.Direct(checkpoint.arrays, activation)
    batch = {key: direct_formulas.double(array) for key, array in batch.items()}
    (consistent, loss), maps = judged, direct.refined(batch["sensitivity_maps"])
    if "rho" in direct.weights:
        images = direct.vsharp(batch["kspace"], batch["mask"], maps)
    else:
        combined = direct_formulas.combine(direct_formulas.ifft2c(batch["kspace"]), maps)
        images = [direct.norm_unet("unet.unet2d.", combined)]
    outputs = [(image, direct_formulas.expand(image, maps)) for image in images]
    target = direct_formulas.double(target)
    losses, image = direct_formulas.joint_losses(outputs, maps, batch, target, consistent, loss.every_step)
    losses = losses if loss.kspace else losses[:4]
    sum(losses).backward()
    gradients = {recorded_name(name): weight.grad.numpy() for name, weight in direct.weights.items()}
    return [loss.item() for loss in losses], image.detach().numpy(), gradients


def make_smooth(network, monkeypatch):
    """Replace each kink of vSHARP and of U-nets as `smooth_leaky_relu` does."""

    def smooth(x, negative_slope):
        return negative_slope * x + (1 - negative_slope) * keras.ops.softplus(x)

    monkeypatch.setattr(keras.ops, "leaky_relu", smooth)
    initializer = getattr(reconstruction_of(network), "initializer", None)
    if initializer is not None:
        slope = initializer.outputs[0].activation.alpha
        monkeypatch.setattr(initializer.outputs[0], "activation", lambda x: smooth(x, slope))
        for layer in initializer.convolutions:
            monkeypatch.setattr(layer, "activation", keras.ops.softplus)


def foreign_weights(folder):
    """How DIRECT stores the recorded network, and its arrays by their names within the network."""
    (file,) = (path for path in folder.iterdir() if path.suffix in (".pt", ".safetensors"))
    foreign, checkpoint = find_architecture("direct", "VSHARP" if file.suffix == ".pt" else "UNet"), Checkpoint(file)
    checkpoint.arrays = foreign.select(checkpoint.arrays)
    return foreign, checkpoint


def recorded_name(name):
    return name if name.startswith("sensitivity_model.") else f"model.{name}"


def names_of_weights(network, folder):
    """What the recording calls the trainable weights of an imported network, in their order."""
    foreign, checkpoint = foreign_weights(folder)
    names = {id(variable): name for variable, name, _ in foreign.weights(network, checkpoint)}
    return [recorded_name(names[id(weight)]) for weight in network.trainable_variables]


def recorded_gradient_error(gradients, recording, path):
    """The largest error of the recorded gradients and of the recorded norms of all, by the names of their weights."""
    norms = recording["about"]["gradient_norms"][path]
    assert set(gradients) == set(norms)
    errors = [abs(np.linalg.norm(gradients[name]) / norm - 1) for name, norm in norms.items()]
    recorded = {name: recording[f"{path}_grad_{name}"] for name in norms if f"{path}_grad_{name}" in recording}
    assert recorded
    return max(errors + [relative_error(gradients[name], array) for name, array in recorded.items()])


@pytest.mark.parametrize("make, engine", [(vsharp_network, "ssl"), (unet_network, "jssl")])
def test_images_that_keep_their_samples_equal_those_of_direct(reference, make, engine):
    """Equation 16, as an argument of the importer."""
    folder, model = make(reference, True)
    assert isinstance(model, DataConsistent)
    with np.load(folder / "io.npz") as io:
        batch = {"kspace": io["masked_kspace"], "mask": io["sampling_mask"][..., 0].astype("float32")}
        batch["sensitivity_maps"] = io["sensitivity_map"]
        # The recorded image is by 6e-6 off the one in double precision.
        assert relative_error(np.abs(model(batch)), io[f"{engine}_eval_output_image"]) < 3e-5
        assert relative_error(np.abs(model.model(batch)), io[f"{engine}_eval_output_image"]) > 1e-2


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("partitioned", [True, False])
def test_varnet_is_trained_by_the_kspace_of_its_own_coils(reference, monkeypatch, partitioned, consistent):
    """Its engines for SSL and JSSL judge consistent images, the plain one what the network gives."""
    path = reference / "pytorch" / "direct_e2evarnet" / "checkpoint.pt"
    checkpoint, foreign = Checkpoint(path), find_architecture("direct", "VarNet")
    batch, target, _ = recorded_batch(reference / "pytorch" / "direct_jssl_engine_vsharp", partitioned)
    direct = direct_formulas.Direct(checkpoint.arrays, direct_formulas.smooth_leaky_relu)
    tensors = {key: direct_formulas.double(array) for key, array in batch.items()}
    maps, kept = tensors["sensitivity_maps"], partitioned or consistent
    kspace = direct.varnet(tensors["kspace"], tensors["mask"], maps)
    outputs = [(torch.linalg.vector_norm(direct_formulas.ifft2c(kspace), dim=1), kspace)]
    if not kept:
        tensors |= {"kspace": 0 * kspace, "mask": 0 * tensors["mask"]}
    losses, image = direct_formulas.joint_losses(outputs, maps, tensors, direct_formulas.double(target), kept)
    sum(losses).backward()

    network = import_checkpoint(path, "direct", "VarNet", {"data_consistent": consistent})
    model, weights = JointTraining(network), network.trainable_variables
    model.compile(loss=DualDomainLoss())
    make_smooth(network, monkeypatch)
    with tf.GradientTape() as tape:
        prediction = model(batch)
        loss = model.compute_loss(batch, target, prediction)
    assert float(loss) == pytest.approx(sum(losses).item(), rel=1e-5)
    assert relative_error(np.abs(model._predicted(batch, prediction, -1)[1]), image.detach()) < 1e-5
    gradients = {id(weight): x for weight, x in zip(weights, tape.gradient(loss, weights), strict=True)}
    for weight, name, _ in foreign.weights(network, checkpoint):
        gradient, expected = gradients[id(weight)], channels_last(direct.weights[name].grad.numpy())
        if "up_conv.2.1" in name:  # where the importer turns the sign
            expected = -expected
        # Step sizes of where all samples are replaced have no influence.
        size = np.max(np.abs(expected))
        assert np.max(np.abs(gradient - expected.reshape(gradient.shape))) < (2e-4 * size if size else 1e-4), name


@pytest.mark.parametrize(
    "case, architecture", [("direct_e2evarnet", "VarNet"), ("direct_recurrentvarnet", "RecurrentVarNet")]
)
def test_consistent_images_of_networks_of_kspace_equal_those_of_the_recorded_kspace(reference, case, architecture):
    folder = reference / "pytorch" / case
    (path,) = folder.glob("checkpoint.*")
    options = {"initializer_dilations": (1, 1, 2, 4)} if architecture == "RecurrentVarNet" else {}
    model = import_checkpoint(path, "direct", architecture, {"data_consistent": True, **options})
    _, (batch, recorded) = direct_batches(folder / "io.npz")
    kspace = (1 - batch["mask"]) * recorded["output_kspace"] + batch["kspace"]
    expected = np.sum(np.conj(batch["sensitivity_maps"]) * ifft2c(kspace), axis=1)
    assert relative_error(model(batch), expected) < 2e-5
    assert relative_error(DataConsistent(ImageOf(model.model))(batch), expected) > 1e-2


class ImageOf(ReconstructionModel):
    """A network whose coil images are not told."""

    def __init__(self, model):
        super().__init__(physics=model.physics)
        self.model = model

    def call(self, batch):
        return self.model(batch)
