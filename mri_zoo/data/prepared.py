"""Pipeline output stored as plain arrays, so that machines without TensorFlow can train on it."""

import contextlib
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np

from mri_zoo.data.noncartesian import SHARED
from mri_zoo.data.volume import DataError
from mri_zoo.storage import append_bytes, errors_name, write_text


def write_batches(dataset, folder, description=None):
    """Store the batches of a dataset as ``batch-00000.npz`` and so on.

    An array that many batches share, such as a trajectory, is stored once, as ``shared-00000.npy``; a batch then holds
    this name in its place. The folder appears complete, with its ``batches.json``, or not at all.

    Args:
        dataset: iterable of (dict of arrays, target).
        folder: where to; must not exist.
        description: anything JSON can hold, kept in ``batches.json``.

    Returns:
        The number of batches.

    Raises:
        FileExistsError: if the folder exists.
        OSError: if a file cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; choose another folder or remove it.")
    writing = folder.with_name(folder.name + ".writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        count, shared = 0, {}
        for inputs, target in dataset:
            arrays = {key: np.asarray(value) for key, value in inputs.items()}
            for key in arrays.keys() & set(SHARED):
                digest = hashlib.sha256(np.ascontiguousarray(arrays[key])).digest(), arrays[key].shape
                if digest not in shared:
                    shared[digest] = f"shared-{len(shared):05d}.npy"
                    _save(folder, writing, shared[digest], np.save, arrays[key])
                arrays[key] = np.asarray(shared[digest])
            _save(folder, writing, _name(count), np.savez, target=np.asarray(target), **arrays)
            count += 1
        with errors_name(folder / "batches.json", writing / "batches.json"):
            write_text(writing / "batches.json", json.dumps({"batches": count, "description": description}, indent=1))
        os.replace(writing, folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return count


def _save(folder, writing, name, save, *arrays, **named):
    """Write a file of NumPy's to a folder that will have the place of `folder`.

    It is made in memory, as NumPy says little of a disk that is full, and its zip files complain of it later.
    """
    file = io.BytesIO()
    save(file, *arrays, **named)
    with errors_name(folder / name, writing / name):
        append_bytes(writing / name, file.getbuffer())


@contextlib.contextmanager
def _readable(path):
    """A block in which whatever is wrong with a file becomes a `DataError` that names it."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy's parser of headers have many kinds, of tokenize among them
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {reason}): remove the folder and prepare the batches again."
        ) from error


class PreparedBatches(keras.utils.PyDataset):
    """The batches that `write_batches` stored, for `fit`, `evaluate` and `predict` on any backend.

    Args:
        folder: where they are.
        shuffle_seed: shuffle the batches of each epoch, reproducibly; None keeps their order.
        epoch: number of the first epoch.
        **kwargs: of `keras.utils.PyDataset` (`workers`, ...).

    Raises:
        DataError: if the folder holds no finished set of batches, or a file is missing or damaged.
    """

    def __init__(self, folder, shuffle_seed=None, epoch=0, **kwargs):
        super().__init__(**kwargs)
        self.folder, self.shuffle_seed, self.epoch = Path(folder), shuffle_seed, epoch
        index = self.folder / "batches.json"
        if not index.is_file():
            raise DataError(f"{self.folder} has no batches.json: expected the output of `mri-zoo prepare`.")
        with _readable(index):
            told = json.loads(index.read_text(encoding="utf-8"))
            self.description, self._count = told["description"], told["batches"]
            if isinstance(self._count, bool) or not isinstance(self._count, int) or self._count < 0:
                raise ValueError(f"`batches` is {self._count!r}")
        for i in range(self._count):
            if not (self.folder / _name(i)).is_file():
                raise DataError(f"{self.folder / _name(i)} is missing: {index} promises {self._count} batches.")
        self._order = self._shuffled()

    def __len__(self):
        """Number of batches."""
        return self._count

    def __getitem__(self, index):
        """(dict of arrays, target) of one batch."""
        path = self.folder / _name(self._order[index])
        with _readable(path), np.load(path, allow_pickle=False) as arrays:
            batch = {key: self._shared(array) for key, array in arrays.items()}
            target = batch.pop("target")
        return batch, target

    def on_epoch_end(self):
        """Shuffle anew."""
        self.epoch += 1
        self._order = self._shuffled()

    def _shared(self, array):
        """The array that a batch names, or the one that it holds."""
        if array.dtype.kind != "U":
            return array
        path = self.folder / Path(array.item()).name
        if not path.is_file():
            raise DataError(f"{path} is missing: batches of {self.folder} need it.")
        with _readable(path):
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def _shuffled(self):
        if self.shuffle_seed is None:
            return np.arange(self._count)
        return np.random.default_rng((self.shuffle_seed, self.epoch)).permutation(self._count)


def _name(index):
    return f"batch-{index:05d}.npz"
