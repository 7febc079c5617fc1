"""The files that a training leaves after each epoch: checkpoints, the log, TensorBoard events.

A checkpoint is a weights file of Keras, behind whose end stand a line of JSON (the number of the epoch, the rows of the
log up to it) and the SHA-256 of all before: whatever changed on the disk is seen before HDF5 reads it, and a training
goes on from this one file. The log is for people, and is written anew from there.
"""

import contextlib
import csv
import dataclasses
import errno
import hashlib
import io
import json
import os
import re
import socket
import time
from pathlib import Path

import h5py
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from mri_zoo.data.volume import DataError
from mri_zoo.storage import InMemory, append_bytes, write_bytes

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a training was after an epoch.

    Attributes:
        path: of the file.
        epoch: the number of epochs behind it.
        history: the rows of the log up to it.
        weights: the content of the weights file.
    """

    path: Path
    epoch: int
    history: list
    weights: bytes = dataclasses.field(repr=False)

    def restore(self, model):
        """Load weights and optimizer.

        Raises:
            ValueError: if they are another model's.
        """
        try:
            model.load_weights(InMemory(str(self.path), self.weights))
        except ValueError as error:
            raise ValueError(
                f"{self.path} cannot be resumed: resume with the recipe, the settings and the version of mri_zoo that "
                f"it was started with, or choose another folder. {str(error).splitlines()[0]}"
            ) from error


class Checkpoints:
    """Those of a training's folder: the last one, the one before, and the best.

    Args:
        folder: of the training.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.last, self.previous, self.best = (
            self.folder / f"{name}.weights.h5" for name in ("last", "previous", "best")
        )

    def exist(self):
        """Whether a training that was begun lies there."""
        return any(path.exists() for path in (self.last, self.previous, self.best))

    def save(self, model, path, history):
        """Keep weights and optimizer after the last epoch of `history`; of `last`, the one before is kept, too."""
        epoch = history[-1]["epoch"]
        file = InMemory(path.name)
        model.save_weights(file)
        with h5py.File(file, "a") as weights:
            weights.attrs["epoch"] = epoch  # for those who open it
        file.seek(0, io.SEEK_END)
        file.write(b"\n" + json.dumps({"epoch": epoch, "history": history}).encode() + b"\n")
        file.write(hashlib.sha256(file.getbuffer()).hexdigest().encode())
        write_bytes(path, file.getbuffer(), self.previous if path == self.last else None)

    def newest(self, report):
        """The `Checkpoint` to go on from: the last one, or where it is cut off or missing the newest of the others.

        Args:
            report: called with a line where it is not the last one.

        Raises:
            DataError: if the last one was altered, or none is left.
        """
        try:
            return read_checkpoint(self.last)
        except DataError as error:
            wrong, found = error, {}
        for path in (self.previous, self.best):
            with contextlib.suppress(DataError):
                found[path] = read_checkpoint(path)
        others = sorted(found.values(), key=lambda checkpoint: -checkpoint.epoch)
        ways = "choose another folder" + "".join(
            f", or remove the file to go on after epoch {other.epoch} with {other.path.name}" for other in others[:1]
        )
        if not others or isinstance(wrong, AlteredError):
            raise DataError(f"{wrong}: {ways}.") from wrong
        best = f", the best is of epoch {found[self.best].epoch}" if self.best in found else ""
        report(f"{wrong}: using {others[0].path.name} of epoch {others[0].epoch}{best}")
        return others[0]

    def best_of(self, model, checkpoint, epoch, report):
        """The number of the epoch whose weights `best` holds, where a training goes on.

        Args:
            model: with the weights of the checkpoint.
            checkpoint: that the training goes on from.
            epoch: of the best row of its history; the file may be older, where the training was killed before it was
                written, and is written now.
            report: called with a line if the best is lost.

        Raises:
            DataError: if the file is damaged and no other holds its weights.
        """
        if not self.best.exists() and epoch != checkpoint.epoch:
            report(f"{self.best} is missing: the best epoch is sought from {checkpoint.epoch} on")
            epoch = checkpoint.epoch
        try:
            found = read_checkpoint(self.best).epoch if self.best.exists() else None
        except DataError as error:
            if epoch != checkpoint.epoch:
                ways = f"choose another folder, or remove the file to seek the best epoch from {checkpoint.epoch} on"
                raise DataError(f"{error}: {ways}.") from error
            report(f"{error}: it is written anew")
            found = None
        if epoch == checkpoint.epoch and found != epoch:
            self.save(model, self.best, checkpoint.history)
            return epoch
        return found if found <= checkpoint.epoch else epoch  # one ahead comes again, with the epochs that led to it

    def remove_parts(self):
        """Remove what a process left that was killed while it wrote; nobody else may be writing."""
        for path in self.folder.glob(".*.weights.h5.*"):
            with contextlib.suppress(OSError):
                path.unlink()


class AlteredError(DataError):
    """The file has its end, but is not what was written."""


def read_checkpoint(path):
    """The `Checkpoint` in a file.

    Raises:
        AlteredError: if bytes of it are not those that were written.
        DataError: if it is missing, cut off, or no checkpoint.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} {'is missing' if not path.exists() else f'cannot be read ({error.strerror})'}"
        ) from error
    if not content:
        raise DataError(f"{path} is damaged (it is empty)")
    if not re.fullmatch(rb"\n[0-9a-f]{64}", content[-65:]):
        raise DataError(f"{path} is damaged (it is cut off, or was not written by a training of this version)")
    if hashlib.sha256(memoryview(content)[:-64]).hexdigest().encode() != content[-64:]:
        raise AlteredError(f"{path} is damaged (bytes of it were altered)")
    end = content.rindex(b"\n", 0, -65)
    told = json.loads(content[end:-65])
    return Checkpoint(path, told["epoch"], told["history"], content[:end])


def log_text(history):
    """The content of ``log.csv``."""
    file = io.StringIO()
    writer = csv.DictWriter(file, history[0])
    writer.writeheader()
    writer.writerows(history)
    return file.getvalue()


class Events:
    """TensorBoard events of a run, in a file of its own; its writer is no thread, whose errors nobody sees.

    Args:
        folder: for the file.
    """

    def __init__(self, folder):
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.0"
        self.path, self.pending = Path(folder) / name, [Event(wall_time=time.time(), file_version="brain.Event:2")]

    def write(self, row):
        """Append the values of a row of the log."""
        values = [Summary.Value(tag=key, simple_value=value) for key, value in row.items() if key != "epoch"]
        self.pending.append(Event(wall_time=time.time(), step=row["epoch"], summary=Summary(value=values)))
        file = io.BytesIO()
        for event in self.pending:
            RecordWriter(file).write(event.SerializeToString())
        append_bytes(self.path, file.getbuffer())
        self.pending = []


@contextlib.contextmanager
def room_told():
    """A block in which the errors of a full disk tell how a training goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        reason = f"{error.strerror}. The epochs before are kept: make room and go on with --resume"
        raise OSError(error.errno, reason, error.filename) from error
