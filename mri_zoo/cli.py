"""The command line: `mri-zoo --help`.

Every command parses and calls; the package works. Exit codes: 0 done, 1 some volumes failed (listed at the end),
2 wrong use or unreadable input.
"""

import contextlib
import dataclasses
import importlib
import logging
import os
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from mri_zoo.data.volume import printable
from mri_zoo.interruption import one_line_for_signals, raise_if_interrupted, to_go_on

app = typer.Typer(
    help="The model zoo of learned MRI reconstruction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights = typer.Typer(help="Weights of other codebases: published ones by name, or any file.", no_args_is_help=True)
app.add_typer(weights, name="weights")
console = Console()


class Dataset(StrEnum):
    """Kinds of data that `evaluate` knows."""

    fastmri = "fastmri"
    oasis = "oasis"
    demo = "demo"


Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the results; it is made if missing.")]
Models = Annotated[
    list[str], typer.Option("--model", help="Name of `mri-zoo models`, or a preset's folder. Repeatable.")
]
SamplingName = Annotated[
    str | None,
    typer.Option(
        *("--mask", "--trajectory"),
        help="random, equispaced, equispaced_fraction, radial, spiral, ...; the model's own by default.",
    ),
]
Acceleration = Annotated[
    float | None, typer.Option(help="How many times fewer samples; the model's own by default, or 4.")
]
CenterFraction = Annotated[
    float | None, typer.Option(help="Fully sampled centre; the model's own by default, or 0.32 / acceleration.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value: replace an entry of the recipe, e.g. epochs=1. Repeatable."),
]
Coils = Annotated[int, typer.Option(min=1, help="Simulate this many receive coils on magnitude volumes.")]


@app.callback()
def common(
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import", help="Python module with classes of your own, which it registers; it is run. Repeatable."
        ),
    ] = None,
):
    """The model zoo of learned MRI reconstruction."""
    if modules:
        _start()
        sys.path.insert(0, "")
    for name in modules or ():
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever is wrong with somebody's module
            raise_if_interrupted()
            raise ValueError(f"--import {name}: {type(error).__name__}: {error}.") from error


@app.command()
def models():
    """List the models of the zoo."""
    _start()
    from mri_zoo.presets import list_models

    _print_names(list_models())


@app.command()
def demo(output: Output = Path("mri-zoo-demo")):
    """Reconstruct the embedded real brain with every demo model; print the table, write the report."""
    to_go_on("run it again: it keeps the volumes that are judged")
    _start()
    from mri_zoo.evaluation.demo import evaluate_demo

    with _bar() as progress:
        results = evaluate_demo(output, progress)
    _finish(results, output)


@app.command()
def evaluate(
    dataset: Annotated[Dataset, typer.Option(help="fastmri: HDF5 k-space; oasis: NIfTI magnitudes; demo: embedded.")],
    model: Models,
    root: Annotated[Path | None, typer.Option(help="Folder of the volumes, or one file.")] = None,
    acceleration: Acceleration = None,
    sampling: SamplingName = None,
    center_fraction: CenterFraction = None,
    coils: Coils = 1,
    figures: Annotated[int, typer.Option(min=0, help="Number of figures.")] = 3,
    output: Output = Path("results"),
):
    """Judge models on a dataset: volumes.csv, table.md, figures and report.html."""
    to_go_on("run it again: it keeps the volumes that are judged")
    _start()
    from mri_zoo.evaluation.datasets import sources_of
    from mri_zoo.evaluation.harness import evaluate
    from mri_zoo.evaluation.report import write_figures, write_report

    if (root is None) != (dataset is Dataset.demo):
        raise ValueError(f"--dataset {dataset} {'needs' if root is None else 'takes no'} --root.")
    presets = _presets(model)
    sources = sources_of(dataset, root, coils)
    if acceleration is None and all(preset.sampling is None for preset in presets):
        acceleration = 4  # of fully sampled volumes, where no model says otherwise
    chosen = _fitting_sampling(presets, sampling, acceleration, center_fraction)

    def finish(result):
        write_report(output / "report.html", [result], write_figures(output, result))

    told = {"num_figures": figures, "dataset": dataset.value, "finish": finish}
    with _bar() as progress:
        result = evaluate(presets, sources, output, sampling=chosen, progress=progress, **told)
    _finish([result], output)


@app.command()
def reconstruct(
    file: Annotated[Path, typer.Argument(help="HDF5 (.h5, .mrd), BART (.cfl) or NIfTI (.nii, .nii.gz).")],
    model: Annotated[str, typer.Option(help="Name of `mri-zoo models`, or a preset's folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image file: .h5, .nii, .nii.gz or .png.")],
    acceleration: Acceleration = None,
    sampling: SamplingName = None,
    center_fraction: CenterFraction = None,
    images: Annotated[
        str | None,
        typer.Option(help="Dataset of magnitude images in an HDF5 file without k-space; its first by default."),
    ] = None,
    coils: Coils = 1,
    center_echo: Annotated[
        bool, typer.Option("--center-echo", help="Take a linear phase off a scan along a trajectory.")
    ] = False,
    image_size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH or DEPTHxHEIGHTxWIDTH of a scan along a trajectory; its file's by default."),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(help="Of its trajectory: cycles/pixel, cycles/FOV or radians/pixel; its file's by default."),
    ] = None,
):
    """Reconstruct one scan: fastMRI or trajectory HDF5, ISMRMRD, BART .cfl, NIfTI.

    Undersampled scans are reconstructed as they are. Fully sampled ones and magnitude images are undersampled first,
    with the sampling that the model was trained for; --acceleration 1 keeps all samples.
    """
    _start()
    from mri_zoo.evaluation.scan import reconstruct_file

    preset = _presets([model])[0]
    chosen = _fitting_sampling([preset], sampling, acceleration, center_fraction)
    with _bar() as progress:
        line = reconstruct_file(
            *(preset, file, output, chosen, images, coils, center_echo, _size(image_size), units), progress=progress
        )
    _say(line)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Python file that defines `recipe`; it is run.")],
    output: Output,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option(help="Go on after the last finished epoch of the output folder.")] = False,
    prepared: Annotated[Path | None, typer.Option(help="Batches of `mri-zoo prepare` instead of the data.")] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Share each batch: all, a number of GPUs, or cpu:2 for two devices made of the processor."),
    ] = None,
):
    """Train a model by a recipe: checkpoints, log.csv, TensorBoard, and the preset of the best epoch."""
    to_go_on("run it again with --resume: it keeps the epochs that are finished")
    _start()
    from mri_zoo.training.devices import devices_scope
    from mri_zoo.training.recipes import load_recipe
    from mri_zoo.training.supervised import train

    with devices_scope(devices):  # a recipe may hold metrics or networks, which are for these devices then
        loaded = load_recipe(recipe, settings or ())
        verbose = int(console.is_terminal)
        train(loaded, output, resume, prepared, _say, verbose)
    _say(f"preset: {output / 'preset' / loaded['name']}")


@app.command()
def prepare(
    recipe: Annotated[Path, typer.Argument(help="Python file that defines `recipe`; it is run.")],
    output: Output,
    settings: Settings = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training data, each with masks of its own.")] = 1,
):
    """Store a recipe's batches as plain arrays, to train where there is no TensorFlow."""
    _start()
    from mri_zoo.training.recipes import load_recipe
    from mri_zoo.training.supervised import prepare

    with _bar() as progress:
        training, validation = prepare(load_recipe(recipe, settings or ()), output, epochs, progress)
    _say(f"{training} training and {validation} validation batches in {output}")


@app.command("check-data")
def check_data(folder: Annotated[Path, typer.Argument(help="Folder with scans, or one file.")]):
    """Tell what is in a folder, what is wrong with it, and how to use it."""
    _start()
    from mri_zoo.data.check import check_folder

    with _bar() as progress:
        findings = list(check_folder(folder, progress))
    for finding in findings:
        _say(finding.line, "red" if finding.problem else None)
    bad = sum(finding.problem is not None for finding in findings)
    _say(f"{len(findings)} files, {bad} with problems")
    if bad:
        raise typer.Exit(1)


@weights.command("import")
def import_weights(
    file: Annotated[Path, typer.Argument(help="Keras 2 HDF5, .safetensors, or PyTorch's .pt, .pth, .ckpt.")],
    source: Annotated[str, typer.Option("--from", help="The codebase that wrote it, e.g. direct; see above.")],
    architecture: Annotated[str, typer.Option(help="Which of its networks, e.g. VarNet; see above.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the preset.")],
    config: Annotated[
        Path | None, typer.Option(help="JSON file of constructor arguments that the arrays do not tell.")
    ] = None,
    acceleration: Acceleration = None,
    sampling: SamplingName = None,
    center_fraction: CenterFraction = None,
    scaling: Annotated[
        str | None,
        typer.Option(help="constant:FACTOR, percentile:P or kspace_percentile:P[:POWER]; the source's by default."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="That of the weights, for the model card.")] = None,
    image_size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH or DEPTHxHEIGHTxWIDTH of a trajectory's images; see above."),
    ] = None,
):
    """Make a preset of a foreign checkpoint; the sampling options say what it was trained with.

    A trajectory of fastmri-reproducible-benchmark is that code's, on images of 640x400 or 176x256x256 pixels as its
    published weights, unless --image-size says otherwise. A network of masks with a trajectory in the plane is one on
    gridded k-space.

    Sources and their architectures:

    deep-jsense: MoDL

    direct: KIKINet, LPDNet, MoDL, RecurrentVarNet, RefinedMaps, UNet, VarNet, VSHARP, VSHARP3D, XPDNet

    fastmri: FastMRIUNet, VarNet

    fastmri-reproducible-benchmark: CascadeNet, DealiasingNet, DIP, KIKINet, NCPDNet, PDNet, UNet, UPDNet, XPDNet
    """
    _start()
    from mri_zoo.data.preparation import parse_scaling
    from mri_zoo.presets.card import shown_arguments
    from mri_zoo.presets.importers import find_architecture, import_preset

    foreign = find_architecture(source, architecture)
    chosen = _chosen_sampling([], sampling, acceleration, center_fraction)
    if image_size is not None:
        if not _trajectory_dimensions(chosen):
            raise ValueError("--image-size is of the images of a trajectory: give --trajectory, too.")
        chosen = dataclasses.replace(chosen, image_size=_size(image_size))
    chosen = foreign.sampling(chosen)
    rule = foreign.scaling if scaling is None else parse_scaling(scaling)
    card = {} if licence is None else {"licence": licence}
    model = import_preset(file, source, architecture, output, config, chosen, rule, card)
    _say(
        f"{type(model).__name__}, {model.count_params():,} parameters: preset {output}\n"
        f"arguments, by the arrays, --config or default: {shown_arguments(model.get_config())}\n"
        f"assumed, as neither the arrays nor --config tell: {model.import_report.assumptions() or 'nothing'}\n"
        f"scaling: {rule}\n"
        f"sampling: {chosen or 'not told'}",
    )


@weights.command("list")
def list_weights():
    """List the checkpoints that other codebases publish: state, source, size and licence."""
    _start()
    from mri_zoo.presets.published import list_published

    _print_names(list_published())


@weights.command("download")
def download_weights(name: Annotated[str, typer.Argument(help="Name of `mri-zoo weights list`.")]):
    """Download a published checkpoint and keep it as a preset, which is used by its name."""
    _start()
    from mri_zoo.presets import download_preset
    from mri_zoo.presets.published import find_published

    with _bar() as progress:
        folder, digest = download_preset(name, progress)
    _say(f"{name}: preset {folder}")
    if find_published(name)["sha256"] is None:
        line = f"unverified: to be recorded in mri_zoo/presets/published.json, SHA-256 {digest}"
        _say(line)


def _say(text, style=None):
    """Print text that may come from files: without markup, and without control characters but line breaks."""
    lines = "\n".join(map(printable, str(text).split("\n")))
    console.print(lines, style=style, markup=False, highlight=False, soft_wrap=True)


def _size(text):
    """(320, 320) of "320x320"."""
    if text is None:
        return None
    extents = text.split("x")
    if len(extents) not in (2, 3) or not all(extent.isdecimal() and int(extent) for extent in extents):
        raise ValueError(f"--image-size must be like 320x320 or 128x320x320, got {text!r}.")
    return tuple(map(int, extents))


def _print_names(lines):
    width = max(map(len, lines))
    for name, line in lines.items():
        text = Text.assemble((f"{printable(name):{width}}", "bold"), f"  {printable(line)}")
        console.print(text, highlight=False, soft_wrap=True)


def _presets(names):
    from mri_zoo.presets import load_preset

    return [load_preset(name) for name in dict.fromkeys(names)]


def _chosen_sampling(presets, name, acceleration, center_fraction):
    """The sampling that the options ask for, or None where they ask for nothing.

    Of the first model's own the options alone are changed; another trajectory keeps its image size and whose it is.
    """
    from mri_zoo.data.masks import SamplingMask
    from mri_zoo.data.sampling import TRAJECTORIES, get_sampling, sampling_to_config

    if name is None and acceleration is None and center_fraction is None:
        return None
    kinds = {_trajectory_dimensions(preset.sampling) for preset in presets if preset.sampling is not None}
    if name is None and len(kinds) > 1:
        raise ValueError(
            "The models were trained with masks and trajectories, or with trajectories of 2 and 3 dimensions: no "
            "acceleration fits them all. Leave it out, and each keeps its own sampling, or evaluate them apart."
        )
    sampling = next((preset.sampling for preset in presets if preset.sampling is not None), None)
    own = {} if sampling is None else sampling_to_config(sampling)
    given = {"acceleration": acceleration, "center_fraction": center_fraction}
    options = {key: value for key, value in given.items() if value is not None}
    if sampling is not None and name in (None, own["name"]):
        return sampling.changed(**options) if isinstance(sampling, SamplingMask) else get_sampling(**own | options)
    name = name or "random"
    if name in TRAJECTORIES and own.get("name") in TRAJECTORIES:
        options["benchmark"] = own["benchmark"]
        if len(own["image_size"] or ()) == TRAJECTORIES[name].dimensions:
            options["image_size"] = own["image_size"]
    return get_sampling(name, **{"acceleration": own.get("acceleration", 4)} | options)


def _fitting_sampling(presets, *options):
    """That of `_chosen_sampling`, refused before the work where a model cannot take it."""
    from mri_zoo.evaluation.reconstruction import fitting_model

    chosen = _chosen_sampling(presets, *options)
    for preset in presets if chosen is not None else ():
        fitting_model(preset, _trajectory_dimensions(chosen))
    return chosen


def _trajectory_dimensions(sampling):
    """0 of masks, also of those with two dimensions."""
    from mri_zoo.data.trajectories import SamplingTrajectory

    return sampling.dimensions if isinstance(sampling, SamplingTrajectory) else 0


def _finish(results, output):
    """Print the tables and the failures; exit 1 where there are any."""
    from mri_zoo.evaluation.tables import terminal_report

    for result in results:
        for note in result.notes:
            _say(note)
        _say(terminal_report(result))
    _say(f"written to {output}")
    if any(result.failures for result in results):
        raise typer.Exit(1)


@contextlib.contextmanager
def _bar():
    """A progress bar as a function of (done, total, text)."""
    text = TextColumn("{task.description}", markup=False)
    columns = SpinnerColumn(), text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=printable(text))


def _start():
    """Import Keras and its backend in silence: TensorFlow greets on the file descriptor of standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "tensorflow"):  # the latter warns of each new number of coils
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        # With its filter off, Keras leaves the messages of errors inside models as they are.
        importlib.import_module("keras").config.disable_traceback_filtering()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def main():
    """Entry point."""
    with errors_in_one_line("mri-zoo"):
        app()


@contextlib.contextmanager
def errors_in_one_line(program):
    """A block in which errors of use and of input become one line, which names the program, and exit code 2.

    Signals become one line, too, see `one_line_for_signals`.
    """
    with one_line_for_signals(program), _one_line(program):
        yield


@contextlib.contextmanager
def _one_line(program):
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError) as error:
        raise_if_interrupted()
        message = str(error)
        if isinstance(error, MemoryError):
            message = f"this does not fit into the memory ({message or 'no size is told'})."
        elif isinstance(error, OSError) and error.filename is not None:
            message = f"{error.filename}: {error.strerror}"
        print(printable(f"{program}: {' '.join(message.split())}"), file=sys.stderr)
        sys.exit(2)
