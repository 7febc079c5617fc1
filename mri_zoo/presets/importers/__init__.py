"""Checkpoints of other codebases as models of the zoo: one file per source."""

import difflib
import json
from pathlib import Path

from mri_zoo.data.volume import DataError
from mri_zoo.presets.importers import deep_jsense, direct, fastmri, fastmri_reproducible_benchmark
from mri_zoo.presets.importers.checkpoint import Checkpoint, assign
from mri_zoo.presets.registry import save_preset, sha256

SOURCES = {
    "deep-jsense": deep_jsense.ARCHITECTURES,
    "direct": direct.ARCHITECTURES,
    "fastmri": fastmri.ARCHITECTURES,
    "fastmri-reproducible-benchmark": fastmri_reproducible_benchmark.ARCHITECTURES,
}


def import_checkpoint(path, source, architecture, config=None):
    """The model of a foreign checkpoint.

    Args:
        path: HDF5 of Keras 2 (weights alone, or a whole model), `.safetensors`, or PyTorch's `.pt`, `.pth`, `.ckpt`
            (a `state_dict`, or the training checkpoint that holds it), of which tensors alone are read.
        source: the codebase that wrote it, one of `SOURCES`.
        architecture: which of its networks, by the name of our class.
        config: constructor arguments of our class, as a dict or the path of a JSON file. What the shapes of the arrays
            tell need not be given; nor need arguments that keep their defaults.

    Returns:
        The built `ReconstructionModel`.

    Raises:
        DataError: if the file cannot be read, or does not fit: the message names the array, its shape and the one
            expected.
        ValueError: if source or architecture are unknown, or `config` must give an argument and does not.

    Example:
        `import_checkpoint("model_weights.h5", "fastmri-reproducible-benchmark", "PDNet")`
    """
    foreign, config = find_architecture(source, architecture), _read_config(config)
    checkpoint = Checkpoint(path)
    checkpoint.arrays = foreign.select(checkpoint.arrays)
    config = {**foreign.infer(checkpoint), **config}
    missing = [name for name in foreign.asks if name not in config]
    if missing:
        raise ValueError(f"{path} does not tell {', '.join(f'`{name}`' for name in missing)}: give it in `config`.")
    defaults = foreign.model().get_config()
    for name in config:
        _named(defaults, name, f"argument of {foreign.model.__name__}")
    model = foreign.extend(foreign.model.from_config({**defaults, **config}), checkpoint)
    model.build()
    assign(model, checkpoint, foreign.weights(model, checkpoint))
    return model


def import_preset(path, source, architecture, folder, config=None, sampling=None, scaling=None, metadata=None):
    """Write a preset of a foreign checkpoint.

    Args:
        path: see `import_checkpoint`, also for the errors.
        source: see there.
        architecture: see there.
        folder: the preset's; its name is the preset's.
        config: see there.
        sampling: what the weights were trained with, where it is known.
        scaling: rule of `mri_zoo.data.preparation` that they expect, by default the one of `source`.
        metadata: replaces entries of the model card, see `save_preset`.

    Returns:
        The model.
    """
    model = import_checkpoint(path, source, architecture, config)
    card = {
        "summary": f"{architecture} with weights of {source}",
        "training": f"Imported from `{Path(path).name}` of {source} (SHA-256 `{sha256(path)}`).",
        "licence": "That of the imported weights.",
        **(metadata or {}),
    }
    save_preset(folder, model, scaling or find_architecture(source, architecture).scaling, sampling, card)
    return model


def find_architecture(source, architecture):
    """How `source` stores `architecture`; raises ValueError with the nearest name if there is no such thing."""
    architectures = _named(SOURCES, source, "source")
    return _named(architectures, architecture, f"architecture of {source}")


def _named(things, name, kind):
    if name not in things:
        by_lower_case = {thing.lower(): thing for thing in things}
        nearest = by_lower_case[difflib.get_close_matches(str(name).lower(), by_lower_case, n=1, cutoff=0)[0]]
        raise ValueError(f"Unknown {kind} {name!r}; did you mean {nearest!r}? There are {', '.join(things)}.")
    return things[name]


def _read_config(config):
    if config is None or isinstance(config, dict):
        return config or {}
    try:
        found = json.loads(Path(config).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{config}: is not a readable JSON file ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f"{config}: holds a {type(found).__name__}; expected an object of constructor arguments.")
    return found
