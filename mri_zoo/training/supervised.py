"""Supervised training by a recipe, resumable after any interruption."""

import contextlib
import inspect
import itertools
import math
import time
from pathlib import Path

import keras
import numpy as np

from mri_zoo.data.preparation import scaling_to_config
from mri_zoo.data.prepared import PreparedBatches, write_batches
from mri_zoo.data.sampling import sampling_to_config
from mri_zoo.data.volume import DataError
from mri_zoo.models.refined_maps import RefinedMaps
from mri_zoo.physics.acquisition import Acquisition
from mri_zoo.presets.config import preset_config
from mri_zoo.presets.registry import check_preset, load_preset, save_preset
from mri_zoo.storage import exclusive, write_text
from mri_zoo.training.checkpoints import Checkpoints, Events, log_text, read_checkpoint, room_told
from mri_zoo.training.devices import number_of_devices, on_devices, require_own_weights
from mri_zoo.training.recipes import make_metrics, make_optimizer
from mri_zoo.training.settings import (
    OF_BATCHES,
    check_resumable,
    check_settings,
    describe_sources,
    read_settings,
    settings_of,
    write_settings,
)


@on_devices
def train(recipe, output, resume=False, prepared=None, report=print, verbose=0, wrap=None):
    """Train as a recipe says, by its `strategy` where it names one.

    Writes to `output`: `last.weights.h5` (weights and optimizer after each epoch), `previous.weights.h5` (after the one
    before), `best.weights.h5`, `log.csv`, `settings.json`, TensorBoard events, and at the end the preset of the best
    epoch in `preset/NAME`. A training that was killed at any moment and resumed gives the weights of an uninterrupted
    one: data, masks and order depend on seed and epoch alone.

    Args:
        recipe: of `load_recipe`.
        output: folder.
        resume: go on after the last finished epoch of `output`; where `last.weights.h5` is cut off or missing, after
            that of the newest other checkpoint.
        prepared: folder of `mri-zoo prepare` to take the batches from, instead of reading the recipe's sources.
        report: called with one line per epoch.
        verbose: of Keras's `fit`: 1 shows a progress bar for each epoch.
        wrap: function (network) -> the `ReconstructionModel` that is fitted in its place; for strategies.
        devices: "all", a number, or "cpu:2", see `mri_zoo.training.devices.devices_scope`; by default one device.

    Returns:
        The trained model, with the weights of its best epoch.

    Raises:
        BlockingIOError: if another training uses `output`.
        FileExistsError: if `output` holds a training and `resume` is False.
        DataError: if there is nothing to train on, or a checkpoint is damaged.
        OSError: if something cannot be written, for example on a full disk; the epochs before are kept.
        ValueError: if the recipe leaves `root` open, its `monitor` is never measured, its `initial_weights` belong to
            another network, no preset can be made of it, it is resumed with other settings, or the training diverges:
            its loss or its weights are no longer finite.
    """
    if recipe["strategy"] is not None:
        return recipe["strategy"](recipe, output, resume, prepared, report, verbose)
    with exclusive(output, "training"):
        return train_here(recipe, output, resume, prepared, report, verbose, wrap)


def train_here(recipe, output, resume=False, prepared=None, report=print, verbose=0, wrap=None):
    """`train` without a strategy, for those that hold the folder themselves; for the arguments see there."""
    output = Path(output)
    files, log = Checkpoints(output), output / "log.csv"
    if files.exist() and not resume:
        raise FileExistsError(f"{output} holds a training already: resume it (--resume) or choose another folder.")
    files.remove_parts()
    data = batches_of(recipe, prepared)

    keras.utils.set_random_seed(recipe["seed"])
    network = initial_model(recipe)
    before = _preset_before(recipe)
    card = {"summary": recipe["name"], "training": describe(recipe, data.steps(), 1, before), **recipe["card"]}
    preset = output / "preset" / recipe["name"]
    check_preset(preset, network, recipe["scaling"], recipe["sampling"], card)  # now, not after the last epoch
    model = wrap(network) if wrap else network
    optimizer = make_optimizer(recipe, recipe["epochs"] * data.steps())
    require_own_weights(model)
    model.compile(optimizer, recipe["loss"], metrics=make_metrics(recipe))
    optimizer.build(model.trainable_variables)
    # `fit`, called once for each epoch, would put the averages of `use_ema` in place of the weights every time.
    model.optimizer.finalize_variable_values = lambda variables: None
    told_else = ("strategy", "initial_weights")
    settings = settings_of(
        {key: value for key, value in recipe.items() if key not in told_else},
        data=data.description(),
        network=preset_config(network, recipe["scaling"])["arguments"],
        fitted=type(model),
        weights_before=before.get("sha256"),
    )
    if number_of_devices() > 1:
        report(f"{number_of_devices()} devices share each batch of {recipe['batch_size']} slice(s)")
    first, history, best = 0, [], 0
    if files.exist():
        checkpoint = files.newest(report)
        check_resumable(output, recipe, settings, checkpoint.epoch, report)
        checkpoint.restore(model)
        first, history = checkpoint.epoch, checkpoint.history
        report(f"resuming after epoch {first} of {recipe['epochs']}")
        best = files.best_of(model, checkpoint, _best_epoch(history, recipe) + 1, report)
        _repair_log(log, history, report)
    write_settings(output, {**read_settings(output), **settings})
    if first < recipe["epochs"]:
        _require_judgeable(recipe["loss"], data, first)
    events = Events(output / "tensorboard")
    for epoch in range(first, recipe["epochs"]):
        if recipe["patience"] is not None and 0 < best <= len(history) - recipe["patience"]:
            report(f"stopping: `{recipe['monitor']}` has not improved for {recipe['patience']} epochs")
            break
        start = time.perf_counter()
        with data.errors():
            result = model.fit(
                data.train(epoch),
                validation_data=data.validation(),
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=verbose,
                shuffle=False,  # by Keras, of stored batches, in an order that no seed and no epoch tells
            )
        row = {"epoch": epoch + 1, **{key: float(values[-1]) for key, values in result.history.items()}}
        row["seconds"] = time.perf_counter() - start
        if recipe["monitor"] not in row:
            raise ValueError(f"`monitor` is {recipe['monitor']!r}, but an epoch measures {', '.join(row)}.")
        _require_finite(model, row, recipe["monitor"], output)
        history.append(row)
        with room_told():
            files.save(model, files.last, history)
            if not best or _best_epoch([history[best - 1], row], recipe):
                best = epoch + 1
                files.save(model, files.best, history)
            write_text(log, log_text(history))
            events.write(row)
        values = "  ".join(f"{key} {value:.5g}" for key, value in row.items() if key != "epoch")
        report(f"epoch {epoch + 1}/{recipe['epochs']}  {values}")
    checkpoint = read_checkpoint(files.best)
    checkpoint.restore(model)
    type(model.optimizer).finalize_variable_values(model.optimizer, model.trainable_variables)
    done = {**recipe, "epochs": len(history)}  # fewer where `patience` ended it
    card["training"] = recipe["card"].get("training", describe(done, data.steps(), checkpoint.epoch, before))
    with data.errors():
        network.physics.phase = _phase_after(network, data)
    with room_told():
        save_preset(preset, network, recipe["scaling"], recipe["sampling"], card)
    return network


def _phase_after(network, data):
    """The phase of images that a network knows now, by some batches, which must agree."""
    if any(isinstance(layer, RefinedMaps) for layer in network._flatten_layers()):
        return network.physics.phase  # its maps are no estimates
    found = {network.physics.phase_after(inputs) for inputs, _ in itertools.islice(data.validation(), 8)}
    return found.pop() if len(found) == 1 else network.physics.phase


def _repair_log(path, history, report):
    """Write the log anew where it does not tell what the checkpoint does."""
    found = path.read_bytes() if path.is_file() else b""
    if found != log_text(history).encode():
        if not found.startswith(log_text(history[:-1] or history).encode()):
            report(f"{path} is damaged or incomplete: it is written anew from the checkpoint")
        write_text(path, log_text(history))


def _require_finite(model, row, monitor, output):
    """Refuse an epoch after which nothing can be learned any more, before it is stored."""
    number = row["epoch"]
    if not math.isfinite(row["loss"]):
        found = f"its loss is {row['loss']}"
    elif not all(np.isfinite(weight).all() for weight in model.get_weights()):
        found = "it left weights that are not finite"
    elif not math.isfinite(row[monitor]):
        raise ValueError(
            f"{output}: `{monitor}`, by which the best epoch is chosen, is {row[monitor]} after epoch {number}. The "
            "epochs before are kept. Choose another `monitor`, or look for volumes of which it is none."
        )
    else:
        return
    raise ValueError(
        f"{output}: the training diverged in epoch {number}: {found}. The epochs before are kept. "
        "Start anew in another folder with a smaller learning rate."
    )


def _require_judgeable(loss, data, epoch):
    """Refuse before an epoch, not behind it, what can be neither split nor judged: a graph knows no sizes."""
    for batches in (data.validation(), data.train(epoch)):
        with data.errors():
            _, target = next(iter(batches), (None, None))
        if target is not None and isinstance(loss, keras.losses.Loss):
            loss(target, target)


def describe(recipe, steps, best_epoch, before):
    """The model card's text on a training of epochs of `steps` steps, which started from a preset's metadata or {}."""
    loss, optimizer = recipe["loss"], recipe["optimizer"]
    text = (
        f"{recipe['epochs']} epochs of {steps} steps of {recipe['batch_size']} slice(s); loss "
        f"{loss if isinstance(loss, str) else _name(loss)}; {_name(optimizer)}, learning rate "
        f"{_learning_rate(recipe)}; seed {recipe['seed']}; the weights are those of epoch "
        f"{best_epoch}, the best in `{recipe['monitor']}`."
    )
    if recipe["initial_weights"] is None:
        return text
    started = before.get("training", f"`{recipe['initial_weights']}`")
    return f"{started}\n\nFrom these weights: {text}"


def _name(thing):
    return getattr(thing, "__name__", type(thing).__name__)


def _preset_before(recipe):
    """The metadata of the preset that the training starts from, {} without one."""
    return {} if recipe["initial_weights"] is None else load_preset(recipe["initial_weights"]).metadata


def _learning_rate(recipe):
    rate = recipe["learning_rate"]
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        arguments = ", ".join(f"{key} {value}" for key, value in rate.get_config().items() if key != "name")
        return f"{type(rate).__name__} ({arguments})"
    schedule = recipe["schedule"]
    return f"{rate:g} ({_name(schedule).replace('_', ' ') if callable(schedule) else schedule})"


def initial_model(recipe):
    """The recipe's model, built, with the weights that it starts from."""
    arguments = dict(recipe["model_arguments"])
    if isinstance(arguments.get("physics"), Acquisition):  # of each model its own, as a training may change its phase
        arguments["physics"] = type(arguments["physics"]).from_config(arguments["physics"].get_config())
    model = recipe["model"](**arguments)
    model.build()
    if recipe["initial_weights"] is not None:
        given = load_preset(recipe["initial_weights"]).model
        shapes = [[weight.shape for weight in weights] for weights in (given.weights, model.weights)]
        if type(given) is not type(model) or shapes[0] != shapes[1]:
            raise ValueError(
                f"`initial_weights` {recipe['initial_weights']!r} is a {type(given).__name__} of "
                f"{given.count_params():,} parameters; the recipe's {type(model).__name__} has "
                f"{model.count_params():,} in other shapes."
            )
        model.set_weights(given.get_weights())
    return model


def batches_of(recipe, prepared=None):
    """The recipe's batches, from its data or from those of `mri-zoo prepare`: see `_Pipeline` for what it can do."""
    return _Prepared(recipe, prepared) if prepared else _Pipeline(recipe)


class _Pipeline:
    """The recipe's own data through `tf.data`."""

    def __init__(self, recipe):
        from mri_zoo.data import pipeline  # TensorFlow is needed here only

        if recipe["root"] is None:
            raise ValueError(f"The recipe {recipe['name']} leaves `root` open; give it with `--set root=DIR`.")
        known = inspect.signature(pipeline.slices_of).parameters
        for option in (*recipe["train_options"], *recipe["validation_options"]):
            if option not in known:
                raise ValueError(f"The recipe's options hold `{option}`; `slices_of` takes {', '.join(known)}.")
        self.pipeline, self.recipe, self.errors = pipeline, recipe, pipeline.data_errors
        root, datasets = recipe["root"], recipe["datasets"]
        splits = ("train", "validation") if datasets is None else ("validation",)
        self.sources = {split: recipe["sources"](root, split) for split in splits}
        self.datasets = [{**data, "sources": data["sources"](root)} for data in (datasets or {}).values()]

    def train(self, epoch):
        if self.datasets:
            return self.pipeline.joint_batches(
                self.datasets,
                self.recipe["batch_size"],
                mixed=self.recipe["mixed_batches"],
                scaling=self.recipe["scaling"],
                steps=self.recipe["steps_per_epoch"],
                seed=self.recipe["seed"],
                epochs=(epoch, epoch + 1),
            )
        options = self.recipe["train_options"]
        return self._batches("train", training=True, seed=self.recipe["seed"], epochs=(epoch, epoch + 1), **options)

    def steps(self):
        """Batches in an epoch."""
        if self.datasets:
            return len(self.train(0))
        return self._count("train", self.recipe["train_options"])[0]

    def description(self):
        """A text that differs where the volumes do."""
        parts = [f"{split} {describe_sources(sources)}" for split, sources in self.sources.items()]
        return "; ".join([*parts, *(describe_sources(data["sources"]) for data in self.datasets)])

    def validation(self):
        return self._batches("validation", training=False, **self.recipe["validation_options"])

    def _batches(self, split, /, **options):  # `split` is an option, too
        recipe = self.recipe
        slices = self.pipeline.slices_of(self.sources[split], recipe["sampling"], scaling=recipe["scaling"], **options)
        if recipe["batch_size"] == 1:
            return slices.batch(1)
        number, certain = self._count(split, options)  # without it Keras warns, and counts one step too many
        return self.pipeline.batch_by_shape(slices, recipe["batch_size"], number if certain else None)

    def _count(self, split, options):
        sources, sampling, batch_size = self.sources[split], self.recipe["sampling"], self.recipe["batch_size"]
        return self.pipeline.count_batches(sources, sampling, batch_size, **options)


class _Prepared:
    """Batches stored by `mri-zoo prepare`."""

    def __init__(self, recipe, folder):
        self.folder, self.seed, self.errors = Path(folder), recipe["seed"], contextlib.nullcontext
        if keras.backend.backend() == "tensorflow":  # its `fit` reads them through `tf.data`
            from mri_zoo.data.pipeline import data_errors

            self.errors = data_errors
        if not self.steps():
            raise DataError(f"{folder} holds no training batch.")
        description = self.train(0).description
        found = description.get("settings", {}) if isinstance(description, dict) else {}
        check_settings(folder, _settings_of_batches(recipe), found, "batches")

    def train(self, epoch):
        return PreparedBatches(self.folder / "train", shuffle_seed=self.seed, epoch=epoch)

    def steps(self):
        """Batches in an epoch."""
        return len(self.train(0))

    def description(self):
        """A text that differs where the batches do, as far as their number and recipe tell."""
        stored = {split: PreparedBatches(self.folder / split) for split in ("train", "validation")}
        return "; ".join(f"{split} {len(batches)} batches, {batches.description}" for split, batches in stored.items())

    def validation(self):
        return PreparedBatches(self.folder / "validation")


def _settings_of_batches(recipe):
    return settings_of({key: recipe[key] for key in OF_BATCHES})


def prepare(recipe, output, epochs=1, progress=None):
    """Store the batches of a recipe as plain arrays, for `train(..., prepared=output)` without TensorFlow.

    Args:
        recipe: of `load_recipe`.
        output: folder; gets `train/` with the batches of `epochs` epochs, and `validation/`.
        epochs: how many epochs of training data, each with masks and order of its own.
        progress: called as ``progress(done, total, text)``.

    Returns:
        Number of training and of validation batches.

    Raises:
        BlockingIOError: if another process prepares `output`.
        DataError: if a source cannot be read.
        FileExistsError: if `output` holds batches.
        OSError: if something cannot be written.
        ValueError: if no preset could hold scaling or sampling, so that a training on the batches would be refused.
    """
    scaling_to_config(recipe["scaling"]), sampling_to_config(recipe["sampling"])
    data, output = _Pipeline(recipe), Path(output)
    description = {
        **{"recipe": recipe["name"], "epochs": epochs, "seed": recipe["seed"]},
        **{"settings": _settings_of_batches(recipe), "data": data.description()},
    }
    splits = {
        "train": (batch for epoch in range(epochs) for batch in data.train(epoch).as_numpy_iterator()),
        "validation": data.validation().as_numpy_iterator(),
    }

    def counted(split, batches):
        for done, batch in enumerate(batches):
            if progress is not None:
                progress(done, None, f"{split} batches")
            yield batch

    with exclusive(output, "`mri-zoo prepare`"), data.errors():
        return tuple(write_batches(counted(*item), output / item[0], description) for item in splits.items())


def _best_epoch(history, recipe):
    sign = 1 if recipe["mode"] == "max" else -1
    values = [sign * row[recipe["monitor"]] for row in history]
    values = [-math.inf if math.isnan(value) else value for value in values]
    return values.index(max(values))
