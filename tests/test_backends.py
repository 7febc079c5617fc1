"""One set of weights, three backends and two devices: the numbers agree.

Every backend needs a process of its own: there, this file runs as a script.
"""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


TRAINED = ("unet", "pdnet", "samples")


def create_model(name):
    """A model of the zoo, or "samples" for one of non-Cartesian samples."""
    from zoo import create

    from mri_zoo.models import NCPDNet
    from mri_zoo.physics.noncartesian import NonCartesian

    if name == "samples":
        return NCPDNet(2, 2, 4, physics=NonCartesian((15, 13), center_fraction=0.4))
    return create(name)


def load_batch(folder, name="pdnet"):
    """The batch dict and the target for a model; the models have to estimate coil sensitivities."""
    with np.load(folder / {"samples": "samples.npz", "vsharp_3d": "frames.npz"}.get(name, "batch.npz")) as file:
        return {key: file[key] for key in file if key != "target"}, file["target"]


def run_without_tensorflow(folder):
    """Each recorded model forward; of some three training steps and a reload; with `import tensorflow` an error."""
    sys.meta_path[:] = [WithoutTensorFlow if finder is PathFinder else finder for finder in sys.meta_path]
    import keras

    from mri_zoo.data import PercentileScaling, RandomMask
    from mri_zoo.models.preset import Preset

    results = {"backend": keras.backend.backend()}
    for path in sorted(folder.glob("*.weights.h5")):
        name = path.name.removesuffix(".weights.h5")
        model, (batch, target) = create_model(name), load_batch(folder, name)
        model.load_weights(folder / f"{name}.weights.h5")
        np.save(folder / f"{name}.npy", model.predict(batch, verbose=0))
        if name not in TRAINED:
            continue
        model.compile(keras.optimizers.Adam(1e-3), loss="mae")
        losses = model.fit(batch, target, epochs=3, verbose=0).history["loss"]
        model.preset = Preset(name, model, PercentileScaling(95), RandomMask(4))
        model.save(folder / f"{name}.keras")
        copy = keras.models.load_model(folder / f"{name}.keras")
        equal = (copy.preset.scaling, copy.preset.sampling) == (PercentileScaling(95), RandomMask(4))
        equal &= np.array_equal(copy.predict(batch, verbose=0), model.predict(batch, verbose=0))
        results[name] = {"losses": losses, "reload_is_equal": equal}
    results["tensorflow_was_imported"] = "tensorflow" in sys.modules
    (folder / "results.json").write_text(json.dumps(results))


def lower_for_a_gpu(folder):
    """What JAX hands to the compiler of a CUDA device, which need not be there: a forward pass and its gradient."""
    import jax
    import keras
    from jax import export

    from mri_zoo.models import NCPDNet
    from mri_zoo.physics.noncartesian import NonCartesian

    # The implementation that "auto" stands for on an accelerator.
    model = NCPDNet(2, 2, 4, physics=NonCartesian((15, 13), center_fraction=0.4, implementation="kaiser_bessel"))
    model.build()
    batch, _ = load_batch(folder, "samples")
    batch = {key: jax.numpy.asarray(value) for key, value in batch.items()}

    def loss(weights, batch):
        image, _ = model.stateless_call(weights, [], batch)
        return keras.ops.mean(keras.ops.abs(image))

    weights = [weight.value for weight in model.trainable_variables]
    lowered = export.export(jax.jit(jax.value_and_grad(loss)), platforms=["cuda"])(weights, batch)
    text = lowered.mlir_module()
    results = {"platforms": lowered.platforms, "transforms": text.count("stablehlo.fft"), "host": "callback" in text}
    (folder / "results.json").write_text(json.dumps(results))


class WithoutTensorFlow(PathFinder):
    """Finds everything but TensorFlow, as where it is not installed."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else super().find_spec(name, path, target)


def run_on_two_devices(folder):
    """Three steps of training, on one device and on two replicas that share each batch."""
    import keras
    import tensorflow as tf
    from zoo import create

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = {
        "one": tf.distribute.OneDeviceStrategy("CPU:0"),
        "two": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    # Two batches, the third step sees the first again.
    dataset = tf.data.Dataset.from_tensor_slices(load_batch(folder)).batch(2, drop_remainder=True).repeat()
    results = {}
    for devices, strategy in strategies.items():
        with strategy.scope():
            model = create("pdnet")
            model.load_weights(folder / "pdnet.weights.h5")
            model.compile(keras.optimizers.SGD(0.1), loss="mae")  # unlike Adam it shows a wrong scale of the gradient
        results[devices] = model.fit(dataset, epochs=3, steps_per_epoch=1, verbose=0).history["loss"]
        np.savez(folder / f"{devices}.npz", *model.get_weights())
    results["replicas"] = strategy.num_replicas_in_sync
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture(scope="module", params=[TRAINED])
def recorded(request, tmp_path_factory):
    """Folder with weights, batches and the images of TensorFlow, which this process runs, of the named models."""
    import keras
    from helpers import acquire, acquire_frames, acquire_noncartesian
    from zoo import MODELS

    folder, rng = tmp_path_factory.mktemp("tensorflow"), np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    for file, acquired in (("batch", acquire), ("samples", acquire_noncartesian), ("frames", acquire_frames)):
        batch, image = acquired(rng, coils=3, batch_size=4)
        np.savez(folder / f"{file}.npz", **batch, target=np.abs(image)[..., 1:, 1:12])
    for name in request.param or [*MODELS, "samples"]:
        model, (batch, _) = create_model(name), load_batch(folder, name)
        np.save(folder / f"{name}.npy", model(batch))
        model.save_weights(folder / f"{name}.weights.h5")
    return folder


def run(program, recorded, tmp_path, **environment):
    """The results of this file as a script, whose folder holds copies of the recorded weights and batches."""
    for file in [*recorded.glob("*.h5"), *recorded.glob("*.npz")]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    command = [sys.executable, __file__, program, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("recorded", [TRAINED, pytest.param(None, marks=pytest.mark.slow, id="every")], indirect=True)
def test_other_backends_need_no_tensorflow_and_give_its_numbers(recorded, tmp_path, backend):
    from zoo import deviation

    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install mri-zoo[{backend}]")
    quick_compilation = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": quick_compilation}
    results = run("run_without_tensorflow", recorded, tmp_path, **environment)
    assert results["backend"] == backend
    assert not results["tensorflow_was_imported"]
    for path in recorded.glob("*.npy"):
        assert deviation(path.stem, np.load(tmp_path / path.name), np.load(path)) < 1e-4, path.stem
    for name in TRAINED:
        losses = results[name]["losses"]
        assert losses[0] > losses[1] > losses[2]
        assert results[name]["reload_is_equal"]


def test_jax_lowers_a_noncartesian_training_step_for_a_gpu_without_calls_to_the_host(recorded, tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install mri-zoo[jax]")
    results = run("lower_for_a_gpu", recorded, tmp_path, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert results["platforms"] == ["cuda"]
    assert results["transforms"] > 0
    assert not results["host"]


def test_two_devices_train_as_one(recorded, tmp_path):
    results = run("run_on_two_devices", recorded, tmp_path, KERAS_BACKEND="tensorflow")
    assert results["replicas"] == 2
    np.testing.assert_allclose(results["two"], results["one"], rtol=1e-5)
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert len(one.files) == len(two.files) == 24
        for key in one:
            np.testing.assert_allclose(two[key], one[key], atol=1e-6)
    assert results["one"][2] < results["one"][0]


if __name__ == "__main__":
    programs = run_without_tensorflow, lower_for_a_gpu, run_on_two_devices
    {program.__name__: program for program in programs}[sys.argv[1]](Path(sys.argv[2]))
