"""Checkpoints of other codebases as models of the zoo: one file per source."""

import contextlib
import json
from pathlib import Path

from mri_zoo.arguments import suggestion
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError
from mri_zoo.physics.gridded import Gridded
from mri_zoo.presets.importers import deep_jsense, direct, fastmri, fastmri_reproducible_benchmark
from mri_zoo.presets.importers.checkpoint import Checkpoint, assign
from mri_zoo.presets.importers.options import one_line, require_same_kinds, resolve
from mri_zoo.presets.registry import save_preset, sha256

SOURCES = {
    "deep-jsense": deep_jsense.ARCHITECTURES,
    "direct": direct.ARCHITECTURES,
    "fastmri": fastmri.ARCHITECTURES,
    "fastmri-reproducible-benchmark": fastmri_reproducible_benchmark.ARCHITECTURES,
}

ALIASES = {  # of architectures: the sources' own names for them, and those of our classes
    "deep-jsense": {"MoDLDoubleUnroll": "MoDL"},
    "direct": {
        "ConjGradNet": "MoDL",
        "DirectKIKINet": "KIKINet",
        "DirectUNet": "UNet",
        "E2EVarNet": "VarNet",
        "EndToEndVarNet": "VarNet",
        "Unet2d": "UNet",
        "VSharpNet": "VSHARP",
        "VSharpNet3D": "VSHARP3D",
    },
    "fastmri": {
        "E2EVarNet": "VarNet",
        "EndToEndVarNet": "VarNet",
        "UNet": "FastMRIUNet",
        "Unet": "FastMRIUNet",
    },
    "fastmri-reproducible-benchmark": {
        "DIPBase": "DIP",
        "UnetComplex": "DealiasingNet",
        "VnetComplex": "DealiasingNet",
    },
}
NOT_OFFERED = {  # the sources' other networks
    "deep-jsense": ("DeepJSense",),
    "direct": ("CIRIM", "IterDualNet", "JointICNet", "MRIVarSplitNet", "MultiDomainNet", "RIM", "VarSplitNet"),
    "fastmri": (),
    "fastmri-reproducible-benchmark": ("PostProcessVnet", "UnetMultiDomain"),
}


def import_checkpoint(path, source, architecture, config=None):
    """The model of a foreign checkpoint.

    Args:
        path: HDF5 of Keras 2 (weights alone, or a whole model), `.safetensors`, or PyTorch's `.pt`, `.pth`, `.ckpt`
            (a `state_dict`, or the training checkpoint that holds it), of which tensors alone are read.
        source: the codebase that wrote it, one of `SOURCES`.
        architecture: which of its networks, one of the keys of ``SOURCES[source]``; the class of the model is not
            always called so. The source's own name is understood, too: ``"ConjGradNet"``, ``"E2EVarNet"``, ...
        config: constructor arguments of the model, as a dict or the path of a JSON file; "network.activation" is an
            argument of the network that is the argument `network`. What the shapes of the arrays tell need not be
            given; an option that they do not tell must be, or one value of it is assumed, see `import_report`.
            DIRECT's checkpoints also take `data_consistent`, by which the samples are put back into the image, as the
            authors of JSSL do after self-supervised training; those with a network for the sensitivity maps take the
            `sigma` of `RefinedMaps`.

    Returns:
        The built `ReconstructionModel`; its attribute `import_report`, an `ImportReport`, has the arguments that the
        arrays tell, those that were given, and those that were assumed.

    Raises:
        DataError: if the file cannot be read, or does not fit the architecture or `config`: the message names the
            array, its shape and the one expected, where it is one array.
        ValueError: if source, architecture or an argument are unknown, or `config` must give one and does not.

    Example:
        `import_checkpoint("model_weights.h5", "fastmri-reproducible-benchmark", "PDNet")`
    """
    foreign, given = find_architecture(source, architecture), _read_config(config)
    wanted, checkpoint = f"{architecture} of {source}", Checkpoint(path)
    told, defaults = infer_config(checkpoint, source, architecture), foreign.model().get_config()
    foreign = foreign.adapt(foreign, checkpoint, told)
    _require_known(given, {**defaults, **foreign.fixed, **dict.fromkeys(foreign.extension)}, foreign.advice, wanted)
    config, report = resolve(foreign, checkpoint, told, given, wanted)
    extension = {name: config.pop(name) for name in foreign.extension if name in config}
    with _misfits(path, wanted, given):
        model = foreign.extend(foreign.model.from_config({**defaults, **config}), checkpoint, **extension)
        model.build()
        require_same_kinds(model, checkpoint)
        weights = list(foreign.weights(model, checkpoint))
    assign(model, checkpoint, weights)
    for part in (model, getattr(model, "model", None)):  # what extends the network has its own options
        names = [name for name in foreign.extension if name not in given and hasattr(part, name)]
        report.assumed.update({name: getattr(part, name) for name in names})
    model.import_report = report
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
        arguments = f" with {', '.join(f'`{name}`' for name in given)}" if given else ""
        raise DataError(f"{path}: does not fit {wanted}{arguments} ({one_line(error)}).") from error


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
    if model.import_report.assumed:
        card["assumed"] = (
            f"The arrays do not tell these, and they were not given: `{model.import_report.assumptions()}`."
        )
    save_preset(folder, model, scaling or find_architecture(source, architecture).scaling, sampling, card)
    return model


def find_architecture(source, architecture):
    """How `source` stores `architecture`; raises ValueError with the nearest name if there is no such thing."""
    architectures = _named(SOURCES, source, "source")
    name = ALIASES[source].get(architecture, architecture)
    if name in NOT_OFFERED[source]:
        raise ValueError(f"The zoo has no {name} of {source}; there are {', '.join(architectures)}.")
    elsewhere = [other for other in SOURCES if name in SOURCES[other] or name in ALIASES[other]]
    if name not in architectures and elsewhere:
        raise ValueError(
            f"{name} is an architecture of {' and '.join(elsewhere)}, not of {source}, which has "
            f"{', '.join(architectures)}."
        )
    return _named(architectures, name, f"architecture of {source}")


def _require_known(given, known, advice, wanted):
    """Raise a ValueError that names the first argument that is not known, with the advice that there is on it."""
    for name in given:
        if name in advice and name not in known:
            raise ValueError(f"`{name}` is no argument of {wanted} here. {advice[name]}")
        if name not in known and str(name).partition(".")[0] not in known:
            _named(known, name, f"argument of {wanted}")


def _named(things, name, kind):
    if name not in things:
        raise ValueError(f"Unknown {kind} {name!r}{suggestion(name, things)} There are {', '.join(things)}.")
    return things[name]


def _read_config(config):
    if config is None or isinstance(config, dict):
        return config or {}
    try:
        found = json.loads(Path(config).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{config}: is not a readable JSON file ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f"{config}: holds a {type(found).__name__}; expected an object of constructor arguments.")
    return found
