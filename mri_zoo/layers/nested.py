"""Layers and models that are arguments of others: copies of them, and their place in the config of these."""

import keras


def copies(argument, network, number, dtype, num_outputs=None):
    """Layers like a network that is given as a template, which is left alone.

    Args:
        argument: what the model calls the network, for errors.
        network: a Keras layer.
        number: of copies.
        dtype: their precision.
        num_outputs: channels that they must give, where the network tells.

    Returns:
        A list of `number` layers without weights.

    Raises:
        ValueError: if the network is no layer, or has other outputs.
    """
    if not isinstance(network, keras.layers.Layer):
        raise ValueError(f"`{argument}` must be a Keras layer, got {network!r}.")
    found = getattr(network, "num_outputs", num_outputs)
    if num_outputs is not None and found != num_outputs:
        raise ValueError(f"`{argument}` must have {num_outputs} outputs, got {found}.")
    config = {**network.get_config(), "dtype": dtype}
    return [type(network).from_config(config) for _ in range(number)]


def serialized(thing):
    """Class and arguments of a Keras object, for `get_config`.

    The shape for which a layer was built is left out: it is built again with what holds it.
    """
    config = keras.saving.serialize_keras_object(thing)
    config.pop("build_config", None)
    return config


def deserialized(config):
    """A config with every serialised Keras object turned into the object; objects and plain values stay."""
    return {
        name: keras.saving.deserialize_keras_object(value) if _is_serialized(value) else value
        for name, value in config.items()
    }


def _is_serialized(value):
    return isinstance(value, dict) and "class_name" in value
