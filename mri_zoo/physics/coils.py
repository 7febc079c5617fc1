"""Receive coils: their combination, and their sensitivities as seen in the fully sampled centre of k-space."""

import keras
from keras import ops

from mri_zoo.physics.complex import scale
from mri_zoo.physics.fourier import ifft2c

_EMPTY = "A centre fraction of {} of {} lines is an empty window: no sensitivity maps."


def root_sum_of_squares(coil_images, axis=1):
    """Square root of the sum over coils of the squared magnitude, float32; its gradient is finite at zero."""
    energy = ops.sum(ops.square(ops.real(coil_images)) + ops.square(ops.imag(coil_images)), axis=axis)
    return ops.sqrt(ops.maximum(energy, 1e-30))


def normalize_maps(maps):
    """Sensitivity maps (batch, coil, height, width) divided by their root-sum-of-squares; zero where all are zero."""
    norm = root_sum_of_squares(maps)[:, None]
    return scale(maps, ops.where(norm > 1e-12, 1 / norm, 0.0))


def low_frequency_images(kspace, center_fraction=0.08, needed=True, symmetric=False):
    """Coil images of the low-frequency window of k-space.

    Both axes keep the ``2 * (int(n * center_fraction) // 2)`` lines around ``n // 2``.

    Args:
        kspace: (batch, coil, height, width) complex64, undersampled or not, its centre sampled.
        center_fraction: extent of the window relative to each axis; the thesis takes the mask's, 0.32 / acceleration.
        needed: whether an empty window is an error, a bool or, where the graph alone knows, a tensor; else a window has
            two lines at least.
        symmetric: leave out the first line of the window, which has no counterpart on the other side of the centre.

    Returns:
        (batch, coil, height, width) complex64.

    Raises:
        ValueError: if the window is empty; inside a graph of TensorFlow that leaves the size open, its
            `InvalidArgumentError`.
    """
    height, width = ops.shape(kspace)[-2:]
    rows, columns = (_window(size, center_fraction, needed, symmetric) for size in (height, width))
    window = rows[:, None] * columns
    return ifft2c(scale(kspace, window))


def estimate_sensitivity_maps(kspace, center_fraction=0.08):
    """Sensitivity maps, (batch, coil, height, width) complex64: `low_frequency_images` of unit root-sum-of-squares.

    Reference: Ramzi, thesis, section 5.1; `extract_smaps` of fastmri-reproducible-benchmark.
    """
    return normalize_maps(low_frequency_images(kspace, center_fraction))


def check_window(size, center_fraction):
    """Refuse a size, one of the axes of k-space, whose `low_frequency_images` would be of no line.

    Raises:
        ValueError: says so.
    """
    if int(size * center_fraction) < 2:
        raise ValueError(_EMPTY.format(center_fraction, size))


def _window(size, fraction, needed, symmetric):
    position, half = ops.arange(size) - size // 2, _half_window(size, fraction, needed)
    return ops.cast((position >= symmetric - half) & (position < half), "float32")


def _half_window(size, fraction, needed):
    if isinstance(size, int) and isinstance(needed, bool):
        if needed:
            check_window(size, fraction)
        return max(int(size * fraction) // 2, 1)
    # The window must not lose a line to float32: 100 * 0.08 is 7.9999995 there.
    half = ops.cast(ops.cast(size, "float32") * fraction + 1e-4, "int32") // 2
    if needed is False:
        return ops.maximum(half, 1)
    if not isinstance(needed, bool):
        half = ops.where(needed, half, ops.maximum(half, 1))
    if keras.backend.backend() == "tensorflow":  # alone in leaving sizes open
        import tensorflow as tf

        with tf.control_dependencies([tf.debugging.assert_positive(half, _EMPTY.format(fraction, "so few"))]):
            half = tf.identity(half)
    return half


def low_frequency_lines(width, number):
    """(..., width) float32: 1 on the central `number` (..., 1) of lines, the first at ``(width - number + 1) // 2``."""
    first, position = (width - number + 1) // 2, ops.arange(width)
    return ops.cast((position >= first) & (position < first + number), "float32")


def calibration_region(mask, even=False):
    """The fully sampled centre of each mask, 1 inside, from which networks for sensitivity maps start.

    Where the central line is sampled over its whole height, these are lines, as many as masks can have put around the
    centre, where they start at ``(width - number + 1) // 2``. Elsewhere, as with Poisson disc masks, it is a disc: all
    positions that are closer to the centre than the nearest one that is not sampled.

    Args:
        mask: (batch, 1, 1 or height, width) float32; a line counts as sampled where all its height is.
        even: take fastMRI's number of lines: ``2 * min(left, right)``, where `left` and `right` count the sampled lines
            next to the centre on either side, but at least one. (fastMRI takes one line alone of a mask that is sampled
            everywhere.)

    Returns:
        (batch, 1, 1 or height, width) float32.

    Reference: Sriram et al., E2E-VarNet, MICCAI 2020, `SensitivityModel` of fastMRI; the masks of DIRECT.
    """
    height, width = ops.shape(mask)[-2:]
    position, center = ops.arange(width), width // 2
    skipped = ops.min(mask, axis=-2, keepdims=True) == 0
    left = center - 1 - ops.max(ops.where(skipped & (position < center), position, -1), axis=-1, keepdims=True)
    right = ops.min(ops.where(skipped & (position >= center), position, width), axis=-1, keepdims=True) - center
    if even:
        number = ops.maximum(2 * ops.minimum(left, right), 1)
    else:  # the largest even and the largest odd number of lines that fit
        odd_width = width % 2
        number = 2 * ops.minimum(left + odd_width, right - odd_width)
        number = ops.maximum(number, 2 * ops.minimum(left, right - 1) + 1)
    lines = low_frequency_lines(width, number)
    if mask.shape[-2] == 1:
        return lines
    squared_distance = ops.square(ops.arange(height) - height // 2)[:, None] + ops.square(position - center)
    nearest = ops.min(ops.where(mask == 0, squared_distance, height**2 + width**2), axis=(-2, -1), keepdims=True)
    return ops.where(right > 0, lines, ops.cast(squared_distance < nearest, "float32"))
