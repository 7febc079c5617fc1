"""What an evaluation finds: rows, failures and examples, and the file of its rows."""

import csv
import dataclasses

import numpy as np

from mri_zoo.data.volume import DataError

COLUMNS = ("volume", "contrast", "model", "nmse", "psnr", "ssim", "seconds")
# What the tables say besides; the file of an unfinished run has it, too.
MORE_COLUMNS = ("num_slices", "acceleration", "as_measured")


@dataclasses.dataclass(frozen=True)
class Row:
    """One model on one volume.

    Attributes:
        volume: file name, with the folders that tell it from others of that name.
        contrast, model: names.
        nmse, psnr, ssim: of the whole volume, as fastMRI defines them; `psnr` in dB.
        seconds: to reconstruct the volume, without reading it and without compiling the model.
        num_slices: of the volume; None in a row that was read from a finished file.
        acceleration: pixels for each sample; None in a row that was read from a finished file.
        as_measured: whether the volume was measured undersampled, and kept its samples.
    """

    volume: str
    contrast: str
    model: str
    nmse: float
    psnr: float
    ssim: float
    seconds: float
    num_slices: int | None = None
    acceleration: float | None = None
    as_measured: bool = False


@dataclasses.dataclass(frozen=True)
class Failure:
    """A volume that was skipped, and why: one line that names the volume."""

    volume: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Example:
    """The middle slice of a volume, or the brightest where that one is empty, for a figure.

    Attributes:
        volume, contrast: names.
        slice, num_slices: index of the slice, and how many there are.
        reference: (height, width) float32 magnitude.
        images: by model, (height, width) float32 magnitude.
        sampled: by model, its mask (1 or k-space height, k-space width) float32, or its `Encoding`.
    """

    volume: str
    contrast: str
    slice: int
    num_slices: int
    reference: np.ndarray
    images: dict[str, np.ndarray]
    sampled: dict[str, object]


@dataclasses.dataclass
class Evaluation:
    """What `evaluate` found.

    Attributes:
        dataset: its name, for headings.
        presets: the models, in the order of all tables.
        samplings: by model, the mask or trajectory of fully sampled volumes, None without one.
        rows: one for each model and volume; a volume has the rows of all models or none.
        failures: the volumes without rows.
        examples: for figures, the first volume of each contrast, up to a number.
        notes: what is to be told of how the rows came about, each one line; no part of the report.
    """

    dataset: str
    presets: list
    samplings: dict
    rows: list[Row] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    examples: list[Example] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def write_rows(file, rows):
    """Write the lines of a ``volumes.csv`` to an open text file."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)


def read_rows(path):
    """The `Row`s of a ``volumes.csv``, or of the ``volumes.csv.part`` of an unfinished run.

    Raises:
        DataError: if it is not one.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            columns = tuple(next(reader, ()))
            if columns[: len(COLUMNS)] != COLUMNS:
                raise ValueError(f"has the columns {', '.join(columns) or '(none)'}")
            more = columns[len(COLUMNS) :][: len(MORE_COLUMNS)] == MORE_COLUMNS
            return [row_of(line if more else line[: len(COLUMNS)]) for line in reader]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: {reason_of(error)}; expected a volumes.csv: {', '.join(COLUMNS)}.") from error


def row_of(cells):
    """The `Row` of a line's texts, with or without those of `MORE_COLUMNS`.

    Raises:
        ValueError: if a number is none.
        TypeError: if there are too few.
    """
    width = len(COLUMNS)
    more = cells[width : width + len(MORE_COLUMNS)]
    numbers = (int(more[0]), float(more[1]), more[2] == "True") if len(more) == len(MORE_COLUMNS) else ()
    return Row(*cells[:3], *map(float, cells[3:width]), *numbers)


def reason_of(error):
    """An exception in one line; its type tells something only where the message was not written for users."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"
