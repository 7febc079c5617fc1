"""Layers and models that are arguments of others, in the config of these."""

import keras


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
