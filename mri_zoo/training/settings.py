"""What a training was begun with, kept as text beside it, so that it goes on with nothing else."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import numbers
from pathlib import Path

import numpy as np

from mri_zoo.data.volume import DataError
from mri_zoo.storage import write_text

FILE = "settings.json"
OF_BATCHES = (
    *("sampling", "scaling", "train_options", "validation_options", "datasets"),
    *("steps_per_epoch", "mixed_batches", "batch_size"),
)
LABELS = ("name", "card")  # of a preset, whatever its weights
FREE = (*LABELS, "patience", "root", "devices")  # a training may change them; `data` tells what is below `root`
_SHOWN = 300  # characters of two values


def settings_of(recipe, **more):
    """{key: text} of what a training depends on, as far as text can tell; functions are their names.

    Args:
        recipe: of `load_recipe`.
        **more: what else it depends on.
    """
    return {key: _text(value) for key, value in {**recipe, **more}.items()}


def describe_sources(sources):
    """A text that differs where names, sizes or order of volumes do."""
    sizes = [(i.name, i.num_slices, i.num_coils, i.depth, i.height, i.width, i.target_size) for i in _infos(sources)]
    slices = sum(info.num_slices for info in _infos(sources))
    return f"{len(sizes)} volumes of {slices} slices in total (names and sizes {_digest(repr(sizes).encode())})"


def write_settings(folder, settings):
    """Keep settings in a folder."""
    write_text(Path(folder) / FILE, json.dumps(settings, indent=1))


def check_settings(folder, wanted, found=None, what="a training"):
    """Refuse other settings than those that a folder keeps; one that keeps none, or not all, is taken as it is.

    Args:
        folder: of a training.
        wanted: of `settings_of`.
        found: the settings that it keeps, by default those of `write_settings`.
        what: it holds, for the message.

    Raises:
        ValueError: if one differs; the message tells which.
    """
    found = read_settings(folder) if found is None else found
    _refuse(folder, found, wanted, _differing(found, wanted), what)


def check_resumable(folder, recipe, wanted, done, report):
    """Refuse to go on with settings by which the weights would be no longer what one training gives.

    `patience` and the texts of the card may change, `root` if the volumes are the same, and the number of `epochs` if
    the learning rate does not depend on it.

    Args:
        folder: of the training.
        recipe: to go on with.
        wanted: its `settings_of`.
        done: the number of epochs behind it.
        report: called with a line on what changed and may.

    Raises:
        ValueError: if another setting differs; the message tells which.
    """
    found = read_settings(folder)
    differing = [key for key in _differing(found, wanted) if key not in FREE]
    if differing == ["epochs"] and recipe["schedule"] not in ("cosine", "thirds") and recipe["epochs"] >= done:
        report(f"`epochs` {found['epochs']} becomes {wanted['epochs']}")
        differing = []
    _refuse(folder, found, wanted, differing)
    if not found:
        report(f"{folder} keeps no {FILE}: it is taken as trained with these settings")
    elif found.get("root") != wanted["root"]:
        report(f"`root` {found.get('root')} becomes {wanted['root']}; its volumes have the same names and sizes")


def read_settings(folder):
    """What `write_settings` kept, or {}.

    Raises:
        DataError: if it cannot be read.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it if the settings are those of the training.") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise DataError(f"{path} is damaged: remove it if the settings are those of the training.")
    return found


def _differing(found, wanted):
    return [key for key in wanted if found.get(key, wanted[key]) != wanted[key]]


def _refuse(folder, found, wanted, differing, what="a training"):
    if not differing:
        return
    values = {key: f" {found[key]} instead of {wanted[key]}" for key in differing}
    named = ", ".join(f"`{key}`{text if len(text) < _SHOWN else ''}" for key, text in values.items())
    raise ValueError(f"{folder} holds {what} with another {named}: choose another output folder, or remove this one.")


def _infos(sources):
    return [source.info for source in sources]


def _digest(content):
    return hashlib.sha256(content).hexdigest()[:12]


def _text(value):
    """The same text in each run, so without addresses and names that Keras counts."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 4.0 is 4
    if isinstance(value, str | numbers.Number | Path | None):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {_digest(np.ascontiguousarray(value))}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(item)}' for key, item in value.items() if key != 'name')}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, type):
        return value.__qualname__
    if inspect.isroutine(value):
        return value.__qualname__ + _own_code(value)
    if isinstance(value, functools.partial):
        return f"{_text(value.func)}{_text(value.args)}{_text(value.keywords)}"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}{_text({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})}"
    if not hasattr(value, "get_config"):
        own = getattr(value, "__dict__", {}).items()
        plain = {key: item for key, item in own if isinstance(item, str | numbers.Number | np.ndarray | tuple | list)}
        return type(value).__name__ + (_text(plain) if plain else "")
    try:
        return f"{type(value).__name__}{_text(value.get_config())}"
    except NotImplementedError:  # of layers without
        return type(value).__name__


def _own_code(function):
    """What tells a function of the user's own from another one of its name, whatever the version of Python."""
    code = getattr(function, "__code__", None)
    if code is None or (function.__module__ or "").partition(".")[0] in ("mri_zoo", "keras", "numpy"):
        return ""
    cells = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it has no value yet
            cells.append(cell.cell_contents)
    plain = (str, numbers.Number, np.ndarray, tuple, list)
    values = [_text(value) for value in (*cells, *(function.__defaults__ or ())) if isinstance(value, plain)]
    return f" {_digest(repr((_names_and_constants(code), values)).encode())}"


def _names_and_constants(code):
    kept = [const for const in code.co_consts if not hasattr(const, "co_consts") and const != code.co_name]
    inner = [_names_and_constants(const) for const in code.co_consts if hasattr(const, "co_consts")]
    # A set of texts has another order in each process.
    told = (repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const) for const in kept)
    return code.co_names, code.co_varnames, sorted(told), inner
