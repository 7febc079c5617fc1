"""The random numbers of the C library, from which DIRECT draws its masks and its partitions of samples."""

import functools

import numpy as np


class CRandom:
    """The stream of rand() / RAND_MAX in glibc after srand(seed), an additive feedback generator.

    Args:
        seed: whole number, >= 0.
    """

    def __init__(self, seed):
        state = [seed if seed else 1]
        for _ in range(30):
            state.append(16807 * state[-1] % 2147483647)
        self._state = np.array(state[3:] + state[:3], np.uint32)
        self.uniform(310)  # which srand() drops

    def uniform(self, count):
        """The next numbers, (count,) float64 in [0, 1]."""
        blocks = []
        for start in range(0, count, len(_recurrence())):
            blocks.append(_recurrence()[: count - start] @ self._state)
            self._state = np.concatenate([self._state, blocks[-1]])[-31:]
        return (np.concatenate(blocks) >> 1) / 2147483647

    def normal_pairs(self, count):
        """The next `count` pairs of normal numbers by Box and Muller, (2, count) float64."""
        radius, angle = self.uniform(2 * count).reshape(count, 2).T
        radius, angle = np.sqrt(-2 * np.log(radius)), 2 * np.pi * angle
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)])


@functools.cache
def _recurrence():
    """(1024, 31) uint32: what the next states are of the last 31, each the sum of the 3rd and the 31st before it."""
    rows = list(np.eye(31, dtype=np.uint32))
    for _ in range(1024):
        rows.append(rows[-3] + rows[-31])
    return np.stack(rows[31:])


def draw_gaussian(free, count, std, seed):
    """Some of the free positions, drawn one after the other from a normal distribution around ``n // 2``.

    Args:
        free: boolean of one or two dimensions, with at least `count` true.
        count: how many to draw.
        std: standard deviation along each axis, in positions.
        seed: of the C library's generator.

    Returns:
        Boolean of the same shape. DIRECT's Gaussian masks and partitions, bit for bit.
    """
    random, free, drawn = CRandom(seed), free.copy(), np.zeros(free.shape, bool)
    while count > 0:
        # Of more normals than dimensions, a pair for one dimension, the second is drawn in vain.
        steps = zip(free.shape, std, random.normal_pairs(max(2 * count, 64)), strict=False)
        positions = [n // 2 + normal * scale for n, scale, normal in steps]
        inside = np.all([(p > -1) & (p < n) for p, n in zip(positions, free.shape, strict=True)], axis=0)
        # Truncated towards zero: what lies between -1 and 0 comes to 0.
        candidates = np.ravel_multi_index([p[inside].astype(int) for p in positions], free.shape)
        candidates = candidates[free.flat[candidates]]
        first = np.sort(np.unique(candidates, return_index=True)[1])[:count]
        drawn.flat[candidates[first]] = True
        free &= ~drawn
        count -= len(first)
    return drawn
