"""Readers of scans: fastMRI HDF5, NIfTI volumes, and stacks of magnitude images in HDF5, all in the one NumPy form.

Each reader is a `VolumeSource`: its description `info` is read when it is made, samples only when `read` asks for them.
"""

import inspect
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py
import numpy as np

from mri_zoo.data.fourier import center_crop
from mri_zoo.data.hdf5 import (
    DatasetSlices,
    hdf5_dataset,
    hdf5_error,
    hdf5_item,
    hdf5_values,
    is_hdf5,
    number_attribute,
    open_hdf5,
    text_attribute,
)
from mri_zoo.data.ismrmrd_header import parse_header
from mri_zoo.data.magnitude import MagnitudeFile, check_signs
from mri_zoo.data.nifti import NIfTIFile
from mri_zoo.data.search import EXTENSIONS, find_volumes
from mri_zoo.data.volume import DataError, Volume, VolumeInfo, checked_slices, file_errors

__all__ = ["FastMRIFile", "ImageFile", "MagnitudeFile", "NIfTIFile", "find_volumes", "image_datasets", "open_volume"]

_MAX_HEADER = 1 << 24  # bytes of an ISMRMRD header in XML; a few tens of kB are usual


class FastMRIFile:
    """A volume of k-space in fastMRI's HDF5 layout.

    Datasets: `kspace` (slice, coil, height, width) or (slice, height, width) complex; optionally the reference
    `reconstruction_rss` or `reconstruction_esc` (slice, height, width), `mask` (width,) or (height, width), and
    `ismrmrd_header`; attributes `acquisition`, `patient_id`, `max`, `norm`. Without a stored reference the target is
    None. A reference that is larger than the k-space, as those of some FLAIR scans of fastMRI, is cropped to it along
    each axis, as fastMRI's `center_crop_to_smallest` does in training.

    Args:
        path: the file.

    Attributes:
        stored_target_size: (height, width) of the stored reference, before it is cropped, or None.

    Raises:
        DataError: if the file is missing, damaged, or not in this layout; on reading, if samples are not finite, or
            the reference is negative.

    Reference: Zbontar et al., fastMRI, arXiv:1811.08839.
    """

    def __init__(self, path):
        self.path = Path(path)
        with open_hdf5(self.path) as file:
            kspace = hdf5_dataset(
                file, "kspace", "complex", (3, 4), "(slice, coil, height, width) or (slice, height, width)"
            )
            if hdf5_item(file, "trajectory") is not None:
                raise hdf5_error(
                    file, "trajectory", "is there, so that the samples are non-Cartesian", "a Cartesian scan"
                )
            num_slices, *coils, height, width = kspace.shape
            target_name = _target_name(file, single_coil=not coils)
            self._kspace, self._target, self.stored_target_size = DatasetSlices(kspace), None, None
            if target_name is not None:
                target = hdf5_dataset(file, target_name, "real", (3,), "(slice, height, width)")
                if len(target) != num_slices:
                    raise hdf5_error(file, target_name, f"has {len(target)} slices", f"{num_slices}, as `kspace` has")
                self._target = DatasetSlices(target)
                self.stored_target_size = target.shape[1:]
            self.info = VolumeInfo(
                name=self.path.name,
                num_slices=num_slices,
                num_coils=coils[0] if coils else 1,
                height=height,
                width=width,
                contrast=text_attribute(file, "acquisition", "unknown"),
                patient_id=text_attribute(file, "patient_id", ""),
                target_size=self._target and tuple(map(min, self.stored_target_size, (height, width))),
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
        target = self._target and center_crop(self._target.read(slices, np.float32), self.info.target_size)
        if target is not None:
            check_signs(f"{self.path}: dataset `{self._target.name.lstrip('/')}`", [target])
        return Volume(self.info, slices, kspace, target)


class ImageFile(MagnitudeFile):
    """A stack of magnitude images, one (slice, height, width) dataset of real numbers in an HDF5 file.

    Args:
        path: the HDF5 file.
        dataset: the dataset's name, which is taken as the contrast.
        phase_seed: as in `NIfTIFile`.

    Raises:
        DataError: if the file or the dataset is missing, damaged or of another form; on reading, if pixels are not
            finite, or are negative as those of a phase or a difference.
    """

    def __init__(self, path, dataset, phase_seed=None):
        self.path, self.dataset, self.phase_seed = Path(path), dataset, phase_seed
        with open_hdf5(self.path) as file:
            images = hdf5_dataset(file, dataset, "real", (3,), "(slice, height, width)")
            self._images, self._checked = DatasetSlices(images), False
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
        if not self._checked:
            what = f"{self.path}: dataset `{self.dataset}`"
            check_signs(what, (self._images.read([i], np.float32, finite=False) for i in range(self.info.num_slices)))
            self._checked = True
        return np.maximum(self._images.read(slices, np.float32), 0)


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
    elif Path(path).name.lower().endswith(EXTENSIONS["oasis"]):
        reader, options = NIfTIFile, (phase_seed,)
    else:
        reader, options = _reader_of_raw(path), ()
    if refused := given.keys() - inspect.signature(reader).parameters:
        raise DataError(f"{path}: `{refused.pop()}` cannot be given, {reader.__name__} does not take it.")
    with file_errors(path):
        return reader(path, *options, **given)


def _reader_of_raw(path):
    """The class that reads a file of k-space; those of trajectories bring Keras along."""
    if Path(path).suffix.lower() in (".cfl", ".hdr"):
        from mri_zoo.data.bart import BARTFile

        return BARTFile
    if is_hdf5(path):
        with open_hdf5(Path(path)) as file:
            raw, along = (
                isinstance(hdf5_item(file, "dataset/data"), h5py.Dataset),
                hdf5_item(file, "trajectory") is not None,
            )
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
        if file.get("kspace", getlink=True) is not None:
            return []
        stacks = {name: hdf5_item(file, name) for name in file}
        stacks = {name: item for name, item in stacks.items() if isinstance(item, h5py.Dataset) and item.ndim == 3}
        stacks = {name: item for name, item in stacks.items() if item.dtype.kind in "iuf" and item.size}
        return [name for name in stacks if not name.startswith("reconstruction")]  # of k-space, which is missing


def _target_name(file, single_coil):
    # fastMRI's single-coil files hold both, and are judged by the emulated single coil's.
    names = (
        ("reconstruction_esc", "reconstruction_rss") if single_coil else ("reconstruction_rss", "reconstruction_esc")
    )
    return next((name for name in names if file.get(name, getlink=True) is not None), None)


def _mask(file, height, width):
    """(1 or height, width) float32, or None."""
    if hdf5_item(file, "mask") is None:
        return None
    expected = f"({width},) or ({height}, {width}) numbers, to fit `kspace`"
    stored = hdf5_dataset(file, "mask", "any", range(4), expected)
    if stored.dtype.kind not in "biuf" or stored.size not in (width, height * width):
        raise hdf5_error(file, "mask", f"has shape {stored.shape} and type {stored.dtype}", expected)
    mask = np.atleast_2d(stored[()])
    if mask.shape not in ((1, width), (height, width)):
        raise hdf5_error(file, "mask", f"has shape {stored.shape} and type {mask.dtype}", expected)
    if not np.isfinite(mask).all():
        raise hdf5_error(file, "mask", "holds NaN or infinity", "1 where sampled, 0 elsewhere")
    if not mask.any():
        raise hdf5_error(file, "mask", "samples nothing", "1 where sampled")
    return (mask != 0).astype(np.float32)


def _padding(file, width):
    """First and one-past-last acquired column as fastMRI finds them in the ISMRMRD header, (0, width) without one."""
    header = hdf5_values(file, "ismrmrd_header", _MAX_HEADER)
    try:
        encoding = ElementTree.fromstring(header).find("{*}encoding")
        size = int(encoding.find("{*}encodedSpace/{*}matrixSize/{*}y").text)
        limits = encoding.find("{*}encodingLimits/{*}kspace_encoding_step_1")
        first = size // 2 - int(limits.find("{*}center").text)
        stop = first + int(limits.find("{*}maximum").text) + 1
    except (LookupError, AttributeError, TypeError, ValueError, ElementTree.ParseError):
        return 0, width
    first, stop = max(first, 0), min(stop, width)
    return (first, stop) if first < stop else (0, width)


def _geometry(file, height, width):
    """Voxel size and size of the image by the ISMRMRD header, where it is one of this k-space."""
    try:
        encoding = parse_header(hdf5_values(file, "ismrmrd_header", _MAX_HEADER))[0]
    except (TypeError, ValueError):
        return {}
    pixel, recon = (encoding.pixel_size(0), encoding.pixel_size(1)), encoding.recon_field_of_view
    if recon is None or encoding.recon_size is None or None in pixel:
        return {}
    kept = encoding.pixels(0), encoding.pixels(1)
    if encoding.size[:2] != (height, width):
        fits = encoding.size[0] == height and kept[0] < height
        note = "the header's encoded matrix of {} x {} is not that of k-space".format(*encoding.size[:2])
        note += ": only the oversampling of readouts is cropped" if fits else ": nothing is cropped"
        return {"recon_size": (kept[0], width) if fits else None, "notes": (note,)}
    return {
        "recon_size": None if kept == (height, width) else kept,
        "voxel_size": (recon[2] / encoding.recon_size[2], *pixel),
    }
