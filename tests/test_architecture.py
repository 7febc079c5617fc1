"""Imports point one way, TensorFlow stays where it is needed, and the linter is content."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mri_zoo"

# A module may import its own layer and those to its left.
LAYERS = [
    {"arguments", "interruption", "storage", "physics", "data"},
    {"layers"},
    {"models"},
    {"losses", "metrics", "optimizers", "training", "evaluation", "presets"},
    {"registration", "cli", "__main__", ""},  # "" is the package itself
]
# These import TensorFlow with their first line, so whoever imports them does too.
WITH_TENSORFLOW = ("mri_zoo/data/pipeline.py", "mri_zoo/data/builders/")
TENSORFLOW = ("tensorflow", "tensorflow_datasets", "mri_zoo.data.pipeline", "mri_zoo.data.builders")
# Keras has no constructor of complex tensors and no call to the host; Voronoi cells and triangles are SciPy's.
PHYSICS_INSIDE_FUNCTIONS = {
    "mri_zoo/physics/coils.py": {"tensorflow"},
    "mri_zoo/physics/complex.py": {"tensorflow"},
    "mri_zoo/physics/fourier.py": {"tensorflow"},
    "mri_zoo/physics/nufft.py": {"tensorflow", "jax"},  # the NUFFT libraries are imported by name, when asked for
    "mri_zoo/physics/density.py": {"scipy"},
    "mri_zoo/physics/gridded.py": {"scipy"},
}


def violations(path, source):
    """What a module, `path` from the root of the project, does against the rules; one line each."""
    layer = layer_of(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    tree = ast.parse(source)
    for name, inside_function in imports(tree):
        library = name.partition(".")[0]
        if library == "mri_zoo" and layer_of(name) > layer:
            yield f"imports {name}, which stands above it"
        if is_below(name, TENSORFLOW) and not inside_function and not path.startswith(WITH_TENSORFLOW):
            yield f"imports {name} at module level"
        if path.startswith("mri_zoo/physics/") and not is_below(name, ("mri_zoo.physics",)):
            allowed = {"keras", "numpy"} | (PHYSICS_INSIDE_FUNCTIONS.get(path, set()) if inside_function else set())
            if library not in allowed | sys.stdlib_module_names:
                yield f"physics imports {name}"
    if not path.startswith("mri_zoo/data/"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("tf.data", "tensorflow.data"):
                yield "uses tf.data"


def layer_of(name):
    part = (name.split(".") + [""])[1]
    (layer,) = [i for i, parts in enumerate(LAYERS) if part in parts] or [None]
    assert layer is not None, f"{name} has no place in LAYERS"
    return layer


def imports(tree, inside_function=False):
    """(full name of the imported module, whether a function imports it)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if is_module(full) else node.module), inside_function
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, inside_function or function)


def is_module(name):
    path = PACKAGE.parent.joinpath(*name.split("."))
    return name.startswith("mri_zoo.") and (path.is_dir() or path.with_suffix(".py").is_file())


def is_below(name, parents):
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_the_rules(path):
    assert list(violations(path.relative_to(PACKAGE.parent).as_posix(), path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("mri_zoo/physics/new.py", "from mri_zoo.models.base import center_crop"),
        ("mri_zoo/physics/new.py", "from mri_zoo import layers"),
        ("mri_zoo/physics/new.py", "import scipy"),
        ("mri_zoo/physics/new.py", "def f():\n    import tensorflow as tf"),
        ("mri_zoo/physics/nufft.py", "import jax"),
        ("mri_zoo/physics/density.py", "import scipy"),
        ("mri_zoo/physics/complex.py", "import tensorflow as tf"),
        ("mri_zoo/physics/new.py", "from mri_zoo.data import fourier"),
        ("mri_zoo/data/new.py", "def f():\n    from mri_zoo.losses import SSIM"),
        ("mri_zoo/data/__init__.py", "from mri_zoo.data.pipeline import fastmri"),
        ("mri_zoo/models/new.py", "from mri_zoo import cli"),
        ("mri_zoo/losses.py", "if True:\n    import tensorflow as tf"),
        ("mri_zoo/training/new.py", "class A:\n    import tensorflow.io"),
        ("mri_zoo/cli.py", "import tensorflow_datasets"),
        ("mri_zoo/presets/registry.py", "def f():\n    import tensorflow as tf\n    return tf.data.Dataset"),
    ],
)
def test_violation_is_found(path, source):
    assert list(violations(path, source))


@pytest.mark.parametrize(
    "path, source",
    [
        ("mri_zoo/physics/complex.py", "def f():\n    import tensorflow as tf"),
        ("mri_zoo/physics/new.py", "import math\n\nimport numpy as np\nfrom keras import ops"),
        ("mri_zoo/data/builders/new.py", "import tensorflow_datasets as tfds\nfrom mri_zoo.data import pipeline"),
        ("mri_zoo/cli.py", "def f():\n    from mri_zoo.data.pipeline import fastmri\n    import mri_zoo"),
        ("mri_zoo/losses.py", "from mri_zoo.models import base"),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert list(violations(path, source)) == []


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")])
def test_ruff_finds_nothing(arguments):
    result = subprocess.run([sys.executable, "-m", "ruff", *arguments, "."], cwd=PACKAGE.parent, capture_output=True)
    assert result.returncode == 0, result.stdout.decode()
