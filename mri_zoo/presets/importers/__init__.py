"""Checkpoints of other codebases as models of the zoo: one file per source."""

import contextlib
import difflib
import json
from pathlib import Path

from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError
from mri_zoo.physics.gridded import Gridded
from mri_zoo.presets.importers import deep_jsense, direct, fastmri, fastmri_reproducible_benchmark
from mri_zoo.presets.importers.checkpoint import Checkpoint, assign, some
from mri_zoo.presets.registry import save_preset, sha256

SOURCES = {
    "deep-jsense": deep_jsense.ARCHITECTURES,
    "direct": direct.ARCHITECTURES,
    "fastmri": fastmri.ARCHITECTURES,
    "fastmri-reproducible-benchmark": fastmri_reproducible_benchmark.ARCHITECTURES,
}

ALIASES = {  # of architectures: the sources' own names for them
    "ConjGradNet": "MoDL",
    "E2EVarNet": "VarNet",
    "EndToEndVarNet": "VarNet",
    "Unet": "FastMRIUNet",
    "Unet2d": "UNet",
    "VSharpNet": "VSHARP",
    "VSharpNet3D": "VSHARP3D",
}


def import_checkpoint(path, source, architecture, config=None):
    """The model of a foreign checkpoint.

    Args:
        path: HDF5 of Keras 2 (weights alone, or a whole model), `.safetensors`, or PyTorch's `.pt`, `.pth`, `.ckpt`
            (a `state_dict`, or the training checkpoint that holds it), of which tensors alone are read.
        source: the codebase that wrote it, one of `SOURCES`.
        architecture: which of its networks, one of the keys of ``SOURCES[source]``; the class of the model is not
            always called so. The source's own name is understood, too: ``"ConjGradNet"``, ``"E2EVarNet"``, ...
        config: constructor arguments of the model, as a dict or the path of a JSON file. What the shapes of the arrays
            tell need not be given; nor need arguments that keep their defaults. DIRECT's checkpoints also take
            `data_consistent`, by which the samples are put back into the image, as the authors of JSSL do after
            self-supervised training; those with a network for the sensitivity maps take the `sigma` of `RefinedMaps`.

    Returns:
        The built `ReconstructionModel`.

    Raises:
        DataError: if the file cannot be read, or does not fit the architecture or `config`: the message names the
            array, its shape and the one expected, where it is one array.
        ValueError: if source, architecture or an argument are unknown, or `config` must give one and does not.

    Example:
        `import_checkpoint("model_weights.h5", "fastmri-reproducible-benchmark", "PDNet")`
    """
    foreign, given = find_architecture(source, architecture), _read_config(config)
    wanted, checkpoint = f"{architecture} of {source}", Checkpoint(path)
    config = {**infer_config(checkpoint, source, architecture), **given}
    missing = [name for name in foreign.asks if name not in config]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ValueError(
            f"{path} does not tell {names}: give it in `config`; the arguments of {foreign.model.__name__} tell what."
        )
    extension = {name: config.pop(name) for name in foreign.extension if name in config}
    defaults = foreign.model().get_config()
    for name in config:
        _named({**defaults, **dict.fromkeys(foreign.extension)}, name, f"argument of {wanted}")
    with _misfits(path, wanted, given):
        model = foreign.extend(foreign.model.from_config({**defaults, **config}), checkpoint, **extension)
        model.build()
        weights = list(foreign.weights(model, checkpoint))
    assign(model, checkpoint, weights)
    return model


def infer_config(checkpoint, source, architecture):
    """What the arrays of a `Checkpoint` tell of the constructor arguments; of them only the network's are kept.

    Raises:
        DataError: if they are not those of the architecture, as far as that is seen here.
    """
    foreign = find_architecture(source, architecture)
    with _misfits(checkpoint.path, f"{architecture} of {source}"):
        checkpoint.select(foreign.select)
        return foreign.infer(checkpoint)


@contextlib.contextmanager
def _misfits(path, wanted, given=()):
    """Whatever fails on arrays or arguments of another kind than expected becomes a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError) as error:
        arguments = f" with {some(given)}" if given else ""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: does not fit {wanted}{arguments} ({reason}).") from error


def import_preset(path, source, architecture, folder, config=None, sampling=None, scaling=None, metadata=None):
    """Write a preset of a foreign checkpoint.

    Args:
        path: see `import_checkpoint`, also for the errors.
        source: see there.
        architecture: see there.
        folder: the preset's; its name is the preset's.
        config: see there.
        sampling: what the weights were trained with, where it is known. A network of a Cartesian grid with a trajectory
            in the plane was trained on gridded k-space, and gets `Gridded` as its `physics`.
        scaling: rule of `mri_zoo.data.preparation` that they expect, by default the one of `source`.
        metadata: replaces entries of the model card, see `save_preset`.

    Returns:
        The model.

    Raises:
        ValueError: as `import_checkpoint`, if the sampling is a trajectory that the network cannot take, and if
            `config` has a precision, which a preset has not.
    """
    config = _read_config(config)
    if "dtype" in config:
        raise ValueError("`dtype`: a preset runs in the precision of the session; set it with Keras.")
    model = import_checkpoint(path, source, architecture, config)
    if isinstance(sampling, SamplingTrajectory):
        if "physics" not in config and not model.physics.along_trajectory and sampling.dimensions == 2:
            model = import_checkpoint(path, source, architecture, {**config, "physics": Gridded(sampling.image_size)})
        wanted = f"trajectories of {model.physics.dimensions} dimensions" if model.physics.along_trajectory else "masks"
        if not model.physics.along_trajectory or model.physics.dimensions != sampling.dimensions:
            raise ValueError(f"{architecture} of {path} is for {wanted}, got {sampling}.")
    card = {
        "summary": f"{architecture} with weights of {source}",
        "training": f"Imported from `{Path(path).name}` of {source} (SHA-256 `{sha256(path)}`).",
        "licence": "That of the imported weights.",
        **(metadata or {}),
    }
    save_preset(folder, model, scaling or find_architecture(source, architecture).scaling, sampling, card)
    return model


def find_architecture(source, architecture):
    """How `source` stores `architecture`; raises ValueError with the nearest name if there is no such thing."""
    architectures = _named(SOURCES, source, "source")
    alias = ALIASES.get(architecture)
    return _named(architectures, alias if alias in architectures else architecture, f"architecture of {source}")


def _named(things, name, kind):
    if name not in things:
        by_lower_case = {thing.lower(): thing for thing in things}
        nearest = by_lower_case[difflib.get_close_matches(str(name).lower(), by_lower_case, n=1, cutoff=0)[0]]
        raise ValueError(f"Unknown {kind} {name!r}; did you mean {nearest!r}? There are {', '.join(things)}.")
    return things[name]


def _read_config(config):
    if config is None or isinstance(config, dict):
        return config or {}
    try:
        found = json.loads(Path(config).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{config}: is not a readable JSON file ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f"{config}: holds a {type(found).__name__}; expected an object of constructor arguments.")
    return found
