"""Non-Cartesian measurements: of fully sampled Cartesian scans along a trajectory, and those that were measured so."""

import collections
import dataclasses
import functools
import hashlib
import math
import threading

import numpy as np
from keras import ops

from mri_zoo.data.fourier import center_crop, ifft2c
from mri_zoo.data.volume import DataError, check_memory
from mri_zoo.physics.density import pipe_density
from mri_zoo.physics.nufft import (
    check_density,
    check_reach,
    check_trajectory,
    host_implementation,
    normal_kernel,
    nufft,
    nufft_adjoint,
)

# Of one trajectory on images of several sizes; at 640 x 400 each takes 5 MB, at 176 x 256 x 256 400 MB.
NUM_CACHED = 8
SHARED = ("trajectory", "density", "kernel")  # keys of a batch which are the same for all slices of an encoding

_cache, _cache_lock = collections.OrderedDict(), threading.Lock()
_locks = [threading.Lock() for _ in range(NUM_CACHED)]  # one is picked by the key: as many for any number of keys


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """A trajectory on images of one size, and what follows from the two: the same for all slices and coils.

    Attributes:
        size: (height, width) or (depth, height, width) of the image.
        trajectory: (samples, dimension) float32, radians per pixel.
        density: (samples,) float32, its compensation. `make_encoding` tells its scale.
        kernel: float32 of twice the size, the transfer function of the normal operator, or None where it is left to the
            model to compute it.
        num_shots: that follow each other in the trajectory, all of one length.
    """

    size: tuple[int, ...]
    trajectory: np.ndarray
    density: np.ndarray
    kernel: np.ndarray | None = None
    num_shots: int = 1

    @property
    def acceleration(self):
        """Pixels for each sample."""
        return float(np.prod(self.size)) / len(self.trajectory)

    @functools.cached_property
    def gain(self):
        """How bright A^H D A shows an ellipsoid of four fifths of the field of view: 1 is as bright as it is."""
        axes = np.meshgrid(*[(2 * np.arange(n) + 1) / n - 1 for n in self.size], indexing="ij", sparse=True)
        image = (sum(axis**2 for axis in axes) < 0.8**2).astype(np.complex64)
        shown = self.adjoint(self.measure(image[None]))[0]
        return float(np.sum((image.conj() * shown).real) / np.sum(image.real))

    def with_gain(self, gain):
        """With density and kernel scaled to this `gain`; the encoding itself where it differs by a thousandth."""
        if not 0 < self.gain < math.inf:
            raise ValueError(f"The density compensation shows nothing of an object: its gain is {self.gain:.3g}.")
        factor = np.float32(gain / self.gain)
        if abs(factor - 1) < 1e-3:
            return self
        kept = self.__dict__.setdefault("_scaled", {})  # `reconstruct` asks for it with each slice
        if gain not in kept:
            kernel = None if self.kernel is None else self.kernel * factor
            kept.clear()
            kept[gain] = dataclasses.replace(self, density=self.density * factor, kernel=kernel)
        return kept[gain]

    def measure(self, images):
        """Samples (coil, samples) complex64 of coil images (coil, *size)."""
        images = images[None].astype("complex64")
        return ops.convert_to_numpy(nufft(images, self.trajectory[None], host_implementation()))[0]

    def adjoint(self, samples):
        """Coil images (coil, *size) complex64 of samples (coil, samples), with density compensation."""
        samples = (samples * self.density)[None]
        images = nufft_adjoint(samples, self.trajectory[None], self.size, host_implementation())
        return ops.convert_to_numpy(images)[0]

    def inputs(self, kspace):
        """The model's input without a batch axis: samples (coil, samples) and what they need."""
        found = {"kspace": kspace, "trajectory": self.trajectory, "density": self.density}
        return found if self.kernel is None else {**found, "kernel": self.kernel}


def make_encoding(trajectory, size, density=None, kernel=True, gain=None):
    """The `Encoding` of a trajectory; the last `NUM_CACHED` are kept, so that each is computed once.

    Published networks were trained with weights for which A^H D A shows the image of ones with a mean magnitude of 1.
    That image is one sample of k-space, so the brightness of others depends on the trajectory: on spokes with a sample
    in the centre it is 1.25 times too high, on those without 0.7. `gain` sets it.

    Args:
        trajectory: (samples, dimension) or (..., samples of a shot, dimension) float32, radians per pixel in [-pi, pi].
        size: of the image.
        density: (...) float32 weights, one for each sample; by default Pipe's iteration, 10 times as in the thesis.
        kernel: compute the kernel of the normal operator, too.
        gain: how bright A^H D A shows objects, see `Encoding.gain`; by default as for published networks.

    Raises:
        ValueError: if trajectory or density are not finite, out of their range or do not fit the size, or the
            trajectory is far from the edge of k-space or has far too few or too many samples.
        DataError: if the grid of twice the size takes more memory than `check_memory` allows.
    """
    size = tuple(map(int, size))
    check_memory(f"The grid of images of {size} pixels", 4 * math.prod(2 * n for n in size), declared=0, stored=0)
    check_trajectory(trajectory, len(size))
    trajectory = np.ascontiguousarray(trajectory, np.float32)
    num_shots, trajectory = math.prod(trajectory.shape[:-2]), trajectory.reshape(-1, len(size))
    check_reach(trajectory, size)
    key = size, kernel, gain, num_shots, hashlib.sha1(trajectory).digest()
    if density is not None:
        density = np.ascontiguousarray(density, np.float32).ravel()
        if len(density) != len(trajectory):
            raise ValueError(f"{len(density)} density weights do not fit a trajectory of {len(trajectory)} samples.")
        check_density(density)
        key += (hashlib.sha1(density).digest(),)
    with _locks[hash(key) % len(_locks)]:  # of threads that ask for one encoding, the first computes it
        with _cache_lock:
            found = _cache.get(key)
        if found is None:
            found = _encoding_of(trajectory, size, density, kernel, num_shots)
            found = found if gain is None else found.with_gain(gain)
        with _cache_lock:
            _cache[key] = found
            _cache.move_to_end(key)
            while len(_cache) > NUM_CACHED:
                _cache.popitem(last=False)
    return found


def part_of(encoding, chosen, kernel=True):
    """The `Encoding` of some of the samples: those left out keep their place, with a weight of zero.

    The weights of the others are computed anew, by Pipe's iteration. Nothing is kept: parts are drawn and used once.

    Args:
        encoding: of all samples.
        chosen: (samples,), nonzero for those that the part has.
        kernel: compute the kernel of the normal operator, too.

    Returns:
        An `Encoding`, or `encoding` itself where all samples are chosen.
    """
    chosen = np.asarray(chosen) != 0
    if chosen.all():
        return encoding
    density = np.zeros(len(chosen), np.float32)
    density[chosen] = pipe_density(encoding.trajectory[chosen], encoding.size)
    transfer = _kernel_of(encoding.trajectory, density, encoding.size) if kernel else None
    return Encoding(encoding.size, encoding.trajectory, density, transfer, encoding.num_shots)


def _encoding_of(trajectory, size, density, kernel, num_shots):
    if density is None:
        density = ops.convert_to_numpy(pipe_density(trajectory, size))
    else:
        unscaled = Encoding(size, trajectory, density)
        density = density / unit_gain(unscaled)
    transfer = _kernel_of(trajectory, density, size) if kernel else None
    return Encoding(size, trajectory, density.astype(np.float32), transfer, num_shots)


def _kernel_of(trajectory, density, size):
    return ops.convert_to_numpy(normal_kernel(trajectory[None], density[None], size, host_implementation()))[0]


def unit_gain(encoding):
    """Mean magnitude of A^H D A 1, by which weights of any scale are divided."""
    ones = np.ones((1, *encoding.size), np.complex64)
    return np.mean(np.abs(encoding.adjoint(encoding.measure(ones))))


def measure_slice(kspace, target, encoding, scaling, crop=None):
    """Sample one fully sampled slice, or volume, along a trajectory, and scale it.

    The coil images are centred on the grid of the encoding: padded with zeros, or cropped.

    Args:
        kspace: (coil, height, width) complex64; of a three-dimensional encoding (slice, coil, height, width).
        target: (target height, target width) float32 reference, (slice, ...) of a volume, or None for inference.
        encoding: an `Encoding`.
        scaling: rule that gives the factor for the samples.
        crop: (height, width) of the target; it is centre-cropped where it is larger.

    Returns:
        The model's input without a batch axis; the target, scaled, cropped, and of a volume centred on the grid as the
        images are, or None; the factor, by which the model's output must be divided.

    Reference: Ramzi, thesis, section 5.2.4, equation 5.3.
    """
    size = encoding.size
    images = ifft2c(kspace)
    if len(size) == 3:
        images = np.swapaxes(images, 0, 1)  # coils before slices
    if target is not None:
        target = _cropped(target, crop, size)
    shape = None if target is None else target.shape[-2:]
    inputs, factor = scale_samples(encoding.measure(_centred(images, size, shape)), encoding, scaling)
    if target is not None:
        target = target if target.ndim == 2 else _centred(target, (size[0], *target.shape[1:]), target.shape[1:])
        target = scaled(target, factor)
    return inputs, target, factor


def scale_samples(samples, encoding, scaling):
    """The model's input, and the factor by which its output must be divided, of measured samples (coil, samples)."""
    factor = scaling_factor(scaling, samples, encoding.adjoint)
    return encoding.inputs(scaled(samples, factor).astype(np.complex64)), factor


def scaling_factor(scaling, samples, adjoint=ifft2c):
    """The factor that a rule gives for the samples of one slice, float32, as models and images are.

    Args:
        scaling: the rule.
        samples: (coil, ...) complex64.
        adjoint: function from them to coil images.

    Raises:
        DataError: if single precision has no such number above 0, or none by which an image can be divided.
    """
    try:
        with np.errstate(over="ignore", under="ignore"):
            factor = np.float32(scaling(samples, adjoint))
    except OverflowError:
        factor = np.float32(np.inf)
    limits = np.finfo(np.float32)
    if not limits.tiny <= factor <= limits.max:
        raise DataError(
            f"the scaling {scaling} gives the factor {factor:.3g} in single precision; expected one from "
            f"{limits.tiny:.3g} to {limits.max:.3g}."
        )
    return factor


def scaled(array, factor, out=None):
    """An array times a factor of `scaling_factor`.

    Raises:
        DataError: if the products are too large for single precision.
    """
    try:
        with np.errstate(over="raise"):
            return np.multiply(array, factor, out=out)
    except FloatingPointError as error:
        raise DataError(
            f"numbers up to {np.abs(array).max():.3g}, scaled by {factor:.3g}, are too large for single precision."
        ) from error


def on_scan(images, extent):
    """Images (..., height, width) on the grid of an encoding, centred on that of the scan again."""
    return _centred(images, extent, None)


def _cropped(target, crop, size):
    """No larger than the crop and the grid."""
    wanted = size[-2:] if crop is None else np.minimum(crop, size[-2:])
    return center_crop(target, np.minimum(target.shape[-2:], wanted))


def _centred(images, size, target_size):
    """Images padded or cropped on their last axes to a size.

    A crop of the result to the target's size, as fastMRI crops, shows the same pixels as that crop of the images: with
    odd differences there are two centres.
    """
    dimensions = len(size)
    target_size = () if target_size is None else tuple(target_size)
    target_size = (None,) * (dimensions - len(target_size)) + target_size
    for axis, want, target in zip(range(-dimensions, 0), size, target_size, strict=True):
        have = images.shape[axis]
        target = min(have, want) if target is None else target
        first = (want - target) // 2 - (have - target) // 2  # of the images, on the grid
        images = np.take(images, np.arange(max(-first, 0), min(have, want - first)), axis)
        padding = [(0, 0)] * images.ndim
        padding[axis] = max(first, 0), want - max(first, 0) - images.shape[axis]
        images = np.pad(images, padding)
    return images


class CenteredEcho:
    """A `VolumeSource` of a scan along a trajectory that puts the strongest signal into the centre of k-space.

    A shim or the receiver leave a linear phase in an image, which moves the echo away from the centre, where coil maps
    are calibrated and networks expect it. Shifting the trajectory takes the linear phase off the image and leaves its
    magnitude as it is: image and k-space are periodic, so a sample that leaves at one edge comes in at the other.

    Args:
        source: the scan, for example a `TrajectoryFile`. Its slice in the middle tells where the echo is.

    Attributes:
        echo: (dim,) where the strongest signal was, in samples of the Cartesian grid from the centre.

    Raises:
        DataError: if the scan was measured on the Cartesian grid, or its middle slice is empty.
    """

    def __init__(self, source):
        info = source.info
        if info.trajectory is None:
            raise DataError(f"{info.name}: was measured on the Cartesian grid; expected a trajectory.")
        energy = np.sum(np.abs(source.read([info.num_slices // 2]).kspace[0]) ** 2, axis=0, dtype=np.float64)
        if not energy.any():
            raise DataError(f"{info.name}: slice {info.num_slices // 2} is empty; expected an echo.")
        # Squared, so that the many weak samples far out do not count; on the circle, as k-space is periodic.
        echo = np.angle((energy / energy.max()) ** 2 @ np.exp(1j * info.trajectory))
        trajectory = np.mod(info.trajectory - echo + np.pi, 2 * np.pi) - np.pi
        self.echo = echo * info.image_size / (2 * np.pi)
        self.info = dataclasses.replace(info, trajectory=trajectory.astype(np.float32))
        self._source = source

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for."""
        return dataclasses.replace(self._source.read(slices), info=self.info)
