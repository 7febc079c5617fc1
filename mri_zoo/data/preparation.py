"""From one slice of a volume to a model's input and target, in NumPy."""

import dataclasses
import functools
import math

import keras
import numpy as np

from mri_zoo.data.fourier import center_crop, fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.noncartesian import (
    NUM_CACHED,
    Encoding,
    make_encoding,
    measure_slice,
    part_of,
    scale_samples,
    scaled,
    scaling_factor,
)
from mri_zoo.data.stored import Rule, check_positive_number, rule_from_config, rule_to_config
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.data.volume import DataError


@dataclasses.dataclass(frozen=True)
class ConstantScaling(Rule):
    """Multiply by one number: 1e6 for fastMRI and 1e-2 for OASIS in the thesis."""

    factor: float = 1.0

    def __post_init__(self):
        (factor,) = check_positive_number(factor=self.factor)
        object.__setattr__(self, "factor", factor)

    def __call__(self, kspace, adjoint=ifft2c):
        """The factor, whatever the k-space."""
        return self.factor


@dataclasses.dataclass(frozen=True)
class PercentileScaling(Rule):
    """Bring a percentile of the zero-filled magnitude to one, whatever the scanner's units.

    Only measured data enter, so the rule holds at reconstruction as in training.
    """

    percentile: float = 99.0

    def __post_init__(self):
        (percentile,) = check_positive_number(100, percentile=self.percentile)
        object.__setattr__(self, "percentile", percentile)

    def __call__(self, kspace, adjoint=ifft2c):
        """The factor for one slice's undersampled k-space; 1 for an empty slice.

        Args:
            kspace: (coil, height, width), or (coil, samples) off the Cartesian grid.
            adjoint: function from it to coil images.

        Raises:
            DataError: if the samples are so large that the squares of single precision overflow.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            level = np.percentile(root_sum_of_squares(adjoint(kspace), axis=0), self.percentile)
        if not np.isfinite(level):
            raise DataError(f"samples up to {np.abs(kspace).max():.1g} are too large for single precision.")
        return float(1 / level) if level > 0 else 1.0


@dataclasses.dataclass(frozen=True)
class KSpacePercentileScaling(Rule):
    """Bring a percentile of the magnitudes in undersampled k-space to one, the missing samples counted as zeros.

    Args:
        percentile: of the magnitudes.
        power: divide by this power of the percentile, at most 100: 3 for DIRECT's option `normalize`, by which KIKINet
            and XPDNet divide by its square what was divided by it already.

    Reference: DIRECT (github.com/NKI-AI/direct), whose published weights were trained with its 99th percentile.
    """

    percentile: float = 99.0
    power: float = 1.0

    def __post_init__(self):
        numbers = check_positive_number(100, percentile=self.percentile, power=self.power)
        for name, number in zip(("percentile", "power"), numbers, strict=True):
            object.__setattr__(self, name, number)

    def __call__(self, kspace, adjoint=ifft2c):
        """The factor for one slice's undersampled k-space (coil, ...); 1 for an empty slice."""
        magnitudes = np.abs(kspace).ravel()
        above = int((1 - self.percentile / 100) * magnitudes.size)
        level = np.partition(magnitudes, -1 - above)[-1 - above]
        return float(level) ** -self.power if level > 0 else 1.0


SCALINGS = {
    "constant": ConstantScaling,
    "percentile": PercentileScaling,
    "kspace_percentile": KSpacePercentileScaling,
}


def scaling_to_config(scaling):
    """A dict of plain values, fit for JSON, from which `scaling_from_config` makes an equal rule.

    Raises:
        ValueError: if it can be stored neither by name nor as a class or function of one's own, see `rule_to_config`.
    """
    if not _is_scaling(scaling):
        raise ValueError(f"a scaling must be a rule of `mri_zoo.data.preparation` or callable, got {scaling!r}.")
    return rule_to_config(scaling, SCALINGS)


def scaling_from_config(config):
    """The rule that `scaling_to_config` stored.

    Raises:
        ValueError: if it cannot be made, see `rule_from_config`.
    """
    return rule_from_config(config, SCALINGS, _is_scaling)


def _is_scaling(thing):
    return callable(thing) and not isinstance(thing, type | keras.Layer)


def parse_scaling(text):
    """The rule that is written as ``constant:1e-2``, ``percentile:99``, ``kspace_percentile:99`` or ``...:99:3``.

    Raises:
        ValueError: if it is none of these, or a number is out of range.
    """
    name, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    fits = 1 <= len(values) <= (2 if name == "kspace_percentile" else 1) and all(0 < v < math.inf for v in values)
    if name not in SCALINGS or not fits or (name != "constant" and values[0] > 100):
        raise ValueError(
            f"Unknown scaling {text!r}; expected `constant:FACTOR`, or `percentile:P` or `kspace_percentile:P[:POWER]` "
            "with P up to 100."
        )
    return SCALINGS[name](*values)


def draw_sampling(sampling, info, seed=None, padding=None):
    """What a volume is sampled with: its own mask or trajectory where it was measured so, else that of `sampling`.

    Args:
        sampling: a mask or trajectory, or None.
        info: the `VolumeInfo`.
        seed: of the mask.
        padding: of the mask, see `SamplingMask`.

    Returns:
        A mask (1 or height, width) float32 or an `Encoding`, of a volume's own trajectory with a gain of 1; None for a
        fully sampled volume without a sampling.

    Raises:
        DataError: if a volume's own trajectory cannot be used.
        ValueError: if the sampling does not fit the volume's size.
    """
    if info.mask is not None:
        return info.mask
    if info.trajectory is not None:
        try:
            shots = info.trajectory.reshape(info.num_shots, -1, info.trajectory.shape[-1])
            return make_encoding(shots, info.image_size, info.density, gain=1)
        except ValueError as error:
            raise DataError(f"{info.name}: {error}") from error
    if isinstance(sampling, SamplingTrajectory):
        own = (info.height, info.width) if sampling.dimensions == 2 else (info.num_slices, info.height, info.width)
        size = sampling.image_size or own
        return drawn_encoding(sampling, size)
    return sampling and sampling(info.height, info.width, seed=seed, padding=padding)


def drawn_encoding(sampling, size):
    """The `Encoding` of a `SamplingTrajectory` on images of a size, scaled as for published networks."""
    return make_encoding(_trajectory(sampling, size), size)


@functools.lru_cache(maxsize=NUM_CACHED)
def _trajectory(sampling, size):
    return sampling(size)


def prepare_slice(kspace, target, mask, scaling, crop=None):
    """Undersample and scale one slice.

    Args:
        kspace: (coil, height, width) complex64; (coil, samples) where it was measured along a trajectory; (slice, coil,
            height, width) for a three-dimensional encoding.
        target: (target height, target width) float32 reference, or None for inference.
        mask: (1 or height, width) float32, 1 where sampled, or an `Encoding`: see `measure_slice`.
        scaling: rule that gives the factor for an undersampled k-space.
        crop: (height, width) of the target; it is centre-cropped where it is larger.

    Returns:
        The model's input without a batch axis, a dict of `kspace` (coil, height, width) and `mask`
        (1, 1 or height, width); the target, scaled and cropped, or None; the factor, float32, by which the model's
        output must be divided.

    Raises:
        ValueError: if the mask does not fit the k-space.
        DataError: if the factor, or what it scales, is beyond single precision.
    """
    if isinstance(mask, Encoding):
        if kspace.ndim == 2:
            inputs, factor = scale_samples(kspace, mask, scaling)
            return inputs, None if target is None else scaled(_cropped(target, crop), factor), factor
        return measure_slice(kspace, target, mask, scaling, crop)
    if mask.ndim != 2 or mask.shape[1] != kspace.shape[-1] or mask.shape[0] not in (1, kspace.shape[-2]):
        raise ValueError(
            f"A mask of shape {mask.shape} does not fit k-space of {kspace.shape[-2:]}: expected (1 or height, width)."
        )
    kspace = np.multiply(kspace, mask, out=_aligned_empty(kspace.shape, np.complex64))
    factor = scaling_factor(scaling, kspace)
    scaled(kspace, factor, out=kspace)
    inputs = {"kspace": kspace, "mask": mask[None]}
    if target is not None:
        target = _cropped(_cropped(target, crop), kspace.shape[-2:])
        target = scaled(target, factor, out=_aligned_empty(target.shape, np.float32))
    return inputs, target, factor


def prepare_partitions(kspace, target, mask, split, scaling, crop=None, number=1, seed=None, padding=None):
    """Undersample and scale one slice, and split its samples into inputs and targets.

    Of a self-supervised split nothing that the mask leaves out reaches the result.

    Args:
        kspace: (coil, height, width) complex64.
        target: (target height, target width) float32 reference of a supervised split; not looked at otherwise.
        mask: (1 or height, width) float32, 1 where sampled, or an `Encoding`.
        split: of `mri_zoo.data.splits`.
        scaling: rule that gives the factor for an undersampled k-space, that of all samples.
        crop: see `prepare_slice`.
        number: of partitions.
        seed: of the partitions.
        padding: (first, one past the last) column of the width that a fully sampled target has.

    Returns:
        The partitions' arrays, each with a leading axis of them: `kspace` (coil, height, width), `mask` (1, height,
        width), `target_kspace` and `target_mask` likewise, `self_supervised` (), 1 or 0, and the target image (height,
        width): of a self-supervised split the root-sum-of-squares of the target's k-space. Of an `Encoding` `kspace`
        (coil, samples), zero in the target, `trajectory`, `density` and `kernel` of the input, `target_kspace`,
        `target_mask` (1, samples), `target_density` (samples,), and the last two.

    Raises:
        ValueError: as `prepare_slice` and the split do.
    """
    reference = None if split.self_supervised else target
    inputs, target, factor = prepare_slice(kspace, reference, mask, scaling, crop)
    measured = inputs["kspace"]
    if isinstance(mask, Encoding):
        parts = split.several(mask, number, seed)
        rows = [_partition_along(measured, target, mask, *part, split.self_supervised, crop) for part in parts]
        return tuple(map(np.stack, zip(*rows, strict=True)))
    # From here on a self-supervised slice has its samples alone.
    known = measured if split.self_supervised else scaled(kspace, factor).astype(np.complex64)
    input_masks, target_masks = map(
        np.stack, zip(*split.several(np.broadcast_to(mask, kspace.shape[-2:]), number, seed), strict=True)
    )
    if padding is not None:
        target_masks[..., : padding[0]] = target_masks[..., padding[1] :] = 0
    target_kspace = known * target_masks[:, None]
    if split.self_supervised:
        targets = np.stack([_cropped(root_sum_of_squares(ifft2c(samples)), crop) for samples in target_kspace])
    else:
        targets = np.stack([target] * len(target_masks))
    flags = np.full(len(target_masks), split.self_supervised, np.float32)
    rest = target_kspace, target_masks[:, None], flags, targets.astype(np.float32)
    return measured * input_masks[:, None], input_masks[:, None], *rest


def _partition_along(samples, target, encoding, input_mask, target_mask, self_supervised, crop):
    """What `prepare_partitions` makes of one partition of samples along a trajectory."""
    known, asked = part_of(encoding, input_mask), part_of(encoding, target_mask, kernel=False)
    target_samples = samples * target_mask
    if self_supervised:
        target = _cropped(root_sum_of_squares(asked.adjoint(target_samples), axis=0), crop)
    return (
        *known.inputs(samples * input_mask).values(),
        *(target_samples, target_mask[None], asked.density, np.float32(self_supervised)),
        target.astype(np.float32),
    )


def reference_image(volume, index):
    """The target of the slice at position `index` of a `Volume`: stored, or from its fully sampled k-space.

    One that is larger than the k-space is cropped to it.

    Raises:
        DataError: if neither is there, or the target is no magnitude of that slice.
    """
    if volume.target is not None:
        if len(volume.target) != len(volume.kspace) and volume.info.depth is None or np.ndim(volume.target) != 3:
            found = f"{np.shape(volume.target)} for k-space of {len(volume.kspace)} slices"
            raise DataError(f"{volume.info.name}: has a reference of shape {found}; expected (slice, height, width).")
        target = volume.target[index]
        if np.iscomplexobj(target):
            raise DataError(f"{volume.info.name}: has a reference of {target.dtype}; expected real numbers.")
        return _cropped(target, (volume.info.height, volume.info.width))
    if volume.info.mask is not None or volume.info.trajectory is not None:
        raise DataError(f"{volume.info.name}: undersampled and without a reference image, so nothing to compare with.")
    return _cropped(root_sum_of_squares(ifft2c(volume.kspace[index])), volume.info.recon_size)


def flip_and_rotate(kspace, rng, recon_size=None):
    """One of the eight flips and quarter turns of the images of (coil, height, width) k-space, and their reference.

    Args:
        kspace: (coil, height, width).
        rng: NumPy's generator.
        recon_size: (height, width) of the reference before the turn, where it is smaller than the k-space.

    Returns:
        The k-space and the root-sum-of-squares (height, width) of the turned coil images.
    """
    turns = int(rng.integers(4))
    images = np.rot90(ifft2c(kspace), turns, axes=(-2, -1))
    if rng.integers(2):
        images = images[..., ::-1]
    kept = recon_size if recon_size is None or turns % 2 == 0 else recon_size[::-1]
    return fft2c(images), _cropped(root_sum_of_squares(images), kept)


def _cropped(target, crop):
    """The centre of a target, where it is larger than `crop`."""
    if crop is None:
        return target
    return center_crop(target, [min(have, want) for have, want in zip(target.shape[-2:], crop, strict=True)])


def _aligned_empty(shape, dtype):
    """An empty array that TensorFlow takes over without a copy, which needs its start on a multiple of 64 bytes."""
    buffer = np.empty(math.prod(shape) * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + buffer.size - 64].view(dtype).reshape(shape)
