"""Datasets and attributes of HDF5 files, with errors that name the file, the dataset and what was expected."""

import contextlib
from pathlib import Path

import h5py
import numpy as np

from mri_zoo.data.volume import DataError, check_finite


@contextlib.contextmanager
def open_hdf5(path):
    """An open HDF5 file, for a `with` statement, in which every fault of the file becomes a `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an HDF5 file.")
    if not h5py.is_hdf5(path):
        raise DataError(f"{path}: is not an HDF5 file, or not readable; expected fastMRI's layout in HDF5.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except BlockingIOError as error:
        raise DataError(
            f"{path}: is locked, as another process is writing it; try again when that has ended."
        ) from error
    except (OSError, RuntimeError) as error:  # h5py has no error of its own
        raise DataError(f"{path}: is truncated or damaged; expected a whole HDF5 file ({error}).") from error


def hdf5_error(file, name, found, expected):
    """The `DataError` about a dataset of an open file."""
    return DataError(f"{file.filename}: dataset `{name}` {found}; expected {expected}.")


def hdf5_item(file, name):
    """What an HDF5 file or group has under a name, None where there is nothing.

    Raises:
        DataError: if it is a link that leads nowhere, or lies outside of the file's folder: external storage, virtual
            datasets and links to other files could show any file of the machine as an image.
    """
    path, link, item = file.file.filename, file.get(name, getlink=True), file.get(name)
    if isinstance(link, h5py.ExternalLink):
        _require_inside(path, name, link.filename)
    if link is not None and item is None:
        target = f" in {link.filename!r}" if isinstance(link, h5py.ExternalLink) else ""
        raise DataError(f"{path}: `{name}` is a link to {link.path!r}{target}, where nothing is; expected a dataset.")
    if item is not None:
        _require_inside(path, name, item.file.filename)
    if isinstance(item, h5py.Dataset):
        sources = [source.file_name for source in item.virtual_sources()] if item.is_virtual else []
        for source in (*sources, *(external[0] for external in item.external or ())):
            _require_inside(path, name, source)
    return item


def _require_inside(path, name, other):
    """Refuse an item of a file at `path` whose samples lie in another file outside of its folder."""
    folder = Path(path).resolve().parent
    if other != "." and not (folder / other).resolve().is_relative_to(folder):
        raise DataError(f"{path}: `{name}` lies in {other!r}; expected what lies in the file itself or in its folder.")


def hdf5_dataset(file, name, kind, ranks, axes):
    """The dataset after checks of its type ("complex" or "real"), rank and emptiness."""
    dataset = hdf5_item(file, name)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{file.filename}: has no dataset `{name}`, only {sorted(file)}; expected {axes}.")
    if dataset.dtype.kind not in ("c" if kind == "complex" else "iuf"):
        raise hdf5_error(file, name, f"has type {dataset.dtype}", f"{kind} numbers")
    if not dataset.size:  # None without a dataspace
        raise hdf5_error(file, name, f"is empty, of shape {dataset.shape}", axes)
    if dataset.ndim not in ranks:
        raise hdf5_error(file, name, f"has shape {dataset.shape}", axes)
    return dataset


class DatasetSlices:
    """The slices of one dataset of an HDF5 file.

    Where the dataset lies in one piece, as fastMRI's do, slices are read straight from the file: four times as many a
    second as through h5py, which opens the file anew and lets one thread in at a time.
    """

    def __init__(self, dataset):
        self.path, self.name, self.dtype, self.shape = Path(dataset.file.filename), dataset.name, *_form(dataset)
        self.offset, self.status = dataset.id.get_offset(), _status(self.path)  # the offset is None for chunks

    def read(self, slices, dtype):
        """Slices (slice, ...) cast to `dtype`; raises `DataError` where the file is damaged or they are not finite."""
        samples = np.empty((len(slices), *self.shape[1:]), dtype)
        if self.offset is None or self.dtype != dtype or not self._read_straight(slices, samples):
            self._read_by_hdf5(slices, samples)
        check_finite(self.path, f"dataset `{self.name.lstrip('/')}`", slices, samples)
        return samples

    def _read_straight(self, slices, samples):
        """False where the file is no longer the one whose layout is known."""
        if not self.path.is_file() or _status(self.path) != self.status:
            return False
        with open(self.path, "rb", buffering=0) as file:
            for position, index in enumerate(slices):
                file.seek(self.offset + index * samples[position].nbytes)
                if file.readinto(samples[position].reshape(-1).view(np.uint8)) != samples[position].nbytes:
                    return False
        return True

    def _read_by_hdf5(self, slices, samples):
        with open_hdf5(self.path) as file:
            dataset = hdf5_item(file, self.name)
            if dataset is None or _form(dataset) != (self.dtype, self.shape):
                raise DataError(f"{self.path}: dataset `{self.name.lstrip('/')}` is not the one first seen there.")
            for position, index in enumerate(slices):
                samples[position] = dataset[index]  # NumPy casts several times faster than HDF5


def _form(dataset):
    return dataset.dtype, dataset.shape


def _status(path):
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def text_attribute(file, name, default):
    """An attribute of an HDF5 file as text."""
    value = file.attrs.get(name, default)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def number_attribute(file, name):
    """An attribute of an HDF5 file as a number, None where it is none."""
    try:
        return float(file.attrs[name])
    except (KeyError, TypeError, ValueError):
        return None
