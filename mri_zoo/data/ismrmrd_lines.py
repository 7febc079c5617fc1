"""Which readouts of an ISMRMRD file are lines of its image: flags, encoding spaces and counters."""

import collections

import numpy as np

from mri_zoo.data.volume import DataError

# Flags by their number in the format, bit `number - 1`. Those from 1 to 18 and 25 tell the place in a loop.
_NO_IMAGE = {
    19: "noise",
    23: "navigation",
    24: "phase correction",
    26: "feedback",
    27: "dummy",
    28: "real-time feedback",
    29: "surface coil correction",
    30: "phase stabilisation reference",
    31: "phase stabilisation",
}
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSED = 20, 21, 22
_COMPRESSED = (53, 54, 55, 56)
_UNKNOWN = range(32, 53)
_SERIES = ("contrast", "phase", "repetition", "set")
_ALIKE = ("active_channels", "number_of_samples", "discard_pre", "discard_post", "trajectory_dimensions")
_ELSEWHERE = ("separate", "external")  # calibration modes whose lines come from another acquisition


def image_lines(path, heads, encodings):
    """The readouts that make the image.

    Noise, navigators, phase correction and stabilisation, feedback, dummies and surface coil scans are left out. Lines
    for calibration alone (flag 20 without 21) are taken where no imaging line is: in the image's encoding space, with
    its counters and its form of readout, unless the header tells that calibration is separate or external.

    Args:
        path: of the file, for messages.
        heads: of all readouts, a structured array.
        encodings: `EncodingHeader`s.

    Returns:
        Indices of the readouts, the `EncodingHeader` of the image, and what is to be told, a tuple of notes.

    Raises:
        DataError: if nothing is left, or what is left are several images, of several forms, or compressed.
    """
    dropped, notes = np.zeros(len(heads), bool), []
    left_out = collections.Counter()
    for number, name in _NO_IMAGE.items():
        found = _has(heads, number) & ~dropped
        left_out[name] += np.count_nonzero(found)
        dropped |= found
    alone = _has(heads, _CALIBRATION) & ~_has(heads, _CALIBRATION_AND_IMAGING) & ~dropped
    imaging = np.flatnonzero(~dropped & ~alone)
    if not len(imaging):
        raise DataError(f"{path}: holds {len(heads)} readouts, none of image data.")
    encoding = _encoding_of(path, heads[imaging], encodings)
    _check(path, heads[imaging])
    extra = _calibration(heads, imaging, np.flatnonzero(alone), encoding)
    left_out["calibration"] += np.count_nonzero(alone) - len(extra)
    if any(left_out.values()):
        listed = ", ".join(f"{count} of {name}" for name, count in left_out.items() if count)
        notes.append(f"readouts that are left out: {listed}")
    if len(extra):
        mode = encoding.calibration or "not told"
        notes.append(f"{len(extra)} lines for calibration are lines of the image (calibration mode: {mode})")
    kept = np.sort(np.concatenate([imaging, extra]))
    for number in _COMPRESSED:
        if _has(heads[kept], number).any():
            raise DataError(f"{path}: holds readouts that are compressed (flag {number}); expected plain samples.")
    for number in _UNKNOWN:
        if count := np.count_nonzero(_has(heads[kept], number)):
            notes.append(f"{count} readouts have the flag {number}, which is unknown, and are taken as image data")
    return kept, encoding, tuple(notes)


def is_reversed(heads):
    """(readout,) bool, which ones run backwards."""
    return _has(heads, _REVERSED)


def check_repeats(path, heads):
    """How often the line that is measured most often was measured; such lines are averaged.

    Raises:
        DataError: if readouts of one line differ in their segment or a user's counter, and so in what they mean.
    """
    index = heads["idx"]
    keys = np.stack([index[name] for name in ("slice", "kspace_encode_step_1", "kspace_encode_step_2")], axis=1)
    lines, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    if counts.max() == 1:
        return 1
    inverse = inverse.ravel()
    rest = np.concatenate([index["segment"][:, None], index["user"]], axis=1)
    several = np.unique(np.concatenate([inverse[:, None], rest], axis=1), axis=0)
    repeated = np.flatnonzero(np.bincount(several[:, 0].astype(int)) > 1)
    if len(repeated):
        raise DataError(
            f"{path}: holds line {lines[repeated[0]][1]} of slice {lines[repeated[0]][0]} several times, in different "
            "segments or with different counters of a user; expected one meaning of each line."
        )
    return int(counts.max())


def _has(heads, number):
    return heads["flags"] & np.uint64(1 << (number - 1)) != 0


def _encoding_of(path, heads, encodings):
    spaces = np.unique(heads["encoding_space_ref"])
    if len(spaces) > 1:
        raise DataError(f"{path}: holds images of {len(spaces)} encoding spaces; expected those of one.")
    if spaces[0] >= len(encodings):
        raise DataError(f"{path}: names encoding space {spaces[0]}, of which its header has {len(encodings)}.")
    return encodings[int(spaces[0])]


def _check(path, heads):
    for counter in _SERIES:
        if (count := len(np.unique(heads["idx"][counter]))) > 1:
            raise DataError(f"{path}: holds {count} values of `{counter}`; expected one image of each slice.")
    for field in _ALIKE:
        if len(found := np.unique(heads[field])) > 1:
            raise DataError(f"{path}: readouts differ in `{field}` ({', '.join(map(str, found))}); expected one value.")
    discarded, samples = int(heads["discard_pre"][0]) + int(heads["discard_post"][0]), heads["number_of_samples"][0]
    if discarded >= samples:
        raise DataError(f"{path}: readouts discard {discarded} of {samples} samples; expected some to be left.")


def _calibration(heads, imaging, alone, encoding):
    """Those of the lines for calibration alone that belong to the image."""
    along = bool(heads["trajectory_dimensions"][imaging[0]])
    # Along a trajectory no line tells whether another one is in its place.
    if encoding.calibration in _ELSEWHERE or (along and encoding.calibration not in ("embedded", "interleaved")):
        return alone[:0]
    first = heads[imaging[0]]
    for field in (*_ALIKE, "center_sample", "encoding_space_ref"):
        if along and field == "center_sample":
            continue
        alone = alone[heads[field][alone] == first[field]]
    for counter in _SERIES:
        alone = alone[heads["idx"][counter][alone] == first["idx"][counter]]
    alone = alone[np.isin(heads["idx"]["slice"][alone], heads["idx"]["slice"][imaging])]
    if along:
        return alone
    taken = set(_places(heads[imaging]))
    return np.array([row for row, place in zip(alone, _places(heads[alone]), strict=True) if place not in taken], int)


def _places(heads):
    index = heads["idx"]
    fields = index["slice"], index["kspace_encode_step_1"], index["kspace_encode_step_2"]
    return list(zip(*(field.tolist() for field in fields), strict=True))
