"""mri_zoo: the model zoo of learned MRI reconstruction. Names are imported when they are first used."""

import importlib

from mri_zoo.registration import register_when_keras_is_imported

__version__ = "0.1.0"

_MODULES = (
    *("data", "evaluation", "layers", "losses", "metrics", "models"),
    *("optimizers", "physics", "presets", "training"),
)
_FUNCTIONS = dict.fromkeys(("import_checkpoint", "list_models", "load", "load_preset", "save_preset"), "presets")

__all__ = [*_MODULES, *_FUNCTIONS, "__version__"]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__


register_when_keras_is_imported()
