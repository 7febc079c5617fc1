import numpy as np
import pytest
from helpers import acquire, direct_batches, fft_reference, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.data.fourier import ifft2c
from mri_zoo.layers.resnet import PreActivationResNet, ScaledResNet
from mri_zoo.models import MoDL


def test_published_number_of_parameters():
    """Deep J-Sense counts the weight of its maps' update, which MoDL has no use for."""
    model = MoDL()
    model.build()
    assert model.count_params() == 223_746
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 223_745


def test_equals_deep_jsense(reference):
    folder, arguments = reference / "pytorch" / "deepjsense_modl", {"num_iterations": 2, "num_steps": 3}
    arguments["mode"] = "MoDL"
    model = import_checkpoint(folder / "checkpoint.safetensors", "deep-jsense", "MoDL", arguments)
    assert model.order == "network_last" and model.networks[0].num_filters == 8
    assert model.count_params() == 3_778
    with np.load(folder / "io.npz") as io:
        batch = {"kspace": io["ksp"], "mask": io["mask"][:, None], "sensitivity_maps": io["s_maps_cplx"]}
        assert relative_error(model(batch), io["est_img_kernel"]) < 1e-5


def test_equals_conjgradnet_of_direct(reference):
    folder, arguments = reference / "pytorch" / "direct_conjgradnet_resnet", {"num_steps": 5, "start": "adjoint"}
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", "MoDL", arguments)
    expected = {"num_iterations": 2, "shared": False, "order": "network_between", "learned_scale": True}
    assert expected.items() <= model.get_config().items()
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 7_715
    for batch, outputs in direct_batches(folder / "io.npz"):
        assert relative_error(model(batch), outputs["output"]) < 1e-5


@pytest.mark.parametrize(
    "order, expected", [("network_first", "DCDC"), ("network_last", "CDCD"), ("network_between", "CDCDC")]
)
def test_order_of_denoising_and_consistency(rng, monkeypatch, order, expected):
    calls, model = [], MoDL(2, PreActivationResNet(2, 4, 2), order=order)
    model.build()
    monkeypatch.setattr(model, "_consistent", lambda image, adjoint, batch, start=None: calls.append("C") or image)
    monkeypatch.setattr(model, "_denoised", lambda image, i: calls.append("D") or image)
    model(acquire(rng)[0])
    assert "".join(calls) == expected


@pytest.mark.parametrize("start", ["adjoint", "zeros"])
@pytest.mark.parametrize("order", ["network_first", "network_last", "network_between"])
def test_a_consistent_image_stays_when_nothing_is_missing(rng, order, start):
    """Fully sampled, with a vanishing weight, every solution is the image, whatever stood before it."""
    model = MoDL(1, ScaledResNet(2, 4, 1), num_steps=2, order=order, start=start)
    batch, image = acquire(rng, coils=3, maps=True)
    batch = {**batch, "mask": np.ones_like(batch["mask"])}
    batch["kspace"] = np.asarray(model.physics.coil_kspace(image, batch))
    model.build()
    model.weight.assign(0.0)
    if order == "network_last":  # the network has the last word
        model._denoised = lambda image, i: image
    assert relative_error(model(batch), image) < 1e-5


def test_one_network_or_many():
    counts = {}
    for shared in (True, False):
        network = PreActivationResNet(2, 4, 2)
        model = MoDL(3, network, shared=shared)
        model.build()
        assert not network.built  # the model has copies
        counts[shared] = model.count_params() - 2
    assert counts[False] == 3 * counts[True]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"num_steps": 0}, "`num_steps` must be a whole number >= 1, got 0"),
        ({"order": "last"}, "`order` must be \"network_first\", .*, got 'last'"),
        ({"start": "sense"}, '`start` must be "adjoint", "coil_sum" or "zeros", got \'sense\''),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MoDL(**arguments)


@pytest.mark.parametrize("start", ["adjoint", "coil_sum", "zeros"])
def test_first_consistent_image_is_the_solution_for_the_start(rng, monkeypatch, start):
    """Conjugate gradients that converge: (A^H A + w I) x = A^H y + w z, with z the named image."""
    model = MoDL(1, ScaledResNet(2, 4, 1), num_steps=20, order="network_between", start=start)
    batch, _ = acquire(rng, (5, 6), coils=3, maps=True, batch_size=1)
    model.build()
    model.weight.assign(0.5)
    maps, coils = batch["sensitivity_maps"], ifft2c(batch["kspace"])
    adjoint = np.sum(np.conj(maps) * coils, axis=1)
    first = {"adjoint": adjoint, "coil_sum": np.sum(coils, axis=1), "zeros": 0 * adjoint}[start]
    seen = []
    monkeypatch.setattr(model, "_denoised", lambda image, i: seen.append(np.asarray(image)) or image)
    model(batch)
    normal = np.sum(np.conj(maps) * ifft2c(batch["mask"] * fft_reference(maps * seen[0][:, None])), axis=1)
    assert relative_error(normal + 0.5 * seen[0], adjoint + 0.5 * first) < 1e-5
