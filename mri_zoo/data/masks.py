"""Sampling masks: which samples of Cartesian k-space are acquired.

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
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree


@dataclasses.dataclass(frozen=True)
class SamplingMask(abc.ABC):
    """What all masks share: the choice of the acceleration, the fully sampled centre, the checks.

    The classes below document only the arguments that they add or change.

    Args:
        acceleration: how many times fewer samples than the full grid has, >= 1; 1 samples everything. Of several, each
            call draws one.
        center_fraction: the part of the columns that the fully sampled centre takes (2-D masks: of the rows as well),
            in (0, 1]; one for each acceleration. By default 0.32 / acceleration: fastMRI's 0.08 at 4 and 0.04 at 8.
        any_combination: draw the acceleration and the centre fraction independently, not as pairs.

    Attributes:
        dimensions: 1 where whole columns are sampled and the mask is (1, width), 2 where it is (height, width).

    Raises:
        ValueError: if an argument is out of its range, or the centre alone exceeds what the acceleration allows.
    """

    acceleration: float | Sequence[float]
    center_fraction: float | Sequence[float] | None = None
    any_combination: bool = dataclasses.field(default=False, kw_only=True, repr=False)
    dimensions: ClassVar[int] = 1

    def __post_init__(self):
        accelerations = _as_tuple(self.acceleration)
        for acceleration in accelerations:
            if not acceleration >= 1:
                raise ValueError(f"`acceleration` must be >= 1, got {acceleration}.")
        if self.center_fraction is None:
            fractions = tuple(self._default_center_fraction(acceleration) for acceleration in accelerations)
        else:
            fractions = _as_tuple(self.center_fraction)
        for fraction in fractions:
            if not 0 < fraction <= 1:
                raise ValueError(f"`center_fraction` must be in (0, 1], got {fraction}.")
        if len(accelerations) != len(fractions) and not self.any_combination:
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

    def __call__(self, height, width, seed=None, padding=None):
        """Draw a mask.

        Args:
            height: rows of the k-space.
            width: columns of the k-space, the phase-encode axis.
            seed: see the module.
            padding: (first, one past the last) acquired column; no column outside is sampled.

        Returns:
            (1 or height, width) float32, 1 where sampled.

        Raises:
            ValueError: if the size is below 1 or so small that the centre fraction gives no line.
        """
        if height < 1 or width < 1:
            raise ValueError(f"a mask needs a height and a width of at least 1, got {height} x {width}.")
        rng = self._random_state(seed)
        acceleration, fraction = self._choose(rng)
        if acceleration == 1:
            mask = np.ones((height if self.dimensions == 2 else 1, width), np.float32)
        else:
            mask = self._draw(height, width, acceleration, fraction, rng).astype(np.float32)
        if padding is not None:
            first, last = padding
            mask[:, :first] = 0
            mask[:, last:] = 0
        return mask

    def _choose(self, rng):
        accelerations, fractions = _as_tuple(self.acceleration), _as_tuple(self.center_fraction)
        if self.any_combination:
            fraction = rng.choice(fractions).item()
            return rng.choice(accelerations).item(), fraction
        index = rng.randint(len(accelerations))
        return accelerations[index], fractions[index]

    def _random_state(self, seed):
        if isinstance(seed, np.random.RandomState):
            return seed
        return np.random.RandomState(seed.bit_generator if isinstance(seed, np.random.Generator) else seed)

    def _default_center_fraction(self, acceleration):
        return 0.32 / acceleration

    def _center_share(self, fraction):
        """The part of all samples that the centre takes out of those which the acceleration allows."""
        return fraction**self.dimensions

    @abc.abstractmethod
    def _draw(self, height, width, acceleration, fraction, rng):
        """(1 or height, width) boolean."""


class ColumnMask(SamplingMask):
    """A mask of whole columns: some rule's, and those of the centre."""

    def _draw(self, height, width, acceleration, fraction, rng):
        center = _center(width, fraction)
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
            spacing = _spacing_beside_center(width, num_center, acceleration)
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
        center = _center(width, fraction, at_most=max(num_columns, 1))
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
                spacing = _spacing_beside_center(width, num_center, acceleration)
            positions = np.arange(_offset(self.offset, spacing, rng), width, spacing)
            columns[np.minimum(np.around(positions).astype(int), width - 1)] = True
        return columns


@dataclasses.dataclass(frozen=True)
class PoissonDiscMask(SamplingMask):
    """2-D variable-density Poisson disc: random samples that keep a distance, which grows away from the centre.

    For volumes with two phase-encode axes. The number of samples is exact: darts are thrown at a spacing too wide for
    all of them, and whenever none fits any more the spacing shrinks a little (McCool and Fiume, Hierarchical Poisson
    disk sampling distributions, Graphics Interface 1992). The centre is a block of `center_fraction` of each axis.

    Args:
        slope: the distance is proportional to 1 + slope * k, k the distance from the centre, 1 at the end of an axis.
    """

    dimensions: ClassVar[int] = 2
    slope: float = 2.0

    def __post_init__(self):
        super().__post_init__()
        if not self.slope >= 0:
            raise ValueError(f"`slope` must be >= 0, got {self.slope}.")

    def _draw(self, height, width, acceleration, fraction, rng):
        mask = np.zeros((height, width), bool)
        mask[_center(height, fraction), _center(width, fraction)] = True
        relative = 1 + self.slope * np.hypot(_frequencies(height)[:, None], _frequencies(width))
        count = round(mask.size / acceleration)
        # A saturated set at distance d has about 0.7 samples per d^2.
        scale = np.sqrt(0.7 * np.sum(relative**-2.0) / count)
        while (missing := count - np.count_nonzero(mask)) > 0:
            spacing = scale * relative
            free = np.flatnonzero(distance_transform_edt(~mask) >= spacing)
            if free.size == 0:
                scale *= 0.95
                continue
            darts = rng.permutation(free)[:missing]
            mask.flat[_without_conflicts(darts, spacing)] = True
        return mask


@dataclasses.dataclass(frozen=True)
class GaussianMask(SamplingMask):
    """Columns or single samples, drawn with a probability that falls off as a Gaussian from the centre.

    The number of samples is exact. The centre is a block of `center_fraction` of each axis.

    Args:
        dimensions: 1 for columns, 2 for single samples.
        std: standard deviation of the Gaussian as a part of the axis.
    """

    dimensions: int = 1
    std: float = 0.25

    def __post_init__(self):
        if self.dimensions not in (1, 2):
            raise ValueError(f"`dimensions` must be 1 or 2, got {self.dimensions}.")
        if not self.std > 0:
            raise ValueError(f"`std` must be > 0, got {self.std}.")
        super().__post_init__()

    def _draw(self, height, width, acceleration, fraction, rng):
        rows, columns = np.zeros(1), _frequencies(width)
        center = slice(None), _center(width, fraction)
        if self.dimensions == 2:
            rows, center = _frequencies(height), (_center(height, fraction), center[1])
        log_probability = -(rows[:, None] ** 2 + columns**2) / (8 * self.std**2)  # frequencies end at 1, half an axis
        # The largest of log p + Gumbel noise are a draw without replacement with probabilities p.
        score = log_probability + rng.gumbel(size=log_probability.shape)
        score[center] = np.inf
        count = max(round(score.size / acceleration), np.count_nonzero(np.isinf(score)))
        mask = np.zeros(score.shape, bool)
        mask.flat[np.argpartition(-score, count - 1, axis=None)[:count]] = True
        return mask


MASKS = {
    "random": RandomMask,
    "equispaced": EquispacedMask,
    "equispaced_fraction": EquispacedFractionMask,
    "magic": MagicMask,
    "magic_fraction": MagicFractionMask,
    "poisson_disc": PoissonDiscMask,
    "gaussian": GaussianMask,
    "benchmark_random": BenchmarkRandomMask,
    "benchmark_equidistant": BenchmarkEquidistantMask,
}


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
    if offset is not None and offset < 0:
        raise ValueError(f"`offset` must be >= 0, got {offset}.")


def _offset(offset, spacing, rng):
    return rng.randint(0, round(spacing)) if offset is None else offset


def _center(size, fraction, at_most=None):
    """The central `fraction` of an axis as a slice, which holds the zero frequency at ``size // 2``."""
    num_lines = round(size * fraction)
    if num_lines < 1:
        raise ValueError(f"`center_fraction` {fraction} gives no line of {size}; it takes more than {0.5 / size:.3g}.")
    num_lines = num_lines if at_most is None else min(num_lines, at_most)
    start = (size - num_lines + 1) // 2
    return slice(start, start + num_lines)


def _spacing_beside_center(width, num_center, acceleration):
    """The spacing at which the columns outside the centre bring the total to ``width / acceleration``."""
    return acceleration * (num_center - width) / (num_center * acceleration - width)


def _frequencies(size):
    """(size,) distance from the zero frequency, 1 at the end of the axis."""
    return (np.arange(size) - size // 2) / (size / 2)


def _without_conflicts(darts, spacing):
    """Those darts that keep `spacing` from all earlier ones.

    Args:
        darts: (number,) flat indices in the order of their throws.
        spacing: (height, width) the distance a dart keeps, in samples.
    """
    points = np.stack(np.unravel_index(darts, spacing.shape), axis=1)
    distances = spacing.flat[darts]
    # Each pair is (earlier, later).
    earlier, later = np.sort(KDTree(points).query_pairs(distances.max(), output_type="ndarray"), axis=1).T
    too_close = np.linalg.norm(points[earlier] - points[later], axis=1) < distances[later]
    return np.delete(darts, later[too_close])
