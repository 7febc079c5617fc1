"""What a preset's JSON may hold, whoever wrote it, and classes of one's own."""

import dataclasses
import json
import re
import shutil

import h5py
import keras
import numpy as np
import pytest
from conftest import ROOT

from mri_zoo.data import ConstantScaling, DataError, EquispacedMask, KSpacePercentileScaling, PercentileScaling
from mri_zoo.data.masks import RandomMask
from mri_zoo.data.preparation import scaling_from_config, scaling_to_config
from mri_zoo.data.sampling import sampling_from_config, sampling_to_config
from mri_zoo.data.trajectories import RadialTrajectory
from mri_zoo.layers.convnet import ConvNet
from mri_zoo.models import CGSENSE, DIP, MoDL, ReconstructionModel, UNet
from mri_zoo.presets.allowed import check_classes
from mri_zoo.presets.config import model_from_config, preset_config
from mri_zoo.presets.registry import list_models, load_preset, save_preset, sha256

CONFIG = json.loads((ROOT / "weights" / "unet-brain-demo-af4" / "config.json").read_text())


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    model = UNet(num_filters=(2, 4), num_convolutions=1)
    model.build()
    return save_preset(tmp_path_factory.mktemp("stored") / "mine", model, PercentileScaling(), RandomMask(4))


@pytest.fixture
def preset(stored, tmp_path):
    """A folder to break."""
    return shutil.copytree(stored, tmp_path / "mine")


def change(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    "key, value, found",
    [
        ("architecture", [], r"`architecture` must be of type str, got \[\]"),
        ("architecture", "mri_zoo>Cartesian", "'mri_zoo>Cartesian' is no ReconstructionModel"),
        ("arguments", None, "`arguments` must be of type dict, got None"),
        ("arguments", {"num_filters": "x"}, "does not fit UNet"),
        ("arguments", {"num_filters": [2**40, 4]}, f"`num_filters` must be at most 65,536, got {2**40}"),
        ("arguments", {"num_filters": [9000, 9000]}, "it has more weights than `model.weights.h5`"),
        ("arguments", {"num_convolutions": 501}, "`num_convolutions` must be at most 500, got 501"),
        ("arguments", {"physics": {"class_name": []}}, r"names the class \[\], which is not allowed"),
        ("arguments", {"physics": 3}, "`physics` must be an acquisition"),
        ("scaling", None, "`scaling` must be of type dict, got None"),
        ("scaling", {"name": "x"}, "`scaling` cannot be used: 'x' is none of constant, percentile"),
        ("scaling", {"name": "mri_zoo>Gone", "module": "gone"}, "import the module `gone` first"),
        ("scaling", {"name": "percentile", "percentile": 99, "x": 1}, "'percentile' has no `x`, only percentile"),
        ("scaling", {"name": "percentile", "percentile": "x"}, "`percentile` must be a finite number > 0 and <= 100"),
        ("scaling", {"name": "percentile", "percentile": None}, "`percentile` must be a finite number"),
        ("scaling", {"name": "percentile", "percentile": 200}, "`percentile` must be a finite number"),
        ("scaling", {"name": "constant", "factor": 0}, "`factor` must be a finite number > 0, got 0"),
        ("scaling", {"name": "constant", "factor": True}, "`factor` must be a finite number > 0, got True"),
        ("scaling", {"name": "kspace_percentile", "power": -1}, "`power` must be a finite number > 0 and <= 100"),
        ("scaling", {"name": "kspace_percentile", "power": 1e300}, "`power` must be a finite number .* got 1e.300"),
        ("sampling", 5, r"`sampling` must be of type dict \| None, got 5"),
        ("sampling", {"acceleration": 4}, "`sampling` cannot be used: expected a dict with the text `name`"),
        ("sampling", {"name": "random", "acceleration": "4"}, "`acceleration` must be >= 1"),
        ("sampling", {"name": "random", "acceleration": {}}, "`sampling` cannot be used: 'random' cannot be made"),
        ("sampling", {"name": "random"}, "`sampling` cannot be used: 'random' cannot be made"),
        ("sampling", {"name": "equispaced", "acceleration": 4, "offset": 0.5}, "`offset` must be a whole number"),
        (
            *("sampling", {"name": "radial", "acceleration": 4, "image_size": [10**6, 1e6]}),
            "`image_size` must be at most 65,536, got 1000000",
        ),
        ("sampling", {"name": "spiral", "acceleration": 4, "revolutions": 1e9}, "`revolutions` must be at most 65,536"),
        (
            *("sampling", {"name": "variable_density_poisson", "acceleration": 4, "max_attempts": 9999}),
            "`max_attempts` must be at most 1,000",
        ),
        ("sampling", {"name": "radial", "acceleration": 4, "benchmark": "no"}, "`benchmark` must be True or False"),
    ],
)
def test_a_config_of_the_wrong_form_is_told_in_one_line(preset, key, value, found):
    change(preset / "config.json", **{key: value})
    with pytest.raises(DataError, match=found) as error:
        load_preset(preset)
    assert str(error.value).startswith(str(preset / "config.json")) and "\n" not in str(error.value)
    assert len(str(error.value)) < 500 + len(str(preset))


@pytest.mark.parametrize(
    "architecture, arguments, found",
    [
        ("DirectKIKINet", {"num_iterations": 65536}, "`num_iterations` must be at most 500, got 65536"),
        ("LPDNet", {"num_iterations": 501}, "`num_iterations` must be at most 500, got 501"),
        ("RecurrentVarNet", {"num_iterations": 65536, "shared": True}, "`num_iterations` must be at most 500"),
        ("MoDL", {"num_steps": 65536}, "`num_steps` must be at most 500"),
        ("MoDL", {"num_iterations": 500, "num_steps": 500}, "mean 250,000 times the work of one; expected .* 20,000"),
        ("VSHARP", {"num_gradient_steps": 65536}, "`num_gradient_steps` must be at most 500"),
        ("DIP", {"num_steps": 65537}, "`num_steps` must be at most 65,536"),
        (
            "DataConsistent",
            {"model": {"class_name": "MoDL", "registered_name": "mri_zoo>MoDL", "config": {"num_iterations": 10**4}}},
            "`num_iterations` must be at most 500",
        ),
        (
            "RefinedMaps",
            {"model": {"config": {"num_iterations": 100, "network": {"config": {"num_blocks": 300}}}}},
            "mean 30,000 times the work of one",
        ),
    ],
)
def test_work_that_no_file_bounds_is_refused(architecture, arguments, found):
    config = {"architecture": architecture, "arguments": arguments}
    with pytest.raises(DataError, match=f"^config.json: .*{found}"):
        model_from_config(config, "config.json")


def test_the_steps_of_a_fit_are_no_layers():
    for model in (DIP(num_steps=50_000, num_filters=1, num_hidden=2), CGSENSE(num_steps=500)):
        assert preset_config(model, ConstantScaling())["arguments"]["num_steps"] == model.num_steps
    with pytest.raises(ValueError, match="CGSENSE: `num_steps` must be at most 500, got 501"):
        preset_config(CGSENSE(num_steps=501), ConstantScaling())
    with pytest.raises(ValueError, match="sampling: `image_size` must be at most 65,536"):
        preset_config(CGSENSE(), ConstantScaling(), RadialTrajectory(4, (10**5, 10**5)))


@pytest.mark.parametrize(
    "content, found",
    [
        ("[" * 100_000 + "]" * 100_000, "not a readable JSON file"),
        (json.dumps(CONFIG | {"arguments": json.loads('{"a":' * 70 + "1" + "}" * 70)}), "more than 64 levels"),
        ('{"architecture": ' + "1" * 5000 + "}", "not a readable JSON file"),
        (json.dumps(CONFIG | {"scaling": {"name": "constant", "factor": float("nan")}}), "it holds NaN"),
        (json.dumps(CONFIG | {"x": "x" * 2**24}), "bytes; expected a preset's"),
        (b"\xff\xfe", "not a readable JSON file"),
    ],
)
def test_json_that_is_made_to_break_is_refused(preset, content, found):
    (preset / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=found):
        load_preset(preset)


@pytest.mark.parametrize(
    "change_of, found",
    [
        ({"parameters": "many"}, "`parameters` must be of type int"),
        ({"summary": None}, "`summary` must be of type str"),
        ({"quality": [[]]}, "`quality` must be a list of dicts"),
        ({"sha256": 3}, "`sha256` must be of type str"),
        ({"licence": {}}, "`licence` must be of type str"),
    ],
)
def test_metadata_of_the_wrong_form_hides_no_other_model(preset, monkeypatch, change_of, found):
    change(preset / "metadata.json", **change_of)
    with pytest.raises(DataError, match=rf"metadata\.json: {found}"):
        load_preset(preset)
    monkeypatch.setattr("mri_zoo.presets.registry.downloaded", lambda: {"mine": preset})
    lines = list_models()
    assert lines["mine"].startswith("cannot be used: ") and found.split("`")[1] in lines["mine"]
    assert "zero-filled" in lines and "pdnet-brain-demo-af4" in lines


@pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("what", ["another", "nan", "complex", "external", "link", "text"])
def test_weights_that_do_not_fit_are_named(preset, tmp_path, what):
    weights = preset / "model.weights.h5"
    if what == "text":
        weights.write_text("text")
    elif what == "another":
        other = UNet(num_filters=(3, 4), num_convolutions=1)
        other.build()
        other.save_weights(weights)
    else:
        found = []
        with h5py.File(weights, "r+") as file:
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            if what == "nan":
                file[found[0]][...] = np.nan
            elif what == "complex":
                array = file[found[0]][...] + 1j
                del file[found[0]]
                file[found[0]] = array
            elif what == "link":
                with h5py.File(tmp_path / "other.h5", "w") as other:
                    file.copy(found[0], other, "array")
                del file[found[0]]
                file[found[0]] = h5py.ExternalLink(str(tmp_path / "other.h5"), "array")
            else:
                (tmp_path / "secret").write_bytes(bytes(10**4))
                shape = file[found[0]].shape
                del file[found[0]]
                file.create_dataset(found[0], shape, "float32", external=[(str(tmp_path / "secret"), 0, 10**4)])
    change(preset / "metadata.json", sha256=sha256(weights))
    messages = {"nan": "holds NaN or infinity", "text": "more weights than", "external": "outside of the folder"}
    messages |= {"complex": "has type complex64; expected real weights", "link": "is a link; expected the weights"}
    found = messages.get(what, "does not fit UNet")
    with pytest.raises(DataError, match=found) as error:
        load_preset(preset)
    assert str(error.value).startswith(str(preset)) and "\n" not in str(error.value)


def layer(name, module, **options):
    return {"class_name": name, "module": module, "registered_name": None, "config": options}


@pytest.mark.parametrize(
    "config",
    [
        layer("Lambda", "keras.layers"),
        layer("layers.Lambda", "keras"),
        layer("Lambda", "keras"),
        layer("Lambda", "keras.src.layers.core.lambda_layer"),
        layer("src.layers.Lambda", "keras"),
        layer("TFSMLayer", "keras.layers", filepath="/tmp/model"),
        layer("TorchModuleWrapper", "keras.layers"),
        layer("JaxLayer", "keras.layers"),
        layer("FlaxLayer", "keras.layers"),
        layer("StringLookup", "keras.layers", vocabulary="/etc/passwd"),
        layer("TextVectorization", "keras.layers", vocabulary="/etc/passwd"),
        layer("function", "builtins") | {"config": "keras.utils.get_file"},
        layer("function", "keras.utils") | {"config": "get_file", "registered_name": "get_file"},
        layer("__lambda__", "builtins", value="x"),
        layer("get_file", "keras.utils"),
        layer("Popen", "subprocess"),
        layer("Conv2D", "keras.layers.."),
        layer("import_module", "keras.src.ops.numpy"),
        layer("np.Add", "keras.src.ops.numpy"),
        {"class_name": "Lambda", "config": {}},
        {"class_name": ["Lambda"], "module": "keras.layers", "config": {}},
    ],
    ids=lambda config: f"{config.get('module')}.{config['class_name']}",
)
def test_what_could_run_code_or_read_files_is_refused(config):
    for nested in (config, {"layers": [layer("Sequential", "keras", layers=[config])]}):
        with pytest.raises(DataError, match="config.json names the class .*, which is not allowed"):
            check_classes(nested, "config.json")


def test_layers_of_keras_are_allowed():
    x = keras.Input((None, None, 2))
    convolved = keras.layers.Conv2D(2, 3, padding="same", activation=keras.layers.LeakyReLU(0.1))(x)
    network = keras.Model(x, x + 0.5 * keras.ops.relu(keras.layers.BatchNormalization()(convolved)))
    check_classes(MoDL(1, network).get_config(), "config.json")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, -1, "1", None, True, [1]])
def test_scalings_that_cannot_be_are_refused(value):
    for create in (ConstantScaling, PercentileScaling, lambda v: KSpacePercentileScaling(99, v)):
        with pytest.raises(ValueError, match="must be a finite number > 0"):
            create(value)


def test_numbers_of_numpy_can_be_stored(tmp_path):
    model = UNet(num_filters=np.array([2, 4]).tolist(), num_convolutions=np.int64(1))
    model.build()
    sampling, scaling = EquispacedMask(4, np.float32(0.08), offset=np.int64(1)), ConstantScaling(np.float32(2))
    folder = save_preset(tmp_path / "mine", model, scaling, sampling, {"summary": "", "epochs": np.int32(3)})
    loaded = load_preset(folder)
    assert loaded.sampling == sampling and loaded.scaling == scaling and loaded.metadata["epochs"] == 3
    trajectory = RadialTrajectory(np.float32(4), np.array([32, 30]))
    assert sampling_from_config(json.loads(json.dumps(sampling_to_config(trajectory)))) == trajectory


@pytest.fixture
def own():
    """Classes of a user, registered as Keras asks for, and forgotten afterwards."""
    names = dict(keras.saving.get_custom_objects())

    @keras.saving.register_keras_serializable("mine")
    class Network(ReconstructionModel):
        def __init__(self, scale=1.0, **kwargs):
            super().__init__(**kwargs)
            self.scale, self.network = scale, ConvNet(2, 3, 1)

        def call(self, batch):
            image = self.physics.adjoint(batch["kspace"], batch)
            self.network(keras.ops.stack([keras.ops.real(image), keras.ops.imag(image)], -1))
            return image * self.scale

        def get_config(self):
            return {**super().get_config(), "scale": self.scale}

    @keras.saving.register_keras_serializable("mine")
    @dataclasses.dataclass(frozen=True)
    class Mask(RandomMask):
        shift: int = 0

    @keras.saving.register_keras_serializable("mine")
    class Scaling:
        def __init__(self, factor=2.0):
            self.factor = factor

        def __call__(self, kspace, adjoint=None):
            return self.factor

        def get_config(self):
            return {"factor": self.factor}

    @keras.saving.register_keras_serializable("mine")
    def twice(kspace, adjoint=None):
        return 2.0

    yield Network, Mask, Scaling, twice
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(names)


def test_classes_of_ones_own_are_stored_and_loaded(own, tmp_path):
    network, mask, scaling, twice = own
    model = network(scale=0.5)
    model.build()
    folder = save_preset(tmp_path / "mine", model, scaling(3.0), mask(4, shift=1))
    loaded = load_preset(folder)
    assert type(loaded.model) is network and loaded.model.scale == 0.5
    assert loaded.scaling.factor == 3.0 and loaded.sampling == mask(4, shift=1)
    for ours, theirs in zip(model.get_weights(), loaded.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert scaling_from_config(scaling_to_config(twice)) is twice
    keras.saving.get_custom_objects().clear()
    with pytest.raises(DataError, match=r"config.json: `scaling` cannot be used: 'mine>Scaling' .* import the module"):
        load_preset(folder)
    change(folder / "config.json", scaling={"name": "constant"}, sampling=None)
    with pytest.raises(DataError, match=f"'mine>Network' .* import the module `{re.escape(network.__module__)}` first"):
        load_preset(folder)


def test_a_class_of_ones_own_takes_no_other_place(own, preset):
    for key, name in (("scaling", "mine>Network"), ("sampling", "mine>Scaling"), ("sampling", "mine>twice")):
        rules = {"scaling": {"name": "constant"}, "sampling": None}
        change(preset / "config.json", **rules | {key: {"name": name, "module": "m", "arguments": {}}})
        with pytest.raises(DataError, match=f"`{key}` cannot be used: "):
            load_preset(preset)
    change(preset / "config.json", architecture="mine>Mask", scaling={"name": "constant"}, sampling=None)
    with pytest.raises(DataError, match="'mine>Mask' is no ReconstructionModel"):
        load_preset(preset)


def test_what_cannot_be_stored_is_told_before_a_training():
    class Unregistered(UNet):
        pass

    class UNet2(UNet):
        pass

    UNet2.__name__ = "UNet"  # not the zoo's, which a preset would load in its place
    arguments = {"num_filters": (2, 4), "num_convolutions": 1}
    for cls in (Unregistered, UNet2):
        with pytest.raises(ValueError, match=f"'{cls.__name__}' cannot be stored in a preset"):
            preset_config(cls(**arguments), ConstantScaling())
    with pytest.raises(ValueError, match="function cannot be stored|<lambda> cannot be stored in a preset"):
        preset_config(UNet(**arguments), lambda kspace, adjoint: 1.0)
    with pytest.raises(ValueError, match="must be of type SamplingMask or SamplingTrajectory, got int"):
        preset_config(UNet(**arguments), ConstantScaling(), 3)
