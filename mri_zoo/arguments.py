"""Checks of arguments and names, one place for the words of their errors."""

import difflib
import numbers

import numpy as np


def check_counts(**counts):
    """Raise a ValueError that names the first argument that is no whole number of at least 1."""
    for name, value in counts.items():
        if not _is_whole(value) or value < 1:
            raise ValueError(f"`{name}` must be a whole number >= 1, got {value!r}.")


def check_flags(**flags):
    """Raise a ValueError that names the first argument that is neither True nor False: any text would count as True."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"`{name}` must be True or False, got {value!r}.")


def check_size(**sizes):
    """Raise a ValueError that names the first argument that is no (height, width)."""
    for name, value in sizes.items():
        fits = isinstance(value, list | tuple) and len(value) == 2
        if not fits or not all(_is_whole(n) and n >= 1 for n in value):
            raise ValueError(f"`{name}` must be two whole numbers >= 1, got {value!r}.")


def suggestion(name, names):
    """The end of a sentence on an unknown name: a question about the nearest known one, if there is one near.

    Args:
        name: the unknown one.
        names: those that are known.
    """
    by_lower_case = {str(known).lower(): known for known in names}
    found = difflib.get_close_matches(str(name).lower(), by_lower_case, n=1)
    return f"; did you mean {by_lower_case[found[0]]!r}?" if found else "."


def _is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
