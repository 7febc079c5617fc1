"""Recipes: Python files that hold one training as a plain dict, and the overrides of the command line.

A recipe file defines `recipe`, a dict with these keys:

======================  ==============================================================================================
name                    the training's, and of the preset that it makes
model                   class of `mri_zoo.models`, or a function that makes a model
model_arguments         dict of its constructor's arguments; {} by default
initial_weights         preset (name or folder) whose weights the training starts from; random ones by default
sources                 function (root, split) -> list of `VolumeSource`s; split is "train" or "validation"
datasets                instead of the training data of `sources`: a dict of dicts, one for each data set, as
                        `mri_zoo.data.joint_batches` takes them, but `sources` is a function (root) -> list
steps_per_epoch         batches of `datasets` in an epoch; all of them by default
mixed_batches           whether slices of different `datasets` share a batch; False by default
root                    folder given to `sources`; None leaves it open, to be given with ``--set root=DIR``
sampling                a mask of `mri_zoo.data.masks`, or a trajectory of `mri_zoo.data.trajectories`; each of
                        `datasets` has its own to train with
scaling                 a rule of `mri_zoo.data.preparation`; no scaling by default
train_options           dict of further arguments of `mri_zoo.data.slices_of` (`slices`, `inner_slices`, ...)
validation_options      the same for the validation data
loss                    anything that Keras's `compile` takes; "mae" by default
metrics                 list of Keras metrics; slice-wise PSNR and SSIM by default
monitor, mode           what decides on the best epoch; "val_slice_psnr", "max" by default
optimizer               Keras optimizer class; Adam by default
optimizer_arguments     dict of its arguments; {} by default
learning_rate           1e-3 by default; or a schedule of Keras's kind, where `schedule` is "constant"
schedule                "constant" (default); "cosine": down to zero over all epochs; "thirds": divided by ten after
                        each third of the epochs; or a function of the epoch, counted from 0, that gives a factor
batch_size              1 by default; slices of a batch have one shape, and the last of an epoch may be fewer
strategy                function with the arguments of `mri_zoo.training.supervised.train`, by default that one; another
                        is `mri_zoo.training.layerwise.train_layerwise`, whose `epochs` are those of each stage,
                        `mri_zoo.training.self_supervised.train_jointly`, and for `DIP`
                        `mri_zoo.training.untrained.fit_one_slice`, which has none
epochs, seed            number of epochs; seed of weights, order, masks (0 by default)
patience                stop after this many epochs without a better `monitor`; never by default
card                    dict of texts for the model card: summary, data, training, licence, limits
======================  ==============================================================================================
"""

import ast
import dataclasses
import runpy
import sys
from pathlib import Path

import keras

from mri_zoo.arguments import check_counts, suggestion
from mri_zoo.data.masks import SamplingMask
from mri_zoo.data.masks_kt import KtMask
from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.data.splits import FullTarget, HalfSplit, Split
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError
from mri_zoo.metrics import SlicePSNR, SliceSSIM
from mri_zoo.training.devices import metrics_of_scope

REQUIRED = ("name", "model", "sources", "sampling", "epochs")
DEFAULTS = {
    "root": None,
    "model_arguments": {},
    "initial_weights": None,
    "datasets": None,
    "steps_per_epoch": None,
    "mixed_batches": False,
    "scaling": ConstantScaling(),
    "train_options": {},
    "validation_options": {},
    "loss": "mae",
    "metrics": None,
    "monitor": "val_slice_psnr",
    "mode": "max",
    "optimizer": keras.optimizers.Adam,
    "optimizer_arguments": {},
    "learning_rate": 1e-3,
    "schedule": "constant",
    "strategy": None,
    "batch_size": 1,
    "seed": 0,
    "patience": None,
    "card": {},
}


def load_recipe(path, overrides=()):
    """The recipe of a file, its defaults filled in.

    Args:
        path: a Python file that defines `recipe`. It is run: use recipes that you trust.
        overrides: texts ``key=value``; a dotted key reaches into dicts and samplings (``sampling.acceleration=8``);
            values are Python literals, anything else is taken as text.

    Raises:
        DataError: if the file is missing, fails, or defines no `recipe`.
        ValueError: if a key is missing or unknown (the message suggests the nearest one), or a value does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such recipe file.")
    sys.path.insert(0, str(path.parent))  # recipes may share code that lies beside them
    try:
        recipe = runpy.run_path(str(path)).get("recipe")
    except Exception as error:  # whatever is wrong with somebody's file
        raise DataError(f"{path} is not a recipe that runs: {type(error).__name__}: {error}.") from error
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(recipe, dict):
        raise DataError(f"{path} defines no dict called `recipe`.")
    for key in recipe:
        if key not in (*REQUIRED, *DEFAULTS):
            raise ValueError(_unknown(key, (*REQUIRED, *DEFAULTS), path))
    recipe = {**DEFAULTS, **recipe}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ValueError(f"--set takes key=value, got {override!r}.")
        recipe = _replaced(recipe, key.split("."), _literal(value), path)
    for key in REQUIRED:
        if recipe.get(key) is None:
            raise ValueError(f"{path}: the recipe leaves `{key}` open; give it with `--set {key}=...`.")
    if recipe["schedule"] not in ("constant", "cosine", "thirds") and not callable(recipe["schedule"]):
        raise ValueError(
            f'`schedule` must be "constant", "cosine", "thirds" or a function of the epoch, got {recipe["schedule"]!r}.'
        )
    check_counts(epochs=recipe["epochs"], batch_size=recipe["batch_size"])
    if recipe["patience"] is not None and not recipe["patience"] >= 1:
        raise ValueError(f"`patience` must be None or >= 1, got {recipe['patience']!r}.")
    for key in ("model", "sources"):
        if not callable(recipe[key]):
            raise ValueError(f"The recipe's `{key}` must be a class or a function, got {recipe[key]!r}.")
    if not isinstance(recipe["seed"], int):
        raise ValueError(f"The recipe's `seed` must be a whole number, got {recipe['seed']!r}.")
    if not isinstance(recipe["name"], str) or Path(recipe["name"]).name != recipe["name"]:
        raise ValueError(f"The recipe's `name` must be one of a folder, without a path, got {recipe['name']!r}.")
    if not isinstance(recipe["card"], dict):
        raise ValueError(f"The recipe's `card` must be a dict of texts, got {recipe['card']!r}.")
    _check_sampling("sampling", recipe["sampling"])
    _check_datasets(recipe)
    return recipe


def _check_sampling(name, sampling):
    if not isinstance(sampling, SamplingMask | SamplingTrajectory):
        raise ValueError(f"The recipe's `{name}` must be of type SamplingMask or SamplingTrajectory, got {sampling!r}.")
    if isinstance(sampling, KtMask):
        raise ValueError(f"The recipe's `{name}` must sample slices without frames, got {sampling!r}.")


def _check_datasets(recipe):
    datasets, steps = recipe["datasets"], recipe["steps_per_epoch"]
    if datasets is not None and not (
        datasets and isinstance(datasets, dict) and all(isinstance(d, dict) for d in datasets.values())
    ):
        raise ValueError(f"The recipe's `datasets` must be a dict of one dict or more, got {datasets!r}.")
    for name, dataset in (datasets or {}).items():
        sources, split = dataset.get("sources"), dataset.get("split")
        if not callable(sources):
            raise ValueError(f"The recipe's `datasets.{name}.sources` must be a function, got {sources!r}.")
        if not isinstance(split, Split | HalfSplit | FullTarget):
            raise ValueError(
                f"The recipe's `datasets.{name}.split` must be of type Split or FullTarget, got {split!r}."
            )
        if dataset.get("sampling") is not None:  # volumes that were measured undersampled need none
            _check_sampling(f"datasets.{name}.sampling", dataset["sampling"])
    if datasets is not None and recipe["train_options"]:
        raise ValueError("With `datasets`, options belong to each of them: `train_options` must be empty.")
    if not isinstance(recipe["mixed_batches"], bool) or (recipe["mixed_batches"] and datasets is None):
        raise ValueError(f"`mixed_batches` must be a bool, and needs `datasets`; got {recipe['mixed_batches']!r}.")
    if steps is not None and (datasets is None or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"`steps_per_epoch` must be a whole number >= 1, and needs `datasets`; got {steps!r}.")


def make_metrics(recipe):
    """The recipe's metrics, or slice-wise PSNR and SSIM, which have counted nothing yet."""
    return metrics_of_scope(recipe["metrics"] or [SlicePSNR(), SliceSSIM()])


def make_optimizer(recipe, num_steps):
    """The recipe's optimizer for a training of `num_steps` steps."""
    rate = recipe["learning_rate"]
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) and recipe["schedule"] != "constant":
        raise ValueError(f"`learning_rate` is a schedule already, so `schedule` {recipe['schedule']!r} cannot be used.")
    if recipe["schedule"] == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, num_steps)
    elif recipe["schedule"] != "constant":
        factor = _thirds(recipe["epochs"]) if recipe["schedule"] == "thirds" else recipe["schedule"]
        rates = [rate * factor(epoch) for epoch in range(recipe["epochs"])]
        changes = [epoch for epoch in range(1, len(rates)) if rates[epoch] != rates[epoch - 1]]
        last_steps = [epoch * (num_steps // len(rates)) - 1 for epoch in changes]
        rate = rates[0]
        if changes:
            rates = [rates[epoch] for epoch in (0, *changes)]
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(last_steps, rates)
    return recipe["optimizer"](learning_rate=rate, **recipe["optimizer_arguments"])


def _thirds(epochs):
    """Divided by ten after each third of whole epochs: of 50, the first 17 and the next 17."""
    ends = [-(-epochs * i // 3) for i in (1, 2)]
    return lambda epoch: 0.1 ** sum(epoch >= end for end in ends)


def _replaced(container, keys, value, path):
    """`container` with one entry, named by a list of keys, replaced; dicts and dataclasses are copied."""
    key, *rest = keys
    if dataclasses.is_dataclass(container):
        names = [field.name for field in dataclasses.fields(container)]
        if key not in names:
            raise ValueError(_unknown(key, names, path))
        try:
            if isinstance(container, SamplingMask):
                return container.changed(**{key: value})
            return dataclasses.replace(container, **{key: value})
        except TypeError as error:  # a comparison with text, say
            raise ValueError(f"`{key}` of {type(container).__name__} cannot be {value!r}: {error}.") from error
    if not isinstance(container, dict):
        raise ValueError(f"--set cannot reach `{key}` inside a {type(container).__name__}.")
    if rest:
        if key not in container:
            raise ValueError(_unknown(key, container, path))
        value = _replaced(container[key], rest, value, path)
    elif set(REQUIRED) <= set(container) and key not in container:
        raise ValueError(_unknown(key, container, path))
    return {**container, key: value}


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _unknown(key, names, path):
    there = f"There are {', '.join(map(str, names))}." if names else "There is nothing to set."
    return f"{path}: a recipe has no `{key}`{suggestion(key, names)} {there}"
