"""What is in a folder of scans, what is wrong with it, and what it is good for."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np

from mri_zoo.data.files import ImageFile, NIfTIFile, image_datasets, open_volume
from mri_zoo.data.preparation import draw_sampling
from mri_zoo.data.volume import DataError

_ENDINGS = (".h5", ".mrd", ".nii", ".nii.gz", ".cfl")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One file: `line` tells what it is, `problem` what is wrong with it, or None."""

    path: Path
    line: str
    problem: str | None = None


def check_folder(folder, progress=None):
    """Read every scan below a folder completely, one slice at a time.

    Args:
        folder: the folder, or one file.
        progress: called as ``progress(done, total, text)``.

    Yields:
        A `Finding` for each file.

    Raises:
        DataError: if there is no such folder, or nothing in it that could be a scan.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder.")
    found = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    files = [p for p in found if p.is_file() and not p.name.startswith(".") and p.name.lower().endswith(_ENDINGS)]
    files = [
        p for p in files if p in found[:1] or not p.name.lower().endswith("traj.cfl")
    ]  # it is read with its k-space
    if not files:
        raise DataError(f"{folder}: holds no scan; expected files that end in {', '.join(_ENDINGS)}.")
    for done, path in enumerate(files):
        if progress is not None:
            progress(done, len(files), path.name)
        try:
            line, problem = f"{path}: " + "; ".join(_describe(source) for source in _sources(path)), None
        except DataError as error:
            line = problem = str(error)
        except Exception as error:  # whatever is in one file, the others are to be checked
            line = problem = f"{path}: {type(error).__name__}: {error}"
        yield Finding(path, line, problem)


def _sources(path):
    """The volumes of a file: one, or each stack of magnitude images of an HDF5 file without k-space."""
    stacks = image_datasets(path) if h5py.is_hdf5(path) else []
    return [ImageFile(path, name) for name in stacks] or [open_volume(path)]


def _describe(source):
    info = source.info
    if info.trajectory is not None:
        return _describe_trajectory(source)
    energy = 0.0
    columns = np.zeros(info.width, bool)
    for index in range(info.num_slices):  # raises DataError on the first slice that is damaged
        volume = source.read([index])
        energy += float(np.sum(np.abs(volume.kspace) ** 2))
        columns |= np.any(volume.kspace != 0, axis=(0, 1, 2))
    if energy == 0:
        raise DataError(f"{source.path}: all samples are zero; expected a scan.")
    if info.target_size is not None and (info.target_size[0] > info.height or info.target_size[1] > info.width):
        raise DataError(f"{source.path}: the reference of {info.target_size} pixels is larger than the k-space.")
    coils = "1 coil" if info.num_coils == 1 else f"{info.num_coils} coils"
    parts = [f"{info.contrast}, {info.num_slices} slices of {info.height} x {info.width}, {coils}"]
    if info.mask is not None:
        parts.append(f"undersampled {info.mask.size / info.mask.sum():.1f} times")
    elif not columns.all():
        parts.append(f"{np.count_nonzero(~columns)} of {info.width} columns are empty, but it has no `mask`")
    parts.append("with a reference" if info.target_size else "without a reference")
    if info.recon_size is not None:
        parts.append("of which the middle {} x {} are the image".format(*info.recon_size))
    return ", ".join([*parts, *info.notes, f"use: {_use(source)}"])


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


def _use(source):
    """The command that fits a volume; to be judged, it must be fully sampled or have a reference."""
    if isinstance(source, ImageFile):
        return f"mri-zoo reconstruct {source.path} --images {source.dataset} --model NAME -o OUT"
    undersampled = source.info.mask is not None or source.info.trajectory is not None
    if undersampled and source.info.target_size is None:
        return f"mri-zoo reconstruct {source.path} --model NAME -o OUT"
    dataset = "oasis" if isinstance(source, NIfTIFile) else "fastmri"
    return f"mri-zoo evaluate --dataset {dataset} --root {source.path} --model NAME -o RESULTS"
