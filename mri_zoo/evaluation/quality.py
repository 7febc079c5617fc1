"""The metrics of a volume, and what no metric can judge, so that it must not count in means."""

import numpy as np

from mri_zoo.data.volume import DataError
from mri_zoo.metrics import nmse, psnr, ssim


def require_signal(volume, reference):
    """Refuse a volume of which nothing was measured, or whose reference cannot be one.

    Slices that are empty in k-space and black in the reference belong to a volume, as those beside a head without its
    skull do. One that is empty in only one of the two does not.

    Args:
        volume: the `Volume`, with its mask.
        reference: (slice, height, width) magnitude, cropped to what is compared.

    Raises:
        DataError: if it has no sample, the reference is black, or one of the two is empty in a slice.
    """
    name, kspace = volume.info.name, volume.kspace
    if not kspace.any():
        raise DataError(f"{name}: all samples are zero; expected a scan.")
    mask = volume.info.mask
    measured = np.array([np.any(coils if mask is None else coils * mask) for coils in kspace])
    if not measured.any():
        raise DataError(f"{name}: its mask samples nothing of what is not zero; expected the mask of this scan.")
    if not reference.any():
        raise DataError(f"{name}: the reference image is black; expected the image of the scan.")
    if volume.target is None or len(volume.target) != len(measured):  # a volume along a trajectory is one example
        return
    shown = np.array([np.any(image) for image in volume.target])
    if np.any(shown & ~measured):
        raise DataError(f"{name}: has no sample in {_slices(shown & ~measured)}, where its reference is not black.")
    if np.any(measured & ~shown):
        raise DataError(f"{name}: the reference is black in {_slices(measured & ~shown)}, which has samples.")


def judged(reference, image):
    """(nmse, psnr, ssim) of a volume.

    Args:
        reference: (slice, height, width) magnitude.
        image: reconstruction of the same shape.

    Raises:
        DataError: if the image is black where the reference is not, or a metric is no finite number; the PSNR of a
            perfect image is infinite.
        ValueError: if a metric does not exist, as of an image that is not finite.
    """
    black = np.array([np.any(r) and not np.any(i) for r, i in zip(reference, image, strict=True)])
    if not image.any():
        raise DataError("the image is black.")
    if black.any():
        raise DataError(f"the image is black in {_slices(black)}, where the reference is not.")
    found = {"NMSE": nmse(reference, image), "PSNR": psnr(reference, image), "SSIM": ssim(reference, image)}
    for metric, value in found.items():
        perfect = metric == "PSNR" and value == np.inf and found["NMSE"] == 0
        if not np.isfinite(value) and not perfect:
            raise DataError(f"the {metric} is {value}: numbers are too large or too small.")
    return tuple(found.values())


def _slices(which):
    indices = np.flatnonzero(which)
    rest = f" and {len(indices) - 3} more" if len(indices) > 3 else ""
    return f"slice{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices[:3]))}{rest}"
