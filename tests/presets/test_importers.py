import contextlib
import copy
import json
import shutil

import h5py
import numpy as np
import pytest
from helpers import random_complex

from mri_zoo import import_checkpoint, load_preset
from mri_zoo.data import DataError, EquispacedMask
from mri_zoo.data.preparation import scaling_to_config
from mri_zoo.data.trajectories import Radial3DTrajectory, RadialTrajectory, radial
from mri_zoo.models import VarNet
from mri_zoo.physics.gridded import Gridded
from mri_zoo.presets.importers import SOURCES, find_architecture, import_preset, infer_config
from mri_zoo.presets.importers.checkpoint import Checkpoint, image_by_image
from mri_zoo.presets.published import published

BENCHMARK = "fastmri-reproducible-benchmark"


@pytest.fixture
def pdnet_file(reference, tmp_path):
    return shutil.copyfile(reference / "tensorflow" / "pdnet_subclassed" / "checkpoint.h5", tmp_path / "weights.h5")


def test_whole_model_files_are_read_like_weights(pdnet_file, tmp_path):
    with h5py.File(pdnet_file) as source, h5py.File(tmp_path / "whole.h5", "w") as file:
        group = file.create_group("model_weights")
        for name in source:
            source.copy(name, group)
        group.attrs.update(source.attrs)
    plain, whole = (import_checkpoint(path, BENCHMARK, "PDNet") for path in (pdnet_file, tmp_path / "whole.h5"))
    for ours, theirs in zip(plain.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_imported_preset_is_like_any_other(pdnet_file, tmp_path):
    mask = EquispacedMask(4)
    model = import_preset(pdnet_file, BENCHMARK, "PDNet", tmp_path / "imported", sampling=mask)
    preset = load_preset(tmp_path / "imported")
    assert preset.sampling == mask and preset.scaling.factor == 1e6
    for ours, theirs in zip(preset.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_cartesian_network_with_a_trajectory_is_on_gridded_kspace(pdnet_file, rng, tmp_path):
    plain = import_checkpoint(pdnet_file, BENCHMARK, "PDNet")
    import_preset(pdnet_file, BENCHMARK, "PDNet", tmp_path / "gridded", sampling=RadialTrajectory(2, (24, 20)))
    model = load_preset(tmp_path / "gridded").model
    assert isinstance(model.physics, Gridded)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    batch = {
        "kspace": random_complex(rng, (1, 1, 24 * 30)),
        "trajectory": radial(30, 24).reshape(1, -1, 2).astype("float32"),
    }
    image = np.asarray(model(batch))
    gridded = {key: value for key, value in model.physics.complete(batch).items() if key in ("kspace", "mask")}
    np.testing.assert_array_equal(image, plain(gridded))
    with pytest.raises(ValueError, match=r"PDNet of .*weights.h5 is for masks, got Radial3DTrajectory"):
        import_preset(pdnet_file, BENCHMARK, "PDNet", tmp_path / "space", sampling=Radial3DTrajectory(2))
    assert not (tmp_path / "space").exists()


def test_cards_say_how_to_load_and_the_licence(pdnet_file, tmp_path):
    folder = tmp_path / "imported"
    import_preset(pdnet_file, BENCHMARK, "PDNet", folder, metadata={"licence": "CC BY 4.0"})
    card = (folder / "README.md").read_text()
    assert f'mri_zoo.load("{folder.as_posix()}")' in card and "## Licence\n\nCC BY 4.0" in card


def test_scaling_of_published_checkpoints_is_that_of_their_source():
    """But for OASIS, whose images have other units."""
    for name, entry in published().items():
        if entry["scaling"] is not None and "oasis" not in name:
            found = find_architecture(entry["source"], entry["architecture"]).scaling
            assert scaling_to_config(found) == entry["scaling"], name


def test_config_may_be_a_json_file(pdnet_file, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"buffers": "zeros"}))
    model = import_checkpoint(pdnet_file, BENCHMARK, "PDNet", tmp_path / "config.json")
    assert model.buffers == "zeros" and model.num_iterations == 3


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"num_filters": 9},
            r"weights.h5: array `.*` gives a weight of shape \(3, 3, 8, 8\); expected \(3, 3, 8, 9\) f",
        ),
        ({"num_iterations": 2}, "holds arrays for which this PDNet has no place: `image_net_2/.*` and 9 more"),
        ({"num_iterations": 4}, "has no array for `.*` and 9 more of PDNet"),
        ({"num_iteration": 4}, "Unknown argument of PDNet of .* 'num_iteration'; did you mean 'num_iterations'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_which_array(pdnet_file, config, message):
    with pytest.raises(ValueError, match=message):
        import_checkpoint(pdnet_file, BENCHMARK, "PDNet", config)


@pytest.mark.parametrize(
    "config", [{"num_iterations": "a"}, {"physics": "cartesian"}, {"num_filters": None}, {"num_iterations": 0}]
)
def test_arguments_of_another_kind_are_told_with_file_and_architecture(pdnet_file, config):
    with pytest.raises(DataError, match=rf"weights.h5: does not fit PDNet of {BENCHMARK} with `{next(iter(config))}` "):
        import_checkpoint(pdnet_file, BENCHMARK, "PDNet", config)


def test_any_recorded_checkpoint_fits_an_architecture_or_is_refused(reference):
    """With no other error than `DataError`."""
    pytest.importorskip("torch")
    files = sorted(path for kind in ("*.h5", "*.safetensors", "*.pt") for path in reference.glob(f"*/*/{kind}"))
    fitting = dict.fromkeys(files, 0)
    for file in files:
        checkpoint = Checkpoint(file)
        for source, architectures in SOURCES.items():
            for architecture in architectures:
                with contextlib.suppress(DataError):
                    infer_config(copy.copy(checkpoint), source, architecture)
                    fitting[file] += 1
    assert len(files) > 40 and sum(map(bool, fitting.values())) > 30


@pytest.mark.parametrize(
    "case, architecture",
    [
        ("unet", "NCPDNet"),
        ("vnet", "CascadeNet"),
        ("dip", "KIKINet"),
        ("cascade_net", "KIKINet"),
        ("cascade_net", "DealiasingNet"),
        ("vnet", "UNet"),
    ],
)
def test_checkpoints_of_another_architecture_are_refused_by_name(reference, case, architecture):
    path = reference / "tensorflow" / case / "checkpoint.h5"
    with pytest.raises(ValueError, match=r"tensorflow/.*/checkpoint.h5\b"):
        import_checkpoint(path, BENCHMARK, architecture)


def test_keras_is_expected_of_the_predecessor(reference):
    path = reference / "pytorch" / "fastmri_varnet" / "checkpoint.safetensors"
    for architecture in SOURCES[BENCHMARK]:
        with pytest.raises(DataError, match="checkpoint.safetensors: has no layer|holds no layers of Keras"):
            import_checkpoint(path, BENCHMARK, architecture)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda array: array * np.nan, "holds NaN or values that are not finite in float32"),
        (lambda array: array * np.inf, "holds NaN or values that are not finite in float32"),
        (lambda array: array.astype("float64") * 1e60, "holds NaN or values that are not finite in float32"),
        (lambda array: array + 1j, "is of complex64; expected real floating-point numbers"),
        (lambda array: array.astype("int8"), "is of int8; expected real floating-point numbers"),
        (lambda array: np.full(array.shape, b"text"), r"is of \|S4; expected real floating-point numbers"),
    ],
)
def test_what_are_no_weights_is_refused(pdnet_file, change, message):
    with h5py.File(pdnet_file, "r+") as file:
        layer = file["image_net_0"]
        name = layer.attrs["weight_names"][0]
        array = change(layer[name][()])
        del layer[name]
        layer[name] = array
    with pytest.raises(DataError, match=f"array `image_net_0/.*` {message}"):
        import_checkpoint(pdnet_file, BENCHMARK, "PDNet")


def test_a_flag_that_is_text_is_refused(pdnet_file):
    with pytest.raises(DataError, match="with `primal_only` .*`primal_only` must be True or False, got 'false'"):
        import_checkpoint(pdnet_file, BENCHMARK, "PDNet", {"primal_only": "false"})


def test_a_preset_has_no_precision_in_its_config(pdnet_file, tmp_path):
    with pytest.raises(ValueError, match="`dtype`: a preset runs in the precision of the session"):
        import_preset(pdnet_file, BENCHMARK, "PDNet", tmp_path / "preset", {"dtype": "mixed_bfloat16"})
    assert not (tmp_path / "preset").exists()
    assert import_checkpoint(pdnet_file, BENCHMARK, "PDNet", {"dtype": "mixed_bfloat16"}).compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    "case, architecture, argument",
    [
        ("unet", "UNet", "penultimate_activation"),
        ("kiki_sep", "KIKINet", "activation"),
        ("cascade_net", "CascadeNet", "activation"),
        ("ncpdnet_radial", "NCPDNet", "compensated"),
        ("vnet_complex_nc", "DealiasingNet", "compensated"),
        ("xpdnet_mwcnn", "XPDNet", "residual"),
    ],
)
def test_what_the_arrays_do_not_tell_is_asked_for(reference, case, architecture, argument):
    path = reference / "tensorflow" / case / "checkpoint.h5"
    with pytest.raises(ValueError, match=f"does not tell `{argument}`.*: give it in `config`"):
        import_checkpoint(path, BENCHMARK, architecture)


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "empty.h5").touch()
    (tmp_path / "folder").mkdir()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    for name, message in [
        ("absent.h5", "no such file"),
        ("empty.h5", "is truncated or damaged; expected HDF5"),
        ("folder", "is a folder; expected a checkpoint"),
        ("text.pt", "is damaged, or no checkpoint; expected PyTorch's file of tensors"),
        ("empty.pt", "is damaged, or no checkpoint"),
        ("text.safetensors", "not a readable `.safetensors` file"),
        ("other.h5", "HDF5 without weights of Keras 2"),
    ]:
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            Checkpoint(tmp_path / name)
    for config, message in [("absent.json", "not a readable JSON"), ("list.json", "expected an object")]:
        (tmp_path / "list.json").write_text("[1]")
        with pytest.raises(DataError, match=message):
            import_checkpoint(tmp_path / "other.h5", BENCHMARK, "PDNet", tmp_path / config)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, zipped):
    """Nor does the message hand on PyTorch's advice how to run it."""
    torch, path = pytest.importorskip("torch"), tmp_path / "objects.pt"
    content = {"weight": torch.ones(2), "path": tmp_path}  # a path is no tensor
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"objects.pt: holds Python objects .* save its `state_dict` alone") as caught:
        Checkpoint(path)
    assert "`model_state_dict`" in str(caught.value)
    assert "\x1b" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_tensors_that_numpy_has_not_are_refused(tmp_path):
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    eight_bits, path = torch.ones(4).to(torch.float8_e4m3fn), tmp_path / "strange.pt"
    for tensor in (
        torch.ones(2, 2).to_sparse(),
        torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        eight_bits,
    ):
        torch.save({"weight": tensor}, path)
        with pytest.raises(DataError, match="strange.pt: holds sparse, quantised or other tensors that are not read"):
            Checkpoint(path)
    safetensors.save_file({"weight": eight_bits}, tmp_path / "strange.safetensors")
    with pytest.raises(DataError, match="strange.safetensors: is not a readable `.safetensors` file"):
        Checkpoint(tmp_path / "strange.safetensors")


def test_errors_call_arrays_as_the_file_does(reference, tmp_path):
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    tensors = safetensors.load_file(reference / "pytorch" / "fastmri_varnet" / "checkpoint.safetensors")
    content = {"state_dict": {f"varnet.{name}": tensor for name, tensor in tensors.items()}}
    content["state_dict"]["varnet.cascades.1.dc_weight"] = torch.ones(2)
    torch.save(content, tmp_path / "wrong.ckpt")
    with pytest.raises(
        DataError, match=r"array `state_dict.varnet.cascades.1.dc_weight` has the shape \(2,\); expected one number"
    ):
        import_checkpoint(tmp_path / "wrong.ckpt", "fastmri", "VarNet")
    checkpoint = Checkpoint(reference / "pytorch" / "fastmri_varnet" / "checkpoint.safetensors")
    for config in ({"refiner_filters": None}, {"normalized": False}):
        model = VarNet(num_cascades=1, num_filters=2, num_pools=1, **config)  # as `config` makes it, but not built
        with pytest.raises(DataError, match="expected `normalized` True and `refiner_filters` not None"):
            list(find_architecture("fastmri", "VarNet").weights(model, checkpoint))


def test_the_optimizer_beside_the_weights_is_left_out(reference, tmp_path):
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    path = reference / "pytorch" / "deepjsense_modl" / "checkpoint.safetensors"
    state = {"state": {0: {"exp_avg": torch.ones(2)}}}
    content = {"model_state_dict": safetensors.load_file(path), "optimizer_state_dict": state}
    torch.save(content, tmp_path / "training.pt")
    config = {"mode": "MoDL", "num_iterations": 2, "num_steps": 2}
    plain, found = (import_checkpoint(p, "deep-jsense", "MoDL", config) for p in (path, tmp_path / "training.pt"))
    for ours, theirs in zip(found.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tensors_of_nested_dicts_get_dotted_names(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"unet.weight": torch.arange(3)}, "epoch": 3}, tmp_path / "nested.ckpt")
    (name, array), *others = Checkpoint(tmp_path / "nested.ckpt").arrays.items()
    assert name == "state_dict.unet.weight" and not others
    np.testing.assert_array_equal(array, [0, 1, 2])


def test_brain_floats_are_read(tmp_path):
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    tensors = {"weight": torch.tensor([1.5, -2], dtype=torch.bfloat16)}
    torch.save(tensors, tmp_path / "half.pt")
    safetensors.save_file(tensors, tmp_path / "half.safetensors")
    for name in ("half.pt", "half.safetensors"):
        found = Checkpoint(tmp_path / name)["weight"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, [1.5, -2])


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match=f"source 'fastmri-benchmark'; did you mean '{BENCHMARK}'"):
        find_architecture("fastmri-benchmark", "PDNet")
    with pytest.raises(ValueError, match="architecture .* 'pdnet'; did you mean 'PDNet'"):
        find_architecture(BENCHMARK, "pdnet")


@pytest.mark.parametrize(
    "source, theirs, ours",
    [
        ("direct", "E2EVarNet", "VarNet"),
        ("direct", "ConjGradNet", "MoDL"),
        ("direct", "Unet2d", "UNet"),
        ("direct", "VSharpNet3D", "VSHARP3D"),
        ("fastmri", "E2EVarNet", "VarNet"),
        ("fastmri", "Unet", "FastMRIUNet"),
    ],
)
def test_the_sources_own_names_are_understood(source, theirs, ours):
    assert find_architecture(source, theirs) is find_architecture(source, ours)


def test_every_architecture_names_a_model_of_the_zoo():
    from mri_zoo import models

    for architectures in SOURCES.values():
        for foreign in architectures.values():
            assert foreign.model.__name__ in models.__all__


def test_image_by_image():
    kernel = np.array([10, 11, 20, -10, -11, -20]).reshape(1, 1, 6, 1)  # two images and one: real, then imaginary
    found = image_by_image(kernel, 2, 1).ravel()
    np.testing.assert_array_equal(found, [10, 11, -10, -11, 20, -20])
