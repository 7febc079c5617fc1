"""Losses on magnitude images (batch, height, width), and error norms of k-space.

Every loss gives one value per image, which Keras weights and averages. What is taken over the batch (the data range of
the multi-scale SSIM, the L1 term beside it, the norm of the normalised HFEN) is taken over the whole one, also where
models of the zoo share it on several devices. The mean absolute and squared errors are Keras's own `"mae"` and `"mse"`.

GPUs round the factors of a product or convolution to 11 bits (TF32) unless told otherwise, and a variance is a small
difference of large means. The uniform window is therefore pooled, and the Gaussian one summed in two parts.
"""

import math
import numbers

import keras
import numpy as np
from keras import ops

# Weights of the five scales and the window (Gaussian of 11 pixels) of Wang et al., Asilomar 2003.
POWER_FACTORS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
GAUSSIAN_SIZE, GAUSSIAN_SIGMA = 11, 1.5


@keras.saving.register_keras_serializable("mri_zoo")
class SSIM(keras.losses.Loss):
    """One minus the structural similarity, as fastMRI and DIRECT train with it.

    fastMRI divides by the maximum of each slice's volume, which a loss cannot see; DIRECT by the maximum of the batch.

    Args:
        data_range: "slice" for each target's maximum, "batch" for the maximum of all targets, or a number.
        window_size: side of the uniform window, in pixels.
        k1: stabiliser of the luminance, relative to the data range.
        k2: stabiliser of the contrast, relative to the data range.
        **kwargs: `name`, `reduction` and `dtype` of a Keras loss.

    Raises:
        ValueError: if the arguments are out of range or an image is smaller than the window.

    Reference: Wang et al., IEEE Transactions on Image Processing 13:600, 2004.
    """

    def __init__(self, data_range="slice", window_size=7, k1=0.01, k2=0.03, **kwargs):
        super().__init__(**{"name": "ssim", **kwargs})
        if data_range not in ("slice", "batch") and not (isinstance(data_range, int | float) and data_range > 0):
            raise ValueError(f'`data_range` must be "slice", "batch" or a number > 0, got {data_range!r}.')
        if window_size < 2:
            raise ValueError(f"`window_size` must be >= 2, got {window_size}.")
        self.data_range, self.window_size, self.k1, self.k2 = data_range, window_size, k1, k2

    def call(self, y_true, y_pred):
        """Loss (batch,) of images (batch, height, width)."""
        ranges = {"slice": None, "batch": ops.max(y_true)}
        data_range = ranges.get(self.data_range, self.data_range)
        return 1 - ssim(y_true, y_pred, data_range, self.window_size, self.k1, self.k2)

    def get_config(self):
        """Constructor arguments."""
        config = {"data_range": self.data_range, "window_size": self.window_size, "k1": self.k1, "k2": self.k2}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("mri_zoo")
class MultiScaleSSIM(keras.losses.Loss):
    """One minus the multi-scale structural similarity; the data range is the maximum of the batch's targets.

    Args:
        power_factors: weight of each scale, finest first. The published five need sides of at least 161 pixels, and
            each scale less halves that: `power_factors=(0.2, 0.4, 0.4)` takes images down to 41 pixels.
        **kwargs: `name`, `reduction` and `dtype` of a Keras loss.

    Raises:
        ValueError: if the weights are not positive or an image is too small for that many scales.

    Reference: Wang et al., Asilomar Conference on Signals, Systems and Computers, 2003.
    """

    def __init__(self, power_factors=POWER_FACTORS, **kwargs):
        super().__init__(**{"name": "multi_scale_ssim", **kwargs})
        self.power_factors = _checked_power_factors(power_factors)

    def call(self, y_true, y_pred):
        """Loss (batch,) of images (batch, height, width)."""
        return 1 - multi_scale_ssim(y_true, y_pred, ops.max(y_true), self.power_factors)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "power_factors": list(self.power_factors)}


@keras.saving.register_keras_serializable("mri_zoo")
class L1MultiScaleSSIM(keras.losses.Loss):
    """The compound loss `alpha * (1 - MS-SSIM) + (1 - alpha) * L1`, with the L1 error averaged over the whole batch.

    Args:
        alpha: weight of the multi-scale SSIM.
        power_factors: weight of each scale, as in `MultiScaleSSIM`.
        **kwargs: `name`, `reduction` and `dtype` of a Keras loss.

    Raises:
        ValueError: if `alpha` is not in [0, 1], or as `MultiScaleSSIM` does.

    Reference: Zhao et al., IEEE Transactions on Computational Imaging 3:47, 2017; for MRI Pezzotti et al., 2020.
    """

    def __init__(self, alpha=0.98, power_factors=POWER_FACTORS, **kwargs):
        super().__init__(**{"name": "l1_multi_scale_ssim", **kwargs})
        if not 0 <= alpha <= 1:
            raise ValueError(f"`alpha` must be in [0, 1], got {alpha}.")
        self.alpha, self.power_factors = alpha, _checked_power_factors(power_factors)

    def call(self, y_true, y_pred):
        """Loss (batch,) of images (batch, height, width), or of each slice of volumes (batch, depth, height, width)."""
        y_true, y_pred = as_slices(y_true), as_slices(y_pred)
        similarity = multi_scale_ssim(y_true, y_pred, ops.max(y_true), self.power_factors)
        return self.alpha * (1 - similarity) + (1 - self.alpha) * ops.mean(ops.abs(y_true - y_pred))

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "alpha": self.alpha, "power_factors": list(self.power_factors)}


@keras.saving.register_keras_serializable("mri_zoo")
class HFEN(keras.losses.Loss):
    """High-frequency error norm: the error of images filtered with a Laplacian of Gaussian, as in DIRECT.

    Args:
        norm: "l1" for the mean absolute, "l2" for the mean squared filtered error.
        normalize: divide by the same norm of the batch's targets, which DIRECT leaves unfiltered.
        kernel_size: side of the filter, odd, in pixels; beyond the image lie zeros.
        sigma: width of its Gaussian, in pixels.
        **kwargs: `name`, `reduction` and `dtype` of a Keras loss.

    Raises:
        ValueError: if an argument is out of range.

    Reference: Ravishankar and Bresler, IEEE Transactions on Medical Imaging 30:1028, 2011.
    """

    def __init__(self, norm="l2", normalize=False, kernel_size=15, sigma=2.5, **kwargs):
        super().__init__(**{"name": "hfen", **kwargs})
        if norm not in ("l1", "l2"):
            raise ValueError(f'`norm` must be "l1" or "l2", got {norm!r}.')
        self._kernel = laplacian_of_gaussian(kernel_size, sigma)
        self.norm, self.normalize, self.kernel_size, self.sigma = norm, normalize, kernel_size, sigma

    def call(self, y_true, y_pred):
        """Loss (batch,) of images (batch, height, width)."""
        check_images(y_true, y_pred)
        size = ops.abs if self.norm == "l1" else ops.square
        kernel = ops.convert_to_tensor(self._kernel[:, :, None, None], y_pred.dtype)
        filtered_error = ops.conv((y_pred - y_true)[..., None], kernel, padding="same")
        error = ops.mean(size(filtered_error), axis=(1, 2, 3))
        return ops.divide_no_nan(error, ops.mean(size(y_true))) if self.normalize else error

    def get_config(self):
        """Constructor arguments."""
        config = {"norm": self.norm, "normalize": self.normalize, "kernel_size": self.kernel_size, "sigma": self.sigma}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("mri_zoo")
def kspace_nmse(y_true, y_pred):
    """Squared error of complex k-space of any shape, divided by the energy of `y_true`: a scalar.

    Not for `compile(loss=...)`, which would drop the imaginary part: Keras casts predictions to float32.
    """
    return _normalized_error(y_true, y_pred, ops.square)


@keras.saving.register_keras_serializable("mri_zoo")
def kspace_nmae(y_true, y_pred):
    """Sum of `|real| + |imaginary|` of the error of complex k-space, divided by that of `y_true`: a scalar.

    As in DIRECT, the two parts count separately, not the modulus. Not for `compile(loss=...)`, see `kspace_nmse`.
    """
    return _normalized_error(y_true, y_pred, ops.abs)


@keras.saving.register_keras_serializable("mri_zoo")
class DualDomainLoss(keras.losses.Loss):
    """Weighted losses of images, and of k-space where a training strategy has it: by default those of JSSL.

    Volumes and dynamic images are judged as their slices or frames, all of which are then the batch of the SSIM and of
    the normalised HFEN; so does DIRECT, whose SSIM with a window in three dimensions is not here.

    Args:
        image: pairs of a weight and a Keras loss of images; by default L1 (2), SSIM (2), and the normalised
            high-frequency error in the L1 (1) and the L2 norm (1).
        kspace: pairs of a weight and a function of two complex k-spaces that gives a number; by default `kspace_nmae`
            (2) and `kspace_nmse` (2).
        every_step: k-space is judged after every step of a network that has several, or after the last alone. The
            authors of vSHARP do the latter in supervised trainings.
        **kwargs: `name`, `reduction` and `dtype` of a Keras loss.

    Raises:
        ValueError: if a weight is no finite number or negative, what it weighs is no loss, or there is no loss at all.

    Reference: Yiasemis et al., JSSL, arXiv:2311.15856, equation 26; weights of projects/JSSL of
    github.com/NKI-AI/direct.
    """

    def __init__(self, image=None, kspace=None, every_step=True, **kwargs):
        super().__init__(**{"name": "dual_domain", **kwargs})
        if image is None:
            l1, l2 = HFEN("l1", normalize=True), HFEN("l2", normalize=True)
            image = [(2, keras.losses.MeanAbsoluteError()), (2, SSIM("batch")), (1, l1), (1, l2)]
        if kspace is None:
            kspace = [(2, kspace_nmae), (2, kspace_nmse)]
        self.image, self.kspace, self.every_step = list(image), list(kspace), every_step
        _check_pairs("image", self.image, "a Keras loss", lambda loss: isinstance(loss, keras.losses.Loss))
        _check_pairs("kspace", self.kspace, "a function", callable)
        weights = [weight for weight, _ in self.image + self.kspace]
        if not weights or not all(isinstance(weight, numbers.Real) and 0 <= weight < math.inf for weight in weights):
            raise ValueError(f"Expected losses with finite weights >= 0, got the weights {weights}.")

    def call(self, y_true, y_pred):
        """Loss (batch,) of images (batch, height, width), or of each slice of volumes (batch, depth, height, width)."""
        y_true, y_pred = as_slices(y_true), as_slices(y_pred)
        total = ops.zeros(ops.shape(y_true)[:1], y_pred.dtype)
        for weight, loss in self.image:
            values = loss.call(y_true, y_pred)
            total += weight * ops.mean(values, axis=tuple(range(1, len(values.shape))))
        return total

    def of_kspace(self, y_true, y_pred):
        """Loss of complex k-space of any shape, a scalar."""
        return sum(weight * loss(y_true, y_pred) for weight, loss in self.kspace)

    def get_config(self):
        """Constructor arguments."""
        pairs = {
            name: [[weight, keras.saving.serialize_keras_object(loss)] for weight, loss in getattr(self, name)]
            for name in ("image", "kspace")
        }
        return {**super().get_config(), **pairs, "every_step": self.every_step}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        pairs = {
            name: [(weight, keras.saving.deserialize_keras_object(loss)) for weight, loss in config[name]]
            for name in ("image", "kspace")
        }
        return cls(**{**config, **pairs})


def ssim(y_true, y_pred, data_range=None, window_size=7, k1=0.01, k2=0.03):
    """Mean structural similarity of each image: uniform window, sample covariance, only windows inside the image.

    This is the definition of scikit-image's `structural_similarity` and of fastMRI's loss.

    Args:
        y_true: target (batch, height, width).
        y_pred: image of the same shape.
        data_range: scalar or (batch,); default each target's maximum. Where it is not positive, 1 is taken.
        window_size: side of the window, in pixels.
        k1: stabiliser of the luminance, relative to the data range.
        k2: stabiliser of the contrast, relative to the data range.

    Returns:
        Similarity (batch,), at most 1.

    Raises:
        ValueError: if the images differ in shape or are smaller than the window.
    """
    check_images(y_true, y_pred, smallest=window_size)
    data_range = ops.max(y_true, axis=(1, 2)) if data_range is None else data_range
    sample_covariance = window_size**2 / (window_size**2 - 1)
    images = _divide_by_range(y_true, y_pred, data_range)
    luminance, contrast = _similarity(*images, lambda x: _uniform_mean(x, window_size), sample_covariance, k1, k2)
    return ops.mean(luminance * contrast, axis=(1, 2))


def multi_scale_ssim(y_true, y_pred, data_range, power_factors=POWER_FACTORS):
    """Multi-scale structural similarity of each image, equal to `tf.image.ssim_multiscale`.

    Where the mean contrast of a scale is not positive the value is 0, and the gradient too, where TensorFlow's is NaN.

    Args:
        y_true: target (batch, height, width).
        y_pred: image of the same shape.
        data_range: scalar or (batch,). Where it is not positive, 1 is taken.
        power_factors: weight of each scale, finest first.

    Returns:
        Similarity (batch,), in [0, 1].

    Raises:
        ValueError: if the images differ in shape or are too small for that many scales.
    """
    smallest = (GAUSSIAN_SIZE - 1) * 2 ** (len(power_factors) - 1) + 1
    check_images(y_true, y_pred, smallest, f" for {len(power_factors)} scales; give fewer `power_factors`")
    y_true, y_pred = _divide_by_range(y_true, y_pred, data_range)
    result = 1.0
    for scale, power in enumerate(power_factors):
        if scale > 0:
            y_true, y_pred = _halve(y_true), _halve(y_pred)
        luminance, contrast = _similarity(y_true, y_pred, _gaussian_mean)
        coarsest = scale == len(power_factors) - 1
        similarity = ops.mean(luminance * contrast if coarsest else contrast, axis=(1, 2))
        result = result * _positive_power(similarity, power)
    return result


def laplacian_of_gaussian(kernel_size, sigma):
    """Laplacian of Gaussian (kernel_size, kernel_size), scaled so that its entries sum to -1."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"`kernel_size` must be odd and positive, got {kernel_size}.")
    if sigma <= 0:
        raise ValueError(f"`sigma` must be positive, got {sigma}.")
    x = np.arange(kernel_size) - kernel_size // 2
    radius = (x**2 + x[:, None] ** 2) / (2 * sigma**2)
    kernel = (radius - 1) * np.exp(-radius)
    # The untruncated filter sums to zero: DIRECT's scaling only has a meaning for a truncated one.
    if -np.sum(kernel) < 1e-3 * np.sum(np.abs(kernel)):
        raise ValueError(f"`kernel_size` must be at most about six times `sigma`, got {kernel_size} and {sigma}.")
    return kernel / -np.sum(kernel)


def as_slices(images):
    """All slices of volumes (batch, depth, height, width), one after the other; images as they are."""
    return ops.reshape(images, (-1, *ops.shape(images)[-2:])) if len(images.shape) == 4 else images


def check_images(y_true, y_pred, smallest=1, reason=""):
    """Refuse all but two real images (batch, height, width) of one shape, sides at least `smallest`.

    Sizes that are unknown while TensorFlow traces a graph pass.
    """
    shapes = tuple(y_true.shape), tuple(y_pred.shape)
    differ = any(None not in sizes and sizes[0] != sizes[1] for sizes in zip(*shapes, strict=False))
    if len(shapes[0]) != 3 or len(shapes[1]) != 3 or differ:
        raise ValueError(f"Expected two images (batch, height, width) of one shape, got {shapes[0]} and {shapes[1]}.")
    if any("complex" in keras.backend.standardize_dtype(image.dtype) for image in (y_true, y_pred)):
        raise ValueError("Expected magnitude images, got complex ones.")
    if any(side is not None and side < smallest for side in shapes[0][1:]):
        raise ValueError(f"Expected sides of at least {smallest} pixels{reason}, got {shapes[0][1:]}.")


def _similarity(y_true, y_pred, mean, covariance_scale=1.0, k1=0.01, k2=0.03):
    """Maps of luminance and contrast of images with a data range of 1; `mean` averages maps over windows.

    With sum s and difference d of the images, `2 cov = (var s - var d) / 2` and `var + var = (var s + var d) / 2`. Both
    factors are then one minus a term in d, which stays accurate where images are alike.
    """
    total, error = y_true + y_pred, y_true - y_pred
    mean_total, mean_error, power_total, power_error = mean([total, error, ops.square(total), ops.square(error)])
    square_total, square_error = ops.square(mean_total), ops.square(mean_error)
    variance_total = covariance_scale * (power_total - square_total)
    variance_error = covariance_scale * (power_error - square_error)
    luminance = 1 - 2 * square_error / (square_total + square_error + 2 * k1**2)
    contrast = 1 - 2 * variance_error / (variance_total + variance_error + 2 * k2**2)
    return luminance, contrast


def _uniform_mean(maps, size):
    """Means of `size` x `size` pixels of every map (batch, height, width)."""
    maps = ops.stack(maps, axis=-1)
    return ops.unstack(ops.average_pool(ops.average_pool(maps, (size, 1), 1, "valid"), (1, size), 1, "valid"), axis=-1)


def _gaussian_mean(maps):
    """Means of every map (batch, height, width) under the Gaussian window, as products with band matrices.

    Depthwise convolution is as fast on TensorFlow, and ten times slower where XLA compiles for a CPU.
    """
    x = np.arange(GAUSSIAN_SIZE) - GAUSSIAN_SIZE // 2
    mantissa, exponent = np.frexp(np.exp(-(x**2) / (2 * GAUSSIAN_SIGMA**2)))
    weights = np.ldexp(np.round(mantissa * 2**11), exponent - 11)  # 11 bits, exact in TF32
    rows, columns = (_band_matrix(size, weights, maps[0].dtype) for size in ops.shape(maps[0])[1:])
    total = float(np.sum(weights))
    sums = [_in_two_parts(lambda part: ops.matmul(rows, part) / total, x) for x in maps]
    return [_in_two_parts(lambda part: ops.matmul(part, ops.transpose(columns)) / total, x) for x in sums]


def _in_two_parts(product, x):
    """A linear product of x, rounded to 8 binary places, and of the rest, so that TF32 only rounds the rest."""
    high = ops.round(x * 2**8) / 2**8
    return product(high) + product(x - high)


def _band_matrix(size, weights, dtype):
    """Matrix (size - len(weights) + 1, size) that holds the weights in every row, from the diagonal on."""
    lag = ops.arange(size) - ops.arange(size - len(weights) + 1)[:, None]
    return ops.take(ops.cast(np.pad(weights, 1), dtype), ops.clip(lag, -1, len(weights)) + 1)


def _halve(images):
    """Means of 2 x 2 pixels, of the last row or column alone where a side is odd."""
    even = all(side is not None and side % 2 == 0 for side in images.shape[1:])
    padding = "valid" if even else "same"  # which would do for both, but takes XLA seconds to compile
    return ops.average_pool(images[..., None], 2, 2, padding)[..., 0]


def _divide_by_range(y_true, y_pred, data_range):
    """Both images over `data_range`, which keeps the products of squares below within float32 for any unit."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    data_range = ops.reshape(ops.cast(data_range, y_true.dtype), (-1, 1, 1))
    data_range = ops.where(data_range > 0, data_range, 1.0)
    return y_true / data_range, y_pred / data_range


def _positive_power(base, exponent):
    """`max(base, 0) ** exponent`, with gradient 0 instead of NaN at 0."""
    positive = base > 0
    return ops.where(positive, ops.power(ops.where(positive, base, 1.0), exponent), 0.0)


def _normalized_error(y_true, y_pred, size):
    y_true = ops.convert_to_tensor(y_true)
    error = ops.subtract(y_pred, y_true)
    norms = [ops.sum(size(ops.real(x))) + ops.sum(size(ops.imag(x))) for x in (error, y_true)]
    return ops.divide_no_nan(*norms)


def _check_pairs(name, pairs, kind, is_loss):
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not is_loss(pair[1]):
            raise ValueError(f"`{name}` must be pairs of a weight and {kind}, got {pair!r}.")


def _checked_power_factors(power_factors):
    if not len(power_factors) or min(power_factors) <= 0:
        raise ValueError(f"`power_factors` must be positive numbers, finest scale first, got {power_factors}.")
    return tuple(float(power) for power in power_factors)
