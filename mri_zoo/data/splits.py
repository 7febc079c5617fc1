"""Partitions of the acquired samples into the input of a network and what it must predict, for self-supervision.

A split is a small immutable object. Called with a sampling mask and a seed it draws two masks, 1 where sampled::

    split = GaussianSplit(ratio=(0.3, 0.5, 0.7), window=4)
    input_mask, target_mask = split(mask, seed=0)  # disjoint but for a shared centre, and together the mask

Of an `Encoding`, which is samples along a trajectory, it draws two masks of the samples likewise. Seeds are those of
`mri_zoo.data.masks`, and the same seed gives the same partition with every version of NumPy.
"""

import abc
import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from keras import ops

from mri_zoo.data.c_random import draw_gaussian
from mri_zoo.data.masks import random_state
from mri_zoo.data.noncartesian import Encoding
from mri_zoo.physics.coils import calibration_region

# The ratios from which the code of JSSL's authors draws; their paper says 0.3 to 0.8.
RATIOS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclasses.dataclass(frozen=True)
class Split(abc.ABC):
    """What the random partitions share: the choice of the ratio, the window that stays in the input, the checks.

    Args:
        ratio: the part of all samples that becomes the target, in (0, 1); of several, each call draws one.
        window: side in samples of the central window that is never moved to the target, or (height, width); 0 for none.
            It must be fully sampled. Of a trajectory, the samples within as many steps of the Cartesian grid.
        partial_window: keep what is sampled of a window that is not; the authors' window of 10 exceeds the centre of
            their masks at acceleration 16.
        shared_center: put the fully sampled centre of a mask, as `calibration_region` finds it there, into the input
            and the target, in place of the window; only the samples outside are split, and the ratio is theirs. A
            sampled column next to the centre can count as part of it, where DIRECT (`keep_acs`) is told the centre.

    Attributes:
        self_supervised: the target holds measured samples alone.

    Raises:
        ValueError: if an argument is out of its range.

    Reference: Yaman et al., SSDU, MRM 84:3172, 2020; Yiasemis et al., JSSL, arXiv:2311.15856, appendix B.1.
    """

    ratio: float | Sequence[float] = RATIOS
    window: int | tuple[int, int] = 4
    partial_window: bool = dataclasses.field(default=False, kw_only=True)
    shared_center: bool = dataclasses.field(default=False, kw_only=True)
    self_supervised: ClassVar[bool] = True

    def __post_init__(self):
        ratios, sides = _as_list(self.ratio), _as_list(self.window)
        if not ratios or not all(isinstance(ratio, numbers.Real) and 0 < ratio < 1 for ratio in ratios):
            raise ValueError(f"`ratio` must be in (0, 1), or several numbers that are, got {self.ratio!r}.")
        if len(sides) not in (1, 2) or not all(isinstance(side, numbers.Integral) and side >= 0 for side in sides):
            raise ValueError(f"`window` must be a whole number >= 0, or two, got {self.window!r}.")
        # Plain numbers and tuples, so that splits compare equal.
        ratios, window = tuple(map(float, ratios)), (int(sides[0]), int(sides[-1]))
        object.__setattr__(self, "ratio", ratios if len(ratios) > 1 else ratios[0])
        object.__setattr__(self, "window", window if window[0] != window[1] else window[0])

    def __call__(self, sampled, seed=None):
        """Draw a partition.

        Args:
            sampled: a mask (height, width), nonzero where sampled, or an `Encoding`.
            seed: see the module.

        Returns:
            The input's mask and the target's, (height, width) or (samples,) float32.

        Raises:
            ValueError: if the mask has another rank or NaN, does not sample the window, or samples nothing outside.
        """
        if isinstance(sampled, Encoding):
            if self.shared_center:
                raise ValueError("`shared_center` is for masks, this is a trajectory.")
            mask, steps = np.ones(len(sampled.trajectory), bool), _grid_steps(sampled)
            if len(steps) == 3 and not isinstance(self.window, int):
                raise ValueError(f"`window` must be one number for a trajectory of 3 dimensions, got {self.window}.")
            candidates = np.any(np.abs(steps) > np.broadcast_to(self.window, len(steps))[:, None] / 2, axis=0)
            center = np.zeros_like(mask)
        else:
            mask = _as_mask(sampled)
            center = _center(mask, self.shared_center)
            candidates, sampled = mask & ~center if self.shared_center else self._without_window(mask), None
        outside = mask & ~center
        if not candidates.any() or outside.sum() < 2:
            kept = "the fully sampled centre" if self.shared_center else f"the window of {self.window}"
            raise ValueError(
                f"a split needs samples outside {kept}: of the mask's {mask.sum()} samples "
                f"{candidates.sum()} lie there."
            )
        rng, ratios = random_state(seed), _as_list(self.ratio)
        target = self._draw(outside, candidates, ratios[rng.randint(len(ratios))], rng, seed, sampled)
        return (mask & ~target).astype(np.float32), (target | center).astype(np.float32)

    def several(self, sampled, number, seed=None):
        """A list of `number` partitions of one mask, each drawn anew: for losses that are averaged over them."""
        if number < 1:
            raise ValueError(f"the number of partitions must be >= 1, got {number}.")
        if number == 1:
            return [self(sampled, seed)]
        rng = random_state(seed)
        return [self(sampled, int(rng.randint(2**31 - 1))) for _ in range(number)]

    def _without_window(self, mask):
        sides = np.broadcast_to(self.window, 2).tolist()
        starts = [n // 2 - side // 2 for n, side in zip(mask.shape, sides, strict=True)]
        window = tuple(slice(max(start, 0), start + side) for start, side in zip(starts, sides, strict=True))
        fits = all(side <= n for n, side in zip(mask.shape, sides, strict=True)) and mask[window].all()
        if not fits and not self.partial_window:
            raise ValueError(
                f"`window` {self.window} is larger than the fully sampled centre of this mask of shape {mask.shape}; "
                "take a smaller one, or `partial_window=True` to keep what is sampled of it."
            )
        candidates = mask.copy()
        candidates[window] = False
        return candidates

    @abc.abstractmethod
    def _draw(self, mask, candidates, ratio, rng, seed, encoding):
        """Boolean of the mask's shape, the target: some of the candidates, never all of the mask.

        The mask is without a shared centre. `encoding` is None on a grid.
        """


@dataclasses.dataclass(frozen=True)
class UniformSplit(Split):
    """The target's samples are drawn with equal probability. With the same seed the partition is DIRECT's.

    The ratio is that of the samples outside the window.
    """

    def _draw(self, mask, candidates, ratio, rng, seed, encoding):
        count = min(max(int(_product(candidates, ratio)), 1), _most(mask, candidates))
        probability = candidates.ravel() / candidates.sum()
        target = np.zeros(mask.shape, bool)
        target.flat[rng.choice(mask.size, size=count, replace=False, p=probability)] = True
        return target


@dataclasses.dataclass(frozen=True)
class GaussianSplit(Split):
    """The target's samples are drawn one after the other, with a probability that falls off from the centre.

    The target is `ratio` of all samples, rounded up, as far as there are so many outside the window: DIRECT takes one
    more, and never ends where there are too few.

    Args:
        std_scale: the standard deviations are (height - 1) / std_scale and (width - 1) / std_scale. The paper's "3.5
            pixels" are this number in the code of its authors.
        compatible: draw DIRECT's partition, bit for bit: from the C library's generator, which DIRECT seeds with the
            mean of a tuple, so that the slices of a data set share a few dozen streams.
    """

    std_scale: float = 3.5
    compatible: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.std_scale, numbers.Real) or not 0 < self.std_scale < math.inf:
            raise ValueError(f"`std_scale` must be a number > 0, got {self.std_scale!r}.")

    def _draw(self, mask, candidates, ratio, rng, seed, encoding):
        count = math.ceil(_product(mask, ratio))
        if self.compatible:
            if encoding is not None:
                raise ValueError("`compatible` partitions are those of masks, this is a trajectory.")
            return self._draw_compatible(mask, candidates, count + 1, seed)
        count = min(max(count, 1), _most(mask, candidates))
        if encoding is None:
            steps, size = np.meshgrid(*(np.arange(n) - n // 2 for n in mask.shape), indexing="ij"), mask.shape
        else:
            steps, size = _grid_steps(encoding), encoding.size
        distance = sum(np.square(step / max(n - 1, 1)) for step, n in zip(steps, size, strict=True))
        # The largest of log p + Gumbel noise are a draw without replacement with probabilities p.
        score = -0.5 * self.std_scale**2 * distance + rng.gumbel(size=mask.shape)
        score[~candidates] = -np.inf
        target = np.zeros(mask.shape, bool)
        target.flat[np.argpartition(-score, count - 1, axis=None)[:count]] = True
        return target

    def _draw_compatible(self, mask, candidates, count, seed):
        if count > _most(mask, candidates):
            raise ValueError(
                f"a target of {count} samples exceeds the {_most(mask, candidates)} that can be taken from the input."
            )
        if not isinstance(seed, int | np.integer | tuple | list):
            raise ValueError(f"`compatible` needs a whole number or a tuple of them as seed, got {seed!r}.")
        std = [(n - 1) / self.std_scale for n in candidates.shape]
        return draw_gaussian(candidates, count, std, int(np.mean(seed)))


@dataclasses.dataclass(frozen=True)
class ShotSplit(Split):
    """Whole shots of a trajectory become the target, drawn with equal probability, but for samples in the window.

    The ratio is that of the shots; at least one is left on either side. Where neighbours on a shot are measured alike,
    a network cannot learn their noise from each other.
    """

    def _draw(self, mask, candidates, ratio, rng, seed, encoding):
        if encoding is None or encoding.num_shots < 2:
            found = "a mask" if encoding is None else f"{encoding.num_shots} shot"
            raise ValueError(f"a split of shots needs a trajectory of two or more, got {found}.")
        count = min(max(round(encoding.num_shots * ratio), 1), encoding.num_shots - 1)
        chosen = np.zeros(encoding.num_shots, bool)
        chosen[rng.choice(encoding.num_shots, size=count, replace=False)] = True
        return np.repeat(chosen, len(mask) // encoding.num_shots) & candidates


@dataclasses.dataclass(frozen=True)
class HalfSplit:
    """The samples on one side of a line through k-space are the input, those on the other the target; DIRECT's halves.

    Args:
        direction: of the line. "horizontal": the input are the rows before the central one, ``height // 2``;
            "vertical": the columns before ``width // 2``; "diagonal_left": what lies above the line from the upper left
            corner to the lower right one, or on it; "diagonal_right": above that from the upper right one, or on it.
        shared_center: put the fully sampled centre into both, as in `Split`.

    Raises:
        ValueError: if the direction is another.
    """

    direction: str = "horizontal"
    shared_center: bool = dataclasses.field(default=False, kw_only=True)
    self_supervised: ClassVar[bool] = True

    def __post_init__(self):
        if self.direction not in ("horizontal", "vertical", "diagonal_left", "diagonal_right"):
            raise ValueError(
                "`direction` must be 'horizontal', 'vertical', 'diagonal_left' or 'diagonal_right', "
                f"got {self.direction!r}."
            )

    def __call__(self, sampled, seed=None):
        """Both halves of a mask (height, width), float32. The seed has no effect.

        Raises:
            ValueError: if there is a trajectory, an array of another rank or NaN, or a half has no samples of its own.
        """
        if isinstance(sampled, Encoding):
            raise ValueError("`HalfSplit` is for masks, this is a trajectory.")
        mask = _as_mask(sampled)
        center = _center(mask, self.shared_center)
        first = self._first_half(*mask.shape)
        inputs, target = mask & first & ~center, mask & ~first & ~center
        if not inputs.any() or not target.any():
            raise ValueError(f"halves need samples each, got {inputs.sum()} and {target.sum()} ({self.direction}).")
        return (inputs | center).astype(np.float32), (target | center).astype(np.float32)

    def several(self, sampled, number, seed=None):
        """One pair, whatever the number: more would be equal."""
        return [self(sampled, seed)]

    def _first_half(self, height, width):
        rows, columns = np.arange(height)[:, None], np.arange(width)
        if self.direction == "horizontal":
            return np.broadcast_to(rows < height // 2, (height, width))
        if self.direction == "vertical":
            return np.broadcast_to(columns < width // 2, (height, width))
        # From corner to corner, in whole numbers, so that the line itself is not up to rounding.
        down, right = (2 * rows - height + 1) * (width - 1), (2 * columns - width + 1) * (height - 1)
        return down <= right if self.direction == "diagonal_left" else down + right <= 0


@dataclasses.dataclass(frozen=True)
class FullTarget:
    """No partition: the input is everything acquired, the target fully sampled. For the proxy data of joint training.

    Of a trajectory the target are its samples, and the image.

    Reference: Yiasemis et al., JSSL, arXiv:2311.15856, equation 17.
    """

    self_supervised: ClassVar[bool] = False

    def __call__(self, sampled, seed=None):
        """The mask, and a mask of ones, (height, width) or (samples,) float32."""
        mask = np.ones(len(sampled.trajectory)) if isinstance(sampled, Encoding) else sampled
        return np.array(mask, np.float32), np.ones(np.shape(mask), np.float32)

    def several(self, sampled, number, seed=None):
        """One pair, whatever the number: more would be equal."""
        return [self(sampled, seed)]


def _as_list(values):
    """The values as they are, one or a sequence of them."""
    return np.atleast_1d(np.asarray(values, object)).tolist()


def _as_mask(sampled):
    mask = np.asarray(sampled)
    if mask.ndim != 2:
        raise ValueError(f"a split needs a mask (height, width), got one of shape {mask.shape}.")
    if np.isnan(mask).any():
        raise ValueError(f"a split needs a mask of numbers, {np.isnan(mask).sum()} of {mask.size} are NaN.")
    return mask != 0


def _center(mask, shared):
    """(height, width) boolean, the fully sampled centre that both parts share, if they do."""
    if not shared:
        return np.zeros_like(mask)
    center = ops.convert_to_numpy(calibration_region(mask[None, None].astype(np.float32)))[0, 0] > 0
    return np.broadcast_to(center, mask.shape)


def _most(mask, candidates):
    """How many of the candidates the target can take, so that the input keeps a sample."""
    return min(int(candidates.sum()), int(mask.sum()) - 1)


def _grid_steps(encoding):
    """(dimension, samples): where the samples are, in steps of the Cartesian grid from the centre."""
    return encoding.trajectory.T * (np.array(encoding.size)[:, None] / (2 * np.pi))


def _product(mask, ratio):
    """The number of samples times the ratio, in single precision as in DIRECT: its rounding decides on one sample."""
    return np.float32(mask.sum()) * np.float32(ratio)
