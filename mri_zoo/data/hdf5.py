"""Datasets and attributes of HDF5 files, with errors that name the file, the dataset and what was expected.

Nothing is read that lies outside the file's folder: external links, external storage and virtual datasets may name any
file of the machine. Links and data within the folder are followed.
"""

import contextlib
import math
import os
from pathlib import Path

import h5py
import numpy as np

from mri_zoo.data.hdf5_probe import probe
from mri_zoo.data.volume import DataError, check_finite, check_memory, file_errors, printable

_MAX_LINKS = 16
_MAX_SLICES = 10_000  # a file of a few bytes can declare millions, each of which takes a millisecond


def check_file(path, expected):
    """Raise `DataError` unless there is a regular file; a dangling link is called so."""
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: is a link to {os.readlink(path)}, which is missing; expected {expected}.")
    if not path.is_file():
        found = (
            "no such file, but a folder" if path.is_dir() else "is no regular file" if path.exists() else "no such file"
        )
        raise DataError(f"{path}: {found}; expected {expected}.")


def is_hdf5(path):
    """Whether a path is a regular file in HDF5."""
    path = Path(path)
    return path.is_file() and h5py.is_hdf5(path)


@contextlib.contextmanager
def open_hdf5(path, expected="fastMRI's layout in HDF5"):
    """An open HDF5 file, for a `with` statement, in which every fault of the file becomes a `DataError`."""
    check_file(path, "an HDF5 file")
    if not h5py.is_hdf5(path):
        raise DataError(f"{path}: is not an HDF5 file, or not readable; expected {expected}.")
    probe(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DataError:
        raise
    except OSError as error:
        if "unable to lock file" in str(error) and any(f"errno = {n}," in str(error) for n in (11, 35)):
            message = f"{path}: is locked, as another process has it open for writing; try again when that has ended."
            raise DataError(message) from error
        if "already open for write" in str(error):
            message = (
                f"{path}: is being written, or was not closed by the program that wrote it; expected a finished file."
            )
            raise DataError(message) from error
        raise DataError(f"{path}: is truncated or damaged; expected a whole HDF5 file ({error}).") from error
    except (RuntimeError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"  # h5py has no error of its own
        raise DataError(f"{path}: is truncated or damaged; expected a whole HDF5 file ({reason}).") from error


def hdf5_error(file, name, found, expected):
    """The `DataError` about a dataset of an open file."""
    return DataError(f"{file.filename}: dataset `{name}` {found}; expected {expected}.")


def hdf5_item(file, name):
    """What an open file has at a path of names, or None.

    Raises:
        DataError: if the name is a link that leads nowhere or out of the file's folder.
    """
    folder, item = Path(file.filename).resolve().parent, file
    waiting, followed = _parts(name), 0
    while waiting:
        part = waiting.pop(0)
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None and followed:
            raise DataError(f"{file.filename}: `{name}` is a link that leads to nothing.")
        if link is None:
            return None
        if isinstance(link, h5py.HardLink):
            item = item[part]
            continue
        followed += 1
        if followed > _MAX_LINKS:
            raise DataError(f"{file.filename}: `{name}` is a link to itself, or to more than {_MAX_LINKS} others.")
        if isinstance(link, h5py.SoftLink):
            waiting = _parts(link.path) + waiting
            item = item.file if link.path.startswith("/") else item
            continue
        if not isinstance(link, h5py.ExternalLink):
            raise DataError(f"{file.filename}: `{name}` is a link of an unknown kind.")
        target = Path(os.path.join(Path(item.file.filename).resolve().parent, link.filename))
        if not target.is_file():
            raise DataError(f"{file.filename}: `{name}` is a link to the file {link.filename}, which is missing.")
        _check_inside(file, name, target, folder)
        probe(target)
        item = item[part]
        _check_inside(file, name, item.file.filename, folder)  # HDF5 searches in other folders, too
    return item


def _parts(name):
    return [part for part in name.split("/") if part not in ("", ".")]


def _check_inside(file, name, target, folder):
    if not Path(target).resolve().is_relative_to(folder):
        raise DataError(
            f"{file.filename}: `{name}` lies in {target}, outside of the folder of the file; expected data of its own."
        )


def hdf5_dataset(file, name, kind, ranks, axes):
    """The dataset after checks of its type ("complex", "real" or "any"), rank, emptiness, place and size."""
    dataset = hdf5_item(file, name)
    if not isinstance(dataset, h5py.Dataset):
        if dataset is not None:
            what = "a group" if isinstance(dataset, h5py.Group) else "a type"
            raise DataError(f"{file.filename}: `{name}` is {what}, no dataset; expected {axes}.")
        raise DataError(f"{file.filename}: has no dataset `{name}`, only {sorted(file)[:20]}; expected {axes}.")
    if kind != "any" and dataset.dtype.kind not in ("c" if kind == "complex" else "iuf"):
        raise hdf5_error(file, name, f"has type {dataset.dtype}", f"{kind} numbers")
    if not dataset.size:  # None without a dataspace
        raise hdf5_error(file, name, f"is empty, of shape {dataset.shape}", axes)
    if dataset.ndim not in ranks:
        raise hdf5_error(file, name, f"has shape {dataset.shape}", axes)
    if dataset.ndim > 2 and len(dataset) > _MAX_SLICES:
        raise hdf5_error(
            file, name, f"has shape {dataset.shape}", f"{axes}, at most {_MAX_SLICES:,} along the first axis"
        )
    check_own(file, name, dataset)
    return dataset


def check_own(file, name, dataset, depth=0):
    """Raise `DataError` where a dataset's bytes lie outside of the file's folder, or are too many to be in the file."""
    folder = Path(file.filename).resolve().parent
    stored = min(dataset.id.get_storage_size(), Path(dataset.file.filename).stat().st_size)
    for source, *_ in dataset.external or ():
        _check_inside(file, name, source, folder)  # relative to the working folder, as HDF5 does it
        stored = dataset.nbytes
    if dataset.is_virtual:
        stored = dataset.nbytes
        for source in dataset.virtual_sources():
            _check_source(file, name, source, folder, depth)
    row = dataset.nbytes // dataset.shape[0] if dataset.ndim > 2 else dataset.nbytes  # what readers take at once
    at_once = max(row, math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize)
    check_memory(f"{file.filename}: dataset `{name}` of shape {dataset.shape}", at_once, dataset.nbytes, stored)


def _check_source(file, name, source, folder, depth):
    """One source of a virtual dataset: missing ones would be zeros without a word."""
    if source.file_name == ".":
        target = Path(file.filename)
    else:
        target = Path(os.path.join(folder, source.file_name))
    if depth >= _MAX_LINKS or "%" in source.file_name + source.dset_name:
        raise DataError(f"{file.filename}: `{name}` is made of too many virtual parts; expected data of its own.")
    _check_inside(file, name, target, folder)
    with open_hdf5(target) as part:
        dataset = hdf5_item(part, source.dset_name)
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{file.filename}: `{name}` has a part in {target}, `{source.dset_name}`, that is missing.")
        check_own(part, source.dset_name, dataset, depth + 1)


def hdf5_values(file, name, limit=None):
    """A small dataset as a whole, or None where there is none; `DataError` where it is no dataset, or not small."""
    dataset = hdf5_item(file, name)
    if dataset is None:
        return None
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{file.filename}: `{name}` is no dataset; expected one.")
    if dataset.shape is None:
        raise hdf5_error(file, name, "is empty", "values")
    if limit is not None and dataset.nbytes > limit:
        raise hdf5_error(file, name, f"takes {dataset.nbytes} bytes", f"at most {limit}")
    check_own(file, name, dataset)
    return dataset[()]


class DatasetSlices:
    """The slices of one dataset of an HDF5 file.

    Where the dataset lies in one piece, as fastMRI's do, slices are read straight from the file: four times as many a
    second as through h5py, which opens the file anew and lets one thread in at a time.
    """

    def __init__(self, dataset):
        self.path, self.name, self.dtype, self.shape = Path(dataset.file.filename), dataset.name, *_form(dataset)
        self.offset, self.status = dataset.id.get_offset(), _status(self.path)  # the offset is None for chunks

    def read(self, slices, dtype, finite=True):
        """Slices (slice, ...) cast to `dtype`; raises `DataError` where the file is damaged or they are not finite."""
        with file_errors(self.path):
            samples = np.empty((len(slices), *self.shape[1:]), dtype)
            if self.offset is None or self.dtype != dtype or not self._read_straight(slices, samples):
                self._read_by_hdf5(slices, samples)
        if finite:
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
            if not isinstance(dataset, h5py.Dataset) or _form(dataset) != (self.dtype, self.shape):
                raise DataError(f"{self.path}: dataset `{self.name.lstrip('/')}` is not the one first seen there.")
            check_own(file, self.name.lstrip("/"), dataset)
            for position, index in enumerate(slices):
                samples[position] = dataset[index]  # NumPy casts several times faster than HDF5


def _form(dataset):
    return dataset.dtype, dataset.shape


def _status(path):
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def hdf5_attribute(item, name, default=None):
    """The value of an attribute of a file, group or dataset; the default where there is none.

    Raises:
        DataError: if it declares more bytes than its file has, which HDF5 would make room for.
    """
    if name not in item.attrs:
        return default
    attribute, path = item.attrs.get_id(name), item.file.filename
    declared = attribute.dtype.itemsize * attribute.get_space().get_simple_extent_npoints()
    if declared > Path(path).stat().st_size:
        raise DataError(f"{path}: attribute `{name}` has {declared:,} bytes by its header; expected what the file has.")
    return item.attrs[name]


def text_attribute(file, name, default):
    """An attribute of an HDF5 file as one line of text, at most 200 characters of it; what is no text is not taken."""
    value = hdf5_attribute(file, name, default)
    value = np.asarray(value).ravel()[0] if np.size(value) == 1 else default
    value = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return printable(value[:200])


def number_attribute(file, name):
    """An attribute of an HDF5 file as a finite number, None where it is none."""
    try:
        value = float(hdf5_attribute(file, name))
    except DataError:
        raise
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
