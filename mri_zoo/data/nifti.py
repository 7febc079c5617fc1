"""The reader of NIfTI volumes."""

import collections
import functools
import gzip
import math
import re
import threading
import zlib
from pathlib import Path

import nibabel
import numpy as np

from mri_zoo.data.hdf5 import check_file
from mri_zoo.data.magnitude import MagnitudeFile, check_signs
from mri_zoo.data.volume import DataError, VolumeInfo, check_finite, check_memory, file_errors

# A handful, so that a pass over volumes one after the other decompresses each once: about 70 MB each at 256^3.
NUM_CACHED_VOLUMES = 4

_BLOCK = 1 << 20
_MAX_EXTENSIONS = 1 << 26  # bytes between the header and the image
_LOCKS = collections.defaultdict(threading.Lock)
_CONTRASTS = {
    **{name: "T1w" for name in ("t1w", "t1")},
    **{name: "T2w" for name in ("t2w", "t2")},
    **{name: "PDw" for name in ("pdw", "pd")},
    **{name: "T2star" for name in ("t2star", "t2starw")},
    **{name: name.upper() for name in ("flair", "swi")},
}
_CONTRAST_IN_NAME = re.compile(rf"(?:^|(?<=[_.-]))(?:{'|'.join(_CONTRASTS)})(?=[_.-]|$)", re.IGNORECASE)
_NO_INTENT = ("none", "estimate", "dimless")  # others say that the numbers are labels, statistics or vectors


class NIfTIFile(MagnitudeFile):
    """A 3-D magnitude volume in NIfTI, as in OASIS-3; the axis with the fewest samples becomes the slices.

    Contrast and patient come from the file name: the BIDS suffix (`T1w`, `T2w`, `FLAIR`, ...; `T1W` becomes `T1w`) and
    the entity `sub-...`, or else what comes before the contrast. Compressed files cannot be read slice by slice:
    the last `NUM_CACHED_VOLUMES` volumes are kept in memory, whatever the number of instances. The little that an
    interpolation leaves below zero, at most 1 % of the sum of all values, is set to zero.

    Args:
        path: the .nii or .nii.gz file.
        phase_seed: multiplies the image by a smooth simulated phase before the Fourier transform; no phase by default.

    Attributes:
        whole: reading one slice costs as much as reading the volume, so that its slices are best read together.
        header: nibabel's, with orientation, position, voxel sizes and units.

    Raises:
        DataError: if the file is missing, damaged, not 3-D (functional series are refused) or not real, or its header
            says that its numbers are labels, statistics or vectors; on reading, if pixels are not finite, or are
            negative as those of a phase or a difference.
    """

    whole = True

    def __init__(self, path, phase_seed=None):
        self.path, self.phase_seed = Path(path), phase_seed
        with _nifti_errors(self.path):
            self.header, shape = _header(self.path)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or 0 in shape:
            what = "a 4-D series, for example functional" if len(shape) == 4 else f"an image of shape {shape}"
            raise DataError(f"{self.path}: holds {what}; expected a 3-D volume (one image of one contrast).")
        dtype = self.header.get_data_dtype()
        if dtype.kind not in "iuf":
            raise DataError(f"{self.path}: holds values of type {dtype}; expected real numbers.")
        with _nifti_errors(self.path):
            intent = self.header.get_intent()[0]
        if intent not in _NO_INTENT:
            raise DataError(f"{self.path}: holds values of the intent `{intent}`; expected the magnitude of an image.")
        self.slice_axis = int(np.argmin(shape))
        height, width = np.delete(shape, self.slice_axis).tolist()
        contrast, patient_id = _contrast_and_patient(self.path)
        zooms = _millimetres(self.header)
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

    def image(self, volume):
        """Another volume (slice, height, width) as a NIfTI image: with this one's header, as float32.

        Orientation and position with their codes, voxel sizes, units and description stay as they are.
        """
        header = self.header.copy()
        header.set_data_dtype(np.float32)
        header.set_slope_inter(1, 0)
        kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        # With an affine, nibabel would write codes of its own.
        return kind(np.moveaxis(volume, 0, self.slice_axis).astype(np.float32, copy=False), None, header)

    def _magnitude(self, slices):
        # The time of the last change is part of the key: a file that was replaced is read again.
        check_file(self.path, "a NIfTI volume")
        with _nifti_errors(self.path):
            volume, negative = _volume(self.path.resolve(), self.path.stat().st_mtime_ns)
        if negative is not None:
            raise DataError(negative)
        if volume.shape != tuple(np.insert([self.info.height, self.info.width], self.slice_axis, self.info.num_slices)):
            raise DataError(f"{self.path}: is not the volume first seen there.")
        magnitude = np.array(np.moveaxis(volume, self.slice_axis, 0)[list(slices)], order="C")
        check_finite(self.path, "the image", slices, magnitude)
        return np.maximum(magnitude, 0, out=magnitude)


def _millimetres(header):
    """The extents of a voxel; a header without a unit, as most have, means millimetres."""
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
    factor = {"meter": 1000.0, "micron": 0.001}.get(unit, 1.0)
    return [float(zoom) * factor for zoom in header.get_zooms()[:3]]


def _nifti_errors(path):
    """A block in which every fault of a NIfTI file becomes a `DataError`."""
    return file_errors(path, "a whole NIfTI volume", (nibabel.spatialimages.HeaderDataError, zlib.error))


def _open(path):
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else open(path, "rb")


def _header(path):
    """The header without its extensions, and the shape; at most 540 bytes are read."""
    check_file(path, "a NIfTI volume")
    with _open(path) as file:
        start = file.read(540)
    foreign = DataError(f"{path}: is not a NIfTI file; expected a .nii or .nii.gz volume.")
    for kind, magics in (
        (nibabel.Nifti1Header, {b"n+1\0": 344, b"ni1\0": 344}),
        (nibabel.Nifti2Header, {b"n+2\0": 4, b"ni2\0": 4}),
    ):
        size = kind.template_dtype.itemsize
        if len(start) >= size and any(start[at : at + 4] == magic for magic, at in magics.items()):
            header = kind(start[:size], check=False)
            break
    else:
        raise foreign
    if int(header["sizeof_hdr"]) != size:
        raise DataError(f"{path}: is truncated or damaged; expected a whole NIfTI volume (a header of {size} bytes).")
    if header["magic"].item().startswith(b"ni"):
        raise DataError(f"{path}: is the header of a pair of files; expected one .nii or .nii.gz volume.")
    shape = tuple(map(int, header.get_data_shape()))
    offset = float(header["vox_offset"])
    if min(shape, default=0) < 0 or not size <= offset <= size + _MAX_EXTENSIONS:
        raise DataError(
            f"{path}: is truncated or damaged; expected a whole NIfTI volume (its header tells the shape {shape}, from "
            f"byte {offset:g})."
        )
    header.get_slope_inter()
    size = math.prod(shape) * header.get_data_dtype().itemsize
    check_memory(f"{path}: the image of shape {shape}", max(size, 4 * math.prod(shape)), size, path.stat().st_size)
    return header, shape


def _volume(path, modified):
    """The float32 volume of a file, shared by all who read it; of readers at one time, one decompresses it."""
    with _LOCKS[path]:
        return _read(path, modified)


@functools.lru_cache(maxsize=NUM_CACHED_VOLUMES)
def _read(path, modified):
    """The volume, and what is wrong with its signs, or None."""
    header, shape = _header(path)
    dtype, offset = header.get_data_dtype(), int(header["vox_offset"])
    content = np.empty(math.prod(shape), dtype)
    with _open(path) as file:
        file.read(offset)
        view, filled = memoryview(content.view(np.uint8)), 0
        while filled < len(view) and (count := file.readinto(view[filled : filled + _BLOCK])):
            filled += count
        if filled < len(view):
            raise DataError(
                f"{path}: is truncated or damaged; expected a whole NIfTI volume ({filled} of {len(view)} bytes)."
            )
        # The checksum is behind the end, which nibabel does not read.
        if isinstance(file, gzip.GzipFile) and len(file.read(_BLOCK)) == _BLOCK:
            raise DataError(f"{path}: goes on behind its image; expected the {len(view)} bytes that its header tells.")
    slope, inter = header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the slice
        if slope is not None and (slope, inter) != (1, 0):
            content = content * np.float64(slope) + np.float64(inter)
        volume = content.astype(np.float32, copy=False).reshape(shape, order="F")
    volume = volume.reshape(shape[:3], order="F")
    try:
        check_signs(f"{path}: the image", np.moveaxis(volume, int(np.argmin(shape[:3])), 0))
    except DataError as error:
        return volume, str(error)
    return volume, None


def _contrast_and_patient(path):
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    contrasts = list(_CONTRAST_IN_NAME.finditer(stem))
    subject = re.match(r"sub-[A-Za-z0-9]+", stem)
    if subject:
        patient_id = subject.group()
    else:
        patient_id = (stem[: contrasts[0].start()] if contrasts else stem).strip("_.-")
    return _CONTRASTS[contrasts[-1].group().lower()] if contrasts else "unknown", patient_id
