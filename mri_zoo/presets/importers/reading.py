"""The arrays of checkpoint files, which may be anyone's: nothing of a file is run, and its size bounds the memory."""

import pickle
import zipfile

import h5py
import numpy as np

from mri_zoo.data.hdf5 import hdf5_attribute, hdf5_item, open_hdf5
from mri_zoo.data.volume import DataError

MAX_ARRAYS = 50_000  # the largest published networks have a few thousand
MAX_ENTRIES = 10 * MAX_ARRAYS  # of all dicts of a file, those of an optimizer too
COMPRESSED = 8  # times that arrays in HDF5 may be larger than it: random numbers are hardly compressed at all
SHARED = 64  # times that the arrays of a file may be larger than it: those of recurrent networks share their numbers
SMALLEST = 2**20  # bytes that a file of any size may hold


def read_keras(path):
    """The arrays of Keras 2's HDF5.

    Args:
        path: an HDF5 file of weights, or of a whole model.

    Returns:
        A dict from ``<layer>/<weight>`` to array, and a dict from each layer that has weights to their names, both in
        the order of the file.

    Raises:
        DataError: if the file is damaged, is another kind of HDF5, or declares more numbers than it holds.
    """
    arrays, layers = {}, {}
    with open_hdf5(path, "Keras weights") as file:
        root = _member(path, file, "model_weights") if "model_weights" in file else file  # of a whole model
        names = [_text(name) for name in hdf5_attribute(root, "layer_names", ())]
        _check_unique(path, "layer", names)
        datasets = {}
        for layer in names:
            weights = [_text(name) for name in hdf5_attribute(_member(path, root, layer), "weight_names")]
            _check_unique(path, f"weight of layer `{layer}`", weights)
            if weights:
                layers[layer] = [f"{layer}/{name}" for name in weights]
                datasets.update({f"{layer}/{name}": _dataset(path, root, layer, name) for name in weights})
            _check_size(path, len(datasets), 0)
        _check_size(path, len(datasets), sum(dataset.nbytes for dataset in datasets.values()), COMPRESSED)
        for name, dataset in datasets.items():
            arrays[name] = dataset[()]
    if not arrays:
        raise DataError(f"{path}: is HDF5 without weights of Keras 2 (no attribute `layer_names`).")
    return arrays, layers


def _member(path, group, name):
    """What is called `name` within the same file: a link could lead to any other one."""
    item = hdf5_item(group.file, f"{group.name}/{name}")
    if item is None:
        raise DataError(f"{path}: has no `{name}`, which it names; expected whole Keras weights.")
    if item.file.filename != group.file.filename:
        raise DataError(f"{path}: `{name}` is a link to another file; expected the arrays within this one.")
    return item


def _dataset(path, root, layer, name):
    dataset = _member(path, root, f"{layer}/{name}")
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: `{layer}/{name}` is a group; expected an array.")
    if dataset.is_virtual or dataset.external:
        raise DataError(f"{path}: array `{layer}/{name}` lies in another file; expected the arrays within this one.")
    if dataset.dtype.hasobject:
        raise DataError(f"{path}: array `{layer}/{name}` is of {dataset.dtype}; expected real floating-point numbers.")
    if dataset.shape is None:
        raise DataError(f"{path}: array `{layer}/{name}` is empty; expected numbers.")
    return dataset


def read_safetensors(path):
    """A dict from name to array.

    Raises:
        ImportError: if the package is missing.
        DataError: if the file is damaged, or has types that NumPy has not.
    """
    try:
        import ml_dtypes  # Keras brings it; NumPy then knows bfloat16
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("`.safetensors` files need `pip install mri_zoo[torch]`.") from error
    try:
        with safetensors.safe_open(path, "numpy") as file:
            _check_size(path, len(file.keys()), 0)
        arrays = safetensors.numpy.load_file(path)  # which refuses tensors that overlap or lie beyond the end
    except (safetensors.SafetensorError, AttributeError, LookupError, OSError, ValueError, MemoryError) as error:
        # also of types that NumPy has not
        raise DataError(f"{path}: is not a readable `.safetensors` file ({' '.join(str(error).split())}).") from error
    return {
        name: array.astype("float32") if array.dtype == ml_dtypes.bfloat16 else array for name, array in arrays.items()
    }


def read_torch(path):
    """A dict from name to array; the keys of nested dicts are joined by dots.

    Raises:
        ImportError: if PyTorch is missing.
        DataError: if the file is damaged, holds more than tensors, or declares more numbers than it holds.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("PyTorch checkpoints need `pip install mri_zoo[torch]`.") from error
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its kinds of errors are not documented
        if isinstance(error, pickle.UnpicklingError) and (zipfile.is_zipfile(path) or "GLOBAL" in str(error)):
            # PyTorch's own message advises to run what the file says.
            raise DataError(
                f"{path}: holds Python objects besides tensors, which are not read; save its `state_dict` alone "
                "(in training checkpoints it is often called `state_dict`, `model` or `model_state_dict`)."
            ) from error
        raise DataError(f"{path}: is damaged, or no checkpoint; expected PyTorch's file of tensors.") from error
    try:
        tensors = dict(_tensors(path, content)) if isinstance(content, dict) else {}
        _check_size(path, len(tensors), sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))
        for name, tensor in tensors.items():
            if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
                raise DataError(f"{path}: array `{name}` repeats its numbers; expected as many as its shape has.")
        return {name: _array(tensor) for name, tensor in tensors.items()}
    except (RuntimeError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: holds sparse, quantised or other tensors that are not read ({reason}).") from error
    except RecursionError as error:
        raise DataError(f"{path}: holds dicts in dicts without end; expected PyTorch's file of tensors.") from error


def _check_archive(path):
    """PyTorch stores its files as they are: a zip that unpacks to more than itself was made to fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # PyTorch tells, or its older form
        return
    if unpacked > path.stat().st_size:
        raise DataError(
            f"{path}: unpacks to {unpacked:,} bytes from a file of {path.stat().st_size:,}; expected PyTorch's file of "
            "tensors, which is not compressed."
        )


def _tensors(path, content):
    """(dotted name, tensor) of nested dicts; one that several dicts hold has as many names, which are counted."""
    waiting, number = [("", content)], 0
    while waiting:
        prefix, value = waiting.pop()
        number += 1
        if number > MAX_ENTRIES:
            raise DataError(
                f"{path}: its dicts have more than {MAX_ENTRIES:,} entries; expected PyTorch's file of tensors."
            )
        if isinstance(value, dict):
            if len(waiting) > MAX_ARRAYS or len(prefix) > 10_000:
                raise RecursionError
            waiting += [(f"{prefix}.{key}" if prefix else str(key), item) for key, item in reversed(value.items())]
        elif hasattr(value, "detach"):
            yield prefix, value


def _array(tensor):
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()  # NumPy has no bfloat16


def _check_size(path, number, size, times=SHARED):
    """Raise a `DataError` if a file declares `number` arrays of `size` bytes in all, which it cannot hold."""
    if number > MAX_ARRAYS:
        raise DataError(f"{path}: holds more than {MAX_ARRAYS:,} arrays; expected the weights of a network.")
    length = path.stat().st_size
    if size > max(times * length, SMALLEST):
        raise DataError(f"{path}: declares arrays of {size:,} bytes in a file of {length:,}; expected what it holds.")


def _check_unique(path, kind, names):
    _check_size(path, len(names), 0)
    seen = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: names a {kind} twice, `{name}`; expected each once.")
        seen.add(name)


def _text(name):
    if isinstance(name, str | bytes | np.bytes_):
        return name.decode() if isinstance(name, bytes) else name
    raise TypeError(f"a name is of the type {type(name).__name__}")
