"""Sampling masks of series: in k-t space what one frame leaves out, others sample. All frames are drawn together.

They are no part of `MASKS`, whose masks serve scans without time as well::

    mask = KtUniformMask(acceleration=4)(256, 128, seed=0, frames=12)  # (12, 1, 128)

With the same seed they are DIRECT's, bit for bit, which generates those of the CMRxRecon challenge.

Reference: Wang et al., CMRxRecon2024, Radiology: AI 7:e240443, 2025.
"""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
from scipy.linalg import toeplitz
from scipy.ndimage import rotate

from mri_zoo.data.masks import SamplingMask, centered_disc, central_lines, spacing_beside_center


class KtMask(SamplingMask):
    """A mask of several frames: it is called with their number, ``frames``."""

    def _draw(self, height, width, acceleration, fraction, rng):
        raise ValueError(f"{type(self).__name__} draws all frames together: it takes their number as `frames`.")


class KtColumnMask(KtMask):
    """Whole columns, other ones in each frame, and those of the centre in all."""

    def _draw_frames(self, frames, height, width, acceleration, fraction, rng):
        center = central_lines(width, fraction)
        num_center = center.stop - center.start
        columns = np.zeros((frames, width), bool)
        if num_center * acceleration < width:
            columns = self._columns(frames, width, num_center, acceleration, rng)
        first = (width - num_center) // 2  # other masks begin one column later where this is not whole
        columns[:, first : first + num_center] = True
        return columns[:, None]

    @abc.abstractmethod
    def _columns(self, frames, width, num_center, acceleration, rng):
        """(frames, width) boolean, the columns sampled besides the `num_center` central ones."""


@dataclasses.dataclass(frozen=True)
class KtUniformMask(KtColumnMask):
    """Columns at one spacing, shifted by one from frame to frame.

    Reference: DIRECT's `KtUniformMaskFunc`.
    """

    def _columns(self, frames, width, num_center, acceleration, rng):
        spacing = spacing_beside_center(width, num_center, acceleration)
        first_frame, first_column = np.zeros(width, bool), np.zeros(frames, bool)
        first_frame[np.arange(rng.randint(int(spacing)), width, spacing).astype(int)] = True
        first_column[np.arange(rng.randint(int(acceleration)), frames, acceleration).astype(int)] = True
        columns = toeplitz(first_frame, first_column)
        if columns[0, 0] and columns.size > 1:  # DIRECT moves it
            columns.flat[:2] = False, True
        return columns.T


@dataclasses.dataclass(frozen=True)
class KtGaussianMask(KtColumnMask):
    """Columns drawn with a density that falls off from the centre; those drawn twice give way to their neighbours.

    Args:
        alpha: how uneven the density is, from 0 for an even one to below 1.
        std_scale: the standard deviation is the width divided by this.

    Reference: DIRECT's `KtGaussian1DMaskFunc`.
    """

    alpha: float = 0.28
    std_scale: float = 5.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.alpha < 1:
            raise ValueError(f"`alpha` must be in [0, 1), got {self.alpha}.")
        if not self.std_scale > 0:
            raise ValueError(f"`std_scale` must be > 0, got {self.std_scale}.")

    def _columns(self, frames, width, num_center, acceleration, rng):
        num_lines = round(width / spacing_beside_center(width, num_center, acceleration))
        # Frames and columns are counted from the centre, rounded down: of odd numbers there is one too few at the end,
        # and the one before the first is the last of the frame before.
        steps, first_frame = np.arange(-width // 2, width // 2), frames // 2 - (frames + 1) // 2
        std = width / self.std_scale
        density = 0.1 + self.alpha / (1 - self.alpha + 1e-10) * np.exp(-(steps**2) / (std**2))
        density /= density.sum()
        drawn = [
            (first_frame + frame) * width + width // 2 + rng.choice(steps, num_lines, p=density)
            for frame in range(frames)
        ]
        columns = np.zeros((frames, width), bool)
        columns.reshape(-1)[_without_duplicates(np.concatenate(drawn), width, columns.size)] = True
        return columns


@dataclasses.dataclass(frozen=True)
class KtRadialMask(KtMask):
    """Lines through the centre, rasterised on the Cartesian grid and turned from frame to frame; and a disc.

    Args:
        crop_corner: shorter lines, which do not reach the corners.

    Reference: DIRECT's `KtRadialMaskFunc`.
    """

    crop_corner: bool = False
    dimensions: ClassVar[int] = 2

    def _draw_frames(self, frames, height, width, acceleration, fraction, rng):
        offset = rng.uniform(0, 360)
        disc = centered_disc(height, width, fraction)
        if np.count_nonzero(disc) * acceleration >= disc.size:
            return np.repeat(disc[None], frames, axis=0)
        spacing = spacing_beside_center(disc.size, np.count_nonzero(disc), acceleration)
        size = max(height, width) if self.crop_corner else int(np.sqrt(2) * max(height, width))
        line, lines = np.zeros((size, size)), np.zeros((size, size))
        line[size // 2] = 1
        for angle in np.linspace(0, 180, int(1 / spacing * ((height + width) / 2))):
            lines += _turned(line, angle)
        # The first frame's are not turned: DIRECT's offset is that of the second.
        turned = [lines, *(_turned(lines, angle) for angle in np.linspace(offset, offset + 180, frames)[:-1])]
        top, left = (size - height) // 2, (size - width) // 2
        return disc | (np.stack(turned)[:, top : top + height, left : left + width] > 0)


def _turned(image, angle):
    return rotate(image, angle, reshape=False, order=0)


def _without_duplicates(positions, width, size):
    """Positions in frames of `width`, where each that occurs again is moved to the nearest free one in its frame.

    Where a frame is full it is the first free one of all.
    """
    free = np.setdiff1d(np.arange(size), positions)
    distinct, counts = np.unique(positions, return_counts=True)
    moved = []
    for position in np.repeat(distinct, counts - 1):
        distance = np.where(free // width == position // width, np.abs(free - position), size)
        nearest = np.argmin(distance)
        moved.append(free[nearest])
        free = np.delete(free, nearest)
    return np.concatenate([distinct, moved]).astype(int)
