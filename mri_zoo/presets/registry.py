"""Presets: named folders that hold a trained model and all that is needed to use it as it was trained.

A preset is `config.json` (class, arguments, scaling, sampling), `model.weights.h5`, `metadata.json` (training data,
licence, measured quality, SHA-256 of the weights) and `README.md`, the model card.
"""

import dataclasses
import difflib
import hashlib
import json
import os
import shutil
from pathlib import Path

import keras

import mri_zoo.models
import mri_zoo.physics.gridded
from mri_zoo.data.preparation import ConstantScaling, scaling_from_config, scaling_to_config
from mri_zoo.data.sampling import sampling_from_config, sampling_to_config
from mri_zoo.data.volume import DataError
from mri_zoo.layers.nested import serialized
from mri_zoo.models import ReconstructionModel, ZeroFilled
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.published import cache_folder, downloaded, published

BASELINE = "zero-filled"
_CARD = {"data": "Training data", "training": "Training", "licence": "Licence", "limits": "Limits"}
_KERAS_MODULES = (
    "keras",
    "keras.layers",
    "keras.initializers",
    "keras.dtype_policies",
    "keras.src.models.functional",
    "keras.src.ops.numpy",  # the nodes of functional models that are no layers
    "keras.src.ops.nn",
)
_KERAS_ARGUMENTS = ("name", "trainable", "dtype")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model with the preparation that its weights expect.

    Attributes:
        name: for example ``pdnet-brain-demo-af4``.
        model: a built `ReconstructionModel`.
        scaling: rule of `mri_zoo.data.preparation` for the k-space that the model is given.
        sampling: the mask or trajectory that it was trained with, or None.
        metadata: what the model card tells: `summary`, `data`, `licence`, `quality`, ...
    """

    name: str
    model: ReconstructionModel
    scaling: object
    sampling: object = None
    metadata: dict = dataclasses.field(default_factory=dict)


def bundled_folder():
    """The folder of the presets that come with the package."""
    package = Path(mri_zoo.models.__file__).parent.parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def list_models():
    """The names of all presets with one line on each: task, size and measured quality.

    `zero-filled` comes first, those that come with the package next, downloaded ones last.
    """
    lines = {BASELINE: "the adjoint image; learns nothing"}
    bundled = sorted(bundled_folder().glob("*/metadata.json"))
    for file in [*bundled, *(folder / "metadata.json" for folder in downloaded().values())]:
        metadata = _read_json(file, ("summary", "parameters"))
        line = f"{metadata['summary']}; {metadata['parameters']:,} parameters"
        if "quality" in metadata:
            row = metadata["quality"][0]
            line += f"; {row['data']}: {row['PSNR (dB)']} dB (zero-filled {row['zero-filled PSNR (dB)']})"
        lines[file.parent.name] = line
    return lines


def presets_table():
    """The lines of a Markdown table of the bundled presets with their measured quality, for README."""
    rows = []
    for file in sorted(bundled_folder().glob("*/metadata.json")):
        metadata = _read_json(file, ("summary", "parameters"))
        link = f"[{file.parent.name}](weights/{file.parent.name}/README.md)"
        rows += [{"preset": link, "parameters": f"{metadata['parameters']:,}", **row} for row in metadata["quality"]]
    return _table(rows)


def load(name):
    """The trained model of this name; its `preset` attribute tells scaling, sampling and the card's metadata.

    Example:
        `mri_zoo.load("pdnet-brain-demo-af4").predict(batch)`
    """
    preset = load_preset(name)
    preset.model.preset = preset
    return preset.model


def load_preset(name):
    """The preset of this name, or in this folder.

    Args:
        name: one of `list_models`, or the path of a preset's folder.

    Raises:
        ValueError: if there is none; the message suggests the nearest name.
        DataError: if its files are damaged.
    """
    if name == BASELINE:
        model = ZeroFilled()
        model.build()
        return Preset(BASELINE, model, ConstantScaling(), None, {"summary": list_models()[BASELINE]})
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
        nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0)[0]
        raise ValueError(
            f"No model is called {name!r}; did you mean {nearest!r}? `mri-zoo models` lists them all, and `mri-zoo "
            "weights list` those that can be downloaded."
        )
    config = _read_json(folder / "config.json", ("architecture", "arguments", "scaling", "sampling"))
    metadata = _read_json(folder / "metadata.json", ("summary", "parameters", "sha256"))
    weights = folder / "model.weights.h5"
    found = sha256(weights) if weights.is_file() else "no file"
    if found != metadata["sha256"]:
        raise DataError(f"{weights} is damaged: expected SHA-256 {metadata['sha256']}, found {found}.")
    model = _model_from_config(config, folder)
    model.load_weights(weights)
    sampling = sampling_from_config(config["sampling"]) if config["sampling"] else None
    return Preset(folder.name, model, scaling_from_config(config["scaling"]), sampling, metadata)


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
        ValueError: if a network within the model is of a class that `load_preset` would refuse.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "config.json").is_file():
        raise FileExistsError(f"{folder} exists and is no preset; choose another folder, or remove it.")
    arguments = {key: value for key, value in model.get_config().items() if key not in _KERAS_ARGUMENTS}
    for name in _foreign_classes(arguments):
        raise ValueError(
            f"{name!r} cannot be stored in a preset: only layers of Keras, and classes that are registered with "
            "`keras.saving.register_keras_serializable`."
        )
    writing = folder.with_name(folder.name + ".writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    if model.compiled:  # a fresh model of the same weights has no optimizer to store along
        clean = type(model).from_config(model.get_config())
        clean.build()
        clean.set_weights(model.get_weights())
    else:
        clean = model
    clean.save_weights(writing / "model.weights.h5")
    config = {
        "architecture": type(model).__name__,
        "arguments": _without_precision(arguments),
        "scaling": scaling_to_config(scaling),
        "sampling": sampling_to_config(sampling) if sampling is not None else None,
    }
    digest = sha256(writing / "model.weights.h5")
    metadata = {
        "summary": type(model).__name__,
        **(metadata or {}),
        "parameters": model.count_params(),
        "sha256": digest,
    }
    (writing / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (writing / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n")
    by_name = folder.absolute().parent in (bundled_folder().absolute(), cache_folder().absolute())
    address = folder.name if by_name else folder.as_posix()
    (writing / "README.md").write_text(model_card(folder.name, config, metadata, address))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(writing, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def sha256(path):
    """The SHA-256 of a file, which need not fit into memory."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_card(name, config, metadata, address):
    """The text of a preset's README.md; `address` is what `load` finds it by: its name, or the path of its folder."""
    where = "" if address == name else "  # or where this folder is now"
    parts = [
        f"# {name}",
        metadata.get("summary", ""),
        f"`{config['architecture']}({shown_arguments(config['arguments'])})`, {metadata['parameters']:,} parameters.",
        f'```python\nimport mri_zoo\n\nmodel = mri_zoo.load("{address}"){where}\n```',
        f"- scaling: `{json.dumps(config['scaling'])}`\n- sampling: `{json.dumps(config['sampling'])}`",
    ]
    parts += [f"## {title}\n\n{metadata[key]}" for key, title in _CARD.items() if key in metadata]
    if metadata.get("quality"):
        parts.append("## Measured quality\n\n" + _table(metadata["quality"]))
    parts.append(f"SHA-256 of `model.weights.h5`: `{metadata['sha256']}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def shown_arguments(config):
    """Arguments as one types them, without those that Keras adds and the physics that is every model's default."""
    default = serialized(Cartesian())
    shown = {key: value for key, value in config.items() if key not in _KERAS_ARGUMENTS and value != default}
    return ", ".join(f"{key}={_shown(value)}" for key, value in shown.items())


def _shown(value):
    if isinstance(value, dict) and "class_name" in value:
        return f"{value['class_name']}({shown_arguments(value['config'])})"
    return repr(value)


def _table(rows):
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([str(row[key]) for key in keys] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _read_json(path, keys):
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable JSON file: {error}.") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path} has no {', '.join(f'`{key}`' for key in missing)}; expected a preset's.")
    return content


def _without_precision(config):
    """A config without the precision of all objects within, which is the session's that loads it."""
    if isinstance(config, dict):
        return {key: _without_precision(value) for key, value in config.items() if not _is_precision(value)}
    if isinstance(config, list | tuple):
        return type(config)(_without_precision(value) for value in config)
    # The tensors of a network are named with their type; its layers convert what they get.
    return "float32" if config in ("float16", "bfloat16") else config


def _is_precision(value):
    return isinstance(value, dict) and value.get("class_name") == "DTypePolicy"


def _model_from_config(config, folder):
    architectures = {name: getattr(mri_zoo.models, name) for name in mri_zoo.models.__all__}
    if config["architecture"] not in architectures:
        raise DataError(f"{folder}: unknown architecture {config['architecture']!r}, there are {list(architectures)}.")
    for name in _foreign_classes(config["arguments"]):
        raise DataError(f"{folder}/config.json names the class {name!r}, which is not allowed.")
    try:
        model = architectures[config["architecture"]].from_config(config["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}/config.json does not fit {config['architecture']}: {error}.") from error
    model.build()
    return model


def _foreign_classes(config):
    """The classes that a config names and that are neither registered nor Keras's own: a preset may be anyone's."""
    if isinstance(config, dict):
        if "class_name" in config and not _is_known(config):
            yield config["class_name"]
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from _foreign_classes(value)


def _is_known(config):
    ours = keras.saving.get_registered_object(config.get("registered_name") or "")
    if ours is not None:
        return (config["class_name"], config.get("module")) == (ours.__name__, ours.__module__)
    if config["class_name"] == "__keras_tensor__":  # a connection within a functional model: shape, type and indices
        return True
    return config.get("module") in _KERAS_MODULES and config["class_name"] != "Lambda"
