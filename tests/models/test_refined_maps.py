import keras
import numpy as np
import pytest
from helpers import acquire, fft_reference, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.data import DataError
from mri_zoo.layers.convnet import ComplexNet, ConvNet, apply_per_coil
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.models import DirectUNet, RefinedMaps, VarNet, ZeroFilled
from mri_zoo.presets.importers.checkpoint import Checkpoint


def test_published_number_of_parameters():
    model = RefinedMaps(ZeroFilled())
    model.build()
    assert model.count_params() == 484_898


def test_published_numbers_of_parameters_of_jssl():
    """The networks alone are built, to save time."""
    refiner, cascade, unet = InstanceUNet(2, 16), VarNet(6, 16, 4, None, normalized=False).networks[0], NormUNet(2, 64)
    for network in (refiner, cascade, unet):
        network.build((None, None, None, 2))
    assert refiner.count_params() == 1_939_266
    assert unet.count_params() + 1_939_266 == 32_963_652
    assert 6 * (cascade.count_params() + 1) + 1_939_266 == 13_574_868


def test_equals_direct_with_its_network_for_the_maps(reference):
    folder = reference / "pytorch" / "direct_jssl_engine_unet"
    arguments = {"residual": False, "combine_coils": True}
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", "UNet", arguments)
    assert isinstance(model, RefinedMaps) and isinstance(model.model, DirectUNet)
    assert model.count_params() == 37_476
    with np.load(folder / "io.npz") as io:
        batch = {"kspace": io["masked_kspace"], "mask": io["sampling_mask"][..., 0].astype("float32")}
        batch["sensitivity_maps"] = io["sensitivity_map"]
        assert relative_error(model.sensitivity_maps(batch), io["supervised_eval_sensitivity_map"]) < 1e-5
        assert relative_error(np.abs(model(batch)), io["supervised_eval_output_image"]) < 1e-5


def test_a_training_checkpoint_holds_the_networks_side_by_side(reference, tmp_path):
    """With the optimizer's state and texts, read as tensors alone."""
    torch = pytest.importorskip("torch")
    folder, networks = reference / "pytorch" / "direct_jssl_engine_unet", {}
    for name, array in Checkpoint(folder / "checkpoint.safetensors").arrays.items():
        network, _, name = name.partition(".")
        networks.setdefault(network, {})[name] = torch.from_numpy(array.copy())
    assert set(networks) == {"model", "sensitivity_model"}
    state = {
        "state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.ones(4, 2, 3, 3)}},
        "param_groups": [{"lr": 0.1}],
    }
    others = {"optimizer": state, "lr_scheduler": {"milestones": [5], "gamma": 0.2}, "__version__": "2.1.0"}
    torch.save({**networks, **others, "scaler": {"scale": torch.tensor(2.0)}}, tmp_path / "model_7.pt")
    model = import_checkpoint(tmp_path / "model_7.pt", "direct", "UNet", {"residual": False, "combine_coils": True})
    with np.load(folder / "io.npz") as io:
        batch = {"kspace": io["masked_kspace"], "mask": io["sampling_mask"][..., 0].astype("float32")}
        batch["sensitivity_maps"] = io["sensitivity_map"]
        assert relative_error(np.abs(model(batch)), io["supervised_eval_output_image"]) < 1e-5


def test_maps_alone_of_a_training_checkpoint_that_direct_wrote(reference):
    pytest.importorskip("torch")
    folder = reference / "pytorch" / "direct_jssl_engine_vsharp"
    model = import_checkpoint(folder / "model_7.pt", "direct", "RefinedMaps")
    with np.load(folder / "io.npz") as io:
        found = model.sensitivity_maps({"sensitivity_maps": io["sensitivity_map"]})
        assert relative_error(found, io["supervised_eval_sensitivity_map"]) < 1e-5


@pytest.mark.parametrize("sigma", [None, 0.4])
def test_importing_takes_the_weights_of_the_centre(reference, sigma):
    path = reference / "pytorch" / "direct_jssl_engine_unet" / "checkpoint.safetensors"
    arguments = {"residual": False, "combine_coils": True, "sigma": sigma}
    assert import_checkpoint(path, "direct", "UNet", arguments).sigma == sigma
    assert import_checkpoint(path, "direct", "RefinedMaps", {"sigma": sigma}).sigma == sigma


def test_sigma_is_refused_where_no_network_refines_maps(reference):
    path = reference / "pytorch" / "direct_unet2d_zerofilled" / "checkpoint.safetensors"
    arguments = {"residual": False, "combine_coils": True, "sigma": 0.4}
    with pytest.raises(DataError, match="has no network `sensitivity_model.` for the sensitivity maps"):
        import_checkpoint(path, "direct", "UNet", arguments)


@pytest.mark.parametrize("sigma", [None, 0.7])
def test_every_recorded_map_of_direct(reference, sigma):
    """Even and odd sizes and numbers of lines, one coil, and slices of a volume."""
    folder = reference / "pytorch" / "direct_sensitivity_estimator"
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", "RefinedMaps")
    assert model.count_params() == 67_730 and model.sigma == 0.7
    model.sigma = sigma
    estimate = RefinedMaps(ZeroFilled(), keras.layers.Identity(), sigma)
    with np.load(folder / "io.npz") as io:
        for case in ("even", "odd", "single", "vol"):
            recorded = {name.removeprefix(f"{case}_"): io[name] for name in io if name.startswith(f"{case}_")}
            batch = {"kspace": recorded["kspace"], "mask": recorded["acs_mask"][..., 0].astype("float32")}
            initial, refined = estimate.sensitivity_maps(batch), model.sensitivity_maps(batch)
            suffix = f"sigma_{sigma}".lower()
            # Where the root-sum-of-squares is small, the division makes rounding larger.
            assert relative_error(initial, recorded[f"rss_estimate_{suffix}"]) < 1e-4
            assert relative_error(refined, recorded[f"after_network_{suffix}"]) < 1e-4
            if f"network_raw_{suffix}" in recorded:
                raw = apply_per_coil(model.refiner.network, initial[..., None])[..., 0]
                assert relative_error(raw, recorded[f"network_raw_{suffix}"]) < 1e-4


@pytest.mark.parametrize("sigma", [None, 0.7])
def test_maps_come_from_the_weighted_centre(rng, sigma):
    model = RefinedMaps(ZeroFilled(), keras.layers.Identity(), sigma)
    batch, _ = acquire(rng, (9, 12), coils=3)
    batch["mask"][:] = np.isin(np.arange(12), [1, 4, 5, 6, 7, 10])  # four lines in the centre
    kspace = batch["kspace"] * np.isin(np.arange(12), [4, 5, 6, 7])
    if sigma is not None:
        kspace = kspace * np.exp(-((np.linspace(-1, 1, 12) / sigma) ** 2))
    coils = np.conj(fft_reference(np.conj(kspace)))
    expected = coils / np.linalg.norm(coils, axis=1, keepdims=True)
    assert relative_error(model.sensitivity_maps(batch), expected) < 1e-5


def test_a_single_coil_is_left_as_it_is(rng):
    model, (batch, _) = RefinedMaps(ZeroFilled()), acquire(rng, maps=True)
    assert relative_error(model.predict(batch, verbose=0), ZeroFilled()(batch)) < 1e-6


def test_a_trained_refiner_keeps_its_weights(rng):
    refiner, (batch, _) = SensitivityRefiner(ComplexNet(ConvNet(2, 3, 1))), acquire(rng, coils=3, maps=True)
    expected = refiner(batch["sensitivity_maps"])
    model = RefinedMaps(ZeroFilled(), refiner)
    model.build()
    assert model.refiner is refiner and len(model.weights) == len(refiner.weights) == 4
    assert relative_error(model.sensitivity_maps(batch), expected) < 1e-6


@pytest.mark.filterwarnings("error::UserWarning")
def test_saved_model_gives_equal_outputs(rng, tmp_path):
    model, (batch, _) = RefinedMaps(DirectUNet(4, 2, combine_coils=True), sigma=0.5), acquire(rng, coils=2)
    expected = model(batch)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    np.testing.assert_array_equal(copy(batch), expected)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`sigma` must be a number > 0 or None, got 0"):
        RefinedMaps(ZeroFilled(), sigma=0)
    with pytest.raises(ValueError, match="`model` must be a ReconstructionModel, got 'x'"):
        RefinedMaps("x")
    with pytest.raises(ValueError, match="`refiner` must be a Keras layer, got 'unet'"):
        RefinedMaps(ZeroFilled(), "unet")
