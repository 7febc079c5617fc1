"""Which files of a folder are volumes, and what is left out."""

import collections
import dataclasses
import logging
import os
import re
from pathlib import Path

from mri_zoo.data.volume import DataError, printable

EXTENSIONS = {"fastmri": (".h5",), "oasis": (".nii", ".nii.gz")}
_LAYOUTS = {
    "fastmri": "fastMRI volumes in it or below, such as multicoil_val/file1000001.h5",
    "oasis": "NIfTI volumes in it or below, such as sub-OAS30001/anat/sub-OAS30001_T1w.nii.gz",
}

# What BIDS-like folders keep beside images: https://bids-specification.readthedocs.io, tables of suffixes and entities.
_FOLDERS = {
    "derivatives": "processed data",
    "code": "programs",
    "func": "series of frames",
    "dwi": "diffusion images",
    "fmap": "field maps",
    "perf": "perfusion images",
    **dict.fromkeys(("masks", "mask", "rois", "roi"), "masks and label maps"),
    "pet": "other modalities",
    "eeg": "other modalities",
    "meg": "other modalities",
    "ieeg": "other modalities",
}
_SUFFIXES = {
    "series of frames": r"bold|sbref|cbv|fmri|rest|noRF|events|physio",
    "diffusion images": r"dwi|dti|tracew?|adc|fa|md|rd|ad|bval|bvec|[lv][123]|s0",
    "field maps": r"phasediff|phase[0-9]*|magnitude[0-9]*|fieldmap|epi|TB1\w+|RB1\w+|B[01]",
    "perfusion images": r"asl|m0scan|asllabeling|cbf",
    "other modalities": r"pet|ct|xray|photo|spect",
    "localizers": r"localizer|localiser|loc|scout|survey|aahscout|3plane",
    "images with signs": r"UNIT1|Chimap|angio_phase",
}
_WORDS = {
    "masks and label maps": (
        r".*(mask|msk|seg|parc|labels?|segmentation|lesions?|rois?|ribbon)[0-9]*|pve|gt|consensus|mixeltype|wmh"
        r"|labelsfor\w+|prob|pvseg|w?c[1-6][a-z]\w*|m?wp[1-6]\w*"
    ),
    "parameter maps and transforms": (
        r"(t1|t2|t2star|r1|r2|r2star|pd|mt\w*|m0|s0|mwf|b0|b1|stat|z|prob|adc|fa|bias)_?maps?|mtsat|warp|xfm|jacobian"
        r"|bias_?field|y|iy|\w*dividedby\w*"
    ),
    "phase, real and imaginary parts": r"phase|ph|real|imag|imaginary|part-(phase|real|imag)",
}
_LABELS = re.compile(r"(labels?|segs?|segmentations?|annotations?)[_-]?(tr|ts|train(ing)?|test|val)?", re.IGNORECASE)
_SUFFIXES = [(kind, re.compile(words, re.IGNORECASE)) for kind, words in _SUFFIXES.items()]
_WORDS = [(kind, re.compile(words, re.IGNORECASE)) for kind, words in _WORDS.items()]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Search:
    """What is in a folder.

    Attributes:
        root: the folder.
        paths: the sorted files that are taken. A link that leads nowhere is among them: its reader says so.
        left_out: {reason: sorted paths} of all others.
    """

    root: Path
    paths: list[Path]
    left_out: dict[str, list[Path]]

    def summary(self):
        """One line that tells of what was left out, and why; empty where nothing was."""
        parts = [
            f"{len(paths)} {reason} ({paths[0].relative_to(self.root)}{', ...' if len(paths) > 1 else ''})"
            for reason, paths in sorted(self.left_out.items())
        ]
        return printable(f"{self.root}: left out {'; '.join(parts)}") if parts else ""


def find_volumes(root, kind):
    """The volumes of a dataset in a folder. What is left out is told by a warning of `logging`.

    Links are followed, each file is taken once. NIfTI files are left out whose names or folders say that they are no
    magnitude images: masks and label maps, series, diffusion, field maps, phases, parameter maps, derivatives.

    Args:
        root: the folder, searched with all its sub-folders, or one file, which is then the only result.
        kind: "fastmri" (``*.h5``) or "oasis" (``*.nii`` and ``*.nii.gz``).

    Returns:
        The sorted list of paths.

    Raises:
        DataError: if the folder is missing or holds no such file.
        ValueError: if the kind is unknown.
    """
    if kind not in EXTENSIONS:
        raise ValueError(f"`kind` must be one of {', '.join(EXTENSIONS)}, got {kind!r}.")
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise DataError(f"{root}: no such file or folder; expected {_LAYOUTS[kind]}.")
    found = search(root, EXTENSIONS[kind])
    if not found.paths:
        left = f"; {found.summary().removeprefix(f'{printable(root)}: ')}" if found.left_out else ""
        raise DataError(
            f"{root}: the folder holds no {' or '.join(EXTENSIONS[kind])} file; expected {_LAYOUTS[kind]}{left}."
        )
    if found.left_out:
        _log.warning("%s", found.summary())
    return found.paths


def search(root, endings):
    """Find files by their endings, whatever the case; links to files and folders are followed, without going round.

    Args:
        root: the folder.
        endings: of the names, in lower case.

    Returns:
        A `Search`.
    """
    taken, left_out, files, folders = [], collections.defaultdict(list), {}, set()
    waiting, links = [Path(root)], []
    while waiting or links:
        # A folder that is no link comes before links to it.
        folder = waiting.pop() if waiting else links.pop(links.index(min(links)))
        real = os.path.realpath(folder)
        if real in folders:
            left_out["links to folders that are here already"].append(folder)
            continue
        folders.add(real)
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
        except OSError:
            left_out["folders that cannot be read"].append(folder)
            continue
        for path in (folder / name for name in names):
            if path.name.startswith("."):
                left_out["hidden"].append(path)
            elif path.is_dir():
                (links if path.is_symlink() else waiting).append(path)
            else:
                reason = _reason(path, path.relative_to(root), endings)
                taken.append(path) if reason is None else left_out[reason].append(path)
    paths = []
    for path in sorted(taken, key=lambda path: (path.is_symlink(), path)):
        first = files.setdefault(os.path.realpath(path), path)
        paths.append(path) if first is path else left_out["links to files that are here already"].append(path)
    return Search(Path(root), sorted(paths), {reason: sorted(left) for reason, left in left_out.items()})


def _reason(path, below, endings):
    """Why a file is not taken, or None."""
    name = path.name.lower()
    if not name.endswith(endings):
        ending = "".join(path.suffixes[-2:]) if name.endswith(".gz") else path.suffix
        return f"of the ending {ending.lower()}" if ending else "without an ending"
    if path.exists() and not path.is_file():
        return "no regular files"
    if not name.endswith(EXTENSIONS["oasis"]):
        return None
    for folder in below.parts[:-1]:
        if folder.lower() in _FOLDERS:
            return _FOLDERS[folder.lower()]
        if _LABELS.fullmatch(folder):
            return "masks and label maps"
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    tokens = [token for token in re.split(r"[_.+\s]|(?<!part)-", stem) if token]
    for kind, words in _WORDS:
        if any(words.fullmatch(token) for token in tokens):
            return kind
    for kind, words in _SUFFIXES:
        if tokens and words.fullmatch(tokens[-1]):
            return kind
    return None
