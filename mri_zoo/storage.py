"""Files that are whole whenever the process or the disk stops, and folders that one run at a time writes to."""

import contextlib
import errno
import io
import os
import socket
from pathlib import Path

from mri_zoo.interruption import at_end

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_unfinished = set()  # files that are removed where the process ends before they are whole


class InMemory(io.BytesIO):
    """Bytes that Keras takes for a file of this name, so that HDF5, which a full disk ends, never writes to one.

    Args:
        name: that tells the kind, as "model.weights.h5".
        content: to read.
    """

    def __init__(self, name, content=b""):
        super().__init__(content)
        self._name = name

    def __str__(self):
        return self._name


@contextlib.contextmanager
def replacing(path, previous=None):
    """A path beside `path` to write to: the file takes its place at the end, or vanishes after an error.

    What was at `path` stays until the new content is on the disk. A library that cannot live with a full disk, such as
    HDF5, should write to memory (`InMemory`), and the bytes then go to a file with `write_bytes`.

    Args:
        path: of a file.
        previous: path to which what was at `path` then goes; it vanishes by default.

    Raises:
        OSError: if something cannot be written; it always names `path`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")  # not another process's
    _unfinished.add(part)
    try:
        with errors_name(path, part):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            _flush(part)
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
        _unfinished.discard(part)


def write_bytes(path, content, previous=None):
    """Write a whole file of `content`, or leave what was there; for `previous` and errors see `replacing`."""
    with replacing(path, previous) as part:
        part.write_bytes(content)


def append_bytes(path, content):
    """Write `content` at the end of a file, which is made if missing.

    Raises:
        OSError: if it cannot be written, after a part of it may have been; it always names `path`.
    """
    path = Path(path)
    with errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content)


def write_text(path, text):
    """Write a whole file of `text` in UTF-8, or leave what was there; for errors see `replacing`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def exclusive(folder, what="run"):
    """Hold a folder, which is made if missing, for one process: its `.lock` is freed however that ends.

    Where the file system knows no locks nothing is held.

    Args:
        folder: that the block writes to.
        what: uses it, for the message.

    Raises:
        BlockingIOError: if another process, or another part of this one, holds it.
    """
    folder = Path(folder)
    with errors_name(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    lock = _lock(path)
    if lock is None:
        holder = _first_line(path)
        raise BlockingIOError(
            f"{folder} is in use by another {what}{f' ({holder})' if holder else ''}: wait for its end, or choose "
            "another folder."
        )
    try:
        yield
    finally:
        if lock >= 0:
            with contextlib.suppress(OSError):  # before it is freed: nobody holds a file that is gone
                path.unlink()
            os.close(lock)


def _lock(path):
    """A file descriptor that holds the lock, -1 where there are no locks, or None where another has it."""
    while fcntl is not None:
        with errors_name(path):
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(lock), os.stat(path)):
                with contextlib.suppress(OSError):  # a full disk
                    os.ftruncate(lock, 0)
                    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return lock
            os.close(lock)  # its holder removed it meanwhile
        except OSError as error:
            os.close(lock)
            if error.errno not in _UNSUPPORTED:
                return None
            return -1
    return -1


def _first_line(path):
    try:
        return path.read_text(errors="replace").strip()[:100]
    except OSError:
        return ""


def _flush(path):
    """Put a file on the disk: some file systems tell only then that it is full."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_name(path, part=None):
    """A block whose errors of writing name a file, which those of a full disk do not.

    Args:
        path: the file's.
        part: path whose errors are that file's, too.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), part):
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error


@at_end
def _remove_unfinished():
    for part in list(_unfinished):
        with contextlib.suppress(OSError):
            part.unlink()
