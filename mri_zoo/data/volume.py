"""The one NumPy form that every reader returns and everything downstream takes."""

import contextlib
import dataclasses
import operator
import os
import re
from typing import Protocol

import numpy as np

_BOLD = re.compile(r"(Exception encountered when calling [^\x1b]*)\x1b\[1m(.*)\x1b\[0m", re.DOTALL)
_LONGEST = 1000  # characters of a message: enough for a path and a sentence


def printable(text):
    """Text of a file or a file name for one line of a terminal or a table: what is no plain character is escaped.

    A name may hold the sequences that move a terminal's cursor, set its title or colours, or marks that turn the
    direction of writing. Line breaks become spaces. The bold type of Keras's errors, which is no part of any name, is
    left out.
    """
    text = re.sub(r"\s*[\r\n]\s*", " ", _BOLD.sub(r"\1\2", str(text)))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class DataError(ValueError):
    """A file or folder that cannot be used; the message names it, what was found and what was expected.

    The message is one line of bounded length, whatever texts of the file are in it.
    """

    def __init__(self, message):
        text = printable(message)
        half = _LONGEST // 2
        super().__init__(text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}")


@contextlib.contextmanager
def file_errors(path, expected="a whole file of a layout that is read", others=()):
    """A block, or a decorated function, in which whatever a damaged file leads to becomes a `DataError` that names it.

    Args:
        path: the file.
        expected: in its place.
        others: further classes of errors.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into the memory ({error or 'no message'}).") from error
    except (ValueError, OSError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise _damaged(path, expected, error) from error
    except (EOFError, *others) as error:
        raise _damaged(path, expected, error) from error


def _damaged(path, expected, error):
    if isinstance(error, PermissionError):
        return DataError(f"{path}: may not be read ({error.strerror}).")
    reason = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
    return DataError(f"{path}: is truncated or damaged; expected {expected} ({reason}).")


def check_memory(what, at_once, declared, stored):
    """Refuse data that take far more memory than a file of its size can mean.

    What is declared may be 64 MB or 200 times what is stored, whichever is more, and what is read at once 8 GB. The
    environment variable ``MRI_ZOO_MAX_GIGABYTES`` replaces both by one limit of what is read at once.

    Args:
        what: the file, and what in it.
        at_once: bytes in memory that one read takes, for example of one slice.
        declared: bytes in memory of all.
        stored: bytes in the file.

    Raises:
        DataError: if a limit is passed.
    """
    given = os.environ.get("MRI_ZOO_MAX_GIGABYTES")
    try:
        limit = 8e9 if given is None else 1e9 * float(given)
    except ValueError as error:
        raise ValueError(f"MRI_ZOO_MAX_GIGABYTES must be a number, got {given!r}.") from error
    raised = "if that is meant, set MRI_ZOO_MAX_GIGABYTES"
    if given is None and declared > max(64e6, 200 * stored):
        found = f"{what} has {declared / 1e9:.3g} GB by its header, and {stored / 1e6:.3g} MB in the file"
        raise DataError(f"{found}; expected at most 200 times as much ({raised}).")
    if at_once > limit:
        found = f"{what} takes {at_once / 1e9:.3g} GB of memory at once"
        raise DataError(f"{found}; expected at most {limit / 1e9:.3g} GB ({raised}).")


@dataclasses.dataclass(frozen=True)
class VolumeInfo:
    """What is known of a volume before its samples are read.

    Attributes:
        name: file name with its extension; fastMRI seeds evaluation masks with it.
        contrast: for example ``CORPD_FBK`` (fastMRI's attribute `acquisition`) or ``T1w``; ``unknown`` where not told.
        patient_id: the subject, or an empty string.
        num_slices, num_coils, height, width: extent of the k-space.
        target_size: (height, width) of the reference image, None without one.
        mask: (1 or height, width) float32, 1 where sampled, None for a fully sampled volume.
        padding: first and one-past-last acquired column of the width, (0, width) where nothing was padded.
        maximum: the stored maximum of the reference (fastMRI's attribute `max`), or None.
        norm: the stored 2-norm of the reference (fastMRI's attribute `norm`), or None.
        trajectory: (samples, 2 or 3) float32, radians per pixel in [-pi, pi), for a volume measured off the Cartesian
            grid; `height` and `width` are then those of the image that it means.
        num_shots: of the trajectory, one after the other.
        density: (samples,) float32 compensation that came with the trajectory, or None.
        depth: of the image, where the trajectory is three-dimensional: what is read as one slice is then a volume.
        recon_size: (height, width) of the centre of the image that the scan means, without its oversampling; None for
            all of it. Networks see k-space as it was measured; images and references without a stored one are cropped.
        voxel_size: (slice or depth, height, width) in mm, the first from one slice to the next; None where not told.
        affine: (4, 4) from the indices (height, width, slice or depth) of the whole image, before the crop to
            `recon_size`, to NIfTI's coordinates of the patient in mm, or None.
        notes: what a reader left out or assumed, each without a full stop.
    """

    name: str
    num_slices: int
    num_coils: int
    height: int
    width: int
    contrast: str = "unknown"
    patient_id: str = ""
    target_size: tuple[int, int] | None = None
    mask: np.ndarray | None = None
    padding: tuple[int, int] | None = None
    maximum: float | None = None
    norm: float | None = None
    trajectory: np.ndarray | None = None
    density: np.ndarray | None = None
    depth: int | None = None
    num_shots: int = 1
    recon_size: tuple[int, int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    affine: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.padding is None:
            object.__setattr__(self, "padding", (0, self.width))

    @property
    def image_size(self):
        """(height, width), with the depth before them where there is one."""
        return (self.height, self.width) if self.depth is None else (self.depth, self.height, self.width)


@dataclasses.dataclass(frozen=True)
class Volume:
    """Slices of a volume.

    Attributes:
        info: the whole volume's description.
        slices: the indices of the slices that are here.
        kspace: (slice, coil, height, width) complex64, centred orthonormal Fourier transform of the coil images;
            (slice, coil, samples) where the volume has a trajectory.
        target: (slice, target height, target width) float32 reference magnitude, or None.
    """

    info: VolumeInfo
    slices: tuple[int, ...]
    kspace: np.ndarray
    target: np.ndarray | None = None


class VolumeSource(Protocol):
    """Anything that can describe a volume and read some of its slices: a file, or a simulation."""

    info: VolumeInfo

    def read(self, slices=None) -> Volume:
        """The slices with these indices (all by default), in the order asked for."""


def check_finite(path, what, slices, values):
    """Raise `DataError` for the first of the slices whose values (slice, ...) are not all finite."""
    for index, value in zip(slices, values, strict=True):
        # Whatever is not finite shows in the sum, in a third of the time; finite numbers may overflow there.
        value = value.view(np.float32)
        if not np.isfinite(value.sum()) and not np.isfinite(value).all():
            raise DataError(f"{path}: {what} holds NaN or infinity in slice {index}; expected finite numbers.")


def checked_slices(path, slices, num_slices):
    """The tuple of indices, of all slices for None; `DataError` where one is out of range."""
    slices = tuple(range(num_slices)) if slices is None else tuple(map(operator.index, slices))
    for index in slices:
        if not 0 <= index < num_slices:
            raise DataError(f"{path}: there is no slice {index}; expected an index from 0 to {num_slices - 1}.")
    return slices
