"""Fixtures and small helpers of all tests."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["OMP_NUM_THREADS"] = "1"  # FINUFFT's threads add in the order in which they end: no two runs were bit-equal

import keras  # noqa: E402, TensorFlow reads its log level when it is imported

ROOT = Path(__file__).parent.parent
os.environ["MRI_ZOO_CACHE"] = str(ROOT / "tests" / "no-cache")  # no test sees what the user has downloaded


@pytest.fixture(autouse=True, scope="module")
def graphs_are_not_searched_for_garbage():
    """Without it, collections that go through the graphs of all earlier tests take a tenth of the time and more."""
    gc.set_threshold(50_000, 20, 100)
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def without_xla(request, monkeypatch):
    """XLA compiles for seconds what then runs for milliseconds; Keras's default is left to tests marked `xla`."""
    marked = any(map(request.node.get_closest_marker, ("xla", "slow")))
    if keras.backend.backend() == "tensorflow" and not marked:
        monkeypatch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda model: False)


@pytest.fixture(autouse=True)
def same_initial_weights():
    """Tests see the same networks in each run: a few random ones are dead, all zero behind their last ReLU."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def reference():
    """Folder of the recorded references."""
    return ROOT / "tests" / "reference"


@pytest.fixture
def shared_data():
    """Folder of real scans that are not part of the project."""
    folder = Path(os.environ.get("MRI_ZOO_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set MRI_ZOO_SHARED")
    return folder
