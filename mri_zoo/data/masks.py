"""Sampling masks: which samples of Cartesian k-space are acquired. Here are those of whole columns.

A mask is a small immutable object. Called with a size and a seed it draws an array, 1 where sampled::

    mask = RandomMask(acceleration=4)
    mask(640, 368, seed=seed_from_name("file1000001.h5"))  # (1, 368) float32, the one fastMRI evaluates this file with

Seeds are an int, a tuple of ints, a NumPy `Generator` or `RandomState` (which then advances), or None for a fresh
draw. Everything is drawn from NumPy's legacy `RandomState`, whose streams are frozen, so that a seed gives the same
mask with every version of NumPy, and gives fastMRI's.
"""

import abc
import dataclasses
import itertools
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import ClassVar

import numpy as np

from mri_zoo.data.stored import Rule


@dataclasses.dataclass(frozen=True)
class SamplingMask(Rule, abc.ABC):
    """What all masks share: the choice of the acceleration, the fully sampled centre, the checks.

    The classes below document only the arguments that they add or change.

    Args:
        acceleration: how many times fewer samples than the full grid has, >= 1; 1 samples everything. Of several, each
            call draws one.
        center_fraction: the part of all samples that the fully sampled centre takes, in (0, 1]; one for each
            acceleration. The centre are columns, by default 0.32 / acceleration: fastMRI's 0.08 at 4 and 0.04 at 8;
            of masks with two dimensions it is a disc, by default 0.08 / acceleration.
        any_combination: draw the acceleration and the centre fraction independently, not as pairs.

    Attributes:
        dimensions: 1 where whole columns are sampled and the mask is (1, width), 2 where it is (height, width).
        center_optional: whether the centre fraction may be 0, for no such centre.

    Raises:
        ValueError: if an argument is out of its range, or the centre alone exceeds what the acceleration allows.
    """

    acceleration: float | Sequence[float]
    center_fraction: float | Sequence[float] | None = None
    any_combination: bool = dataclasses.field(default=False, kw_only=True, repr=False)
    dimensions: ClassVar[int] = 1
    center_optional: ClassVar[bool] = False

    def __post_init__(self):
        accelerations = _as_tuple(self.acceleration)
        if not accelerations:
            raise ValueError("`acceleration` must be a number >= 1, or several, got none.")
        for acceleration in accelerations:
            if not isinstance(acceleration, Real) or not 1 <= acceleration < math.inf:
                raise ValueError(f"`acceleration` must be >= 1, got {acceleration!r}.")
        if self.center_fraction is None:
            fractions = self._default_center_fractions(accelerations)
        else:
            fractions = _as_tuple(self.center_fraction)
        for fraction in fractions:
            if not isinstance(fraction, Real) or not (0 < fraction <= 1 or (fraction == 0 and self.center_optional)):
                raise ValueError(f"`center_fraction` must be in (0, 1], got {fraction!r}.")
        if not fractions or (len(accelerations) != len(fractions) and not self.any_combination):
            raise ValueError(
                "`acceleration` and `center_fraction` must have the same number of values (or pass "
                f"any_combination=True), got {len(accelerations)} and {len(fractions)}."
            )
        pairs = itertools.product if self.any_combination else zip
        for acceleration, fraction in pairs(accelerations, fractions):
            if acceleration > 1 and self._center_share(fraction) > 1 / acceleration:
                raise ValueError(
                    f"`center_fraction` {fraction} alone samples more than `acceleration` {acceleration} allows."
                )
        # Plain numbers and tuples, so that masks compare equal and their configs are fit for JSON.
        object.__setattr__(self, "acceleration", accelerations if len(accelerations) > 1 else accelerations[0])
        object.__setattr__(self, "center_fraction", fractions if len(fractions) > 1 else fractions[0])

    def __call__(self, height, width, seed=None, padding=None, frames=None):
        """Draw a mask, or one for each frame.

        Args:
            height: rows of the k-space.
            width: columns of the k-space, the phase-encode axis.
            seed: see the module.
            padding: (first, one past the last) acquired column; no column outside is sampled.
            frames: draw so many masks of one acceleration; without, there is no axis of frames.

        Returns:
            (1 or height, width) or (frames, 1 or height, width) float32, 1 where sampled.

        Raises:
            ValueError: if a size is below 1 or so small that the centre fraction gives no sample.
        """
        if height < 1 or width < 1:
            raise ValueError(f"a mask needs a height and a width of at least 1, got {height} x {width}.")
        if frames is not None and frames < 1:
            raise ValueError(f"`frames` must be >= 1, got {frames}.")
        rng = self._random_state(seed)
        acceleration, fraction = self._choose(rng)
        if acceleration == 1:
            mask = np.ones((frames or 1, height if self.dimensions == 2 else 1, width), bool)
        elif frames is None:
            mask = self._draw(height, width, acceleration, fraction, rng)[None]
        else:
            mask = self._draw_frames(frames, height, width, acceleration, fraction, rng)
        if padding is not None:
            first, last = padding
            mask[..., :first] = False
            mask[..., last:] = False
        return (mask if frames else mask[0]).astype(np.float32)

    def changed(self, **arguments):
        """A mask with some arguments changed, for example ``acceleration=8``.

        A centre fraction that is the default one becomes that of the new arguments. Another one is kept; of several,
        each stays with its acceleration.

        Args:
            **arguments: of the class.

        Raises:
            ValueError: as the class does, or if no centre fraction belongs to a new acceleration.
        """
        if "center_fraction" not in arguments:
            wanted = arguments.get("acceleration", self.acceleration)
            arguments["center_fraction"] = self._center_fraction_at(wanted)
        return dataclasses.replace(self, **arguments)

    def _center_fraction_at(self, wanted):
        """That of this mask at other accelerations, or None for the default one."""
        accelerations, fractions = _as_tuple(self.acceleration), _as_tuple(self.center_fraction)
        if fractions == self._default_center_fractions(accelerations):
            return None
        if self.any_combination:
            return fractions
        own, same = dict(zip(accelerations, fractions, strict=True)), len(set(fractions)) == 1
        found = [own.get(acceleration, fractions[0] if same else None) for acceleration in _as_tuple(wanted)]
        if None in found:
            raise ValueError(
                f"`center_fraction` {fractions} belongs to `acceleration` {accelerations}: give one for {wanted}."
            )
        return found

    def _choose(self, rng):
        accelerations, fractions = _as_tuple(self.acceleration), _as_tuple(self.center_fraction)
        if self.any_combination:
            fraction = fractions[rng.randint(len(fractions))]
            return accelerations[rng.randint(len(accelerations))], fraction
        index = rng.randint(len(accelerations))
        return accelerations[index], fractions[index]

    def _random_state(self, seed):
        return random_state(seed)

    def _default_center_fractions(self, accelerations):
        return tuple(self._default_center_fraction(acceleration) for acceleration in accelerations)

    def _default_center_fraction(self, acceleration):
        return (0.32 if self.dimensions == 1 else 0.08) / acceleration

    def _center_share(self, fraction):
        """The part of all samples that the centre takes out of those which the acceleration allows."""
        return fraction

    def _draw_frames(self, frames, height, width, acceleration, fraction, rng):
        """(frames, 1 or height, width) boolean."""
        return np.stack([self._draw(height, width, acceleration, fraction, rng) for _ in range(frames)])

    @abc.abstractmethod
    def _draw(self, height, width, acceleration, fraction, rng):
        """(1 or height, width) boolean."""


class ColumnMask(SamplingMask):
    """A mask of whole columns: some rule's, and those of the centre."""

    def _draw(self, height, width, acceleration, fraction, rng):
        center = central_lines(width, fraction)
        columns = self._columns(width, center.stop - center.start, acceleration, rng)
        columns[center] = True
        return columns[None]

    @abc.abstractmethod
    def _columns(self, width, num_center, acceleration, rng):
        """(width,) boolean, the columns sampled besides the `num_center` central ones."""


@dataclasses.dataclass(frozen=True)
class RandomMask(ColumnMask):
    """Each column outside the centre is sampled with the same probability; fastMRI's knee masks.

    The acceleration is met on average, not in each draw.

    Reference: Zbontar et al., fastMRI, arXiv:1811.08839, `RandomMaskFunc`.
    """

    def _columns(self, width, num_center, acceleration, rng):
        probability = (width / acceleration - num_center) / max(width - num_center, 1)
        return rng.uniform(size=width) < probability


@dataclasses.dataclass(frozen=True)
class EquispacedMask(ColumnMask):
    """Every `acceleration`-th column, and the centre besides, so that the effective acceleration is lower.

    Args:
        acceleration: as in `SamplingMask`, but a whole number.
        offset: the first column; drawn below the acceleration by default.

    Reference: fastMRI's `EquiSpacedMaskFunc`.
    """

    offset: int | None = None

    def __post_init__(self):
        super().__post_init__()
        _check_whole(self.acceleration)
        _check_offset(self.offset)

    def _center_share(self, fraction):
        return 0  # the centre comes on top

    def _columns(self, width, num_center, acceleration, rng):
        columns = np.zeros(width, bool)
        columns[_offset(self.offset, acceleration, rng) :: int(acceleration)] = True
        return columns


@dataclasses.dataclass(frozen=True)
class EquispacedFractionMask(ColumnMask):
    """Columns at one spacing, wide enough that the acceleration holds with the centre; fastMRI's brain masks.

    Args:
        offset: the first column; drawn below the spacing by default.

    Reference: fastMRI's `EquispacedMaskFractionFunc`, which never samples the last column but for the centre.
    """

    offset: int | None = None

    def __post_init__(self):
        super().__post_init__()
        _check_offset(self.offset)

    def _columns(self, width, num_center, acceleration, rng):
        columns = np.zeros(width, bool)
        if num_center * acceleration < width:  # on tiny grids the rounded centre may be all that is allowed
            spacing = spacing_beside_center(width, num_center, acceleration)
            offset = _offset(self.offset, spacing, rng)
            columns[np.around(np.arange(offset, width - 1, spacing)).astype(int)] = True
        return columns


@dataclasses.dataclass(frozen=True)
class MagicMask(EquispacedMask):
    """Equispaced columns, shifted between the two halves of k-space so that no column is the mirror of another.

    With the conjugate symmetry of a nearly real image the mirrored samples come for free.

    Args:
        acceleration: as in `SamplingMask`, but a whole number; the centre comes on top.
        offset: shift of the pattern; drawn below the acceleration by default.

    Reference: Defazio, Offset sampling improves deep learning based accelerated MRI reconstructions by exploiting
    symmetry, arXiv:1912.01101; fastMRI's `MagicMaskFunc`.
    """

    def _columns(self, width, num_center, acceleration, rng):
        acceleration = int(acceleration)
        offset = _offset(self.offset, acceleration, rng)
        odd = offset % 2
        columns = np.zeros(width, bool)  # frequencies 0, 1, ... and from the end -1, -2, ...
        positive, negative = columns[: (width + 1) // 2], columns[(width + 1) // 2 :][::-1]
        positive[offset + 1 + odd :: acceleration] = True
        negative[offset + 2 - 3 * odd :: acceleration] = True
        return np.fft.fftshift(columns)


@dataclasses.dataclass(frozen=True)
class MagicFractionMask(MagicMask):
    """`MagicMask` at the spacing that meets the acceleration with the centre included.

    The centre is cut where it would exceed what the acceleration allows.

    Args:
        offset: shift of the pattern; drawn below the spacing by default.

    Reference: fastMRI's `MagicMaskFractionFunc`.
    """

    def __post_init__(self):
        ColumnMask.__post_init__(self)
        _check_offset(self.offset)

    def _draw(self, height, width, acceleration, fraction, rng):
        num_columns = round(width / acceleration)
        center = central_lines(width, fraction, at_most=max(num_columns, 1))
        num_beside = num_columns - (center.stop - center.start)
        columns = np.zeros(width, bool)
        if num_beside > 0:
            columns = self._columns(width, None, round(width / num_beside), rng)
        columns[center] = True
        return columns[None]


@dataclasses.dataclass(frozen=True)
class BenchmarkRandomMask(RandomMask):
    """`RandomMask` from NumPy's PCG64 stream, as the predecessor of this zoo drew it.

    The centre fraction is (32 // acceleration) / 100 by default, which differs from 0.32 / acceleration at, say, 3.

    Reference: fastmri-reproducible-benchmark, `gen_mask`.
    """

    def _random_state(self, seed):
        return super()._random_state(seed if isinstance(seed, np.random.RandomState) else np.random.default_rng(seed))

    def _default_center_fraction(self, acceleration):
        return 32 // acceleration / 100


@dataclasses.dataclass(frozen=True)
class BenchmarkEquidistantMask(ColumnMask):
    """The two equidistant masks of this zoo's predecessor.

    Its offsets came from TensorFlow's generator and are not reproduced; given an offset, the columns are the same.

    Args:
        center_fraction: as in `SamplingMask`, but (32 // acceleration) / 100 by default.
        kind: "real" for one whole spacing, or "fake" for the fractional one of `EquispacedFractionMask`, rounded.
        offset: the first column; drawn below the spacing by default.

    Reference: fastmri-reproducible-benchmark, `gen_mask_equidistant_tf`.
    """

    kind: str = "real"
    offset: int | None = None

    def __post_init__(self):
        super().__post_init__()
        _check_offset(self.offset)
        if self.kind not in ("real", "fake"):
            raise ValueError(f'`kind` must be "real" or "fake", got {self.kind!r}.')

    def _default_center_fraction(self, acceleration):
        return 32 // acceleration / 100

    def _columns(self, width, num_center, acceleration, rng):
        columns = np.zeros(width, bool)
        num_beside = int(width // acceleration) - num_center
        if num_beside > 0:
            if self.kind == "real":
                spacing = (width - num_center) // num_beside
            else:
                spacing = spacing_beside_center(width, num_center, acceleration)
            positions = np.arange(_offset(self.offset, spacing, rng), width, spacing)
            columns[np.minimum(np.around(positions).astype(int), width - 1)] = True
        return columns


def seed_from_name(name):
    """The seed by which fastMRI fixes the mask of a file at evaluation.

    Args:
        name: the file's name with its extension, without its folder.
    """
    return tuple(map(ord, name))


def _as_tuple(values):
    values = np.asarray(values).tolist()
    return tuple(values) if isinstance(values, list) else (values,)


def _check_whole(accelerations):
    for acceleration in _as_tuple(accelerations):
        if acceleration != int(acceleration):
            raise ValueError(f"`acceleration` must be a whole number for one spacing of columns, got {acceleration}.")


def _check_offset(offset):
    if offset is not None and (not isinstance(offset, Integral) or isinstance(offset, bool)):
        raise ValueError(f"`offset` must be a whole number, got {offset!r}.")
    if offset is not None and offset < 0:
        raise ValueError(f"`offset` must be >= 0, got {offset}.")


def _offset(offset, spacing, rng):
    return rng.randint(0, round(spacing)) if offset is None else offset


def random_state(seed):
    """NumPy's legacy generator of a seed, see the module; a generator itself advances."""
    if isinstance(seed, np.random.RandomState):
        return seed
    return np.random.RandomState(seed.bit_generator if isinstance(seed, np.random.Generator) else seed)


def central_lines(size, fraction, at_most=None):
    """The central `fraction` of an axis as a slice, which holds the zero frequency at ``size // 2``."""
    num_lines = round(size * fraction)
    if num_lines < 1:
        raise ValueError(f"`center_fraction` {fraction} gives no line of {size}; it takes more than {0.5 / size:.3g}.")
    num_lines = num_lines if at_most is None else min(num_lines, at_most)
    start = (size - num_lines + 1) // 2
    return slice(start, start + num_lines)


def centered_disc(height, width, fraction):
    """The disc around the zero frequency that takes about `fraction` of all samples, (height, width) boolean."""
    radius = int(np.sqrt(height * width * fraction / np.pi))
    if radius < 1:
        raise ValueError(
            f"`center_fraction` {fraction} gives no sample of {height} x {width}; it takes at least "
            f"{np.pi / (height * width):.3g}."
        )
    rows, columns = np.arange(height)[:, None] - height // 2, np.arange(width) - width // 2
    return rows**2 + columns**2 < radius**2


def spacing_beside_center(size, num_center, acceleration):
    """The spacing, or acceleration, at which those outside the centre bring the total to ``size / acceleration``."""
    return acceleration * (num_center - size) / (num_center * acceleration - size)
