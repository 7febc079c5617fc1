"""Readers of scans: fastMRI HDF5, NIfTI volumes, and stacks of magnitude images in HDF5, all in the one NumPy form.

Each reader is a `VolumeSource`: its description `info` is read when it is made, samples only when `read` asks for them.
"""

import abc
import collections
import contextlib
import functools
import gzip
import inspect
import re
import threading
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np

from mri_zoo.data.fourier import fft2c
from mri_zoo.data.hdf5 import (
    DatasetSlices,
    hdf5_dataset,
    hdf5_error,
    hdf5_item,
    number_attribute,
    open_hdf5,
    text_attribute,
)
from mri_zoo.data.ismrmrd_header import parse_header
from mri_zoo.data.simulate import smooth_phase
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, check_finite, checked_slices

# A handful, so that a pass over volumes one after the other decompresses each once: about 70 MB each at 256^3.
NUM_CACHED_VOLUMES = 4

_NIFTI_LOCKS = collections.defaultdict(threading.Lock)

_EXTENSIONS = {"fastmri": (".h5",), "oasis": (".nii", ".nii.gz")}
_LAYOUTS = {
    "fastmri": "fastMRI volumes in it or below, such as multicoil_val/file1000001.h5",
    "oasis": "NIfTI volumes in it or below, such as sub-OAS30001/anat/sub-OAS30001_T1w.nii.gz",
}
_CONTRASTS = {
    **{name: "T1w" for name in ("t1w", "t1")},
    **{name: "T2w" for name in ("t2w", "t2")},
    **{name: "PDw" for name in ("pdw", "pd")},
    **{name: "T2star" for name in ("t2star", "t2starw")},
    **{name: name.upper() for name in ("flair", "swi")},
}
_CONTRAST_IN_NAME = re.compile(rf"(?:^|(?<=[_.-]))(?:{'|'.join(_CONTRASTS)})(?=[_.-]|$)", re.IGNORECASE)


class FastMRIFile:
    """A volume of k-space in fastMRI's HDF5 layout.

    Datasets: `kspace` (slice, coil, height, width) or (slice, height, width) complex; optionally the reference
    `reconstruction_rss` or `reconstruction_esc` (slice, height, width), `mask` (width,) or (height, width), and
    `ismrmrd_header`; attributes `acquisition`, `patient_id`, `max`, `norm`. Without a stored reference the target is
    None.

    Args:
        path: the file.

    Raises:
        DataError: if the file is missing, damaged, or not in this layout; on reading, if samples are not finite.

    Reference: Zbontar et al., fastMRI, arXiv:1811.08839.
    """

    def __init__(self, path):
        self.path = Path(path)
        with open_hdf5(self.path) as file:
            kspace = hdf5_dataset(
                file, "kspace", "complex", (3, 4), "(slice, coil, height, width) or (slice, height, width)"
            )
            if "trajectory" in file:
                raise hdf5_error(
                    file, "trajectory", "is there, so that the samples are non-Cartesian", "a Cartesian scan"
                )
            num_slices, *coils, height, width = kspace.shape
            target_name = _target_name(file, single_coil=not coils)
            self._kspace, self._target = DatasetSlices(kspace), None
            if target_name is not None:
                target = hdf5_dataset(file, target_name, "real", (3,), "(slice, height, width)")
                if len(target) != num_slices:
                    raise hdf5_error(file, target_name, f"has {len(target)} slices", f"{num_slices}, as `kspace` has")
                self._target = DatasetSlices(target)
            self.info = VolumeInfo(
                name=self.path.name,
                num_slices=num_slices,
                num_coils=coils[0] if coils else 1,
                height=height,
                width=width,
                contrast=text_attribute(file, "acquisition", "unknown"),
                patient_id=text_attribute(file, "patient_id", ""),
                target_size=self._target.shape[1:] if self._target else None,
                mask=_mask(file, height, width),
                padding=_padding(file, width),
                maximum=number_attribute(file, "max"),
                norm=number_attribute(file, "norm"),
                **_geometry(file, height, width),
            )

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for; nothing else is read.

        Raises:
            DataError: if an index is out of range, the file is damaged, or k-space or reference are not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        kspace = self._kspace.read(slices, np.complex64)
        kspace = kspace.reshape(len(slices), self.info.num_coils, *kspace.shape[-2:])  # single-coil files lack the axis
        target = self._target.read(slices, np.float32) if self._target else None
        return Volume(self.info, slices, kspace, target)


class MagnitudeFile(abc.ABC):
    """What readers of magnitude images share: the image is the reference, its Fourier transform the one-coil k-space.

    Subclasses set `path`, `info` and `phase_seed`, and implement `_magnitude`.
    """

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for.

        Raises:
            DataError: if an index is out of range, the file is damaged, or pixels are not finite.
        """
        slices = checked_slices(self.path, slices, self.info.num_slices)
        target = self._magnitude(slices)
        image = target
        if self.phase_seed is not None:
            # Seeded slice by slice, so that a slice's phase does not depend on which others are read.
            seeds = [(self.phase_seed, index, *self.info.name.encode()) for index in slices]
            phases = [smooth_phase(*target.shape[1:], np.random.default_rng(seed)) for seed in seeds]
            image = target * np.exp(1j * np.reshape(phases, target.shape)).astype(np.complex64)
        kspace = fft2c(image).astype(np.complex64)[:, None]
        return Volume(self.info, slices, kspace, target)

    @abc.abstractmethod
    def _magnitude(self, slices):
        """(slice, height, width) float32, >= 0."""


class NIfTIFile(MagnitudeFile):
    """A 3-D magnitude volume in NIfTI, as in OASIS-3; the axis with the fewest samples becomes the slices.

    Contrast and patient come from the file name: the BIDS suffix (`T1w`, `T2w`, `FLAIR`, ...; `T1W` becomes `T1w`) and
    the entity `sub-...`, or else what comes before the contrast. Compressed files cannot be read slice by slice:
    the last `NUM_CACHED_VOLUMES` volumes are kept in memory, whatever the number of instances.

    Args:
        path: the .nii or .nii.gz file.
        phase_seed: multiplies the image by a smooth simulated phase before the Fourier transform; no phase by default.

    Attributes:
        whole: reading one slice costs as much as reading the volume, so that its slices are best read together.

    Raises:
        DataError: if the file is missing, damaged, not 3-D (functional series are refused) or not real; on reading, if
            pixels are not finite.
    """

    whole = True

    def __init__(self, path, phase_seed=None):
        self.path, self.phase_seed = Path(path), phase_seed
        with _nifti_errors(self.path):
            image = nibabel.load(self.path)
            shape, dtype = image.shape, image.get_data_dtype()
            zooms = _millimetres(image.header)
        if len(shape) == 4 and shape[3] == 1:
            shape = shape[:3]
        if len(shape) != 3 or 0 in shape:
            what = "a 4-D series, for example functional" if len(shape) == 4 else f"an image of shape {shape}"
            raise DataError(f"{self.path}: holds {what}; expected a 3-D volume (one image of one contrast).")
        if dtype.kind not in "iuf":
            raise DataError(f"{self.path}: holds values of type {dtype}; expected real numbers.")
        self.slice_axis = int(np.argmin(shape))
        height, width = np.delete(shape, self.slice_axis).tolist()
        contrast, patient_id = _contrast_and_patient(self.path)
        self.info = VolumeInfo(
            name=self.path.name,
            num_slices=shape[self.slice_axis],
            num_coils=1,
            height=height,
            width=width,
            contrast=contrast,
            patient_id=patient_id,
            target_size=(height, width),
            voxel_size=(zooms[self.slice_axis], *np.delete(zooms, self.slice_axis).tolist()),
        )

    def _magnitude(self, slices):
        # The time of the last change is part of the key: a file that was replaced is read again.
        with _nifti_errors(self.path):
            volume = _nifti_volume(self.path.resolve(), self.path.stat().st_mtime_ns)
        volume = np.moveaxis(volume, self.slice_axis, 0)
        magnitude = np.abs(volume[list(slices)], order="C")
        check_finite(self.path, "the image", slices, magnitude)
        return magnitude


class ImageFile(MagnitudeFile):
    """A stack of magnitude images, one (slice, height, width) dataset of real numbers in an HDF5 file.

    Args:
        path: the HDF5 file.
        dataset: the dataset's name, which is taken as the contrast.
        phase_seed: as in `NIfTIFile`.

    Raises:
        DataError: if the file or the dataset is missing, damaged or of another form; on reading, if pixels are not
            finite.
    """

    def __init__(self, path, dataset, phase_seed=None):
        self.path, self.dataset, self.phase_seed = Path(path), dataset, phase_seed
        with open_hdf5(self.path) as file:
            images = hdf5_dataset(file, dataset, "real", (3,), "(slice, height, width)")
            self._images = DatasetSlices(images)
            num_slices, height, width = images.shape
            self.info = VolumeInfo(
                name=self.path.name,
                num_slices=num_slices,
                num_coils=1,
                height=height,
                width=width,
                contrast=dataset,
                patient_id=text_attribute(file, "patient_id", ""),
                target_size=(height, width),
            )

    def _magnitude(self, slices):
        return np.abs(self._images.read(slices, np.float32))


def open_volume(path, dataset=None, phase_seed=None, image_size=None, units=None):
    """The reader for a file, by its extension and content.

    Args:
        path: .nii or .nii.gz is NIfTI, .cfl is BART's; of HDF5 the layout tells: ISMRMRD, k-space with a trajectory, or
            fastMRI's.
        dataset: reads this dataset of an HDF5 file as magnitude images.
        phase_seed: simulated phase of magnitude images.
        image_size: (height, width) or (depth, height, width) of a scan along a trajectory, in place of its file's.
        units: of the trajectory, where its file does not tell them or tells wrong ones: see `as_trajectory`.

    Raises:
        DataError: if the file cannot be used, or its reader does not take an argument.
    """
    given = {"image_size": image_size, "units": units}
    given = {key: value for key, value in given.items() if value is not None}
    if dataset is not None:
        reader, options = ImageFile, (dataset, phase_seed)
    elif Path(path).name.lower().endswith(_EXTENSIONS["oasis"]):
        reader, options = NIfTIFile, (phase_seed,)
    else:
        reader, options = _reader_of_raw(path), ()
    if refused := given.keys() - inspect.signature(reader).parameters:
        raise DataError(f"{path}: `{refused.pop()}` cannot be given, {reader.__name__} does not take it.")
    return reader(path, *options, **given)


def _reader_of_raw(path):
    """The class that reads a file of k-space; those of trajectories bring Keras along."""
    if Path(path).suffix.lower() in (".cfl", ".hdr"):
        from mri_zoo.data.bart import BARTFile

        return BARTFile
    if h5py.is_hdf5(path):
        with open_hdf5(Path(path)) as file:
            raw, along = isinstance(file.get("dataset/data"), h5py.Dataset), "trajectory" in file
        if raw:
            from mri_zoo.data.ismrmrd import ISMRMRDFile

            return ISMRMRDFile
        if along:
            from mri_zoo.data.raw import TrajectoryFile

            return TrajectoryFile
    return FastMRIFile


def image_datasets(path):
    """The names of the stacks of images, (slice, height, width) real numbers, of an HDF5 file without k-space."""
    with open_hdf5(Path(path)) as file:
        if "kspace" in file:
            return []
        stacks = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim == 3}
        stacks = {name: item for name, item in stacks.items() if item.dtype.kind in "iuf" and item.size}
        return [name for name in stacks if not name.startswith("reconstruction")]  # of k-space, which is missing


def find_volumes(root, kind):
    """The volumes of a dataset in a folder.

    Args:
        root: the folder, searched with all its sub-folders, or one file, which is then the only result.
        kind: "fastmri" (``*.h5``) or "oasis" (``*.nii`` and ``*.nii.gz``).

    Returns:
        The sorted list of paths.

    Raises:
        DataError: if the folder is missing or holds no such file.
        ValueError: if the kind is unknown.
    """
    if kind not in _EXTENSIONS:
        raise ValueError(f"`kind` must be one of {', '.join(_EXTENSIONS)}, got {kind!r}.")
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise DataError(f"{root}: no such file or folder; expected {_LAYOUTS[kind]}.")
    # Names with a leading dot are the companions that macOS leaves on foreign disks.
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    paths = sorted(path for path in found if path.name.lower().endswith(_EXTENSIONS[kind]))
    if not paths:
        raise DataError(
            f"{root}: the folder holds no {' or '.join(_EXTENSIONS[kind])} file; expected {_LAYOUTS[kind]}."
        )
    return paths


def _target_name(file, single_coil):
    # fastMRI's single-coil files hold both, and are judged by the emulated single coil's.
    names = (
        ("reconstruction_esc", "reconstruction_rss") if single_coil else ("reconstruction_rss", "reconstruction_esc")
    )
    return next((name for name in names if name in file), None)


def _mask(file, height, width):
    """(1 or height, width) float32, or None."""
    if "mask" not in file:
        return None
    stored, expected = hdf5_item(file, "mask"), f"({width},) or ({height}, {width}) numbers, to fit `kspace`"
    if not isinstance(stored, h5py.Dataset):
        raise hdf5_error(file, "mask", f"is a {type(stored).__name__.lower()}", expected)
    if stored.shape not in ((width,), (1, width), (height, width)) or stored.dtype.kind not in "biuf":
        raise hdf5_error(file, "mask", f"has shape {stored.shape} and type {stored.dtype}", expected)
    mask = np.atleast_2d(stored[()])
    if not mask.any():
        raise hdf5_error(file, "mask", "samples nothing", "1 where sampled")
    return (mask != 0).astype(np.float32)


def _padding(file, width):
    """First and one-past-last acquired column as fastMRI finds them in the ISMRMRD header, (0, width) without one."""
    try:
        encoding = ElementTree.fromstring(_header(file)).find("{*}encoding")
        size = int(encoding.find("{*}encodedSpace/{*}matrixSize/{*}y").text)
        limits = encoding.find("{*}encodingLimits/{*}kspace_encoding_step_1")
        first = size // 2 - int(limits.find("{*}center").text)
        stop = first + int(limits.find("{*}maximum").text) + 1
    except (AttributeError, TypeError, ValueError, LookupError, ElementTree.ParseError):  # also an unknown encoding
        return 0, width
    first, stop = max(first, 0), min(stop, width)
    return (first, stop) if first < stop else (0, width)


def _header(file):
    """The XML header of a fastMRI file; one value, as an array of any size could be called so."""
    stored = hdf5_item(file, "ismrmrd_header")
    if not isinstance(stored, h5py.Dataset) or stored.shape != ():
        raise TypeError("the header is no text")
    return stored[()]


def _geometry(file, height, width):
    """Voxel size and size of the image by the ISMRMRD header, where it is one of this k-space."""
    try:
        encoding = parse_header(_header(file))[0]
    except (TypeError, ValueError):
        return {}
    pixel, recon = (encoding.pixel_size(0), encoding.pixel_size(1)), encoding.recon_field_of_view
    if encoding.size[:2] != (height, width) or recon is None or encoding.recon_size is None or None in pixel:
        return {}
    kept = encoding.pixels(0), encoding.pixels(1)
    return {
        "recon_size": None if kept == (height, width) else kept,
        "voxel_size": (recon[2] / encoding.recon_size[2], *pixel),
    }


@contextlib.contextmanager
def _nifti_errors(path):
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a NIfTI volume.")
    try:
        yield
    except nibabel.filebasedimages.ImageFileError as error:
        raise DataError(f"{path}: is not a NIfTI file; expected a .nii or .nii.gz volume ({error}).") from error
    except (OSError, EOFError, ValueError, zlib.error, nibabel.spatialimages.HeaderDataError) as error:
        raise DataError(f"{path}: is truncated or damaged; expected a whole NIfTI volume ({error}).") from error


def _nifti_volume(path, modified):
    """The float32 volume of a file, shared by all who read it; of readers at one time, one decompresses it."""
    with _NIFTI_LOCKS[path]:
        return _read_nifti(path, modified)


@functools.lru_cache(maxsize=NUM_CACHED_VOLUMES)
def _read_nifti(path, modified):
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)  # nibabel stops before the checksum, and so reads damaged files
    volume = type(nibabel.load(path)).from_bytes(content).get_fdata(dtype=np.float32, caching="unchanged")
    return volume.reshape(volume.shape[:3])


def _millimetres(header):
    """The extents of a voxel; a header without a unit, as most have, means millimetres."""
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
    factor = {"meter": 1000.0, "micron": 0.001}.get(unit, 1.0)
    return [float(zoom) * factor for zoom in header.get_zooms()[:3]]


def _contrast_and_patient(path):
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    contrasts = list(_CONTRAST_IN_NAME.finditer(stem))
    subject = re.match(r"sub-[A-Za-z0-9]+", stem)
    if subject:
        patient_id = subject.group()
    else:
        patient_id = (stem[: contrasts[0].start()] if contrasts else stem).strip("_.-")
    return _CONTRASTS[contrasts[-1].group().lower()] if contrasts else "unknown", patient_id
