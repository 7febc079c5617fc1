"""What a preset's folder holds as JSON: written from a model, read and checked before anything is made of it."""

import contextlib
import json
import math
import textwrap

import keras

import mri_zoo.models
import mri_zoo.physics.gridded  # registers what configs name
from mri_zoo.data.preparation import scaling_from_config, scaling_to_config
from mri_zoo.data.sampling import sampling_from_config, sampling_to_config
from mri_zoo.data.stored import plain, shortened
from mri_zoo.data.volume import DataError, printable
from mri_zoo.models import ReconstructionModel
from mri_zoo.presets.allowed import check_classes, check_own, forbidden_classes

KERAS_ARGUMENTS = ("name", "trainable", "dtype")
CONFIG = {"architecture": str, "arguments": dict, "scaling": dict, "sampling": dict | None}
METADATA = {"summary": str, "parameters": int, "sha256": str}
_OPTIONAL = {"data": str, "training": str, "licence": str, "limits": str | None, "quality": list}
_MOST_BYTES = 2**24  # of a JSON file; those of the zoo have some kilobytes
_DEEPEST = 64  # levels of lists and dicts
_LARGEST = 2**16  # number among the arguments of a model or a sampling: of filters, pixels, times fewer samples
# Arguments that repeat layers, which may share their weights, so that no file's size bounds them. Each step of a graph
# takes a tenth of a second to trace; large networks of the zoo have 12 x 10 of them, or 25 x 54 convolutions.
_REPEATING = (
    *("num_iterations", "num_cascades", "num_steps", "num_gradient_steps"),
    *("num_blocks", "num_convolutions", "num_layers"),
)
_MOST_STEPS, _MOST_LAYERS = 500, 20_000  # for each argument, and for the product of those within each other
# Each scale doubles the filters or the image; darts are thrown for each sample of a mask.
_MOST = dict.fromkeys(_REPEATING, _MOST_STEPS) | {
    **dict.fromkeys(("num_pools", "num_scales", "num_upsamplings", "refiner_pools", "initializer_scales"), 16),
    "max_attempts": 1000,
}
_FITTED = ("DIP",)  # their steps are those of a fit to one slice, in no graph


def preset_config(model, scaling, sampling=None):
    """The content of a preset's ``config.json``; tells before a training whether a preset can be made of it at all.

    Args:
        model: a `ReconstructionModel`, of the zoo or of a class of one's own that is registered with Keras.
        scaling: rule of `mri_zoo.data.preparation`, or one of one's own that is registered.
        sampling: the mask or trajectory trained with, or None; likewise.

    Returns:
        A dict of plain values.

    Raises:
        ValueError: if `load_preset` could not make the model, the scaling or the sampling again.
    """
    cls = type(model)
    arguments = {key: value for key, value in model.get_config().items() if key not in KERAS_ARGUMENTS}
    arguments = _without_precision(plain(arguments, f"{cls.__name__}.get_config()"))
    stored = {"architecture": cls.__name__}
    if getattr(mri_zoo.models, cls.__name__, None) is not cls:
        name = keras.saving.get_registered_name(cls)
        if keras.saving.get_registered_object(name) is not cls:
            raise ValueError(
                f"{cls.__name__!r} cannot be stored in a preset: expected a model of the zoo, or a class that is "
                "registered with `keras.saving.register_keras_serializable`."
            )
        stored = {"architecture": name, "module": cls.__module__}
    for name in forbidden_classes(arguments):
        raise ValueError(
            f"{name!r} cannot be stored in a preset: only layers of Keras without code of their own, and classes that "
            "are registered with `keras.saving.register_keras_serializable`."
        )
    _check_depth(arguments, cls.__name__)
    _check_numbers(arguments, cls.__name__, cls.__name__)
    stored_sampling = None if sampling is None else sampling_to_config(sampling)
    _check_numbers(stored_sampling, "sampling")
    if "module" in stored:  # whoever wrote the class may have forgotten an argument in `get_config`
        try:
            cls.from_config(json.loads(json.dumps(arguments)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{cls.__name__} cannot be made from what its `get_config` gives: {error}") from error
    return {
        **stored,
        "arguments": arguments,
        "scaling": scaling_to_config(scaling),
        "sampling": stored_sampling,
    }


def read_json(path, types, optional=()):
    """The dict in a JSON file.

    Args:
        path: of the file.
        types: {key: type} of the keys that it must have; others may be there.
        optional: {key: type} of keys whose values must have that type.

    Raises:
        DataError: if it cannot be read, is too large or too deep, or has not this form.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; expected a preset's, of some kilobytes.")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except DataError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a readable JSON file: {error}.") from error
    _check_form(content, path, types, optional)
    return content


def _check_form(content, path, types, optional):
    missing = [key for key in types if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path} has no {', '.join(f'`{key}`' for key in missing)}; expected a preset's.")
    for key, kind in {**dict(optional), **types}.items():
        value = content.get(key)
        if key in content and (not isinstance(value, kind) or isinstance(value, bool)):
            names = str(kind).removeprefix("<class '").removesuffix("'>")
            raise DataError(f"{path}: `{key}` must be of type {names}, got {shortened(value)}.")
    _check_depth(content, path)


def read_metadata(path):
    """The content of a preset's ``metadata.json``.

    Raises:
        DataError: if it has not the form of one.
    """
    return _checked_metadata(read_json(path, METADATA, _OPTIONAL), path)


def preset_metadata(metadata):
    """The content of a preset's ``metadata.json`` but for what tells of its weights, from the texts of a model card.

    Raises:
        ValueError: if `read_metadata` would refuse it.
    """
    stored = plain(metadata, "metadata")
    _check_form(stored, "metadata", {}, {"summary": str, **_OPTIONAL})
    return _checked_metadata(stored, "metadata")


def _checked_metadata(metadata, path):
    for row in metadata.get("quality", ()):
        if (
            not isinstance(row, dict)
            or not row
            or not all(isinstance(value, str | int | float) for value in row.values())
        ):
            raise DataError(f"{path}: `quality` must be a list of dicts of texts and numbers, got {shortened(row)}.")
    return metadata


def model_from_config(config, path, most_weights=math.inf):
    """The model of a preset's config, built, with random weights.

    Args:
        config: of `read_json`.
        path: of its file, for errors.
        most_weights: that the model may have: with more of them it cannot be what the preset's weights belong to.

    Raises:
        DataError: if it cannot be made, or something in it is not allowed.
    """
    name = config["architecture"]
    if ">" in name:
        cls = check_own(name, config.get("module"), str(path))
        if not isinstance(cls, type) or not issubclass(cls, ReconstructionModel):
            raise DataError(f"{path}: {shortened(name)} is no ReconstructionModel.")
    elif name in mri_zoo.models.__all__:
        cls = getattr(mri_zoo.models, name)
    else:
        known = ", ".join(mri_zoo.models.__all__)
        raise DataError(f"{path}: unknown architecture {shortened(name)}, there are {known}.")
    check_classes(config["arguments"], str(path))
    _check_numbers(config["arguments"], path, name)
    try:
        with _at_most(most_weights):
            model = cls.from_config(config["arguments"])
            model.build()
    except Exception as error:  # constructors of layers, also of Keras's, have all kinds for what they are not made for
        raise DataError(f"{path} does not fit {name}: {textwrap.shorten(printable(error), 300)}") from error
    return model


def rules_from_config(config, path):
    """Scaling and sampling of a preset's config.

    Raises:
        DataError: if one of them cannot be.
    """
    _check_numbers(config["sampling"], path)
    made = []
    for key, make in (("scaling", scaling_from_config), ("sampling", sampling_from_config)):
        try:
            made.append(None if config[key] is None else make(config[key]))
        except ValueError as error:
            raise DataError(f"{path}: `{key}` cannot be used: {str(error).rstrip('.')}.") from error
    return made


def load_weights(model, path):
    """Fill a model with the weights of a file.

    Raises:
        DataError: if the file is another model's, is damaged, or holds numbers that are not finite.
    """
    try:
        model.load_weights(path)
    except DataError:
        raise
    except Exception as error:  # h5py and Keras have many kinds for what is damaged
        reason = textwrap.shorten(printable(str(error).replace(f"{path} ", "")), 300)
        raise DataError(f"{path} does not fit {type(model).__name__}: {reason}") from error


@contextlib.contextmanager
def _at_most(most_weights):
    """A block in which layers refuse to make more weights, before there is memory for them."""
    add_weight, found = keras.layers.Layer.add_weight, 0

    def counted(layer, shape=None, *args, **kwargs):
        nonlocal found
        found += math.prod(shape or ())
        if found > most_weights:
            raise ValueError("more weights than the file holds")
        return add_weight(layer, shape, *args, **kwargs)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    except Exception as error:
        if found > most_weights:  # told in Keras's words, which are about shapes
            raise ValueError(
                f"it has more weights than `model.weights.h5`, which holds no {most_weights:,}."
            ) from error
        raise
    finally:
        keras.layers.Layer.add_weight = add_weight


def _no_number(text):
    raise ValueError(f"it holds {text}, which is no number of JSON")


def _check_depth(content, path):
    level = [content]
    for _ in range(_DEEPEST):
        nested = [value for value in level if isinstance(value, dict | list)]
        level = [entry for value in nested for entry in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise DataError(f"{path} has more than {_DEEPEST} levels of lists and dicts; expected a preset's.")


def _check_numbers(config, path, owner=None):
    """Refuse numbers with which a small config means work or memory without end.

    Args:
        config: of a model's arguments or of a sampling, of plain values.
        path: what the error message begins with.
        owner: name of the class whose arguments they are; without, fractions are bounded like whole numbers.
    """
    kinds = int if owner is not None else int | float
    found, most_layers = [("", config, owner, 1)], 1
    while found:
        name, value, owner, layers = found.pop()
        if isinstance(value, dict):
            repeated = [n for key, n in value.items() if key in _REPEATING and isinstance(n, int) and n > 1]
            layers *= 1 if owner in _FITTED else math.prod(repeated)
            most_layers = max(most_layers, layers)
            owner = value.get("class_name", owner)
            found += [(key, entry, owner, layers) for key, entry in value.items()]
        elif isinstance(value, list | tuple):
            found += [(name, entry, owner, layers) for entry in value]
        elif isinstance(value, kinds) and name != "seed":
            fitted = owner in _FITTED and name == "num_steps"
            most = _LARGEST if fitted else _MOST.get(name, _LARGEST)
            if abs(value) > most:
                raise DataError(f"{path}: `{name}` must be at most {most:,}, got {shortened(value)}.")
    if most_layers > _MOST_LAYERS:
        raise DataError(
            f"{path}: its numbers of iterations, steps and layers mean {most_layers:,} times the work of one; expected "
            f"at most {_MOST_LAYERS:,}."
        )


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
