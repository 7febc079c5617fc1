"""A model with the preparation that its weights expect."""

import dataclasses

import keras

from mri_zoo.data.preparation import scaling_from_config, scaling_to_config
from mri_zoo.data.sampling import sampling_from_config, sampling_to_config
from mri_zoo.data.stored import plain

_OF_THE_WEIGHTS = ("quality", "sha256")  # what metadata tells of weights, which a training may have changed since


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model with the preparation that its weights expect.

    Attributes:
        name: for example ``pdnet-brain-demo-af4``.
        model: a built `ReconstructionModel`.
        scaling: rule of `mri_zoo.data.preparation` for the k-space that the model is given.
        sampling: the mask or trajectory that it was trained with, or None.
        metadata: what the model card tells: `summary`, `data`, `licence`, `quality`, ...
    """

    name: str
    model: keras.Model
    scaling: object
    sampling: object = None
    metadata: dict = dataclasses.field(default_factory=dict)


def preset_to_config(preset):
    """What a `.keras` file stores of a model's preset: plain values, without what belongs to its weights alone.

    Raises:
        ValueError: if scaling or sampling cannot be stored.
    """
    metadata = {key: value for key, value in preset.metadata.items() if key not in _OF_THE_WEIGHTS}
    return {
        "name": preset.name,
        "scaling": scaling_to_config(preset.scaling),
        "sampling": sampling_to_config(preset.sampling) if preset.sampling is not None else None,
        "metadata": plain(metadata, "metadata"),
    }


def preset_from_config(config, model):
    """The preset of a model that was loaded from a `.keras` file.

    Raises:
        ValueError: if `preset_to_config` did not write this, or it names a class of one's own that is not imported.
    """
    if not isinstance(config, dict) or set(config) != {"name", "scaling", "sampling", "metadata"}:
        raise ValueError(f"the model's `preset` must have name, scaling, sampling and metadata, got {config!r}.")
    if not isinstance(config["name"], str) or not isinstance(config["metadata"], dict):
        raise ValueError("the model's `preset` must have a text as `name` and a dict as `metadata`.")
    sampling = sampling_from_config(config["sampling"]) if config["sampling"] is not None else None
    return Preset(config["name"], model, scaling_from_config(config["scaling"]), sampling, config["metadata"])
