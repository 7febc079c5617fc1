"""Trajectories: where k-space is sampled off the Cartesian grid.

A trajectory is an array (shot, sample, dimension) float32, radians per pixel in [-pi, pi), its last axis in the order
of the image's axes. The functions make shots; the frozen classes are samplings, which go where a mask goes (pipeline,
recipes, presets, harness) and give the shots for a size of image::

    trajectory = RadialTrajectory(acceleration=4)((640, 400))  # (100, 640, 2)

The acceleration is that of the thesis (section 5.2.4): columns of the image for each shot, and in 3-D columns times
slices for each shot. A shot has as many samples as the image has rows.
"""

import abc
import dataclasses
import math
from numbers import Real
from typing import ClassVar

import numpy as np

from mri_zoo.arguments import check_flags
from mri_zoo.data.stored import Rule
from mri_zoo.data.volume import check_memory

GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
# Chan et al., MRM 61:354, 2009: the two-dimensional golden means.
GOLDEN_MEANS = 0.4656, 0.6823

_ANGLES = ("golden", "uniform")
# Single precision of values that were added or scaled once or twice.
_ROUNDING = 1e-6


def radial(num_shots, num_samples, angles="golden", endpoint=False):
    """Straight lines through the centre.

    Args:
        num_shots: lines; the first lies along the first axis.
        num_samples: on each, evenly spaced.
        angles: between one line and the next: "golden" for 180 degrees / golden ratio, "uniform" for 180 degrees /
            `num_shots`.
        endpoint: samples on both ends, -pi and pi, as fastmri-reproducible-benchmark has them; the centre is then
            between two samples where their number is even. Otherwise the samples are those of the Fourier transform,
            with the centre at index ``num_samples // 2``.

    Returns:
        (shot, sample, 2) float32, in [-pi, pi), with `endpoint` in [-pi, pi].

    Reference: Winkelmann et al., IEEE TMI 26:68, 2007 (golden angle).
    """
    lines = _lines(num_shots, num_samples, angles, endpoint)
    return _points(lines).astype(np.float32) if endpoint else _wrapped(_points(lines))


def spiral(num_shots, num_samples, revolutions=3.0):
    """Archimedean spirals, from the edge to the centre at index ``num_samples // 2`` and out again, point-symmetric.

    Args:
        num_shots: spirals, turned by 180 degrees / `num_shots` from one to the next.
        num_samples: of each.
        revolutions: turns between centre and edge.

    Returns:
        (shot, sample, 2) float32 in [-pi, pi).
    """
    return _wrapped(_points(_spirals(num_shots, num_samples, revolutions)))


def radial_3d(num_shots, num_samples, angles="golden"):
    """Straight lines through the centre of three-dimensional k-space, in directions that cover the sphere evenly.

    Args:
        num_shots: lines.
        num_samples: on each, as in `radial`.
        angles: "golden" for the golden means, of which any part in a row covers the sphere; "uniform" for a spiral over
            the half-sphere, which is the most even for this number of shots.

    Returns:
        (shot, sample, 3) float32 in [-pi, pi).

    Reference: Chan et al., MRM 61:354, 2009 (golden means).
    """
    _check(num_shots, num_samples, angles)
    shot = np.arange(num_shots)
    if angles == "golden":
        height, turn = (shot * GOLDEN_MEANS[0]) % 1, shot * GOLDEN_MEANS[1]
    else:
        height, turn = (shot + 0.5) / num_shots, shot / GOLDEN_RATIO
    across, azimuth = np.sqrt(1 - height**2), 2 * np.pi * turn
    directions = np.stack([height, across * np.cos(azimuth), across * np.sin(azimuth)], axis=-1)
    return _wrapped(_frequencies(num_samples)[:, None] * directions[:, None])


def stack(plane, num_planes):
    """A two-dimensional trajectory in each of the planes of the Cartesian grid along the first axis.

    From one plane to the next the shots turn by 180 degrees / (number of shots) / golden ratio, so that neighbouring
    planes fill each other's gaps.

    Args:
        plane: (shot, sample, 2).
        num_planes: planes.

    Returns:
        (plane times shot, sample, 3) float32 in [-pi, pi), all shots of a plane after one another.
    """
    _check(num_planes, len(plane))
    angles = (np.arange(num_planes) / GOLDEN_RATIO % 1) * np.pi / len(plane)
    plane = plane[..., 0] + 1j * plane[..., 1].astype(float)
    return _wrapped(np.roll(_stacked(plane, _frequencies(num_planes), angles), 1, axis=-1))


def cartesian(size):
    """All samples of the Cartesian grid; a shot is a line along the last axis.

    Returns:
        (product of all extents but the last, last extent, dimension) float32 in [-pi, pi), in C order.
    """
    axes = np.meshgrid(*map(_frequencies, size), indexing="ij")
    return _wrapped(np.stack(axes, axis=-1).reshape(-1, size[-1], len(size)))


def as_trajectory(samples, units="cycles/pixel", image_size=None, wrap=False):
    """Somebody else's trajectory in our units; by default one of mri-nufft's generators.

    Args:
        samples: (shot, sample, dimension) real numbers, their last axis in the order of the image's axes.
        units: "cycles/pixel", in [-0.5, 0.5], of mri-nufft; "cycles/FOV", in [-size / 2, size / 2], of BART and SigPy;
            "radians/pixel".
        image_size: (height, width) or (depth, height, width), for "cycles/FOV" alone.
        wrap: accept samples beyond the edge, which the pixels cannot tell from those a period away. Otherwise they are
            an error, and only the edge itself is wrapped, from pi to -pi.

    Returns:
        (shot, sample, dimension) float32, radians per pixel in [-pi, pi).

    Raises:
        ValueError: if the shape is another one, samples are not finite or lie beyond the edge, or the units are not
            known.
    """
    samples = np.asarray(samples)
    if samples.dtype.kind not in "iuf" or samples.ndim != 3 or samples.shape[-1] not in (2, 3) or not samples.size:
        raise ValueError(
            f"A trajectory must be (shot, sample, 2 or 3) real numbers, got shape {samples.shape} of {samples.dtype}."
        )
    if not np.isfinite(samples).all():
        raise ValueError("The trajectory holds NaN or infinity; expected finite numbers.")
    if units == "cycles/FOV":
        if image_size is None or len(image_size) != samples.shape[-1]:
            raise ValueError(
                f"Units of cycles/FOV need an image size of {samples.shape[-1]} extents, got {image_size}."
            )
        factor = 2 * np.pi / np.asarray(image_size, float)
    elif units in ("cycles/pixel", "radians/pixel"):
        factor = 2 * np.pi if units == "cycles/pixel" else 1.0
    else:
        raise ValueError(f'`units` must be "cycles/pixel", "cycles/FOV" or "radians/pixel", got {units!r}.')
    radians = samples * factor
    largest = np.abs(radians).max()
    if not wrap and largest > np.pi * (1 + _ROUNDING):
        limit = np.abs(samples).max() * np.pi / largest
        remedy = "the image must have more pixels, or " if units == "cycles/FOV" else ""
        raise ValueError(
            f"The trajectory reaches {np.abs(samples).max():.6g} {units}, beyond the edge of k-space: expected values "
            f"in [-{limit:.6g}, {limit:.6g}). Are the units right? Then {remedy}`wrap=True` takes samples beyond the "
            "edge for those a period away."
        )
    return _wrapped(radians)


@dataclasses.dataclass(frozen=True)
class SamplingTrajectory(Rule, abc.ABC):
    """What all trajectories share as a sampling: acceleration, size, the predecessor's rules.

    Args:
        acceleration: columns of the image (in 3-D: times slices) for each shot, >= 1.
        image_size: images of scans are centred on a grid of this size before they are sampled, padded with zeros or
            cropped; by default each keeps its own.
        benchmark: the samples of fastmri-reproducible-benchmark, which its trained weights expect, in place of ours.
            The differences are told by each class.

    Attributes:
        dimensions: of the image.

    Raises:
        ValueError: if an argument is out of its range.
    """

    acceleration: float
    image_size: tuple[int, ...] | None = None
    benchmark: bool = dataclasses.field(default=False, kw_only=True)
    dimensions: ClassVar[int] = 2

    def __post_init__(self):
        if not isinstance(self.acceleration, Real) or not 1 <= self.acceleration < math.inf:
            raise ValueError(f"`acceleration` must be >= 1 and finite, got {self.acceleration!r}.")
        check_flags(benchmark=self.benchmark)
        if self.image_size is not None:
            # Plain numbers, so that trajectories compare equal and their configs are fit for JSON.
            object.__setattr__(self, "image_size", self._checked(self.image_size))

    def __call__(self, size):
        """The trajectory for images of a size.

        Args:
            size: (height, width) or (depth, height, width).

        Returns:
            (shot, sample, dimension) float32, radians per pixel in [-pi, pi), with `benchmark` in [-pi, pi].

        Raises:
            ValueError: if the size has another number of extents or leaves no shot.
            DataError: if the samples would take more memory than `check_memory` allows.
        """
        size = self._checked(size)
        num_shots = int(size[-1] // self.acceleration)
        # A plane of a volume has as many samples as the others; four times, in double precision, is at the same time.
        at_once = 32 * self.dimensions * num_shots * math.prod(size[:-1])
        check_memory(f"{type(self).__name__} for images of {size} pixels", at_once, declared=0, stored=0)
        if num_shots < 1:
            raise ValueError(f"`acceleration` {self.acceleration} leaves no shot for images of {size} pixels.")
        draw = self._draw_benchmark if self.benchmark else self._draw
        return draw(size, num_shots)

    def _checked(self, size):
        size = tuple(int(extent) for extent in size)
        if len(size) != self.dimensions or min(size) < 2:
            raise ValueError(
                f"{type(self).__name__} needs images of {self.dimensions} extents of at least 2 pixels, got {size}."
            )
        return size

    @abc.abstractmethod
    def _draw(self, size, num_shots):
        """The shots; `num_shots` is the number in a plane."""

    @abc.abstractmethod
    def _draw_benchmark(self, size, num_shots):
        """The predecessor's."""


@dataclasses.dataclass(frozen=True)
class RadialTrajectory(SamplingTrajectory):
    """Lines through the centre, see `radial`.

    Of the benchmark, they are golden ones with samples on both ends.

    Args:
        angles: "golden" or "uniform".
    """

    angles: str = "golden"

    def __post_init__(self):
        super().__post_init__()
        _check(angles=self.angles)

    def _draw(self, size, num_shots):
        return radial(num_shots, size[0], self.angles)

    def _draw_benchmark(self, size, num_shots):
        return radial(num_shots, size[0], endpoint=True)


@dataclasses.dataclass(frozen=True)
class SpiralTrajectory(SamplingTrajectory):
    """Spirals in and out, see `spiral`.

    Of the benchmark, they run the other way and lack the sample on the edge that has no counterpart, and have an even
    number of rows less one. (It stored them sample by sample, not shot by shot, which no sum over them sees.)

    Args:
        revolutions: turns between centre and edge.
    """

    revolutions: float = 3.0

    def __post_init__(self):
        super().__post_init__()
        _check(revolutions=self.revolutions)

    def _draw(self, size, num_shots):
        return spiral(num_shots, size[0], self.revolutions)

    def _draw_benchmark(self, size, num_shots):
        return _points(_benchmark_spiral(num_shots, size[0], self.revolutions)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class RadialStackTrajectory(RadialTrajectory):
    """Lines through the centre of each plane along the depth, see `stack`.

    Of the benchmark, the planes lie along the last axis, within half of its frequencies, and turn by another rule.
    """

    dimensions: ClassVar[int] = 3

    def _draw(self, size, num_shots):
        return stack(radial(num_shots, size[1], self.angles), size[0])

    def _draw_benchmark(self, size, num_shots):
        return _benchmark_stack(_lines(num_shots, size[1], "golden", endpoint=True), size[0])


@dataclasses.dataclass(frozen=True)
class SpiralStackTrajectory(SpiralTrajectory):
    """Spirals in each plane along the depth, see `stack`.

    Of the benchmark, the planes are those of `RadialStackTrajectory`, the spirals those of `SpiralTrajectory`.
    """

    dimensions: ClassVar[int] = 3

    def _draw(self, size, num_shots):
        return stack(spiral(num_shots, size[1], self.revolutions), size[0])

    def _draw_benchmark(self, size, num_shots):
        return _benchmark_stack(_benchmark_spiral(num_shots, size[1], self.revolutions), size[0])


@dataclasses.dataclass(frozen=True)
class Radial3DTrajectory(RadialTrajectory):
    """Lines through the centre of the volume, see `radial_3d`.

    Of the benchmark, the coordinates are mixed up: what it samples are no lines, and may lie outside the sphere.
    """

    dimensions: ClassVar[int] = 3

    def _draw(self, size, num_shots):
        return radial_3d(num_shots * size[0], size[1], self.angles)

    def _draw_benchmark(self, size, num_shots):
        return _benchmark_radial_3d(num_shots * size[0], size[1])


TRAJECTORIES = {
    "radial": RadialTrajectory,
    "spiral": SpiralTrajectory,
    "radial_stack": RadialStackTrajectory,
    "spiral_stack": SpiralStackTrajectory,
    "radial_3d": Radial3DTrajectory,
}


def _check(num_shots=1, num_samples=1, angles="golden", revolutions=1.0):
    if num_shots < 1 or num_samples < 1:
        raise ValueError(f"A trajectory needs at least one shot and one sample, got {num_shots} and {num_samples}.")
    if angles not in _ANGLES:
        raise ValueError(f'`angles` must be "golden" or "uniform", got {angles!r}.')
    if not 0 < revolutions < math.inf:
        raise ValueError(f"`revolutions` must be > 0 and finite, got {revolutions}.")


def _frequencies(count):
    """(count,) frequencies of the Fourier transform, in radians: the centre is at index ``count // 2``."""
    return 2 * np.pi * (np.arange(count) - count // 2) / count


def _wrapped(radians):
    """Float32 in [-pi, pi); values inside are only rounded."""
    pi = np.float32(np.pi)
    values = radians.reshape(-1, *radians.shape[-2:])
    outside = np.abs(values) > np.pi * (1 + _ROUNDING)
    values = np.where(outside, (values + np.pi) % (2 * np.pi) - np.pi, values).astype(np.float32)
    return np.where(values >= pi, -pi, np.maximum(values, -pi))


def _lines(num_shots, num_samples, angles, endpoint):
    """(shot, sample) complex, the first axis real."""
    _check(num_shots, num_samples, angles)
    angle = np.arange(num_shots) * (np.pi / num_shots if angles == "uniform" else -np.pi / GOLDEN_RATIO)
    return (np.linspace(-np.pi, np.pi, num_samples) if endpoint else _frequencies(num_samples)) * _turns(angle)


def _spirals(num_shots, num_samples, revolutions):
    _check(num_shots, num_samples, revolutions=revolutions)
    position = _frequencies(num_samples)
    turns = _turns(np.pi * np.arange(num_shots) / num_shots)
    return position * np.exp(2j * revolutions * np.abs(position)) * turns


def _turns(angles):
    return np.exp(1j * angles)[:, None]


def _points(plane):
    """(..., 2) real."""
    return np.stack([plane.real, plane.imag], axis=-1)


def _stacked(plane, positions, angles):
    """(plane times shot, sample, 3): complex shots, turned by the plane's angle, at its position on the last axis."""
    turned = _points(plane * _turns(angles)[..., None])
    depth = np.broadcast_to(positions[:, None, None, None], (*turned.shape[:-1], 1))
    return np.concatenate([turned, depth], axis=-1).reshape(-1, plane.shape[1], 3)


def _benchmark_spiral(num_shots, num_rows, revolutions):
    """Complex shots, which run the other way."""
    return -_spirals(num_shots, 2 * (num_rows // 2), revolutions)[:, 1:]


def _benchmark_stack(plane, num_planes):
    """Planes within half of the last axis; each turns by a whole number of steps, counted from -pi and cut off."""
    positions = np.linspace(-np.pi / 2, np.pi / 2, num_planes)
    steps = np.trunc((-np.pi - positions) * num_planes)
    return _stacked(plane, positions, steps * np.pi / (num_planes * len(plane))).astype(np.float32)


def _benchmark_radial_3d(num_shots, num_samples):
    """As many azimuths as elevations; then the flat numbers are read as if all first coordinates came first."""
    count = int(math.sqrt(num_shots))
    radius = (1 - np.arange(num_samples) / (num_samples // 2)) * (1 - np.finfo(float).eps) / 2 / np.pi
    angle = np.pi / count * (np.arange(count) + 0.5)
    shots = np.empty((count, count, num_samples, 3))
    for azimuth, row in zip(angle, shots, strict=True):
        line = radius[:, None] * [np.cos(azimuth), np.sin(azimuth), 0]
        for elevation, shot in zip(angle, row, strict=True):
            # Half a turn about this axis, which lies between the first axis and the normal of the line.
            cosine, sine = np.cos(elevation / 2), np.sin(elevation / 2)
            normal = np.array([cosine, -np.sin(azimuth) * sine, np.cos(azimuth) * sine])
            shot[:] = 2 * (line @ normal)[:, None] * normal - line
    mixed = shots.reshape(3, -1).T * (2 * np.pi**2)
    return mixed.reshape(-1, num_samples, 3).astype(np.float32)
