"""Sampling masks of single samples, for volumes with two phase-encode axes; the Gaussian one also of columns.

But for `PoissonDiscMask` they are DIRECT's, bit for bit, with the same seed.
"""

import dataclasses
import math
from array import array
from typing import ClassVar

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from mri_zoo.data.c_random import CRandom, draw_gaussian
from mri_zoo.data.masks import SamplingMask, centered_disc, central_lines, spacing_beside_center

GOLDEN_RATIO = (1 + np.sqrt(5)) / 2


@dataclasses.dataclass(frozen=True)
class GaussianMask(SamplingMask):
    """Columns or single samples, drawn from a normal distribution around the centre of k-space.

    The number of samples is exact. The standard deviation along an axis of n positions is ``6 * sqrt(n // 2)``: where
    that is little of a long axis, an acceleration near 1 takes long, as the edges are hardly ever drawn.

    Args:
        dimensions: 1 for columns, 2 for single samples.

    Reference: DIRECT's `Gaussian1DMaskFunc` and `Gaussian2DMaskFunc`.
    """

    dimensions: int = 1

    def __post_init__(self):
        if self.dimensions not in (1, 2):
            raise ValueError(f"`dimensions` must be 1 or 2, got {self.dimensions}.")
        super().__post_init__()

    def _random_state(self, seed):
        return super()._random_state(_one_number(seed))

    def _draw(self, height, width, acceleration, fraction, rng):
        if self.dimensions == 1:
            center = np.zeros(width, bool)
            center[central_lines(width, fraction)] = True
        else:
            center = centered_disc(height, width, fraction)
        count = round(center.size / acceleration - np.count_nonzero(center) - 1) + 1
        std = [6 * math.sqrt(n // 2) for n in center.shape]
        return (center | draw_gaussian(~center, count, std, _c_seed(rng))).reshape(-1, width)


@dataclasses.dataclass(frozen=True)
class CIRCUSMask(SamplingMask):
    """Radial or spiral patterns on the Cartesian grid: as many samples on each of the squares around the centre.

    The samples of a square are spaced by the golden ratio along its perimeter. On radial masks they lie on lines
    through the centre; on spiral ones each square is turned with respect to the next.

    Args:
        center_fraction: as in `SamplingMask`; by default 0, for no disc, as the centre is sampled densely anyway.
        kind: "radial" or "spiral".

    Reference: Liu and Saloner, Accelerated MRI with CIRcular Cartesian UnderSampling (CIRCUS), Quant Imaging Med Surg
        4:57, 2014; DIRECT's `RadialMaskFunc` and `SpiralMaskFunc`.
    """

    kind: str = "radial"
    dimensions: ClassVar[int] = 2
    center_optional: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.kind not in ("radial", "spiral"):
            raise ValueError(f'`kind` must be "radial" or "spiral", got {self.kind!r}.')

    def _default_center_fraction(self, acceleration):
        return 0

    def _draw(self, height, width, acceleration, fraction, rng):
        if fraction == 0:
            return self._draw_squares(height, width, acceleration, rng)
        disc = centered_disc(height, width, fraction)
        if np.count_nonzero(disc) * acceleration >= disc.size:
            return disc
        beside = spacing_beside_center(disc.size, np.count_nonzero(disc), acceleration)
        return disc | self._draw_squares(height, width, beside, rng)

    def _draw_squares(self, height, width, acceleration, rng):
        shorter, longer = (side - side % 2 for side in sorted((height, width)))
        # Squares beyond the shorter side have no more than a part of their perimeter in k-space.
        num_squares = longer / 2 - (longer - shorter) * (1 + shorter / max(longer, 1)) / 4
        count = int(height * width / (acceleration * num_squares)) if num_squares else 0
        if count < 1:
            raise ValueError(f"`acceleration` {acceleration} leaves no sample on the squares of {height} x {width}.")
        number = rng.randint(10_000) if self.kind == "radial" else rng.uniform(1.1, 1.3)
        squares = np.zeros((longer, longer), bool)
        for start in range(longer // 2):
            rows, columns = self._draw_perimeter(longer - 2 * start, count, number)
            squares[start + rows, start + columns] = True
        squares = np.pad(squares, [(height % 2, 0), (width % 2, 0)])
        top, left = ((n - side) // 2 for n, side in zip(squares.shape, (height, width), strict=True))
        return squares[top : top + height, left : left + width]

    def _draw_perimeter(self, side, count, number):
        """Rows and columns, (count,), on the perimeter of a square, counted clockwise from its first corner."""
        draws, perimeter = np.arange(count), 4 * (side - 1)
        if self.kind == "radial":
            index = np.floor((draws + number * count) / GOLDEN_RATIO % 1 * perimeter)
        else:
            index = (np.floor(draws / GOLDEN_RATIO % 1 * perimeter) + math.ceil(side**number) - 1) % perimeter
        last = side - 1
        edge, step = np.divmod(index.astype(int), last)
        rows, columns = (0, step, last, last - step), (step, last, last - step, 0)
        return np.choose(edge, rows), np.choose(edge, columns)


@dataclasses.dataclass(frozen=True)
class PoissonDiscMask(SamplingMask):
    """2-D variable-density Poisson disc: random samples that keep a distance, which grows away from the centre.

    The fast one, for training: it meets every acceleration, with an exact number of samples. Darts are thrown at a
    spacing too wide for all of them, and whenever none fits any more the spacing shrinks a little (McCool and Fiume,
    Hierarchical Poisson disk sampling distributions, Graphics Interface 1992). `VariableDensityPoissonMask` gives
    DIRECT's masks.

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
        mask = centered_disc(height, width, fraction)
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
class VariableDensityPoissonMask(SamplingMask):
    """DIRECT's Poisson disc, bit for bit; it takes up to a minute: `PoissonDiscMask` is the fast one, for training.

    The distance is 1 + slope * k, k the distance from the centre, 1 at the end of an axis; on a grid that is not square
    it is shorter along the shorter axis, but not below 1. The slope is searched by bisection until the acceleration is
    met within the tolerance; where none is found that is an error.

    Args:
        crop_corner: sample nothing outside of the ellipse that touches the edges.
        max_attempts: darts that are thrown around a sample before none is expected to fit.
        tolerance: by how much the acceleration may be missed.
        slopes: (smallest, largest) slope of the search; by default 0 and the longer side.

    Reference: Bridson, Fast Poisson disk sampling in arbitrary dimensions, SIGGRAPH 2007; `poisson` of sigpy; DIRECT's
        `VariableDensityPoissonMaskFunc`.
    """

    crop_corner: bool = False
    max_attempts: int = 10
    tolerance: float = 0.2
    slopes: tuple[float, float] | None = None
    dimensions: ClassVar[int] = 2

    def __post_init__(self):
        super().__post_init__()
        if self.max_attempts < 1:
            raise ValueError(f"`max_attempts` must be >= 1, got {self.max_attempts}.")
        if not self.tolerance > 0:
            raise ValueError(f"`tolerance` must be > 0, got {self.tolerance}.")
        if self.slopes is not None:
            slopes = tuple(np.asarray(self.slopes).tolist())
            if len(slopes) != 2 or not 0 <= slopes[0] < slopes[1]:
                raise ValueError(f"`slopes` must be two numbers, 0 <= smallest < largest, got {self.slopes}.")
            object.__setattr__(self, "slopes", slopes)

    def _random_state(self, seed):
        return super()._random_state(_one_number(seed))

    def _draw(self, height, width, acceleration, fraction, rng):
        rows, columns = (np.abs(np.arange(n) - n / 2) for n in (height, width))
        frequency = np.sqrt((rows / rows.max())[:, None] ** 2 + (columns / columns.max()) ** 2)
        disc, darts, longer = centered_disc(height, width, fraction), _Darts(_c_seed(rng)), max(height, width)
        # With more samples the acceleration is too low, whatever is still to come; but for those cut off.
        enough = disc.size / max(acceleration - self.tolerance, 1)
        smallest, largest = (0, longer) if self.slopes is None else self.slopes

        def drawn(slope):
            radii = [np.clip((1 + frequency * slope) * n / longer, 1, None) for n in (height, width)]
            mask = disc | _throw(darts, *radii, self.max_attempts, disc.size if self.crop_corner else enough)
            if self.crop_corner:
                mask &= frequency < 1
            return mask, mask.size / np.count_nonzero(mask)

        if acceleration + self.tolerance < 2:  # no slope may give so many samples, and each mask with many takes long
            mask, reached = drawn(smallest)
            count = np.count_nonzero(mask)  # which differs by a third of its root between slopes near each other
            if disc.size / (acceleration + self.tolerance) > count + 1.5 * math.sqrt(count):
                raise ValueError(
                    f"variable-density Poisson masks of {height} x {width} reach `acceleration` {reached:.2f}, not "
                    f"{acceleration} within {self.tolerance}; try a larger one, or a larger `tolerance`."
                )
        for _ in range(48):  # when slopes no longer differ in effect
            slope = (largest + smallest) / 2
            mask, reached = drawn(slope)
            if abs(reached - acceleration) < self.tolerance:
                return mask
            smallest, largest = (slope, largest) if reached < acceleration else (smallest, slope)
        raise ValueError(
            f"no variable-density Poisson mask of {height} x {width} is within {self.tolerance} of "
            f"`acceleration` {acceleration}; try a larger `tolerance`, another seed or a smaller `center_fraction`."
        )


class _Darts:
    """What DIRECT's dart throwing makes of the numbers of the C library: the same for every slope.

    Attributes:
        uniform: the numbers themselves.
        distance, cosine, sine: of a dart, each made of the number at the same place.
    """

    def __init__(self, seed):
        self._random = CRandom(seed)
        self.uniform, self.distance, self.cosine, self.sine = array("d"), array("f"), array("d"), array("d")
        self.extend()

    def extend(self):
        """Draw more of them."""
        uniform = self._random.uniform(2**15)
        angle = (2 * np.pi * uniform).astype(np.float32).astype(np.float64)
        self.uniform.frombytes(uniform.tobytes())
        self.distance.frombytes((1 + uniform).astype(np.float32).tobytes())
        self.cosine.frombytes(np.cos(angle).tobytes())
        self.sine.frombytes(np.sin(angle).tobytes())


def _throw(darts, radius_x, radius_y, max_attempts, enough):
    """Poisson disc samples of these distances (height, width), as boolean; it may stop where there are `enough`.

    One of the active samples is chosen at random. Around it darts are thrown, at one to two times its distance. The
    first that conflicts with no sample becomes one; where all do, the chosen sample is active no longer. The sample
    that begins is itself none, as in DIRECT.
    """
    height, width = radius_x.shape
    sampled, single = bytearray(height * width), array("f", [0])  # the latter rounds to single precision
    is_free = _conflict_test(sampled, radius_x, radius_y)
    reach_x, reach_y = (array("f", radius.astype(np.float32).tobytes()) for radius in (radius_x, radius_y))
    uniform, distance, cosine, sine = darts.uniform, darts.distance, darts.cosine, darts.sine
    active, number, place = [(int(uniform[0] * height), int(uniform[1] * width))], 0, 2
    while active and number <= enough:
        while place + 2 * max_attempts >= len(uniform):
            darts.extend()
        chosen = int(uniform[place] * len(active))
        row, column = active[chosen]
        step_x, step_y = reach_x[row * width + column], reach_y[row * width + column]
        for dart in range(place + 1, place + 2 * max_attempts, 2):
            single[0] = distance[dart] * step_x
            single[0] = row + single[0] * cosine[dart + 1]
            x = single[0]
            single[0] = distance[dart] * step_y
            single[0] = column + single[0] * sine[dart + 1]
            y = single[0]
            if 0 <= x < height and 0 <= y < width and is_free(x, y, step_x, step_y):
                active.append((int(x), int(y)))
                number += 1 - sampled[int(x) * width + int(y)]
                sampled[int(x) * width + int(y)] = 1
                break
        else:
            active[chosen] = active[-1]
            active.pop()
        place = dart + 2
    return np.frombuffer(sampled, bool).reshape(height, width)


def _conflict_test(sampled, radius_x, radius_y):
    """A function that tells whether a dart keeps its distance from the samples around it.

    The distance is that of each sample, but none counts that is farther than the one around which the dart was thrown
    may reach. Single precision is where DIRECT's code in C has it.

    Args:
        sampled: bytearray (height * width), nonzero where sampled; it may change.
        radius_x: (height, width) distance along the rows.
        radius_y: the same along the columns.
    """
    height, width = radius_x.shape
    radius_x, radius_y = array("d", radius_x.tobytes()), array("d", radius_y.tobytes())
    find, single = sampled.find, array("f", [0])

    def window(position, step, size):
        single[0] = position - step
        first = max(int(single[0]), 0)
        single[0] = position + step
        single[0] += 1
        return first, min(int(single[0]), size)

    def is_free(x, y, step_x, step_y):
        left, right = window(y, step_y, width)
        for row in range(*window(x, step_x, height)):
            start = row * width
            found = find(1, start + left, start + right)
            while found >= 0:
                single[0] = x - row
                along_x = single[0] / radius_x[found]
                single[0] = y - (found - start)
                along_y = single[0] / radius_y[found]
                # Rounded to single precision, what is above is 1.
                if along_x * along_x + along_y * along_y < 1 - 2**-25:
                    return False
                found = find(1, found + 1, start + right)
        return True

    return is_free


def _one_number(seed):
    """DIRECT makes one number of a tuple before it seeds NumPy's generator."""
    return np.random.RandomState(seed).randint(1_000_000) if isinstance(seed, tuple | list) else seed


def _c_seed(rng):
    return rng.randint(100_000)


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
