"""What an evaluation has judged before it is finished, kept for a run that goes on after it was killed."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np

from mri_zoo.data.noncartesian import Encoding
from mri_zoo.data.sampling import sampling_to_config
from mri_zoo.evaluation.results import COLUMNS, MORE_COLUMNS, Example, row_of
from mri_zoo.evaluation.tables import methods
from mri_zoo.presets.config import preset_config
from mri_zoo.storage import append_bytes, replacing, write_bytes

_COLUMNS = (*COLUMNS, *MORE_COLUMNS, "settings", "check")


class UnfinishedRun:
    """``volumes.csv.part`` in the folder of an evaluation, and beside it the slices of its figures.

    Every line tells the settings that it was made with, and has a checksum of itself, of them and of what its volume
    was made of. So a line of another run, of a file that has changed meanwhile, or half of a line is never taken.

    Args:
        output: folder of the evaluation.
        settings: of `settings_of`.

    Attributes:
        taken: how many volumes were taken over.

    Raises:
        OSError: if the folder cannot be written to.
    """

    def __init__(self, output, settings):
        self.path, self.examples, self.settings = output / "volumes.csv.part", output / "examples.part", settings
        lines = _read_lines(self.path)
        own = [line for line in lines if line[-2] == settings]
        self.taken, self._others = 0, len({line[0] for line in lines if line[-2] != settings})
        self._lines = {(line[0], line[2]): line for line in own}
        write_bytes(self.path, _csv([_COLUMNS, *own]))

    def knows(self, name, presets):
        """Whether there are lines of all models on the volume of this name."""
        return all((_written(name), _written(preset.name)) in self._lines for preset in presets)

    def take(self, name, presets, identity):
        """The rows of all models on a volume, and its `Example` or None; no rows where they are not of this volume."""
        lines = [self._lines[_written(name), _written(preset.name)] for preset in presets]
        if any(line[-1] != self._check(line[:-1], identity) for line in lines):
            return [], None
        rows = [
            dataclasses.replace(row_of(line), volume=name, model=preset.name)
            for line, preset in zip(lines, presets, strict=True)
        ]
        return rows, _read_example(self._example(name, identity), name, rows)

    def append(self, name, rows, example, identity):
        """Keep what was judged; `example` may be None."""
        if example is not None:
            _write_example(self._example(name, identity), example, [row.model for row in rows])
        lines = []
        for row in rows:
            cells = [_written(getattr(row, column)) for column in (*COLUMNS, *MORE_COLUMNS)] + [self.settings]
            lines.append([*cells, self._check(cells, identity)])
        append_bytes(self.path, _csv(lines))

    def notes(self):
        """What is to be told of an earlier run, a list of lines."""
        notes = []
        if self.taken:
            notes.append(f"{_volumes(self.taken)} taken over from a run with the same settings that was interrupted")
        if self._others:
            notes.append(f"{_volumes(self._others)} not taken over from an interrupted run with other settings")
        return notes

    def remove(self):
        """Remove what is not needed any more once the results are written."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        shutil.rmtree(self.examples, ignore_errors=True)

    def _check(self, cells, identity):
        return _digest([*cells, identity])

    def _example(self, name, identity):
        return self.examples / f"{_digest([_written(name), self.settings, identity])}.npz"


def settings_of(presets, samplings, crop, batch_size):
    """A digest of all that rows depend on besides their volumes: models, weights, scaling, sampling, code, processor.

    Two runs have the same one only if each would find what the other finds. What cannot be told, such as a rule that is
    a function without a name, is never the same.
    """
    try:
        told = [
            [[preset.name, preset_config(preset.model, preset.scaling), _weights(preset.model)] for preset in presets],
            [[name, used and sampling_to_config(used)] for name, used in samplings.items()],
            [None if crop is None else [int(extent) for extent in crop], batch_size],
            [keras.config.floatx(), *(str(preset.model.dtype_policy) for preset in presets), dict(methods())],
        ]
        return _digest(told)
    except (ValueError, TypeError, AttributeError, NotImplementedError):
        return os.urandom(8).hex()


def identity_of_file(path):
    """What tells one state of a file from others: path, size and time; of BART's pairs also those beside it."""
    path = Path(os.path.abspath(path))
    files = [path]
    if path.suffix.lower() in (".cfl", ".hdr"):
        stems = path.stem, f"{path.stem}_traj", "traj"
        files = [path.with_name(stem + suffix) for stem in stems for suffix in (".cfl", ".hdr")]
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            status = os.stat(file)
            found.append([_written(file), status.st_size, status.st_mtime_ns])
    return _digest(found)


def identity_of_content(volume):
    """A digest of a `Volume` and its description, for those that come from no file."""
    digest = hashlib.blake2b(digest_size=16)
    for field in dataclasses.fields(volume.info):
        value = getattr(volume.info, field.name)
        digest.update(f"{field.name}: {_described(value)}\n".encode("utf-8", "backslashreplace"))
    for array in (volume.kspace, volume.target):
        digest.update(_described(array).encode())
    return digest.hexdigest()


def _volumes(number):
    return f"{number} volume{' was' if number == 1 else 's were'}"


def _described(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.blake2b(np.ascontiguousarray(value)).hexdigest()}"
    return repr(value)


def _weights(model):
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    return digest.hexdigest()


def _digest(told):
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _written(value):
    """A cell as it is read back: text in one line."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text.splitlines()) <= 1 else repr(text)


def _csv(lines):
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _read_lines(path):
    """The lines of a part that are whole in form; a damaged one takes no other with it."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return []
    lines = []
    for line in text.replace("\0", "").splitlines():
        with contextlib.suppress(csv.Error):
            lines += csv.reader([line])
    return [line for line in lines if len(line) == len(_COLUMNS) and line != list(_COLUMNS)]


def _write_example(path, example, models):
    arrays, told = {"reference": example.reference}, {"slice": example.slice, "num_slices": example.num_slices}
    for number, model in enumerate(models):
        sampled = example.sampled[model]
        arrays[f"image-{number}"] = example.images[model]
        if isinstance(sampled, Encoding):  # without the kernel, which no figure needs
            arrays |= {f"trajectory-{number}": sampled.trajectory, f"density-{number}": sampled.density}
            arrays[f"size-{number}"] = np.array([*sampled.size, sampled.num_shots])
        else:
            arrays[f"mask-{number}"] = sampled
    with replacing(path) as part, open(part, "wb") as file:
        np.savez(file, told=np.array(json.dumps({key: int(value) for key, value in told.items()})), **arrays)


def _read_example(path, name, rows):
    """The `Example` of a volume, or None where it was not kept or is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            told, images, sampled = json.loads(str(arrays["told"])), {}, {}
            for number, row in enumerate(rows):
                images[row.model] = arrays[f"image-{number}"]
                if f"mask-{number}" in arrays:
                    sampled[row.model] = arrays[f"mask-{number}"]
                    continue
                *size, shots = map(int, arrays[f"size-{number}"])
                given = arrays[f"trajectory-{number}"], arrays[f"density-{number}"]
                sampled[row.model] = Encoding(tuple(size), *given, num_shots=shots)
            reference = arrays["reference"]
            return Example(name, rows[0].contrast, told["slice"], told["num_slices"], reference, images, sampled)
    except Exception:  # whatever is wrong with it, the volume can be judged anew
        return None
