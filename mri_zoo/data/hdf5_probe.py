"""Whether HDF5 comes back from a file at all, tried in a child process.

A few flipped bits can make HDF5 loop for ever or end the process, which no `try` catches. So a small process, which is
kept, opens each file first, with a time limit. It knows h5py alone, and looks at a file in about a millisecond.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

from mri_zoo.data.volume import DataError
from mri_zoo.interruption import at_end, not_at_end

SECONDS = 20  # for one file, besides `SECONDS_PER_GIGABYTE`; one on a slow network has a few hundred milliseconds
SECONDS_PER_GIGABYTE = 30  # readouts of any length are read to find what hangs among them
_SECONDS_TO_START = 60
_BYTES = 500_000_000  # that opening a small file may take; texts in it can declare gigabytes
_NUM_KEPT = 100_000

_lock = threading.Lock()
_child = None
_found = {}


def probe(path):
    """Raise a `DataError` where HDF5 hangs in or crashes at a file; each state of a file is tried once.

    Where no process can be started, nothing is tried.

    Args:
        path: of a regular file.

    Raises:
        DataError: if HDF5 does not come back.
    """
    real = Path(path).resolve()
    status = real.stat()
    key = str(real), status.st_mtime_ns, status.st_size
    with _lock:
        if key not in _found:
            if len(_found) >= _NUM_KEPT:
                _found.clear()
            _found[key] = _ask(str(real), SECONDS + SECONDS_PER_GIGABYTE * status.st_size / 1e9)
        found = _found[key]
    if found is not None:
        raise DataError(f"{path}: is damaged: HDF5 {found}; expected a whole HDF5 file.")


def _ask(path, seconds):
    """What HDF5 does at a file, or None where it comes back."""
    global _child
    if _child is not None and not _child.usable():
        _child = None
    if _child is None:
        try:
            _child = _Child()
        except (OSError, ValueError):  # no more processes, or none allowed
            return None
    answer = _child.ask(path, seconds)
    if answer and answer.startswith("done"):
        taken, size = 1024 * int(answer.split()[1]), os.path.getsize(path)
        if taken <= max(_BYTES, 8 * size):
            return None
        _child.end()  # its peak would hide that of the next file
        _child = None
        return f"takes {taken / 1e6:.0f} MB of memory to open it, and it has {size / 1e6:.3g} MB"
    started, _child = _child.started, None
    if not started:
        return None
    return f"does not come back from it within {seconds:.0f} s" if answer is None else "crashes at it"


class _Child:
    """The process, and a thread that waits for its lines."""

    def __init__(self):
        if not sys.executable:
            raise OSError("There is no Python to start.")
        script = Path(__file__).with_name("_hdf5_child.py")
        self._owner, self.started, self._lines = os.getpid(), False, queue.SimpleQueue()
        self._process = subprocess.Popen(
            # Isolated, so that neither the working folder nor the user's site is looked at for h5py's imports.
            [sys.executable, "-s", "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            encoding="utf-8",
            start_new_session=os.name == "posix",  # Ctrl+C is for the parent, which then ends it
        )
        threading.Thread(target=self._listen, daemon=True).start()
        at_end(self.end)
        if self._next(_SECONDS_TO_START) == "ready":
            self.started = True
        else:
            self.end()

    def usable(self):
        return self._owner == os.getpid() and self._process.poll() is None  # not in a fork

    def ask(self, path, seconds):
        """The line that begins with "done", nothing after a crash, None after a hang; the process is then ended."""
        try:
            self._process.stdin.write(json.dumps(path) + "\n")
            self._process.stdin.flush()
            answer = self._next(seconds)
        except (OSError, ValueError):
            answer = ""
        if not answer or not answer.startswith("done"):
            self.end()
        return answer

    def end(self):
        if self._owner == os.getpid():
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            not_at_end(self.end)

    def _next(self, seconds):
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def _listen(self):
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:
                self._lines.put(line.strip())
        self._lines.put("")
