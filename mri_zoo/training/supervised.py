"""Supervised training by a recipe, resumable after any interruption."""

import contextlib
import csv
import inspect
import math
import os
import time
from pathlib import Path

import h5py
import keras
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from mri_zoo.data.prepared import PreparedBatches, write_batches
from mri_zoo.data.volume import DataError
from mri_zoo.presets.registry import load_preset, save_preset
from mri_zoo.training.recipes import make_optimizer


def train(recipe, output, resume=False, prepared=None, report=print, verbose=0, wrap=None):
    """Train as a recipe says, by its `strategy` where it names one.

    Writes to `output`: `last.weights.h5` (weights and optimizer after each epoch), `best.weights.h5`, `log.csv`,
    TensorBoard events, and at the end the preset of the best epoch in `preset/NAME`. A training that was killed at any
    moment and resumed gives the weights of an uninterrupted one: data, masks and order depend on seed and epoch alone.

    Args:
        recipe: of `load_recipe`.
        output: folder.
        resume: go on after the last finished epoch of `output`.
        prepared: folder of `mri-zoo prepare` to take the batches from, instead of reading the recipe's sources.
        report: called with one line per epoch.
        verbose: of Keras's `fit`: 1 shows a progress bar for each epoch.
        wrap: function (network) -> the `ReconstructionModel` that is fitted in its place; for strategies.

    Returns:
        The trained model, with the weights of its best epoch.

    Raises:
        FileExistsError: if `output` holds a training and `resume` is False.
        DataError: if there is nothing to train on.
        ValueError: if the recipe leaves `root` open, its `monitor` is never measured, its `initial_weights` belong to
            another network, or the training diverges: its loss or its weights are no longer finite.
    """
    if recipe["strategy"] is not None:
        return recipe["strategy"](recipe, output, resume, prepared, report, verbose)
    output = Path(output)
    last, best, log = output / "last.weights.h5", output / "best.weights.h5", output / "log.csv"
    if last.exists() and not resume:
        raise FileExistsError(f"{output} holds a training already: resume it (--resume) or choose another folder.")
    output.mkdir(parents=True, exist_ok=True)
    data = batches_of(recipe, prepared)

    keras.utils.set_random_seed(recipe["seed"])
    network = initial_model(recipe)
    model = wrap(network) if wrap else network
    optimizer = make_optimizer(recipe, recipe["epochs"] * data.steps())
    for metric in keras.tree.flatten(recipe["metrics"]):
        if isinstance(metric, keras.metrics.Metric):  # one recipe may train twice, and `fit` resets no unbuilt metrics
            metric.reset_state()
    model.compile(optimizer, recipe["loss"], metrics=recipe["metrics"])
    optimizer.build(model.trainable_variables)
    # `fit`, called once for each epoch, would put the averages of `use_ema` in place of the weights every time.
    model.optimizer.finalize_variable_values = lambda variables: None
    first = 0
    if last.exists():
        first = _load_checkpoint(model, last)
        report(f"resuming after epoch {first} of {recipe['epochs']}")
    history = _read_log(log)[:first]
    if first < recipe["epochs"]:
        _require_judgeable(recipe["loss"], data, first)
    writer = EventFileWriter(str(output / "tensorboard"))
    for epoch in range(first, recipe["epochs"]):
        if _out_of_patience(history, recipe):
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
            )
        row = {"epoch": epoch + 1, **{key: values[-1] for key, values in result.history.items()}}
        row["seconds"] = time.perf_counter() - start
        if recipe["monitor"] not in row:
            raise ValueError(f"`monitor` is {recipe['monitor']!r}, but an epoch measures {', '.join(row)}.")
        _require_finite(model, row, output)
        history.append(row)
        if _best_epoch(history, recipe) == len(history) - 1:
            _save_checkpoint(model, best, epoch + 1)
        _write_log(log, history)
        _save_checkpoint(model, last, epoch + 1)
        _write_events(writer, row)
        values = "  ".join(f"{key} {value:.5g}" for key, value in row.items() if key != "epoch")
        report(f"epoch {epoch + 1}/{recipe['epochs']}  {values}")
    writer.close()
    _load_checkpoint(model, best)
    type(model.optimizer).finalize_variable_values(model.optimizer, model.trainable_variables)
    training = describe(recipe, data.steps(), _best_epoch(history, recipe) + 1)
    card = {"summary": recipe["name"], "training": training, **recipe["card"]}
    save_preset(output / "preset" / recipe["name"], network, recipe["scaling"], recipe["sampling"], card)
    return network


def _require_finite(model, row, output):
    """Refuse an epoch after which nothing can be learned any more, before it is stored."""
    number = row["epoch"]
    if not math.isfinite(row["loss"]):
        found = f"its loss is {row['loss']}"
    elif not all(np.isfinite(weight).all() for weight in model.get_weights()):
        found = "it left weights that are not finite"
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


def describe(recipe, steps, best_epoch):
    """The model card's text on a training of epochs of `steps` steps."""
    loss, optimizer = recipe["loss"], recipe["optimizer"].__name__
    text = (
        f"{recipe['epochs']} epochs of {steps} steps of {recipe['batch_size']} slice(s); loss "
        f"{loss if isinstance(loss, str) else type(loss).__name__}; {optimizer}, learning rate "
        f"{_learning_rate(recipe)}; seed {recipe['seed']}; the weights are those of epoch "
        f"{best_epoch}, the best in `{recipe['monitor']}`."
    )
    if recipe["initial_weights"] is None:
        return text
    before = load_preset(recipe["initial_weights"]).metadata.get("training", f"`{recipe['initial_weights']}`")
    return f"{before}\n\nFrom these weights: {text}"


def _learning_rate(recipe):
    rate = recipe["learning_rate"]
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        arguments = ", ".join(f"{key} {value}" for key, value in rate.get_config().items() if key != "name")
        return f"{type(rate).__name__} ({arguments})"
    schedule = recipe["schedule"]
    return f"{rate:g} ({schedule.__name__.replace('_', ' ') if callable(schedule) else schedule})"


def initial_model(recipe):
    """The recipe's model, built, with the weights that it starts from."""
    model = recipe["model"](**recipe["model_arguments"])
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
        if not self.steps():
            raise DataError(f"{folder} holds no training batch.")

    def train(self, epoch):
        return PreparedBatches(self.folder / "train", shuffle_seed=self.seed, epoch=epoch)

    def steps(self):
        """Batches in an epoch."""
        return len(self.train(0))

    def validation(self):
        return PreparedBatches(self.folder / "validation")


def prepare(recipe, output, epochs=1, progress=None):
    """Store the batches of a recipe as plain arrays, for `train(..., prepared=output)` without TensorFlow.

    Args:
        recipe: of `load_recipe`.
        output: folder; gets `train/` with the batches of `epochs` epochs, and `validation/`.
        epochs: how many epochs of training data, each with masks and order of its own.
        progress: called as ``progress(done, total, text)``.

    Returns:
        Number of training and of validation batches.
    """
    data, output = _Pipeline(recipe), Path(output)
    description = {"recipe": recipe["name"], "epochs": epochs, "seed": recipe["seed"]}
    splits = {
        "train": (batch for epoch in range(epochs) for batch in data.train(epoch).as_numpy_iterator()),
        "validation": data.validation().as_numpy_iterator(),
    }

    def counted(split, batches):
        for done, batch in enumerate(batches):
            if progress is not None:
                progress(done, None, f"{split} batches")
            yield batch

    with data.errors():
        return tuple(write_batches(counted(*item), output / item[0], description) for item in splits.items())


def _save_checkpoint(model, path, epoch):
    writing = path.with_name("writing.weights.h5")
    model.save_weights(writing)
    with h5py.File(writing, "a") as file:
        file.attrs["epoch"] = epoch
    os.replace(writing, path)


def _load_checkpoint(model, path):
    """Load weights and optimizer; the number of the epoch after which they were saved."""
    try:
        model.load_weights(path)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be resumed: resume with the recipe, the settings and the version of mri_zoo that it was "
            f"started with, or choose another folder. {str(error).splitlines()[0]}"
        ) from error
    with h5py.File(path, "r") as file:
        return int(file.attrs["epoch"])


def _read_log(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{key: int(v) if key == "epoch" else float(v) for key, v in row.items()} for row in csv.DictReader(file)]


def _write_log(path, history):
    writing = path.with_name("log.csv.writing")
    with open(writing, "w", newline="") as file:
        writer = csv.DictWriter(file, history[0])
        writer.writeheader()
        writer.writerows(history)
    os.replace(writing, path)


def _best_epoch(history, recipe):
    sign = 1 if recipe["mode"] == "max" else -1
    values = [sign * row[recipe["monitor"]] for row in history]
    values = [-math.inf if math.isnan(value) else value for value in values]
    return values.index(max(values))


def _out_of_patience(history, recipe):
    patience = recipe["patience"]
    return patience is not None and bool(history) and len(history) - 1 - _best_epoch(history, recipe) >= patience


def _write_events(writer, row):
    values = [Summary.Value(tag=key, simple_value=value) for key, value in row.items() if key != "epoch"]
    writer.add_event(Event(wall_time=time.time(), step=row["epoch"], summary=Summary(value=values)))
    writer.flush()
