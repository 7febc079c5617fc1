"""The child process of `hdf5_probe`: opens HDF5 files as readers do, so that what hangs or crashes does so here.

It is run as a script, not imported: with h5py alone it starts in a third of a second.
"""

import json
import os
import sys

import h5py

MAX_OBJECTS = 10_000  # a scan has a dozen; the weights of a large network some thousands
MAX_BYTES = 1 << 24  # of a dataset that is read as a whole, as masks and headers are
ROWS = 256


def look_at(path):
    """Touch the names, types, attributes and indices of a file; samples only where they lie in HDF5's heaps."""
    with h5py.File(path, "r") as file:
        waiting, seen = [file], 0
        while waiting and seen < MAX_OBJECTS:
            item = waiting.pop()
            seen += 1
            _harmless(lambda item=item: [_harmless(lambda n=n: _look_at_attribute(item, n)) for n in item.attrs])
            if isinstance(item, h5py.Dataset):
                _harmless(lambda item=item: _look_at_dataset(item))
            elif isinstance(item, h5py.Group):
                waiting += _harmless(lambda item=item: _children(item)) or []


def _children(group):
    # Links are followed by the readers, one by one, after they have looked where they lead.
    hard = [name for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]
    return [child for name in hard[:MAX_OBJECTS] if (child := _harmless(lambda name=name: group[name])) is not None]


def _look_at_attribute(item, name):
    attribute = item.attrs.get_id(name)
    declared = attribute.dtype.itemsize * attribute.get_space().get_simple_extent_npoints()
    if declared <= os.path.getsize(item.file.filename):  # others are refused by the readers
        item.attrs[name]


def _look_at_dataset(dataset):
    if dataset.external or dataset.is_virtual:
        return
    if dataset.chunks:
        dataset.id.get_num_chunks()
        dataset.id.get_storage_size()
    if dataset.dtype.hasobject:  # texts and readouts of any length
        for row in range(0, len(dataset) if dataset.ndim else 1, ROWS):
            dataset[row : row + ROWS] if dataset.ndim else dataset[()]
    elif 0 < dataset.nbytes <= MAX_BYTES and dataset.id.get_storage_size() * 1000 >= dataset.nbytes:
        dataset[()]


def _harmless(action):
    """None where HDF5 gives an error: to end at all is enough."""
    try:
        return action()
    except Exception:
        return None


def main():
    """Answer each line of standard input, a path in JSON, with a line: "done", and the most kB that were in use."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, ValueError, OSError):
        pass
    print("ready", flush=True)
    for line in sys.stdin:
        before = _peak(anew=True)
        _harmless(lambda line=line: look_at(json.loads(line)))
        print("done", _peak() - before, flush=True)


def _peak(anew=False):
    """The most kB that this process had in use, since it was asked for `anew`; only Linux tells, 0 elsewhere.

    `getrusage` tells no less than what the parent had when it started this process, which would hide gigabytes.
    """
    try:
        if anew:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # from here on
    except OSError:
        pass
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 0


main()
