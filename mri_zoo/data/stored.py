"""Rules such as masks and scalings as dicts for JSON: the zoo's by name, one's own by what Keras registered."""

import dataclasses
import math
import numbers

import keras
import numpy as np


class Rule:
    """A dataclass whose fields are all that there is to store, in the words that Keras knows.

    A class of one's own is stored, too, once it is decorated with ``keras.saving.register_keras_serializable()``.
    """

    def get_config(self):
        """The constructor's arguments."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


def rule_to_config(rule, known):
    """A dict of plain values, fit for JSON, from which `rule_from_config` makes an equal rule.

    Args:
        rule: an instance of one of the classes in `known`; or of a class of one's own that is registered with Keras
            and has a `get_config`; or a function that is registered.
        known: {name: class}.

    Raises:
        ValueError: if the rule is none of these, or has arguments that are no plain values.
    """
    names = {cls: name for name, cls in known.items()}
    if type(rule) in names:
        return {"name": names[type(rule)], **plain(rule.get_config(), names[type(rule)])}
    thing = rule if callable(rule) and hasattr(rule, "__name__") else type(rule)
    name = keras.saving.get_registered_name(thing)
    if keras.saving.get_registered_object(name) is not thing:
        raise ValueError(
            f"{thing.__name__} cannot be stored in a preset: expected one of {', '.join(known)}, or a class or "
            "function of your own that is registered with `keras.saving.register_keras_serializable`."
        )
    config = {"name": name, "module": thing.__module__}
    return config if thing is rule else {**config, "arguments": plain(rule.get_config(), name)}


def rule_from_config(config, known, fits):
    """The rule that `rule_to_config` stored; nothing is imported for it.

    Args:
        config: the dict.
        known: {name: class}.
        fits: function that tells whether an object of one's own is such a rule.

    Raises:
        ValueError: if the dict has not this form, an argument is not possible, or the class is not registered; the
            message then names the module that registers it.
    """
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ValueError(f"expected a dict with the text `name`, got {shortened(config)}")
    arguments = dict(config)
    name = arguments.pop("name")
    if name in known:
        cls = known[name]
        fields = [field.name for field in dataclasses.fields(cls) if field.init]
        for argument in arguments:
            if argument not in fields:
                raise ValueError(f"{name!r} has no `{argument}`, only {', '.join(fields)}")
        return _made(cls, name, arguments)
    if ">" not in name:
        raise ValueError(f"{name!r} is none of {', '.join(known)}")
    thing = registered(name, config.get("module"))
    rule = thing
    if isinstance(thing, type):
        arguments = config.get("arguments", {})
        if not isinstance(arguments, dict):
            raise ValueError(f"`arguments` of {name!r} must be a dict, got {shortened(arguments)}")
        rule = _made(getattr(thing, "from_config", lambda config: thing(**config)), name, {"config": arguments})
    if not fits(rule):
        raise ValueError(f"{name!r} is no rule of this kind: {shortened(rule)}")
    return rule


def registered(name, module):
    """The class or function that Keras knows by this name.

    Raises:
        ValueError: if it is not registered; the message names the module to import.
    """
    found = keras.saving.get_registered_object(name)
    if found is None:
        where = f"the module `{module}`" if isinstance(module, str) and module.isprintable() else "its module"
        if module in ("<run_path>", "__main__"):
            where = "a module with its code, which stands in a recipe or a script,"
        raise ValueError(
            f"{shortened(name)} is a class of somebody's own: import {where} first, which registers it (`mri-zoo "
            "--import MODULE ...`), if you trust it"
        )
    return found


def plain(value, name):
    """A value with NumPy's numbers and arrays as Python's, which JSON can hold.

    Raises:
        ValueError: if it holds anything else; the message begins with `name`.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(entry, f"{name}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(entry, name) for entry in value) if type(value) in (list, tuple) else list(value)
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{name} cannot be stored: expected finite numbers, texts, lists, dicts, got {shortened(value)}.")


def check_positive_number(maximum=math.inf, **arguments):
    """The arguments as Python's numbers.

    Raises:
        ValueError: for the first that is no finite number above 0 and up to `maximum`.
    """
    for name, value in arguments.items():
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
        if not fits or not 0 < value <= maximum or math.isinf(value):
            most = "" if math.isinf(maximum) else f" and <= {maximum}"
            raise ValueError(f"`{name}` must be a finite number > 0{most}, got {shortened(value)}.")
    return [value.item() if isinstance(value, np.generic) else value for value in arguments.values()]


def shortened(value):
    """A value in an error message, with at most sixty characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _made(make, name, arguments):
    try:
        return make(**arguments)
    except (TypeError, ValueError, AttributeError, KeyError, ArithmeticError) as error:
        raise ValueError(f"{name!r} cannot be made: {str(error).rstrip('.')}") from error
