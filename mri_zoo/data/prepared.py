"""Pipeline output stored as plain arrays, so that machines without TensorFlow can train on it."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np

from mri_zoo.data.noncartesian import SHARED
from mri_zoo.data.volume import DataError


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
                    np.save(writing / shared[digest], arrays[key])
                arrays[key] = np.asarray(shared[digest])
            np.savez(writing / _name(count), target=np.asarray(target), **arrays)
            count += 1
        (writing / "batches.json").write_text(json.dumps({"batches": count, "description": description}, indent=1))
        os.replace(writing, folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return count


class PreparedBatches(keras.utils.PyDataset):
    """The batches that `write_batches` stored, for `fit`, `evaluate` and `predict` on any backend.

    Args:
        folder: where they are.
        shuffle_seed: shuffle the batches of each epoch, reproducibly; None keeps their order.
        epoch: number of the first epoch.
        **kwargs: of `keras.utils.PyDataset` (`workers`, ...).

    Raises:
        DataError: if the folder holds no finished set of batches, or a batch is missing.
    """

    def __init__(self, folder, shuffle_seed=None, epoch=0, **kwargs):
        super().__init__(**kwargs)
        self.folder, self.shuffle_seed, self.epoch = Path(folder), shuffle_seed, epoch
        index = self.folder / "batches.json"
        if not index.is_file():
            raise DataError(f"{self.folder} has no batches.json: expected the output of `mri-zoo prepare`.")
        self.description = json.loads(index.read_text())["description"]
        self._count = json.loads(index.read_text())["batches"]
        for i in range(self._count):
            if not (self.folder / _name(i)).is_file():
                raise DataError(f"{self.folder / _name(i)} is missing: {index} promises {self._count} batches.")
        self._order = self._shuffled()

    def __len__(self):
        """Number of batches."""
        return self._count

    def __getitem__(self, index):
        """(dict of arrays, target) of one batch."""
        with np.load(self.folder / _name(self._order[index]), allow_pickle=False) as arrays:
            batch = {key: self._shared(array) for key, array in arrays.items()}
        return batch, batch.pop("target")

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
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def _shuffled(self):
        if self.shuffle_seed is None:
            return np.arange(self._count)
        return np.random.default_rng((self.shuffle_seed, self.epoch)).permutation(self._count)


def _name(index):
    return f"batch-{index:05d}.npz"
