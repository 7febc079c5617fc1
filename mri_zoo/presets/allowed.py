"""The classes that a preset may name: its config may come from anyone, so that nothing else is made from it.

Keras has layers that run code or other frameworks' programs (`Lambda`, `TFSMLayer`, `TorchModuleWrapper`, `JaxLayer`),
and some that read files (vocabularies). What is allowed is therefore listed, by module and name, not what is forbidden.
"""

import importlib

import keras

from mri_zoo.data.stored import registered, shortened
from mri_zoo.data.volume import DataError


def _sizes(*names):
    return [f"{name}{dimensions}D" for name in names for dimensions in (1, 2, 3)]


_LAYERS = (
    *_sizes("AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "Cropping", "GlobalAveragePooling"),
    *_sizes("GlobalMaxPooling", "MaxPooling", "SpatialDropout", "UpSampling", "ZeroPadding", "ConvLSTM", "Conv"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D"),
    *("SeparableConv1D", "SeparableConv2D", "Dense", "EinsumDense", "InputLayer", "Identity"),
    *("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"),
    *("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"),
    *("BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization", "SpectralNormalization"),
    *("UnitNormalization", "Attention", "AdditiveAttention", "GroupQueryAttention", "MultiHeadAttention"),
    *("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
    *("CenterCrop", "Flatten", "Permute", "RepeatVector", "Rescaling", "Reshape", "Resizing", "TimeDistributed"),
    *("GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "SimpleRNN", "SimpleRNNCell", "StackedRNNCells", "Bidirectional"),
)
_INITIALIZERS = (
    *("Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer"),
    *("LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal", "RandomUniform"),
    *("TruncatedNormal", "VarianceScaling", "Zeros"),
)
_KERAS = {
    "keras": ("Sequential", "DTypePolicy"),
    "keras.dtype_policies": ("DTypePolicy",),
    "keras.layers": _LAYERS,
    "keras.initializers": _INITIALIZERS,
    "keras.regularizers": ("L1", "L1L2", "L2", "OrthogonalRegularizer"),
    "keras.constraints": ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"),
    "keras.src.models.functional": ("Functional",),
}
_OPERATIONS = ("keras.src.ops.numpy", "keras.src.ops.nn")  # the nodes of functional models that are no layers
_FRAMEWORKS = ("keras", "keras_cv", "keras_hub", "keras_nlp", "tensorflow", "tensorflow_hub", "tf_keras")


def check_classes(config, where):
    """Refuse a config that names a class which a preset may not name.

    Allowed are what the zoo registered with Keras, the listed classes of Keras, and what the user's own code registered
    before.

    Args:
        config: what `get_config` gave, of plain values.
        where: what the error message begins with.

    Raises:
        DataError: if there is one; the message tells its name and, where it is a class of somebody's own, which module
            registers it.
    """
    for name in forbidden_classes(config, where):
        raise DataError(f"{where} names the class {shortened(name)}, which is not allowed.")


def forbidden_classes(config, where=""):
    """The names of those classes, one after the other; for the arguments see `check_classes`."""
    found = [config]
    while found:  # no recursion, as the depth is the file's choice
        config = found.pop()
        if isinstance(config, dict):
            if "class_name" in config and not _is_allowed(config, where):
                yield config["class_name"]
            found += config.values()
        elif isinstance(config, list | tuple):
            found += config


def check_own(name, module, where):
    """The class or function of somebody's own that is registered with Keras by this name.

    Raises:
        DataError: if there is none, or it belongs to another framework.
    """
    try:
        found = registered(name, module)
    except ValueError as error:
        raise DataError(f"{where}: {error}.") from error
    if found.__module__.partition(".")[0] in _FRAMEWORKS:
        raise DataError(f"{where} names {shortened(name)} of {found.__module__}, which is not allowed.")
    return found


def _is_allowed(config, where):
    name, module, known_as = config["class_name"], config.get("module"), config.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(known_as, str | None):
        return False
    if name == "__keras_tensor__":  # a connection within a functional model: shape, type and indices
        return True
    if name == "function":  # one of the user's own, as an activation
        return module == "builtins" and _is_own_function(config.get("config"), where)
    if known_as is not None and (">" in known_as or keras.saving.get_registered_object(known_as) is not None):
        return check_own(known_as, module, where).__name__ == name
    if module in _OPERATIONS:
        found = getattr(importlib.import_module(module), name, None)
        return isinstance(found, type) and issubclass(found, keras.Operation) and found.__module__ == module
    return name in _KERAS.get(module, ())


def _is_own_function(name, where):
    if not isinstance(name, str) or ">" not in name:
        return False
    found = keras.saving.get_registered_object(name)
    return found is not None and check_own(name, found.__module__, where) is found
