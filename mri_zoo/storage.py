"""Files that are whole whenever the process or the disk stops, and folders that one run at a time writes to."""

import contextlib
import errno
import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


@contextlib.contextmanager
def replacing(path):
    """A path beside `path` to write to: the file takes its place at the end, or vanishes after an error.

    What was at `path` stays until the new content is on the disk. A library that cannot live with a full disk, such as
    HDF5, should write to memory, and the bytes then go to a file with `write_bytes`.

    Args:
        path: of a file.

    Raises:
        OSError: if something cannot be written; it always names `path`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")  # not another process's
    try:
        with _errors_name(path, part):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            _flush(part)
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_bytes(path, content):
    """Write a whole file of `content`, or leave what was there; for errors see `replacing`."""
    with replacing(path) as part:
        part.write_bytes(content)


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
    with _errors_name(folder):
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
        with _errors_name(path):
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
def _errors_name(path, part=None):
    """Errors of writing name the file, which those of a full disk do not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), part):
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
