"""Lets Keras find the zoo's classes in a `.keras` file, although `import mri_zoo` imports neither them nor Keras.

Keras knows custom classes by what was registered before it reads a file, and to import the zoo takes seconds. So
stand-ins are registered as soon as Keras is imported, before or after the zoo. One that a file asks for imports the
module of its class, which registers the class in its place.
"""

import importlib
import importlib.abc
import importlib.util
import re
import sys
from pathlib import Path

_PACKAGE = "mri_zoo"
_DECORATED = re.compile(
    rf'^@keras\.saving\.register_keras_serializable\("{_PACKAGE}"\)\n(class|def) (\w+)', re.MULTILINE
)


def register_when_keras_is_imported():
    """Register the stand-ins: now if Keras is imported already, else right after its import."""
    if hasattr(sys.modules.get("keras"), "saving"):
        _register()
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def registrations():
    """(module, whether it is a class, name) of all that the zoo registers, found in its sources without an import."""
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        module = ".".join([_PACKAGE, *path.relative_to(folder).with_suffix("").parts])
        for kind, name in _DECORATED.findall(path.read_text(encoding="utf-8")):
            yield module, kind == "class", name


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras as all others do, and has the stand-ins registered at the end of its import."""

    def __init__(self):
        self._asking = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras" or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register
        return spec


def _register():
    import keras

    for module, is_class, name in registrations():
        if f"{_PACKAGE}>{name}" not in keras.saving.get_custom_objects():
            stand_in = (_class_stand_in if is_class else _function_stand_in)(module, name)
            keras.saving.register_keras_serializable(_PACKAGE)(stand_in)


def _class_stand_in(module, name):
    def from_config(cls, config):
        return getattr(importlib.import_module(module), name).from_config(config)

    def get_config(self):  # Keras registers no class without it
        raise NotImplementedError

    return type(name, (), {"__module__": module, "from_config": classmethod(from_config), "get_config": get_config})


def _function_stand_in(module, name):
    def stand_in(*arguments, **named_arguments):
        return getattr(importlib.import_module(module), name)(*arguments, **named_arguments)

    stand_in.__name__, stand_in.__module__ = name, module
    return stand_in
