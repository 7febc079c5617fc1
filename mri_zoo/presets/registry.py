"""Presets: named folders that hold a trained model and all that is needed to use it as it was trained.

A preset is `config.json` (class, arguments, scaling, sampling), `model.weights.h5`, `metadata.json` (training data,
licence, measured quality, SHA-256 of the weights) and `README.md`, the model card.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import math
import os
from pathlib import Path

import keras
import numpy as np

import mri_zoo.models
from mri_zoo.arguments import suggestion
from mri_zoo.data.preparation import ConstantScaling, PercentileScaling
from mri_zoo.data.volume import DataError
from mri_zoo.models import CGSENSE, ZeroFilled
from mri_zoo.models.preset import Preset
from mri_zoo.presets.card import model_card, table
from mri_zoo.presets.config import (
    CONFIG,
    load_weights,
    model_from_config,
    preset_config,
    preset_metadata,
    read_json,
    read_metadata,
    rules_from_config,
)
from mri_zoo.presets.published import cache_folder, downloaded, published
from mri_zoo.presets.scratch import scratch_folder
from mri_zoo.storage import InMemory, errors_name, write_bytes

BASELINE = "zero-filled"
CG_SENSE = "cg-sense"
_UNTRAINED = {
    BASELINE: (ZeroFilled, {}, "the adjoint image; learns nothing"),
    # Of 5 to 20 steps and weights from 1e-3 to 0.1 these are within 0.5 dB of the best one for the held-out brain with
    # eight coils along columns (accelerations 4 and 8) and spokes (4).
    CG_SENSE: (
        *(CGSENSE, {"num_steps": 10, "weight": 0.01}),
        "conjugate-gradient SENSE, 10 steps with a weight of 0.01; learns nothing",
    ),
}


def bundled_folder():
    """The folder of the presets that come with the package."""
    package = Path(mri_zoo.models.__file__).parent.parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def list_models():
    """The names of all presets with one line on each: task, size and measured quality.

    `zero-filled` comes first, those that come with the package next, downloaded ones last.
    """
    lines = {name: summary for name, (_, _, summary) in _UNTRAINED.items()}
    bundled = sorted(bundled_folder().glob("*/metadata.json"))
    for file in [*bundled, *(folder / "metadata.json" for folder in downloaded().values())]:
        try:
            metadata = read_metadata(file)
        except DataError as error:  # the others are there all the same
            lines[file.parent.name] = f"cannot be used: {error}"
            continue
        line = f"{metadata['summary']}; {metadata['parameters']:,} parameters"
        for row in metadata.get("quality", ())[:1]:
            told = {key: row.get(key, "?") for key in ("data", "PSNR (dB)", "zero-filled PSNR (dB)")}
            line += "; {}: {} dB (zero-filled {})".format(*told.values())
        lines[file.parent.name] = line
    return lines


def presets_table():
    """The lines of a Markdown table of the bundled presets with their measured quality, for README."""
    rows = []
    for file in sorted(bundled_folder().glob("*/metadata.json")):
        metadata = read_metadata(file)
        link = f"[{file.parent.name}](weights/{file.parent.name}/README.md)"
        rows += [{"preset": link, "parameters": f"{metadata['parameters']:,}", **row} for row in metadata["quality"]]
    return table(rows)


def load(name):
    """The trained model of this name; its `preset` attribute tells scaling, sampling and the card's metadata.

    Example:
        `mri_zoo.load("pdnet-brain-demo-af4").predict(batch)`
    """
    return load_preset(name).model


def load_preset(name):
    """The preset of this name, or in this folder; its model has it as `preset`, too.

    A preset may be of anyone: nothing is imported or run for it. Classes of one's own that it names must be imported
    before.

    Args:
        name: one of `list_models`, or the path of a preset's folder.

    Raises:
        ValueError: if there is none; the message suggests the nearest name.
        DataError: if its files are damaged or not allowed, or it needs a class that is not imported.
    """
    if name in _UNTRAINED:
        return _untrained(name)
    is_name = Path(name).name == str(name)
    folder = Path(name)
    if is_name and not (folder / "config.json").is_file():
        folder = downloaded().get(name, bundled_folder() / name)
    if not (folder / "config.json").is_file():
        if not is_name:
            raise DataError(f"{name}: holds no preset; expected a folder with a `config.json`.")
        if name in published():
            raise ValueError(f"{name} is not downloaded yet: `mri-zoo weights download {name}`.")
        if name in mri_zoo.models.__all__:
            raise ValueError(
                f"{name} is a class without weights here: train it, `mri-zoo weights download`, or `mri-zoo weights "
                "import`; `mri-zoo models` lists what has weights."
            )
        names = [*list_models(), *published()]
        raise ValueError(
            f"No model is called {name!r}{suggestion(name, names)} `mri-zoo models` lists them all, and `mri-zoo "
            "weights list` those that can be downloaded."
        )
    metadata, weights = read_metadata(folder / "metadata.json"), folder / "model.weights.h5"
    found = sha256(weights) if weights.is_file() else "no file"
    if found != metadata["sha256"]:
        raise DataError(f"{weights} is damaged: expected SHA-256 {metadata['sha256']}, found {found}.")
    config = read_json(folder / "config.json", CONFIG)
    rules = rules_from_config(config, folder / "config.json")
    model = _model_from_config(config, folder, weights.stat().st_size // 2)  # a weight has two bytes or more there
    load_weights(model, weights)
    return _attached(Preset(folder.name, model, *rules, metadata))


def _model_from_config(config, folder, most_weights=math.inf):
    return model_from_config(config, folder / "config.json", most_weights)


def _untrained(name):
    create, arguments, summary = _UNTRAINED[name]
    model = create(**arguments)
    model.build()
    scaling = ConstantScaling() if name == BASELINE else PercentileScaling()
    return _attached(Preset(name, model, scaling, None, {"summary": summary}))


def _attached(preset):
    preset.model.preset = preset
    return preset


def save_preset(folder, model, scaling, sampling=None, metadata=None):
    """Write a preset; the folder appears complete or not at all.

    Args:
        folder: where to; its name is the preset's. An existing preset there is replaced.
        model: a built `ReconstructionModel`.
        scaling: rule of `mri_zoo.data.preparation`.
        sampling: the mask or trajectory trained with, or None.
        metadata: JSON-able dict, shown in the model card: `summary` (by default the name of the class), `data`,
            `training`, `licence`, `limits` (texts) and `quality` (a list of dicts, one row each).

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder exists and is no preset.
        OSError: if a file cannot be written.
        ValueError: if `load_preset` would refuse something, as a class that is not registered with Keras, or weights
            that are not finite; `check_preset` tells that before a training.
    """
    folder = Path(folder)
    config, metadata = check_preset(folder, model, scaling, sampling, metadata)
    weights = _weights(model)
    digest = hashlib.sha256(weights).hexdigest()
    metadata = {"summary": type(model).__name__, **metadata, "parameters": model.count_params(), "sha256": digest}
    by_name = folder.absolute().parent in (bundled_folder().absolute(), cache_folder().absolute())
    address = folder.name if by_name else folder.as_posix()
    texts = {
        "config.json": json.dumps(config, indent=1) + "\n",
        "metadata.json": json.dumps(metadata, indent=1) + "\n",
        "README.md": model_card(folder.name, config, metadata, address),
    }
    contents = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    with scratch_folder(folder.absolute().parent, ".writing-") as scratch:
        writing = scratch / "preset"
        for name, content in {"model.weights.h5": weights, **contents}.items():
            with errors_name(folder / name, writing / name):
                write_bytes(writing / name, content)
        _put(writing, folder, scratch)
    return folder


def _weights(model):
    """The content of the weights file."""
    for variable in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise ValueError(f"`{variable.path}` holds NaN or infinity; expected finite weights for a preset.")
    if model.compiled:  # a fresh model of the same weights has no optimizer to store along
        clean = type(model).from_config(model.get_config())
        clean.build()
        clean.set_weights(model.get_weights())
        model = clean
    file = InMemory("model.weights.h5")
    model.save_weights(file)
    return file.getbuffer()


def check_preset(folder, model, scaling, sampling=None, metadata=None):
    """Tell before a training whether a preset can be made of it, as far as its weights do not matter.

    Args:
        folder: see `save_preset`, also for the other arguments and for the errors.
        model: see there.
        scaling: see there.
        sampling: see there.
        metadata: see there.

    Returns:
        The content of ``config.json``, and that of ``metadata.json`` without what tells of the weights.
    """
    require_replaceable(Path(folder))
    return preset_config(model, scaling, sampling), preset_metadata(metadata or {})


def require_replaceable(folder):
    """Raise FileExistsError if there is something at this path that is no preset."""
    if folder.exists() and not (folder / "config.json").is_file():
        raise FileExistsError(f"{folder} exists and is no preset; choose another folder, or remove it.")


def _put(writing, folder, scratch):
    """Rename a folder to its place; a preset that is there goes, also if another process puts one there meanwhile."""
    for number in itertools.count():
        try:
            return os.rename(writing, folder)
        except OSError as error:
            if number == 100 or error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, scratch / f"old-{number}")


def sha256(path):
    """The SHA-256 of a file, which need not fit into memory."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
