import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import mri_zoo
from mri_zoo import registration
from mri_zoo.data import PercentileScaling, RandomMask
from mri_zoo.losses import kspace_nmse
from mri_zoo.models.preset import Preset


@pytest.fixture
def forgotten():
    """Keras as it is before the zoo is imported."""
    known = keras.saving.get_custom_objects()
    kept = dict(known)
    known.clear()
    yield known
    known.clear()
    known.update(kept)


def save(path, metrics):
    """A trained file as ModelCheckpoint writes it, and its image of a batch."""
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=(1, 1, 16, 14)) + 1j * rng.normal(size=(1, 1, 16, 14))).astype("complex64")
    batch = {"kspace": kspace, "mask": np.ones((1, 1, 1, 14), "float32")}
    model = mri_zoo.models.PDNet(1, 2, 2, num_filters=2)
    model.build()
    quality = {"summary": "mine", "sha256": "0", "quality": [{"PSNR (dB)": "40"}]}
    model.preset = Preset("mine", model, PercentileScaling(95), RandomMask(4), quality)
    rate = mri_zoo.optimizers.WarmupLinearDecay(1e-3, 4)
    model.compile(mri_zoo.optimizers.RectifiedAdam(rate), mri_zoo.losses.SSIM(), metrics=metrics)
    model.fit(batch, np.ones((1, 16, 14), "float32"), verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    return batch, model.predict_on_batch(batch)


def test_the_names_are_those_that_keras_knows():
    found = list(registration.registrations())
    for module, is_class, name in found:
        thing = getattr(__import__(module, fromlist=[name]), name)
        assert isinstance(thing, type) == is_class
        assert keras.saving.get_registered_object(f"mri_zoo>{name}") is thing
    # Examples of the documentation, which other tests run, register under the package's name, too.
    package = str(Path(mri_zoo.__file__).parent)
    files = {
        name: getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
        for name, thing in keras.saving.get_custom_objects().items()
    }
    known = {name for name, file in files.items() if file.startswith(package)}
    assert known == {f"mri_zoo>{name}" for _, _, name in found}


def test_a_keras_file_finds_its_classes_and_keeps_scaling_and_sampling(tmp_path, forgotten):
    batch, image = save(tmp_path / "m.keras", [mri_zoo.metrics.SlicePSNR(), kspace_nmse])
    forgotten.clear()
    registration.register_when_keras_is_imported()
    model = keras.saving.load_model(tmp_path / "m.keras")
    assert type(model) is mri_zoo.models.PDNet and type(model.optimizer) is mri_zoo.optimizers.RectifiedAdam
    np.testing.assert_array_equal(model.predict_on_batch(batch), image)
    assert model.preset.scaling == PercentileScaling(95) and model.preset.sampling == RandomMask(4)
    # Quality and hash are those of the weights before the training.
    assert model.preset.name == "mine" and model.preset.metadata == {"summary": "mine"}
    assert model.preset.model is model
    model.save(tmp_path / "again.keras")
    assert keras.saving.load_model(tmp_path / "again.keras").preset.sampling == RandomMask(4)


def test_a_model_without_preset_has_none_after_loading(tmp_path):
    model = mri_zoo.models.PDNet(1, 2, 2, num_filters=2)
    model.build()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert not hasattr(loaded, "preset")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loaded_preset_is_that_of_its_model():
    model = mri_zoo.load("zero-filled")
    assert model.preset.model is model and mri_zoo.load_preset("zero-filled").model.preset.name == "zero-filled"


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import mri_zoo, keras", "import keras, mri_zoo", "import mri_zoo.data, keras"])
def test_a_new_process_needs_one_import(tmp_path, imports):
    save(tmp_path / "m.keras", [kspace_nmse])
    program = f"{imports}\nprint(keras.saving.load_model({str(tmp_path / 'm.keras')!r}).preset.sampling)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == str(RandomMask(4)), done.stderr


def test_importing_the_zoo_does_not_import_keras():
    program = "import mri_zoo, sys; assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
