import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from mri_zoo.optimizers import RectifiedAdam, WarmupLinearDecay, WarmupStepDecay

BACKEND = keras.backend.backend()
OPTION_SETS = [
    "default",
    "lr0.05",
    "weight_decay",
    "warmup",
    "warmup_short",
    "sma4",
    "sma6",
    "sma4_beta2_0.9",
    "sma5_beta2_0.9",
    "amsgrad",
    "clipnorm",
    "warmup_weight_decay",
]


@pytest.fixture
def recording(reference):
    with np.load(reference / "tensorflow/numeric/rectified_adam.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def float64():
    if BACKEND == "jax":
        pytest.skip("JAX computes in float32 unless configured")
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def replay(recording, name, dtype, options):
    """Largest difference of any variable at any of the 20 steps, given the recorded gradients."""
    variables = [keras.Variable(recording[key], dtype=dtype) for key in ("x0", "W0", "c0")]
    optimizer = RectifiedAdam(**options)
    worst = 0
    for step in range(20):
        gradients = [recording[f"{name}__{dtype}__grad_{key}"][step] for key in "xWc"]
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in gradients], variables)
        for key, variable in zip("xWc", variables, strict=True):
            expected = recording[f"{name}__{dtype}__var_{key}"][step]
            worst = max(worst, np.max(np.abs(variable.numpy() - expected)))
    return worst


@pytest.mark.parametrize("name", OPTION_SETS)
def test_trajectory_equals_tensorflow_addons(recording, name):
    assert replay(recording, name, "float32", json.loads(str(recording[f"{name}__kwargs"]))) < 1e-6


@pytest.mark.parametrize("name", ["sma4_beta2_0.9", "amsgrad", "clipnorm", "warmup_short", "warmup_weight_decay"])
def test_trajectory_equals_tensorflow_addons_in_double_precision(recording, name, float64):
    options = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "weight_decay": 0.0, "warmup_proportion": 0.1}
    options |= json.loads(str(recording[f"{name}__kwargs"]))
    # TensorFlow Addons keeps its hyper-parameters in single precision.
    single = {key: float(np.float32(value)) for key, value in options.items() if isinstance(value, float)}
    # Far from 1e-14 only through the last bit of a power, which the difference of two long averages multiplies.
    tolerance = 1e-14 if BACKEND == "tensorflow" else 1e-8
    assert replay(recording, name, "float64", {**options, **single}) < tolerance


def test_all_recorded_option_sets_are_replayed(recording):
    assert {key.removesuffix("__kwargs") for key in recording if key.endswith("__kwargs")} == set(OPTION_SETS)


def test_warmup_and_decay():
    schedule = WarmupLinearDecay(0.2, total_steps=20, warmup_proportion=0.25, min_lr=0.05)
    rates = [float(ops.convert_to_numpy(schedule(step))) for step in range(25)]
    expected = np.concatenate([0.2 * np.arange(1, 6) / 5, 0.2 - 0.01 * np.arange(1, 16), np.full(5, 0.05)])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()


def test_rate_rises_and_falls_in_steps():
    schedule = WarmupStepDecay(3e-3, warmup_steps=4, decay_steps=6, decay=0.5)
    rates = [float(ops.convert_to_numpy(schedule(step))) for step in range(14)]
    expected = [1e-3, 1.5e-3, 2e-3, 2.5e-3, 3e-3, 3e-3, *[1.5e-3] * 6, 7.5e-4, 7.5e-4]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert float(ops.convert_to_numpy(WarmupStepDecay(3e-3)(450_000))) == pytest.approx(3e-3 * 0.8**3, rel=1e-5)
    assert float(ops.convert_to_numpy(WarmupStepDecay(2.0, warmup_steps=0)(0))) == 2
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
    for arguments in ({"decay": 0}, {"warmup_start": 2}, {"warmup_steps": -1}, {"decay_steps": 0}):
        with pytest.raises(ValueError, match="must be"):
            WarmupStepDecay(1e-3, **arguments)


@pytest.mark.parametrize("options", [{"beta_2": 0.6}, {"beta_2": 0.5}, {"warmup_proportion": 0.0, "total_steps": 3}])
def test_steps_are_finite_where_the_rectification_is_not(options):
    variable = keras.Variable([1.0, -2.0])
    optimizer = RectifiedAdam(0.1, **options)
    for _ in range(8):
        optimizer.apply([ops.convert_to_tensor(np.array([1.0, 0.0], "float32"))], [variable])
    moved, still = variable.numpy()
    assert moved < 0.95 and still == -2


def test_excluded_variables_do_not_decay():
    kept, decayed = keras.Variable([2.0], name="bias"), keras.Variable([2.0], name="kernel")
    optimizer = RectifiedAdam(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros(1), ops.zeros(1)], [kept, decayed])
    np.testing.assert_allclose(kept.numpy(), 2)
    np.testing.assert_allclose(decayed.numpy(), 2 - 0.1 * 0.5 * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learning_rate": 0.25, "weight_decay": 0.5, "amsgrad": True, "sma_threshold": 4.5, "clipnorm": 1.5},
        {"learning_rate": 0.25, "total_steps": 7, "warmup_proportion": 0.5, "min_lr": 0.125, "name": "other"},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5), "use_ema": True},
    ],
)
def test_config_round_trip(options):
    optimizer = RectifiedAdam(**options)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is RectifiedAdam and again.get_config() == optimizer.get_config()
    config = again.get_config()
    for key, value in options.items():
        if not isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            assert config[key] == value


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sma_threshold": 3.9}, "sma_threshold.*3.9"),
        ({"beta_2": 1.0}, "beta_2.*1.0"),
        ({"beta_1": -0.1}, "beta_1.*-0.1"),
        ({"weight_decay": -1.0}, "weight_decay.*-1.0"),
        ({"total_steps": -3}, "total_steps.*-3"),
        ({"total_steps": 3, "warmup_proportion": 1.5}, "warmup_proportion.*1.5"),
        ({"total_steps": 3, "learning_rate": keras.optimizers.schedules.CosineDecay(1.0, 2)}, "must be a number"),
        ({"nesterov": True}, "nesterov"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RectifiedAdam(**options)


def test_a_reloaded_model_trains_on_bit_equally(rng, tmp_path):
    x, y = rng.standard_normal((6, 5)).astype("float32"), rng.standard_normal((6, 3)).astype("float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    options = {"total_steps": 20, "min_lr": 0.01, "sma_threshold": 4.0, "beta_2": 0.9}
    model.compile(RectifiedAdam(0.1, weight_decay=0.1, amsgrad=True, **options), "mse")
    model.fit(x, y, epochs=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is RectifiedAdam
    losses = [m.fit(x, y, epochs=4, shuffle=False, verbose=0).history["loss"] for m in (model, again)]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


MIRRORED = """
import contextlib, keras, numpy as np, tensorflow as tf
from mri_zoo.optimizers import RectifiedAdam

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
x, y = rng.standard_normal((8, 5)).astype("float32"), rng.standard_normal((8, 3)).astype("float32")

def train(scope):
    with scope:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(3)])
        model.compile(RectifiedAdam(0.1, weight_decay=0.1, total_steps=20, beta_2=0.9, amsgrad=True), "mse")
    model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat(12), verbose=0)
    return model.get_weights()

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
print(max(np.max(np.abs(a - b)) for a, b in zip(train(strategy.scope()), train(contextlib.nullcontext()))))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="about tf.distribute")
def test_two_mirrored_devices_equal_one():
    result = subprocess.run(  # devices are configured before TensorFlow starts
        [sys.executable, "-c", MIRRORED],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(result.stdout.splitlines()[-1]) < 1e-6
