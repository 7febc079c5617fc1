"""Image quality by fastMRI's definitions, on whole volumes in NumPy and streaming in Keras.

`nmse`, `psnr` and `ssim` judge a finished volume; published numbers are these, averaged over volumes. While `fit` runs,
a Keras metric only sees batches, and cannot know to which volume a slice belongs. Hence two kinds of them:

- `SliceNMSE`, `SlicePSNR`, `SliceSSIM` treat every slice as a volume of its own (data range = the slice's maximum).
  They work on any batches, rank models well, and are not comparable with published numbers.
- `VolumeNMSE`, `VolumePSNR`, `VolumeSSIM` take each batch for one whole volume and then equal the functions: give `fit`
  validation data with one volume a batch.

Both leave out targets without signal, for which no metric is defined.

Reference: Zbontar et al., arXiv:1811.08839, 2018.
"""

import keras
import numpy as np
from keras import ops
from skimage.metrics import structural_similarity

from mri_zoo import losses

WINDOW_SIZE = 7  # of the SSIM: scikit-image's default, as fastMRI uses it


def nmse(target, image):
    """Squared error of a volume, divided by the energy of the target.

    Args:
        target: magnitude (slice, height, width).
        image: reconstruction of the same shape.

    Returns:
        A float, 0 for a perfect image.

    Raises:
        ValueError: if shapes differ, a value is not finite, or the target has no signal.
    """
    target, image = _checked(target, image)
    return float(np.sum((target - image) ** 2) / np.sum(target**2))


def psnr(target, image, data_range=None):
    """Peak signal-to-noise ratio of a volume.

    Args:
        target: magnitude (slice, height, width).
        image: reconstruction of the same shape.
        data_range: default the maximum of the target volume. `numpy.ptp(target)` gives the definition of
            Ramzi et al. (Applied Sciences 10:1816, 2020).

    Returns:
        A float in dB, infinite for a perfect image.

    Raises:
        ValueError: as `nmse`, or if the data range is not positive.
    """
    target, image = _checked(target, image)
    data_range = _checked_range(target, data_range)
    error = np.mean((target - image) ** 2)
    return float(10 * np.log10(data_range**2 / error)) if error > 0 else float("inf")


def ssim(target, image, data_range=None):
    """Structural similarity, averaged over the slices of a volume, with scikit-image's default window and constants.

    Args:
        target: magnitude (slice, height, width), slices of at least 7 x 7 pixels.
        image: reconstruction of the same shape.
        data_range: as in `psnr`, one for all slices.

    Returns:
        A float, 1 for a perfect image.

    Raises:
        ValueError: as `psnr`, or if slices are smaller than the window.
    """
    target, image = _checked(target, image)
    data_range = _checked_range(target, data_range)
    if min(target.shape[1:]) < WINDOW_SIZE:
        raise ValueError(f"SSIM needs slices of at least 7 x 7 pixels, got {target.shape[1]} x {target.shape[2]}.")
    return float(
        np.mean([structural_similarity(*pair, data_range=data_range) for pair in zip(target, image, strict=True)])
    )


class _ImageMetric(keras.metrics.Mean):
    """Mean of a metric over slices (axes (1, 2)) or over batches that are volumes (axes (0, 1, 2))."""

    def __init__(self, measure, axes, direction, name, dtype):
        super().__init__(name=name, dtype=dtype)
        self._measure, self._axes = measure, axes
        self._direction = direction  # read by callbacks with mode="auto"

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch of targets and images (batch, height, width), or of volumes (batch, depth, height, width)."""
        y_true, y_pred = losses.as_slices(y_true), losses.as_slices(y_pred)
        losses.check_images(y_true, y_pred)
        y_true, y_pred = ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype)
        peak = ops.max(y_true, axis=self._axes)
        weight = ops.cast(peak > 0, self.dtype)
        values = ops.where(peak > 0, self._measure(y_true, y_pred, peak, self._axes), 0.0)
        super().update_state(values, weight if sample_weight is None else weight * sample_weight)


@keras.saving.register_keras_serializable("mri_zoo")
class SliceNMSE(_ImageMetric):
    """Normalised mean squared error of each slice, averaged over slices."""

    def __init__(self, name="slice_nmse", dtype=None):
        super().__init__(_nmse, (1, 2), "down", name, dtype)


@keras.saving.register_keras_serializable("mri_zoo")
class SlicePSNR(_ImageMetric):
    """Peak signal-to-noise ratio of each slice in dB, averaged over slices; data range = the slice's maximum."""

    def __init__(self, name="slice_psnr", dtype=None):
        super().__init__(_psnr, (1, 2), "up", name, dtype)


@keras.saving.register_keras_serializable("mri_zoo")
class SliceSSIM(_ImageMetric):
    """Structural similarity of each slice, averaged over slices; data range = the slice's maximum."""

    def __init__(self, name="slice_ssim", dtype=None):
        super().__init__(_ssim, (1, 2), "up", name, dtype)


@keras.saving.register_keras_serializable("mri_zoo")
class VolumeNMSE(_ImageMetric):
    """Normalised mean squared error of each volume (one a batch), averaged over volumes."""

    def __init__(self, name="volume_nmse", dtype=None):
        super().__init__(_nmse, (0, 1, 2), "down", name, dtype)


@keras.saving.register_keras_serializable("mri_zoo")
class VolumePSNR(_ImageMetric):
    """Peak signal-to-noise ratio of each volume (one a batch) in dB, averaged over volumes."""

    def __init__(self, name="volume_psnr", dtype=None):
        super().__init__(_psnr, (0, 1, 2), "up", name, dtype)


@keras.saving.register_keras_serializable("mri_zoo")
class VolumeSSIM(_ImageMetric):
    """Structural similarity of each volume (one a batch), averaged over volumes."""

    def __init__(self, name="volume_ssim", dtype=None):
        super().__init__(_ssim, (0, 1, 2), "up", name, dtype)


def _nmse(y_true, y_pred, peak, axes):
    return ops.divide_no_nan(ops.sum(ops.square(y_true - y_pred), axes), ops.sum(ops.square(y_true), axes))


def _psnr(y_true, y_pred, peak, axes):
    return 20 * ops.log10(peak) - 10 * ops.log10(ops.mean(ops.square(y_true - y_pred), axes))


def _ssim(y_true, y_pred, peak, axes):
    similarity = losses.ssim(y_true, y_pred, peak, WINDOW_SIZE)
    return ops.mean(similarity) if 0 in axes else similarity


def _checked(target, image):
    if np.iscomplexobj(target) or np.iscomplexobj(image):
        raise ValueError("Expected magnitude images, got complex ones.")
    target, image = (np.asarray(volume, dtype=np.float64) for volume in (target, image))
    if target.ndim != 3 or target.shape != image.shape:
        raise ValueError(
            "Expected a target and an image (slice, height, width) of one shape, "
            f"got a target of shape {target.shape} and an image of shape {image.shape}."
        )
    for name, volume in (("target", target), ("image", image)):
        if not np.all(np.isfinite(volume)):
            raise ValueError(f"The {name} has {np.sum(~np.isfinite(volume))} values that are not finite.")
    if not np.any(target):
        raise ValueError(f"The target of shape {target.shape} has no signal: it is empty or zero everywhere.")
    return target, image


def _checked_range(target, data_range):
    data_range = float(np.max(target) if data_range is None else data_range)
    if not data_range > 0:
        raise ValueError(f"`data_range` must be positive, got {data_range}.")
    return data_range
