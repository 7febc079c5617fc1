import json

import keras
import numpy as np
import pytest

import mri_zoo
from mri_zoo.data import ConstantScaling, DataError, PercentileScaling, RandomMask
from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.resnet import PreActivationResNet
from mri_zoo.models import DataConsistent, MoDL, PDNet, UNet
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.registry import list_models, load_preset, save_preset


@pytest.fixture
def batch(rng):
    kspace = (rng.normal(size=(1, 1, 15, 13)) + 1j * rng.normal(size=(1, 1, 15, 13))).astype("complex64")
    return {"kspace": kspace, "mask": np.ones((1, 1, 1, 13), np.float32)}


def functional_network():
    x = keras.Input((None, None, 2))
    return keras.Model(x, x + 0.5 * keras.ops.relu(keras.layers.Conv2D(2, 3, padding="same")(x)))


@pytest.fixture
def preset(tmp_path):
    model = PDNet(num_iterations=2, num_filters=4, buffers="adjoint")
    model.build()
    metadata = {"summary": "a test", "quality": [{"data": "x", "PSNR": "30.0"}]}
    return save_preset(tmp_path / "pdnet-test", model, PercentileScaling(95), RandomMask(4), metadata), model


def test_saved_preset_gives_the_same_image_scaling_and_sampling(preset, batch):
    folder, model = preset
    loaded = load_preset(folder)
    np.testing.assert_array_equal(loaded.model.predict_on_batch(batch), model.predict_on_batch(batch))
    assert loaded.scaling == PercentileScaling(95) and loaded.sampling == RandomMask(4)
    assert loaded.name == "pdnet-test"
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.weights.h5", "metadata.json", "README.md"}
    card = (folder / "README.md").read_text()
    assert f"{model.count_params():,} parameters" in card and "| x | 30.0 |" in card


def test_a_preset_without_metadata_is_named_by_its_class(tmp_path):
    model = PDNet(num_iterations=1, num_filters=4, buffers="adjoint")
    model.build()
    assert load_preset(save_preset(tmp_path / "mine", model, PercentileScaling())).metadata["summary"] == "PDNet"


@pytest.mark.parametrize(
    "create",
    [
        lambda dtype: DataConsistent(MoDL(2, ConvNet(2, 3, 1), shared=False, dtype=dtype), dtype=dtype),
        lambda dtype: MoDL(1, keras.Sequential([ConvNet(2, 3, 1), keras.layers.Conv2D(2, 1)]), dtype=dtype),
        lambda dtype: MoDL(1, functional_network(), dtype=dtype),
    ],
)
def test_a_preset_has_no_precision_of_its_own(tmp_path, batch, create):
    """One that was trained in mixed precision runs in that of the session, down to the last layer."""
    model = create("mixed_bfloat16")
    model.build()
    exact = create("float32")
    exact.build()
    exact.set_weights(model.get_weights())
    folder = save_preset(tmp_path / "mixed", model, PercentileScaling(), None, {"summary": ""})
    loaded = load_preset(folder).model
    assert {layer.compute_dtype for layer in model._flatten_layers()} >= {"bfloat16"}
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    np.testing.assert_array_equal(loaded.predict_on_batch(batch), exact.predict_on_batch(batch))


def test_the_card_shows_networks_and_physics_as_one_types_them(tmp_path):
    options = {"num_iterations": 1, "network": PreActivationResNet(2, 3, 2), "num_steps": 2}
    cards = []
    for physics in (Cartesian(), Cartesian(alternating_signs=True)):
        model = MoDL(**options, physics=physics)
        model.build()
        cards.append((save_preset(tmp_path / "modl", model, PercentileScaling()) / "README.md").read_text())
    network = "network=PreActivationResNet(num_outputs=2, num_filters=3, num_blocks=2)"
    assert all("`MoDL(" in card and network in card and "class_name" not in card for card in cards)
    assert "physics" not in cards[0]
    assert "physics=Cartesian(dimensions=2, center_fraction=0.08, alternating_signs=True)" in cards[1]


def test_preset_of_a_compiled_model_holds_no_optimizer(tmp_path, batch):
    model = UNet(num_filters=(2, 4))
    model.compile("adam", "mae")
    model.train_on_batch(batch, np.ones((1, 15, 13), np.float32))
    small = save_preset(tmp_path / "trained", model, PercentileScaling())
    fresh = UNet(num_filters=(2, 4))
    fresh.build()
    plain = save_preset(tmp_path / "plain", fresh, PercentileScaling())
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in (small, plain)]
    assert sizes[0] == sizes[1]


def test_saving_replaces_an_earlier_preset_as_a_whole(preset, tmp_path):
    folder, model = preset
    (folder / "stray.txt").write_text("old")
    save_preset(folder, model, PercentileScaling(), None, {"summary": "new"})
    assert not (folder / "stray.txt").exists()
    assert load_preset(folder).sampling is None
    assert [path.name for path in tmp_path.iterdir()] == ["pdnet-test"]


def test_zero_filled_is_always_there():
    assert "zero-filled" in list_models()
    assert load_preset("zero-filled").model.count_params() == 0


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'zero-filled'"):
        load_preset("zero-fileld")


def test_the_name_of_a_class_tells_where_weights_come_from():
    with pytest.raises(
        ValueError, match="VarNet is a class without weights here: train it, `mri-zoo weights download`"
    ):
        load_preset("VarNet")


def test_a_path_never_means_a_bundled_preset():
    """A training that is not finished has no preset yet: nothing of that name may take its place."""
    with pytest.raises(DataError, match="runs/pdnet-brain-demo-af4: holds no preset; expected a folder"):
        load_preset("runs/pdnet-brain-demo-af4")


def test_a_folder_that_is_no_preset_is_not_replaced(preset, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("all my work")
    with pytest.raises(FileExistsError, match="precious exists and is no preset"):
        save_preset(tmp_path / "precious", preset[1], ConstantScaling())
    assert (tmp_path / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"architecture": "UNet"}'])
def test_incomplete_presets_are_refused(preset, content):
    folder, _ = preset
    (folder / "config.json").write_text(content)
    with pytest.raises(DataError, match="config.json has no `.*; expected a preset's"):
        load_preset(folder)


def test_damaged_weights_are_refused(preset):
    folder, _ = preset
    weights = folder / "model.weights.h5"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="model.weights.h5 is damaged: expected SHA-256"):
        load_preset(folder)
    weights.unlink()
    with pytest.raises(DataError, match="found no file"):
        load_preset(folder)


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_unreadable_json_is_named(preset, name):
    folder, _ = preset
    (folder / name).write_text("{")
    with pytest.raises(DataError, match=f"{name} is not a readable JSON file"):
        load_preset(folder)


def test_a_network_that_could_not_be_loaded_is_not_stored(tmp_path):
    class Unregistered(ConvNet):
        pass

    model = MoDL(1, Unregistered(2, 3, 1))
    model.build()
    with pytest.raises(ValueError, match="'Unregistered' cannot be stored in a preset"):
        save_preset(tmp_path / "mine", model, PercentileScaling())
    assert not list(tmp_path.iterdir())


def test_config_that_names_a_foreign_class_is_refused(preset):
    folder, _ = preset
    config = json.loads((folder / "config.json").read_text())
    config["arguments"]["physics"] = {"module": "subprocess", "class_name": "Popen", "config": {"args": "false"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="names the class 'Popen', which is not allowed"):
        load_preset(folder)


def test_unknown_architecture_is_refused(preset):
    folder, _ = preset
    config = json.loads((folder / "config.json").read_text())
    config["architecture"] = "os"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="unknown architecture 'os'"):
        load_preset(folder)


def test_model_loaded_by_name_carries_its_preset(preset):
    model = mri_zoo.load(str(preset[0]))
    assert model.preset.scaling == PercentileScaling(95)
