"""Layers and models that are arguments of others: copies of them, and their place in the config of these."""

import keras


def copies(argument, network, number, dtype, num_outputs=None):
    """Layers like a network that is given as a template, which is left alone.

    One that has weights already gives them to all copies, by `start_from_templates`, so that trained networks may be
    put into others; otherwise each copy starts from its own.

    Args:
        argument: what the model calls the network, for errors.
        network: a Keras layer.
        number: of copies.
        dtype: their precision, and that of all layers within.
        num_outputs: channels that they must give, where the network tells.

    Returns:
        A list of `number` layers.

    Raises:
        ValueError: if the network is no layer, or has other outputs.
    """
    if not isinstance(network, keras.layers.Layer):
        raise ValueError(f"`{argument}` must be a Keras layer, got {network!r}.")
    found = _outputs(network)
    if None not in (found, num_outputs) and found != num_outputs:
        raise ValueError(f"`{argument}` must have {num_outputs} outputs, got {found}.")
    policy = keras.saving.serialize_keras_object(keras.dtype_policies.get(dtype))
    config = {**network.get_config(), "dtype": policy}
    # Each from a config of its own, as that of a functional model is emptied by its use.
    layers = [type(network).from_config(_in_precision(config, policy)) for _ in range(number)]
    if network.built and network.weights:
        for layer in layers:
            layer._weights_of_template = network.get_weights()
    return layers


def start_from_templates(model):
    """Give the `copies` within a model, now that it is built, the weights of the networks that they are copies of.

    Raises:
        ValueError: if a network was built for another number of channels.
    """
    for layer in model._flatten_layers():
        weights = getattr(layer, "_weights_of_template", None)
        if weights is not None:
            layer.set_weights(weights)
            layer._weights_of_template = None


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


def _outputs(network):
    """Channels that a network gives, None where it does not tell."""
    if isinstance(network, keras.Sequential) and network.layers:
        return _outputs(network.layers[-1])
    return getattr(network, "num_outputs", getattr(network, "filters", None))


def _in_precision(config, policy):
    """A config in which every layer has this serialised precision, those within it too."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return policy
        return {name: _in_precision(value, policy) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_in_precision(value, policy) for value in config)
    return config


def _is_serialized(value):
    return isinstance(value, dict) and "class_name" in value
