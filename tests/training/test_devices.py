import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from mri_zoo.data.shares import COUNT, shares
from mri_zoo.training import devices
from mri_zoo.training.devices import device_names, devices_scope, metrics_of_scope, require_own_weights
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.supervised import train

HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", ["fast", pytest.param("all", marks=pytest.mark.slow)])
def test_two_devices_train_as_one(kind, tmp_path):
    path = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent, HERE)))
    run = [sys.executable, str(HERE / "two_devices.py"), kind, str(tmp_path)]
    finished = subprocess.run(run, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-4000:]
    assert finished.stdout.splitlines()[-1] == "equal"


def test_shares_are_even_and_none_is_empty():
    def found(size, number, shared):
        inputs = {"kspace": tf.range(size), "trajectory": tf.range(1 if shared else size)}
        batch = tf.data.Dataset.from_tensors((inputs, tf.range(size)))
        return [
            (
                list(part["kspace"].numpy()),
                list(part["trajectory"].numpy()),
                int(sum(part[COUNT])),
                list(target.numpy()),
            )
            for part, target in shares(batch, number)
        ]

    assert found(5, 2, False) == [([0, 1, 2],) * 2 + (3, [0, 1, 2]), ([3, 4],) * 2 + (2, [3, 4])]
    assert found(3, 2, True) == [([0, 1], [0], 2, [0, 1]), ([2], [0], 1, [2])]
    assert found(2, 3, True) == [([0, 1], [0], 1, [0, 1]), ([0, 1], [0], 1, [0, 1]), ([0, 1], [0], 0, [0, 1])]
    assert found(1, 2, True) == [([0], [0], 1, [0]), ([0], [0], 0, [0])]


@pytest.mark.parametrize(
    "given, text",
    [
        ("gpu", "`devices` .* must be `all`, a number of devices, or `cpu:N`.*got 'gpu'"),
        ("cpu:0", "got 'cpu:0'"),
        (0, "got 0"),
        (True, "got True"),
        (1.5, "got 1.5"),
        ("cpu:65", "at most 64"),
        (99, "asks for 99, but TensorFlow has"),
        ("cpu:9", "cannot make 9 devices of the processor any more, as TensorFlow has started with"),
    ],
)
def test_devices_that_are_not_there_are_refused(given, text, tmp_path):
    tf.zeros(())  # TensorFlow has started
    with pytest.raises(ValueError, match=text):
        train(load_recipe(HERE / "tiny_recipe.py"), tmp_path / "run", devices=given)
    assert not (tmp_path / "run").exists()


def test_one_device_needs_no_scope():
    with devices_scope(1), devices_scope("1"):
        assert not tf.distribute.has_strategy()
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope(), devices_scope("cpu:1"):
        assert tf.distribute.has_strategy()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_are_refused(backend, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ValueError, match=f"MirroredStrategy, and the backend is {backend}"):
        device_names("all")


def test_the_command_tells_in_one_line(tmp_path):
    from mri_zoo.cli import app

    result = CliRunner().invoke(app, ["train", str(HERE / "tiny_recipe.py"), "-o", str(tmp_path), "--devices", "two"])
    assert isinstance(result.exception, ValueError) and "\n" not in str(result.exception)


def test_a_fit_to_one_slice_takes_one_device(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "number_of_devices", lambda: 2)
    with pytest.raises(ValueError, match="one slice takes one device, and there are 2"):
        train(load_recipe(HERE / "tiny_dip_recipe.py"), tmp_path)


def test_what_was_made_before_the_scope_is_made_anew_or_refused():
    class Lacking(keras.metrics.Mean):
        def __init__(self, threshold, name="lacking"):
            super().__init__(name=name)

    before, lacking = [keras.metrics.MeanSquaredError(), "mae"], Lacking(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert metrics_of_scope(before) == before
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        anew = metrics_of_scope(before)
        assert type(anew[0]) is type(before[0]) and anew[0] is not before[0] and anew[1] == "mae"
        assert metrics_of_scope(anew) == anew
        with pytest.raises(ValueError, match="`get_config` of Lacking lacks threshold"):
            metrics_of_scope([lacking])
        with pytest.raises(ValueError, match="was made before the devices were chosen"):
            require_own_weights(model)
