"""What the arrays of a checkpoint do not tell: options that must be given, and those of which one value is assumed."""

import contextlib
import dataclasses
import re

import keras

from mri_zoo.arguments import suggestion
from mri_zoo.data.volume import DataError
from mri_zoo.layers.nested import serialized

NORMALIZATION = ("gamma", "moving_mean", "moving_variance", "running_mean", "running_var")


@dataclasses.dataclass(frozen=True)
class SameAs:
    """The value of an assumed option that the source gives one argument with another.

    Attributes:
        name: of the other option, which is given, or assumed as well.
    """

    name: str


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """Where the arguments of an imported model come from.

    Attributes:
        told: dict of those that the arrays tell.
        given: dict of those that `config` gave.
        assumed: dict of the options that neither tells, and of the values that were taken; names of the source where
            the zoo has no argument for it.
    """

    told: dict
    given: dict
    assumed: dict

    def assumptions(self):
        """The assumed options as one line, as one types arguments."""
        return ", ".join(f"{name}={shown(value)}" for name, value in self.assumed.items())


def resolve(foreign, checkpoint, told, given, wanted):
    """The constructor arguments of an import.

    Args:
        foreign: the `Architecture`.
        checkpoint: of the arrays.
        told: the arguments that `foreign.infer` found.
        given: those of `config`; "network.activation" is an argument of the network that is the argument `network`.
        wanted: architecture and source, for errors.

    Returns:
        The arguments without the options of `foreign.fixed`, and the `ImportReport`.

    Raises:
        DataError: if an option has another value than the only one that the zoo has, or one that its network refuses.
        ValueError: if an option that must be given is not.
    """
    # A network that was given brings its own arguments.
    fixed = {name: v for name, v in foreign.fixed.items() if "." not in name or name.partition(".")[0] not in given}
    for name, value in fixed.items():
        if given.get(name, value) != value:
            advice = f" {foreign.advice[name]}" if name in foreign.advice else ""
            raise DataError(
                f"{checkpoint.path}: `{name}` is {given[name]!r} in `config`; of {wanted} the zoo has "
                f"{shown(value)} alone.{advice}"
            )
    plain = {name: value for name, value in given.items() if name not in fixed and "." not in name}
    arguments, assumed = {**told, **plain}, {}
    for name, value in given.items():
        if "." in name and name not in fixed:
            _set_in_network(arguments, name, value, wanted, checkpoint)
    missing = [name for name in foreign.asks if name not in given and _is_untold(name, told, plain, arguments)]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ValueError(
            f"{checkpoint.path} does not tell {names}: give it in `config`; the arguments of "
            f"{foreign.model.__name__} tell what."
        )
    for name, value in foreign.assumes.items():
        if name not in given and name not in foreign.asks and _is_untold(name, told, plain, arguments):
            if isinstance(value, SameAs):
                value = given.get(value.name, foreign.assumes[value.name])
            if "." in name:
                _set_in_network(arguments, name, value, wanted, checkpoint)
            else:
                arguments[name] = value
            assumed[name] = value
    assumed |= {name: value for name, value in fixed.items() if name not in given}
    return arguments, ImportReport(told, given, assumed)


def _is_untold(name, told, plain, arguments):
    """Whether an argument, or one of a network within, is told neither by arrays nor by whoever gave the network."""
    if "." not in name:
        return name not in told and name not in plain
    argument, _, inner = name.partition(".")
    network = arguments.get(argument)
    # A learned slope is an array; a network that was given brings its own arguments.
    return argument not in plain and inner in _config_of(network) and _config_of(network)[inner] != "prelu"


def _set_in_network(arguments, name, value, wanted, checkpoint):
    argument, _, inner = name.partition(".")
    with _refusals(checkpoint, argument, arguments.get(argument)):
        network = arguments.get(argument)
        if isinstance(network, dict):
            network = keras.saving.deserialize_keras_object(network)
        config = _config_of(network)
    if inner not in config:
        kind = f"a {type(network).__name__}" if network is not None else "no network"
        raise ValueError(
            f"Unknown argument {name!r} of {wanted}, whose `{argument}` is {kind}{suggestion(inner, config)}"
        )
    if config[inner] != value:
        with _refusals(checkpoint, name, value):
            arguments[argument] = type(network).from_config({**config, inner: value})


@contextlib.contextmanager
def _refusals(checkpoint, name, value):
    """Whatever a layer raises where it is made becomes a `DataError` of one line that names the option."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{checkpoint.path}: `{name}` cannot be {value!r} ({one_line(error)}).") from error


def one_line(error):
    """The kind and the text of an error, which Keras colours, on one line."""
    text = re.sub("\x1b\\[[0-9;]*m", "", str(error))
    return " ".join(f"{type(error).__name__}: {text}".split())


def _config_of(network):
    if isinstance(network, dict):
        network = keras.saving.deserialize_keras_object(network)
    return network.get_config() if isinstance(network, keras.layers.Layer) else {}


def shown(value):
    """A value as one types it."""
    if hasattr(value, "get_config"):
        value = serialized(value)
    if isinstance(value, dict) and "class_name" in value:
        arguments = ", ".join(f"{name}={shown(argument)}" for name, argument in value["config"].items())
        return f"{value['class_name']}({arguments})"
    return repr(value)


def require_same_kinds(model, checkpoint):
    """Raise a `DataError` that names the option by which a checkpoint has other kinds of weights than a model."""
    kinds = {name.rpartition("/")[2].rpartition(".")[2].partition(":")[0] for name in checkpoint.arrays}
    ours = {variable.name for variable in model.variables}
    name = type(model).__name__
    for what, theirs_has, ours_has in (
        ("batch normalisation", not kinds.isdisjoint(NORMALIZATION), not ours.isdisjoint(NORMALIZATION)),
        ("learned slopes (PReLU)", "alpha" in kinds, "alpha" in ours if checkpoint.layers else "alpha" in kinds),
        ("biases", "bias" in kinds, "bias" in ours),
    ):
        if theirs_has and not ours_has:
            raise DataError(f"{checkpoint.path}: this checkpoint has {what}, which this {name} has not.")
        if ours_has and not theirs_has and _names_kinds(kinds):
            raise DataError(f"{checkpoint.path}: this checkpoint has no {what}, which this {name} has.")
    known = {_space(variable.shape, True) for variable in model.variables if variable.name == "kernel"}
    for array_name, array in checkpoint.arrays.items():
        space = _space(array.shape, bool(checkpoint.layers))
        if array_name.partition(":")[0].endswith(("kernel", "weight")) and space and space not in known:
            sizes = " or ".join(sorted(" x ".join(map(str, size)) for size in known if size))
            raise DataError(
                f"{checkpoint.path}: array `{checkpoint.stored_name(array_name)}` has a kernel of "
                f"{' x '.join(map(str, space))}, where those of this {name} are of {sizes}."
            )


def _names_kinds(kinds):
    """Whether arrays are named after what they are, as Keras and PyTorch do."""
    return bool(kinds & {"kernel", "weight"})


def _space(shape, is_keras):
    """The extents of a convolution's kernel, () of other arrays."""
    if len(shape) not in (4, 5):
        return ()
    return tuple(shape[:-2]) if is_keras else tuple(shape[2:])
