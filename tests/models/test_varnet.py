import numpy as np
import pytest
from helpers import acquire, direct_batches, fft_reference, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.data.fourier import ifft2c
from mri_zoo.layers.convnet import ComplexNet
from mri_zoo.models import VarNet
from mri_zoo.physics.coils import calibration_region
from mri_zoo.presets.importers.checkpoint import Checkpoint

SMALL = {"num_cascades": 2, "num_filters": 3, "num_pools": 2, "refiner_filters": 2, "refiner_pools": 2}


@pytest.fixture
def recorded(reference):
    return reference / "pytorch" / "fastmri_varnet"


@pytest.fixture
def model(rng):
    model = VarNet(**SMALL)
    model.build()
    for i, step_size in enumerate(model.step_sizes):
        step_size.assign(0.5 + i)
    return model


def test_published_number_of_parameters():
    """One cascade is built, to save time; the others have as many."""
    published, one = VarNet(), VarNet(num_cascades=1)
    one.build()
    cascade = one.networks[0].count_params() + 1
    assert one.count_params() == 484_898 + cascade
    assert 484_898 + len(published.networks) * cascade == 29_936_966
    assert published.num_cascades == 12 and {n.num_filters for n in published.networks} == {18}


def test_equals_the_recorded_network(recorded):
    model = import_checkpoint(recorded / "checkpoint.safetensors", "fastmri", "VarNet")
    expected = {"num_cascades": 3, "num_filters": 5, "num_pools": 3, "refiner_filters": 3, "refiner_pools": 3}
    assert expected.items() <= model.get_config().items()
    with np.load(recorded / "io.npz") as io:
        for case, number in [("even", None), ("even", 4), ("odd", None), ("odd", 5)]:
            model.num_low_frequencies = number
            batch = {"kspace": io[f"{case}_masked_kspace"], "mask": io[f"{case}_mask"][..., 0].astype("float32")}
            image = model(batch)
            assert relative_error(np.abs(image), io[f"{case}_output_nlow_{number}".lower()]) < 1e-5
            if (case, number) == ("even", None):
                assert relative_error(model.sensitivity_maps(batch), io["even_sens_maps_nlow_none"]) < 1e-5


def test_cascades_equal_their_form_in_kspace(rng, model):
    batch, _ = acquire(rng, coils=3)
    measured, maps = batch["kspace"], np.asarray(model.sensitivity_maps(batch))
    kspace = measured
    for network, step_size in zip(model.networks, model.step_sizes, strict=True):
        image = np.sum(maps.conj() * ifft2c(kspace), axis=1)[..., None]
        correction = ComplexNet(network, residual=False)(image)
        step = np.float32(step_size) * batch["mask"] * (kspace - measured)
        kspace = kspace - step - fft_reference(maps * np.asarray(correction)[:, None, ..., 0])
    coils = ifft2c(kspace)
    combined = np.sum(maps.conj() * coils, axis=1)
    expected = np.linalg.norm(coils, axis=1) * combined / np.abs(combined)
    assert relative_error(model(batch), expected) < 3e-5


@pytest.mark.parametrize("coils", [1, 3])
def test_order_of_coils_and_maps_of_the_batch_do_not_matter(rng, model, coils):
    batch, _ = acquire(rng, coils=coils, maps=True)
    turned = {"kspace": batch["kspace"][:, ::-1], "mask": batch["mask"]}
    assert relative_error(model(turned), model(batch)) < 1e-3  # sums in another order, times the networks' slopes


def test_the_map_of_one_coil_is_the_phase_that_the_network_finds(rng, model):
    """It is refined and normalised like those of several: its magnitude is one at every scale of k-space."""
    batch, _ = acquire(rng, coils=1)
    center = ifft2c(batch["kspace"] * np.asarray(calibration_region(batch["mask"], even=True)))
    refined = np.asarray(model.refiner.network(center[:, 0, ..., None]))[:, None, ..., 0]
    assert relative_error(model.sensitivity_maps(batch), refined / np.abs(refined)) < 1e-4


@pytest.mark.parametrize("coils", [1, 3])
def test_the_image_has_the_scale_of_its_kspace(rng, model, coils):
    batch, _ = acquire(rng, coils=coils)
    louder = {**batch, "kspace": 1000 * batch["kspace"]}
    assert relative_error(model(louder), 1000 * np.asarray(model(batch))) < 1e-4


def test_bad_arguments_are_refused():
    for arguments, message in [
        ({"num_cascades": 0}, "`num_cascades` must be a whole number >= 1, got 0"),
        ({"num_low_frequencies": 0}, "`num_low_frequencies` must be a whole number >= 1, got 0"),
        ({"num_pools": 0}, "`num_pools` must be a whole number >= 1, got 0"),
        ({"refiner_filters": 0}, "`num_filters` must be a whole number >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            VarNet(**arguments)


def test_equals_endtoendvarnet_of_direct(reference):
    pytest.importorskip("torch")
    folder = reference / "pytorch" / "direct_e2evarnet"
    model = import_checkpoint(folder / "checkpoint.pt", "direct", "VarNet")
    expected = {"num_cascades": 3, "num_filters": 5, "num_pools": 3, "refiner_filters": None, "normalized": False}
    assert expected.items() <= model.get_config().items()
    assert model.count_params() == 141_159
    for batch, outputs in direct_batches(folder / "io.npz"):
        assert relative_error(np.abs(model(batch)), outputs["output_image_rss"]) < 1e-5


def test_a_training_checkpoint_of_direct_has_a_network_for_the_maps_too(reference, tmp_path):
    """Two recordings put together; the maps' network sees those of the batch."""
    torch = pytest.importorskip("torch")
    folder = reference / "pytorch"
    files = {
        "model": folder / "direct_e2evarnet" / "checkpoint.pt",
        "sensitivity_model": folder / "direct_sensitivity_estimator" / "checkpoint.safetensors",
    }
    networks = {
        key: {name: torch.from_numpy(array.copy()) for name, array in Checkpoint(path).arrays.items()}
        for key, path in files.items()
    }
    torch.save({**networks, "optimizer": {"state": {}}, "__version__": "2.1.0"}, tmp_path / "model_3.pt")
    model = import_checkpoint(tmp_path / "model_3.pt", "direct", "E2EVarNet")
    alone = import_checkpoint(files["model"], "direct", "VarNet")
    maps = import_checkpoint(files["sensitivity_model"], "direct", "RefinedMaps")
    assert model.count_params() == alone.count_params() + maps.count_params()
    *_, (batch, outputs) = direct_batches(folder / "direct_e2evarnet" / "io.npz")
    expected = alone({**batch, "sensitivity_maps": maps.sensitivity_maps(batch)})
    assert relative_error(model(batch), expected) < 1e-6
    assert relative_error(np.abs(model(batch)), outputs["output_image_rss"]) > 1e-2


def test_maps_of_all_samples_are_those_of_the_whole_coil_images(rng, model):
    """fastMRI with `mask_center=False`: each coil's image through the network, over their root-sum-of-squares."""
    batch, _ = acquire(rng, coils=3)
    config = {**model.get_config(), "num_low_frequencies": "all"}
    whole = VarNet.from_config(config)
    whole.build()
    whole.set_weights(model.get_weights())
    assert whole.get_config() == config
    coils = np.stack([model.refiner.network(ifft2c(coil)[..., None])[..., 0] for coil in batch["kspace"]])
    expected = coils / np.linalg.norm(coils, axis=1, keepdims=True)
    assert relative_error(whole.sensitivity_maps(batch), expected) < 1e-5
    assert relative_error(model.sensitivity_maps(batch), expected) > 1e-2
