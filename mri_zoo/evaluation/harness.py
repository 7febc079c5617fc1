"""The one harness that judges all models: volumes and models in, metrics and tables out."""

import collections
import contextlib
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
from mri_zoo.data.simulate import SimulatedFile
from mri_zoo.data.undersampling import as_measured
from mri_zoo.data.volume import DataError, printable
from mri_zoo.evaluation.quality import judged, require_signal
from mri_zoo.evaluation.reconstruction import reconstruct
from mri_zoo.evaluation.results import COLUMNS, Evaluation, Example, Failure, Row, read_rows, reason_of, write_rows
from mri_zoo.evaluation.tables import markdown_report
from mri_zoo.evaluation.unfinished import UnfinishedRun, identity_of_content, identity_of_file, settings_of
from mri_zoo.interruption import raise_if_interrupted
from mri_zoo.storage import exclusive, replacing, write_text

__all__ = ["COLUMNS", "Evaluation", "Example", "Failure", "Row", "evaluate", "read_rows"]

_log = logging.getLogger(__name__)


def evaluate(
    presets,
    sources,
    output,
    *,
    sampling=None,
    crop=None,
    batch_size=1,
    num_figures=3,
    dataset="volumes",
    progress=None,
    finish=None,
):
    """Judge models on volumes, and write ``volumes.csv`` and ``table.md``.

    Volumes are read one after the other, and only one is in memory at a time. A volume that cannot be read, has no
    sample or no reference, or fails with one of the models is skipped for all of them, so that means are always of the
    same volumes; it is listed in the result and below the tables. So is one with a black slice that should not be
    black, and one whose metrics are no finite numbers.

    The rows of a volume are appended to ``volumes.csv.part`` as soon as it is finished. A run that is killed so leaves
    what it had, and the results of an earlier one as they were; the next run takes over the volumes that would give the
    same again: of unchanged files, models, sampling and further settings. The folder is held by one run at a time.

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
        progress: called as ``progress(done, total, text)`` before each model of each volume, and at the end; once for
            a volume that is taken over.
        finish: called with the `Evaluation` before the folder is free for others, to write what belongs to it.

    Returns:
        The `Evaluation`.

    Raises:
        ValueError: if there are no models or no volumes, or two models have one name.
        BlockingIOError: if another evaluation uses the output folder.
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
    progress = progress or (lambda done, total, text: None)
    with _held(output):
        run = UnfinishedRun(output, settings_of(presets, samplings, crop, batch_size))
        _judge_all(judge, sources, result, run, num_figures, progress)
        result.notes += run.notes()
        with replacing(output / "volumes.csv") as part:
            with open(part, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                write_rows(file, result.rows)
        write_text(output / "table.md", markdown_report(result))
        if finish is not None:
            finish(result)
        run.remove()
    progress(len(sources) * len(presets), len(sources) * len(presets), "done")
    return result


def _judge_all(judge, sources, result, run, num_figures, progress):
    """Fill an `Evaluation` with the rows, failures and examples of all sources, taken over or judged now."""
    step = len(result.presets)
    total = len(sources) * step
    for done, source, name in zip(range(0, total, step), sources, _names(sources), strict=True):

        def tell(i, text, done=done):
            progress(done + i, total, text)

        def wanted(contrast):
            return len(result.examples) < num_figures and all(e.contrast != contrast for e in result.examples)

        try:
            rows, example = _taken_over(run, source, name, result.presets)
            anew = not rows or (example is None and wanted(rows[0].contrast))
            if anew:
                rows, example, identity = judge(
                    source, name, lambda i, text, done=done: progress(done + i, total, text)
                )
        except Exception as error:  # whatever is wrong with one volume, the others are judged
            raise_if_interrupted()
            _log.debug("%s is skipped", name, exc_info=True)
            reason = reason_of(error)
            told = name in reason or printable(name) in reason
            result.failures.append(Failure(name, reason if told else f"{name}: {reason}"))
            continue
        example = example if wanted(rows[0].contrast) else None
        if anew:
            run.append(name, rows, example, identity)
        else:
            run.taken += 1
            tell(0, f"{name}: judged before")
        result.rows += rows
        result.examples += [] if example is None else [example]


def _taken_over(run, source, name, presets):
    """The rows and the example of a volume that an unfinished run has judged; no rows where it has not."""
    if not run.knows(name, presets):
        return [], None
    identity = _identity_of_file(source)
    return run.take(name, presets, identity_of_content(source.read()) if identity is None else identity)


def _identity_of_file(source):
    """What tells the file behind a source from others, and from other states of it; None of a source without one."""
    if _is_path(source):
        return identity_of_file(source)
    return f"{identity_of_file(source.path)}, {source}" if isinstance(source, SimulatedFile) else None


class _Judge:
    """Has all models reconstruct one volume, and keeps nothing of it."""

    def __init__(self, presets, samplings, crop, batch_size):
        self.presets, self.samplings, self.crop, self.batch_size = presets, samplings, crop, batch_size
        self._warm = set()

    def __call__(self, source, name, progress):
        """The rows of all models on the volume that is called `name`, one slice as an `Example`, and its identity."""
        identity = _identity_of_file(source)  # before it is read: it may be replaced meanwhile
        source = open_volume(source) if _is_path(source) else source
        volume = source.read()
        identity = identity_of_content(volume) if identity is None else identity
        volume = as_measured(source, volume)
        info = volume.info
        _require_finite(volume.kspace, f"{info.name}: the k-space")
        reference = self._reference(volume)
        require_signal(volume, reference)
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
                quality = judged(reference, image)
            except Exception as error:
                raise DataError(f"{info.name}: {preset.name} failed: {reason_of(error)}") from error
            of_sampling = effective_acceleration(sampled), info.mask is not None or info.trajectory is not None
            rows.append(Row(name, info.contrast, preset.name, *quality, seconds, len(image), *of_sampling))
            images[preset.name] = image[middle].copy()
        index, reference = volume.slices[middle], reference[middle].copy()
        return rows, Example(name, info.contrast, index, info.num_slices, reference, images, used), identity

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
def _held(output):
    """Hold the output folder for this evaluation, and tell before the work where nothing can be written."""
    holding = exclusive(output, "evaluation")
    try:
        holding.__enter__()
    except BlockingIOError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{output}: cannot write results there ({reason}); expected a writable folder.") from error
    with contextlib.ExitStack() as stack:
        stack.push(holding)
        yield


def _names(sources):
    """A name for each source: its file's, or, where several have that, its path below their common folder."""
    paths = [os.path.abspath(source) if _is_path(source) else _path_of(source) for source in sources]
    opened = [not _is_path(source) and not isinstance(source, SimulatedFile) for source in sources]
    names = [s.info.name if o else os.path.basename(p) for s, o, p in zip(sources, opened, paths, strict=True)]
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
