"""What is in a folder of scans, what is wrong with it, and what it is good for."""

import collections
import dataclasses
import logging
from pathlib import Path

import numpy as np

from mri_zoo.data.files import ImageFile, NIfTIFile, image_datasets, open_volume
from mri_zoo.data.hdf5 import is_hdf5
from mri_zoo.data.preparation import draw_sampling
from mri_zoo.data.sampling import effective_acceleration
from mri_zoo.data.search import search
from mri_zoo.data.undersampling import find_mask
from mri_zoo.data.volume import DataError, printable
from mri_zoo.interruption import raise_if_interrupted

_log = logging.getLogger(__name__)

_ENDINGS = (".h5", ".mrd", ".nii", ".nii.gz", ".cfl")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One file: `line` tells what it is, `problem` what is wrong with it, or None."""

    path: Path
    line: str
    problem: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "line", printable(self.line))


def check_folder(folder, progress=None):
    """Read every scan below a folder completely, one slice at a time.

    Args:
        folder: the folder, or one file.
        progress: called as ``progress(done, total, text)``.

    Yields:
        A `Finding` for each file. What is left out is told by a warning of `logging`.

    Raises:
        DataError: if there is no such folder, or nothing in it that could be a scan.
    """
    folder, left_out = Path(folder), ""
    if folder.is_dir():
        found = search(folder, _ENDINGS)
        # BART's trajectories are read with their k-space.
        files, left_out = [path for path in found.paths if not path.name.lower().endswith("traj.cfl")], found.summary()
    else:
        files = [folder]
        if not folder.exists() and not folder.is_symlink():
            raise DataError(f"{folder}: no such file or folder.")
    if left_out and files:
        _log.warning("%s", left_out)
    if not files:
        left = f" ({left_out})" if left_out else ""
        raise DataError(f"{folder}: holds no scan; expected files that end in {', '.join(_ENDINGS)}{left}.")
    for done, path in enumerate(files):
        if progress is not None:
            progress(done, len(files), path.name)
        try:
            line, problem = f"{path}: " + "; ".join(_describe(source) for source in _sources(path)), None
        except DataError as error:
            raise_if_interrupted()
            line = problem = str(error)
        except Exception as error:  # whatever is in one file, the others are to be checked
            raise_if_interrupted()
            line = problem = f"{path}: {type(error).__name__}: {error}"
        yield Finding(path, line, problem)


def _sources(path):
    """The volumes of a file: one, or each stack of magnitude images of an HDF5 file without k-space."""
    stacks = image_datasets(path) if is_hdf5(path) else []
    return [ImageFile(path, name) for name in stacks] or [open_volume(path)]


def _describe(source):
    info = source.info
    if info.trajectory is not None:
        return _describe_trajectory(source)
    empty, black = [], []

    def slices():
        for index in range(info.num_slices):  # raises DataError on the first slice that is damaged
            volume = source.read([index])
            if not volume.kspace.any():
                empty.append(index)
            if volume.target is not None and not volume.target.any():
                black.append(index)
            yield volume.kspace[0]

    if getattr(source, "simulated", False):
        mask, note = None, ""
        collections.deque(slices(), maxlen=0)
    else:
        mask, note = find_mask(source.path, slices(), padded=info.target_size is not None)
    if len(empty) == info.num_slices:
        raise DataError(f"{source.path}: all samples are zero; expected a scan.")
    if len(black) == info.num_slices:
        raise DataError(f"{source.path}: its reference is black in all slices; expected an image.")
    coils = "1 coil" if info.num_coils == 1 else f"{info.num_coils} coils"
    parts = [f"{info.contrast}, {info.num_slices} slices of {info.height} x {info.width}, {coils}"]
    if info.mask is not None:
        parts.append(f"undersampled {effective_acceleration(info.mask):.1f} times")
    elif mask is not None:
        kind = "columns" if len(mask) == 1 else "samples"
        gaps = f"{np.count_nonzero(mask == 0)} of {mask.size} {kind} are empty, but it has no `mask`"
        parts.append(f"undersampled {effective_acceleration(mask):.1f} times: {gaps}")
    parts += [note] if note else []
    parts += [f"{len(empty)} of the slices without a sample"] if empty else []
    parts.append("with a reference" if info.target_size else "without a reference")
    if (stored := getattr(source, "stored_target_size", None)) not in (None, info.target_size):
        parts[-1] += f" of {stored} pixels, which is larger than the k-space and is cropped to {info.target_size}"
    if info.recon_size is not None:
        parts.append("of which the middle {} x {} are the image".format(*info.recon_size))
    return ", ".join([*parts, *info.notes, f"use: {_use(source, mask is not None)}"])


def _describe_trajectory(source):
    info = source.info
    encoding = draw_sampling(None, info)  # raises DataError where the trajectory is of no use
    if not any(source.read([index]).kspace.any() for index in range(info.num_slices)):
        raise DataError(f"{source.path}: all samples are zero; expected a scan.")
    size = " x ".join(map(str, info.image_size))
    what = f"{info.num_slices} slices of {size}" if info.depth is None else f"a volume of {size}"
    coils = "1 coil" if info.num_coils == 1 else f"{info.num_coils} coils"
    samples = f"along a trajectory of {len(info.trajectory)} samples, undersampled {encoding.acceleration:.1f} times"
    density = "with a density" if info.density is not None else "without a density"
    return ", ".join([f"{info.contrast}, {what}", coils, samples, density, *info.notes, f"use: {_use(source)}"])


def _use(source, undersampled=False):
    """The command that fits a volume; to be judged, it must be fully sampled or have a reference."""
    if isinstance(source, ImageFile):
        return f"mri-zoo reconstruct {source.path} --images {source.dataset} --model NAME -o OUT"
    undersampled = undersampled or source.info.mask is not None or source.info.trajectory is not None
    if undersampled and source.info.target_size is None:
        return f"mri-zoo reconstruct {source.path} --model NAME -o OUT"
    dataset = "oasis" if isinstance(source, NIfTIFile) else "fastmri"
    return f"mri-zoo evaluate --dataset {dataset} --root {source.path} --model NAME -o RESULTS"
