"""One scan in, one image file out."""

import contextlib
import gzip
import os
from pathlib import Path

import h5py
import matplotlib.image
import nibabel
import numpy as np

from mri_zoo.data.files import ImageFile, MagnitudeFile, NIfTIFile, image_datasets, open_volume
from mri_zoo.data.fourier import center_crop
from mri_zoo.data.geometry import crop_affine
from mri_zoo.data.hdf5 import is_hdf5
from mri_zoo.data.masks import seed_from_name
from mri_zoo.data.noncartesian import CenteredEcho, Encoding
from mri_zoo.data.preparation import draw_sampling
from mri_zoo.data.sampling import effective_acceleration
from mri_zoo.data.simulate import SimulatedAcquisition
from mri_zoo.data.undersampling import find_mask
from mri_zoo.data.volume import DataError
from mri_zoo.evaluation.reconstruction import reconstruct
from mri_zoo.storage import InMemory, write_bytes

FORMATS = (".h5", ".nii", ".nii.gz", ".png")


def reconstruct_file(
    preset,
    path,
    output,
    sampling=None,
    images=None,
    num_coils=1,
    center_echo=False,
    image_size=None,
    units=None,
    progress=None,
):
    """Reconstruct a scan slice by slice and write its magnitude, in the scan's units.

    An undersampled scan, which has a trajectory, a `mask` or gaps in its k-space (see `find_mask`), is reconstructed as
    it is; any other is undersampled first. The image is cropped to the scan's reconSpace, where its header tells one.

    Args:
        preset: the model; `load_preset`.
        path: the scan, see `mri_zoo.data.open_volume`.
        output: file that ends in one of `FORMATS`: HDF5 with the dataset `reconstruction` (slice, height, width), NIfTI
            (with the voxel size and position that the scan tells; of a NIfTI scan with its header), or all slices side
            by side in a PNG.
        sampling: mask (seeded by the file's name) or trajectory for fully sampled scans; by default the preset's own,
            none for `zero-filled`.
        images: dataset of magnitude images, for an HDF5 file that has no k-space; its first one by default.
        num_coils: coils to simulate, for scans that are magnitude images.
        center_echo: put the strongest signal into the centre of k-space, see `CenteredEcho`; for scans along a
            trajectory.
        image_size: of a scan along a trajectory, see `open_volume`.
        units: likewise.
        progress: called as ``progress(done, total, text)``.

    Returns:
        One line that tells what was done, and where the echo is if it is off the centre.

    Raises:
        ValueError: if the format is unknown, the output is the scan itself, or coils are to be simulated for a scan
            that has its own.
        OSError: if the output cannot be written, which is tried first.
        DataError: if the scan cannot be read, holds nothing, or the sampling or the model cannot take it.
    """
    path, output = Path(path), Path(output)
    if not output.name.lower().endswith(FORMATS):
        raise ValueError(f"{output}: the name must end in one of {', '.join(FORMATS)}.")
    if output.exists() and path.exists() and output.samefile(path):
        raise ValueError(f"{output}: is the scan itself, which would be lost; choose another output.")
    _try(output)
    source = scan = _open_scan(path, images, image_size, units)
    if num_coils > 1:
        if source.info.num_coils > 1:
            raise ValueError(f"{path}: has {source.info.num_coils} coils of its own, cannot simulate {num_coils}.")
        source = SimulatedAcquisition(source, num_coils)
    hint = "" if center_echo else _echo_hint(source)
    source = CenteredEcho(source) if center_echo else source
    info = source.info
    # Magnitude images are not read only to find that their Fourier transform has no gaps.
    sampled, note = (None, "") if isinstance(scan, MagnitudeFile) else measured_sampling(source)
    done = "as measured" if sampling is None else "as measured, not with the sampling asked for"
    with _naming(path):
        if sampled is None:
            chosen = sampling or preset.sampling
            sampled = draw_sampling(chosen, info, seed_from_name(info.name), info.padding)
            if sampled is None:
                sampled = np.ones((1, info.width), np.float32)
            full = isinstance(sampled, np.ndarray) and sampled.all()
            done = "fully sampled" if full else "undersampled here"
        acceleration = effective_acceleration(sampled)
        image = np.concatenate([np.abs(part) for part in _reconstructed(preset, source, sampled, progress)])
        image = center_crop(image, info.recon_size or image.shape[-2:])
        if not np.isfinite(image).all():
            raise DataError(f"the image by {preset.name} holds NaN or infinity, and is not written.")
        if not image.any():
            raise DataError(
                "all samples are zero, or of several coils all near the centre of k-space (then try "
                "--center-echo); expected a scan."
            )
    _write(output, image, scan, preset)
    what = f"{info.num_slices} slice" + ("s" if info.num_slices > 1 else "")
    what += f" of `{scan.dataset}`" if isinstance(scan, ImageFile) else ""
    line = f"{output}: {what} by {preset.name}, {done}, acceleration {acceleration:.2f}{hint}"
    if info.recon_size is not None:
        line += "; cropped to the {} x {} pixels of the header's reconSpace".format(*info.recon_size)
    if preset.model.physics.phase != "given" and info.num_coils == 1 and not isinstance(scan, ImageFile | NIfTIFile):
        line += "; the network knows images without a phase: that of the coil is estimated and taken off"
    return "; ".join([line, *([note] if note else []), *scan.info.notes])


def _echo_hint(source):
    """Tells that a scan's echo is away from the centre, where no model was trained to find it."""
    if source.info.trajectory is None:
        return ""
    try:
        distance = np.abs(CenteredEcho(source).echo).max()
    except DataError:  # an empty slice
        return ""
    # Coils and the object's own phase move it by one or two.
    return f"; the echo is {distance:.0f} samples off the centre, try --center-echo" if distance > 3 else ""


def _reconstructed(preset, source, sampled, progress):
    """The slices one after the other; all at once where the sampling is three-dimensional."""
    info = source.info
    whole = isinstance(sampled, Encoding) and len(sampled.size) == 3
    parts = [None] if whole else [[index] for index in range(info.num_slices)]
    for done, indices in enumerate(parts):
        if progress is not None:
            progress(done, len(parts), info.name)
        yield reconstruct(preset, source.read(indices), sampled)


def _open_scan(path, images, image_size, units):
    """The reader of a file; without k-space, that of its first stack of images."""
    if images is None and is_hdf5(path):
        images = next(iter(image_datasets(path)), None)
    return open_volume(path, images, image_size=image_size, units=units)


def _try(output):
    """Tell before the work where nothing can be written, by an empty hidden file beside `output`."""
    part = output.with_name(f".{os.getpid()}.{output.name}")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(output)) from error


@contextlib.contextmanager
def _naming(path):
    """Errors about the content of a file name the file."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise DataError(f"{path}: {error}") from error


def measured_sampling(source):
    """The mask or `Encoding` of an undersampled scan, None for a fully sampled one; and what was assumed, as text."""
    info = source.info
    if info.mask is not None or info.trajectory is not None:
        return draw_sampling(None, info), ""
    slices = (source.read([index]).kspace[0] for index in range(info.num_slices))
    return find_mask(info.name, slices, padded=info.target_size is not None)


def _write(output, image, scan, preset):
    """Write the whole file or none; errors name it."""
    name, memory = output.name.lower(), InMemory(output.name)
    if name.endswith(".h5"):
        with h5py.File(memory, "w") as file:
            file["reconstruction"] = image
            file.attrs.update(model=preset.name, volume=scan.info.name, acquisition=scan.info.contrast)
    elif name.endswith(".png"):
        columns = int(np.ceil(np.sqrt(len(image))))
        rows = -(-len(image) // columns)
        image = np.concatenate([image, np.zeros((rows * columns - len(image), *image.shape[1:]), image.dtype)])
        montage = image.reshape(rows, columns, *image.shape[1:]).swapaxes(1, 2)
        montage = montage.reshape(rows * image.shape[1], columns * image.shape[2])
        matplotlib.image.imsave(
            memory, montage, cmap="gray", vmin=0, vmax=np.percentile(montage, 99.8) or None, format="png"
        )
    elif isinstance(scan, NIfTIFile):
        _write_nifti(memory, name, scan.image(image))
    else:
        _write_nifti(memory, name, _located(image, scan.info))
    write_bytes(output, memory.getbuffer())


def _located(image, info):
    """A NIfTI of slices (slice, height, width), with the voxel size and the position in the scanner that are known."""
    voxel_size = info.voxel_size or (1, 1, 1)
    spacing = np.diag([*voxel_size[1:], voxel_size[0], 1.0])
    if info.affine is None:
        found = nibabel.Nifti1Image(np.moveaxis(image, 0, -1), spacing)
    else:
        affine = crop_affine(info.affine, (info.height, info.width), image.shape[-2:])
        found = nibabel.Nifti1Image(np.moveaxis(image, 0, -1), affine)
    code = 0 if info.affine is None else 1  # unknown, or the scanner's
    found.set_sform(found.affine, code)
    found.set_qform(found.affine, code)
    if info.voxel_size is not None:
        found.header.set_xyzt_units("mm")
    return found


def _write_nifti(file, name, image):
    content = image.to_bytes()
    if name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    file.write(content)
