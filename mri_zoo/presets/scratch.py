"""Folders that exist while something is made in them; the next one removes those that killed processes left."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOCK = ".lock"


@contextlib.contextmanager
def scratch_folder(parent, prefix):
    """A new folder in `parent`, which is made if missing; it is removed at the end.

    Whoever makes one holds a lock within it, which the system frees however the process ends. Those that nobody holds
    any more are what killed processes left, and are removed first.

    Args:
        parent: folder.
        prefix: of the name.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    _remove_left(parent, prefix)
    hidden = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    folder = parent / f"{prefix}{hidden.name.removeprefix('.new-')}"
    with open(hidden / _LOCK, "w") as lock:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(hidden, folder)  # only now may others look whether it is held
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent, prefix):
    for folder in parent.glob(f"{prefix}*") if fcntl is not None else ():
        try:
            with open(folder / _LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody's who lives, or none of ours
            continue
