"""The one harness that judges all models: volumes and models in, metrics and tables out."""

import collections
import contextlib
import csv
import dataclasses
import logging
import os
import time
from pathlib import Path

import numpy as np

from mri_zoo.data.files import open_volume
from mri_zoo.data.fourier import center_crop
from mri_zoo.data.masks import seed_from_name
from mri_zoo.data.noncartesian import Encoding
from mri_zoo.data.preparation import draw_sampling, reference_image
from mri_zoo.data.sampling import effective_acceleration
from mri_zoo.data.undersampling import as_measured
from mri_zoo.data.volume import DataError
from mri_zoo.evaluation.reconstruction import reconstruct
from mri_zoo.evaluation.tables import markdown_report
from mri_zoo.metrics import nmse, psnr, ssim
from mri_zoo.storage import write_text

COLUMNS = ("volume", "contrast", "model", "nmse", "psnr", "ssim", "seconds")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Row:
    """One model on one volume.

    Attributes:
        volume: file name, with the folders that tell it from others of that name.
        contrast, model: names.
        nmse, psnr, ssim: of the whole volume, as fastMRI defines them; `psnr` in dB.
        seconds: to reconstruct the volume, without reading it and without compiling the model.
        num_slices: of the volume; None in a row that was read from a file.
        acceleration: pixels for each sample; None in a row that was read from a file.
        as_measured: whether the volume was measured undersampled, and kept its samples.
    """

    volume: str
    contrast: str
    model: str
    nmse: float
    psnr: float
    ssim: float
    seconds: float
    num_slices: int | None = None
    acceleration: float | None = None
    as_measured: bool = False


@dataclasses.dataclass(frozen=True)
class Failure:
    """A volume that was skipped, and why: one line that names the volume."""

    volume: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Example:
    """The middle slice of a volume, or the brightest where that one is empty, for a figure.

    Attributes:
        volume, contrast: names.
        slice, num_slices: index of the slice, and how many there are.
        reference: (height, width) float32 magnitude.
        images: by model, (height, width) float32 magnitude.
        sampled: by model, its mask (1 or k-space height, k-space width) float32, or its `Encoding`.
    """

    volume: str
    contrast: str
    slice: int
    num_slices: int
    reference: np.ndarray
    images: dict[str, np.ndarray]
    sampled: dict[str, object]


@dataclasses.dataclass
class Evaluation:
    """What `evaluate` found.

    Attributes:
        dataset: its name, for headings.
        presets: the models, in the order of all tables.
        samplings: by model, the mask or trajectory of fully sampled volumes, None without one.
        rows: one for each model and volume; a volume has the rows of all models or none.
        failures: the volumes without rows.
        examples: for figures, the first volume of each contrast, up to a number.
    """

    dataset: str
    presets: list
    samplings: dict
    rows: list[Row] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    examples: list[Example] = dataclasses.field(default_factory=list)


def evaluate(
    presets, sources, output, *, sampling=None, crop=None, batch_size=1, num_figures=3, dataset="volumes", progress=None
):
    """Judge models on volumes, and write ``volumes.csv`` and ``table.md``.

    Volumes are read one after the other, and only one is in memory at a time. A volume that cannot be read, has no
    reference or fails with one of the models is skipped for all of them, so that means are always of the same volumes;
    it is listed in the result and below the tables.

    The rows of a volume are appended to ``volumes.csv.part`` as soon as it is finished; the file gets its name at the
    end. An interrupted run so leaves the rows that it had, and the results of an earlier one as they were.

    Args:
        presets: the models: each has a unique `name`, `model`, `scaling` and `sampling`.
        sources: `VolumeSource`s, or paths, which are opened one at a time.
        output: folder of the results, made where it does not exist.
        sampling: a mask or trajectory for all models; by default each model's own, and for a model without one that
            of the first which has one. Masks are seeded by the volume's name, as in fastMRI. Volumes that were
            measured undersampled keep their mask or trajectory, and need a stored reference.
        crop: references are centre-cropped to this (height, width) where they are larger, and images to them.
        batch_size: slices at a time.
        num_figures: how many examples to keep.
        dataset: its name, for headings.
        progress: called as ``progress(done, total, text)`` before each model of each volume, and at the end.

    Returns:
        The `Evaluation`.

    Raises:
        ValueError: if there are no models or no volumes, or two models have one name.
        OSError: if the output folder cannot be written to, which is tried first.
    """
    presets, sources, output = list(presets), list(sources), Path(output)
    names = [preset.name for preset in presets]
    if not presets or not sources:
        raise ValueError(f"Nothing to evaluate: got {len(presets)} models and {len(sources)} volumes.")
    if len(set(names)) < len(names):
        raise ValueError(f"Models must have different names, got {', '.join(names)}; rename the folder of one.")
    for preset in presets:
        if not preset.model.built:
            preset.model.build()
    default = next((preset.sampling for preset in presets if preset.sampling is not None), None)
    samplings = {preset.name: sampling or preset.sampling or default for preset in presets}
    judge, result = _Judge(presets, samplings, crop, batch_size), Evaluation(dataset, presets, samplings)
    total = len(sources) * len(presets)
    progress = progress or (lambda done, total, text: None)
    with _growing_csv(output / "volumes.csv") as append:
        for done, source, name in zip(range(0, total, len(presets)), sources, _names(sources), strict=True):
            try:
                rows, example = judge(source, name, lambda i, text, done=done: progress(done + i, total, text))
            except Exception as error:  # whatever is wrong with one volume, the others are judged
                _log.debug("%s is skipped", name, exc_info=True)
                reason = _reason(error)
                result.failures.append(Failure(name, reason if name in reason else f"{name}: {reason}"))
                continue
            append(rows)
            result.rows += rows
            if len(result.examples) < num_figures and all(e.contrast != example.contrast for e in result.examples):
                result.examples.append(example)
    write_text(output / "table.md", markdown_report(result))
    progress(total, total, "done")
    return result


def read_rows(path):
    """The `Row`s of a ``volumes.csv``.

    Raises:
        DataError: if it is not one.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            if (columns := tuple(next(reader, ()))) != COLUMNS:
                raise ValueError(f"has the columns {', '.join(columns) or '(none)'}")
            return [Row(*line[:3], *map(float, line[3:])) for line in reader]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {_reason(error)}; expected a volumes.csv: {', '.join(COLUMNS)}.") from error


class _Judge:
    """Has all models reconstruct one volume, and keeps nothing of it."""

    def __init__(self, presets, samplings, crop, batch_size):
        self.presets, self.samplings, self.crop, self.batch_size = presets, samplings, crop, batch_size
        self._warm = set()

    def __call__(self, source, name, progress):
        """The rows of all models on the volume that is called `name`, and one slice as an `Example`."""
        source = open_volume(source) if _is_path(source) else source
        volume = as_measured(source, source.read())
        info = volume.info
        _require_finite(volume.kspace, f"{info.name}: the k-space")
        reference = self._reference(volume)
        middle = len(reference) // 2
        if not reference[middle].any():
            middle = int(np.argmax(reference.sum(axis=(1, 2))))
        rows, images, used = [], {}, {}
        for i, preset in enumerate(self.presets):
            progress(i, f"{name}: {preset.name}")
            sampled = used[preset.name] = self._draw(preset, info)
            try:
                image, seconds = self._reconstruct(preset, volume, sampled)
                image = center_crop(np.abs(image), reference.shape[-2:])
                quality = [metric(reference, image) for metric in (nmse, psnr, ssim)]
            except Exception as error:
                raise DataError(f"{info.name}: {preset.name} failed: {_reason(error)}") from error
            of_sampling = effective_acceleration(sampled), info.mask is not None or info.trajectory is not None
            rows.append(Row(name, info.contrast, preset.name, *quality, seconds, len(image), *of_sampling))
            images[preset.name] = image[middle].copy()
        index, reference = volume.slices[middle], reference[middle].copy()
        return rows, Example(name, info.contrast, index, info.num_slices, reference, images, used)

    def _reference(self, volume):
        """(slice, height, width) magnitude, cropped."""
        reference = np.stack([reference_image(volume, i) for i in range(len(volume.kspace))])
        if self.crop is not None:
            reference = center_crop(reference, np.minimum(reference.shape[-2:], self.crop))
        _require_finite(reference, f"{volume.info.name}: the reference image")
        return reference

    def _draw(self, preset, info):
        sampled = draw_sampling(self.samplings[preset.name], info, seed_from_name(info.name), info.padding)
        if sampled is None:
            raise DataError(f"{info.name}: is fully sampled, and there is no mask or trajectory to undersample it.")
        return sampled

    def _reconstruct(self, preset, volume, sampled):
        """The image and its seconds; a first batch of each shape goes ahead, as it may compile the model."""
        whole = isinstance(sampled, Encoding) and len(sampled.size) == 3
        first = volume if whole else dataclasses.replace(volume, kspace=volume.kspace[: self.batch_size])
        signature = preset.name, first.kspace.shape, getattr(sampled, "trajectory", sampled).shape
        if signature not in self._warm:
            reconstruct(preset, first, sampled, self.batch_size)
            self._warm.add(signature)
        start = time.perf_counter()
        image = reconstruct(preset, volume, sampled, self.batch_size)
        return image, time.perf_counter() - start


@contextlib.contextmanager
def _growing_csv(path):
    """A function that appends rows to ``<path>.part``, renamed to `path` at the end and kept after an error."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(part, "w", newline="", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path.parent}: cannot write results there ({reason}); expected a writable folder.") from error
    with file:
        writer = csv.writer(file)

        def append(rows):
            writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
            file.flush()

        writer.writerow(COLUMNS)
        yield append
    part.replace(path)


def _names(sources):
    """A name for each source: its file's, or, where several have that, its path below their common folder."""
    paths = [os.path.abspath(source) if _is_path(source) else _path_of(source) for source in sources]
    names = [os.path.basename(path) if _is_path(s) else s.info.name for path, s in zip(paths, sources, strict=True)]
    alike = collections.defaultdict(list)
    for name, path in zip(names, paths, strict=True):
        alike[name].append(path)

    def unique(number, name, path):
        if len(alike[name]) == 1:
            return name
        return os.path.relpath(path, os.path.commonpath(alike[name])) if all(alike[name]) else f"{name} #{number}"

    return [unique(i, *pair) for i, pair in enumerate(zip(names, paths, strict=True), 1)]


def _path_of(source):
    """The absolute path of the file behind a source, or None."""
    path = getattr(source, "path", None)
    return path and os.path.abspath(path)


def _is_path(source):
    return isinstance(source, str | os.PathLike)


def _require_finite(array, what):
    if not np.isfinite(array).all():
        raise DataError(f"{what} holds NaN or infinity.")


def _reason(error):
    """An exception in one line; its type tells something only where the message was not written for users."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"
