"""Which devices train: TensorFlow's `MirroredStrategy` over several processors, each with a share of every batch."""

import contextlib
import functools
import inspect
import re

import keras

from mri_zoo.models.base import ReconstructionModel
from mri_zoo.models.replicas import on_one_device

FORMS = "`all`, a number of devices, or `cpu:N` for N devices made of the processor"
MOST_PROCESSORS = 64


@contextlib.contextmanager
def devices_scope(devices=None):
    """A block in which models, optimizers and metrics are made for these devices, and trained on them.

    Args:
        devices: "all" for all GPUs, or the processor where there are none; a number of them; "cpu:2" to make two
            devices of the processor, for tests; None for one, or those of a scope of `tf.distribute` that is open.

    Raises:
        ValueError: if it is none of these, there are fewer devices, the backend is not TensorFlow, TensorFlow has
            started before it could make devices of the processor, or a scope with other devices is open.
    """
    names = device_names(devices)
    if names is None:
        yield
        return
    import tensorflow as tf

    if tf.distribute.has_strategy():
        active = [_short(name) for name in tf.distribute.get_strategy().extended.worker_devices]
        if active != names:
            raise ValueError(
                f"`devices` {devices!r} asks for {', '.join(names)}, within a scope of `tf.distribute` for "
                f"{', '.join(active)}: leave it out there."
            )
        yield
    elif names == _default_devices(tf)[:1]:
        yield  # as without a strategy, with which Keras would not compile for a GPU
    else:
        with _strategy(tuple(names)).scope():
            yield


def device_names(devices):
    """The names of the devices, such as "GPU:0", for `devices_scope`, which see; None of None.

    Of the processor they are made, so call this before anything else starts TensorFlow.
    """
    if devices is None:
        return None
    kind, number = _parsed(devices)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`devices` (--devices) is for TensorFlow's MirroredStrategy, and the backend is "
            f"{keras.backend.backend()}: leave it out, or set KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    if kind == "cpu":
        return _processors(tf, number)
    found = _default_devices(tf)
    if number is None:
        return found
    if number > len(found):
        what = "GPU" if found[0].startswith("GPU") else "processor and no GPU"
        hint = "" if "GPU" in what[:3] else f"; `cpu:{number}` makes {number} devices of it"
        raise ValueError(f"`devices` (--devices) asks for {number}, but TensorFlow has {len(found)} {what}{hint}.")
    return found[:number]


def on_devices(train):
    """Decorator that gives a training function the argument `devices` of `devices_scope`, in which it runs.

    A network that it returns is one of a single device then.
    """

    @functools.wraps(train)
    def train_on_devices(*args, devices=None, **kwargs):
        with devices_scope(devices):
            result = train(*args, **kwargs)
        if devices is None or not isinstance(result, ReconstructionModel):
            return result
        return on_one_device(result)

    signature = inspect.signature(train)
    parameter = inspect.Parameter("devices", inspect.Parameter.KEYWORD_ONLY, default=None)
    train_on_devices.__signature__ = signature.replace(parameters=[*signature.parameters.values(), parameter])
    return train_on_devices


def number_of_devices():
    """Of the open scope."""
    return 1 if (strategy := _open_strategy()) is None else strategy.num_replicas_in_sync


def require_one_device(what):
    """Refuse a training for which several devices make no sense.

    Args:
        what: is trained, for the message.

    Raises:
        ValueError: if a scope of several devices is open.
    """
    if (number := number_of_devices()) > 1:
        raise ValueError(f"{what} takes one device, and there are {number}: leave out `devices` (--devices).")


def require_own_weights(model):
    """Refuse a model with weights that were made before the scope of several devices was opened.

    Raises:
        ValueError: if there are any.
    """
    strategy = _open_strategy()
    if strategy is None:
        return
    for weight in model.weights:
        if not strategy.extended.variable_created_in_scope(weight.value):
            raise ValueError(
                f"The weight `{weight.path}` was made before the devices were chosen: load the recipe within "
                "`with devices_scope(...)`, of `mri_zoo.training.devices`, too."
            )


def metrics_of_scope(metrics):
    """Keras metrics, or what `compile` makes them of, without what they have counted, for the devices of the scope.

    Args:
        metrics: list of them, or None.

    Raises:
        ValueError: if one that was made before cannot be made anew, as its `get_config` lacks an argument.
    """
    strategy = _open_strategy()

    def anew(metric):
        if not isinstance(metric, keras.metrics.Metric):
            return metric
        in_scope = strategy is None or all(
            strategy.extended.variable_created_in_scope(variable.value) for variable in metric.variables
        )
        if in_scope:
            metric.reset_state()  # one recipe may train twice, and `fit` resets no unbuilt metrics
            return metric
        config = metric.get_config()
        parameters = inspect.signature(type(metric).__init__).parameters.values()
        named = [parameter.name for parameter in parameters if parameter.kind not in (2, 4)][1:]
        if missing := [name for name in named if name not in config]:
            raise ValueError(
                f"The metric {metric.name} was made before the devices were chosen, and cannot be made anew: the "
                f"`get_config` of {type(metric).__name__} lacks {', '.join(missing)}."
            )
        return type(metric).from_config(config)

    return keras.tree.map_structure(anew, metrics)


def _parsed(devices):
    """("all", None), ("any", number) or ("cpu", number)."""
    text = str(devices) if isinstance(devices, int | str) and not isinstance(devices, bool) else ""
    found = re.fullmatch(r"all|(cpu:)?([1-9][0-9]{0,5})", text)
    if not found:
        raise ValueError(f"`devices` (--devices) must be {FORMS}, got {devices!r}.")
    if text == "all":
        return "all", None
    kind, number = "cpu" if found[1] else "any", int(found[2])
    if kind == "cpu" and number > MOST_PROCESSORS:
        raise ValueError(f"`devices` (--devices) makes at most {MOST_PROCESSORS} of the processor, got {devices!r}.")
    return kind, number


def _processors(tf, number):
    """Names of so many logical devices of the processor."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    made = tf.config.get_logical_device_configuration(cpu) or [None]
    if len(made) < number:
        try:
            configuration = [tf.config.LogicalDeviceConfiguration() for _ in range(number)]
            tf.config.set_logical_device_configuration(cpu, configuration)
        except RuntimeError:
            raise ValueError(
                f"`devices` (--devices) cannot make {number} devices of the processor any more, as TensorFlow has "
                f"started with {len(made)}: ask for them before anything else uses it."
            ) from None
    return [_short(device.name) for device in tf.config.list_logical_devices("CPU")][:number]


def _default_devices(tf):
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [_short(device.name) for device in devices]


def _short(name):
    """TensorFlow's name from "CPU" or "GPU" on."""
    return name.rpartition("device:")[2]


@functools.cache
def _strategy(names):
    """The same for the same devices: variables of one are of no use in another's scope."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _open_strategy():
    """That of the scope, None where there is none."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
