"""Non-Cartesian samples on a Cartesian grid, for networks that know no other."""

import functools

import keras
import numpy as np
from keras import ops

from mri_zoo.physics.acquisition import Acquisition
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.physics.nufft import on_host

NUM_CACHED = 8  # trajectories; at 640 x 400 each takes 6 MB


@keras.saving.register_keras_serializable("mri_zoo")
class Gridded(Cartesian):
    """Acquisition along a trajectory in the plane, seen as Cartesian: k-space is gridded once, then A is the FFT.

    `complete`, which a model calls first, makes k-space on the grid of the image and a mask of ones, by
    `grid_linearly`; what follows is `Cartesian`. ``PDNet(primal_only=True, buffers="adjoint", physics=Gridded())`` is
    the thesis' "PDNet with gridding": it shows what the non-uniform transform is needed for. The gridding is a call to
    the host, which XLA cannot compile.

    Batch keys:
        kspace, trajectory, sensitivity_maps, kernel: those of `NonCartesian`, and as there the maps or the kernel tell
            the size of the image; `density` is not needed, but a sample whose weight is zero was left out.

    Args:
        image_size: of batches that have neither maps nor kernel.
        center_fraction, phase: see `Cartesian`.

    Reference: Ramzi, thesis, section 5.2.5; `grid_non_cartesian` of fastmri-reproducible-benchmark.
    """

    along_trajectory = True
    supports_jit = False

    def __init__(self, image_size=None, center_fraction=0.08, phase="given"):
        super().__init__(2, center_fraction, phase=phase)
        self._samples = NonCartesian(image_size, center_fraction=1)  # the maps are of the grid

    def check(self, batch):
        """See `NonCartesian`."""
        if "trajectory" in batch:
            self._samples.check(batch)
        else:  # it is on the grid
            super().check(batch)

    def complete(self, batch):
        """The batch on the grid: `kspace` (batch, coil, height, width), `mask` of ones, `sensitivity_maps`."""
        if "trajectory" not in batch:
            return super().complete(batch)
        self.check(batch)
        size, (slices, coils, number) = self._samples.size(batch), ops.shape(batch["kspace"])
        points = _weighted(ops.convert_to_tensor(batch["trajectory"]), batch.get("density"))
        # One group of coils for each trajectory, all of them where it is shared.
        vectors = ops.reshape(batch["kspace"], (ops.shape(points)[0], -1, number))
        kspace = on_host(_grid_groups, (*ops.shape(vectors)[:2], *size), vectors, points)
        kspace = ops.reshape(kspace, (slices, coils, *size))
        maps = {key: value for key, value in batch.items() if key == "sensitivity_maps"}
        return super().complete({"kspace": kspace, "mask": ops.ones((1, 1, 1, size[1])), **maps})

    def batch_spec(self, batch=None, coils=None, size=None):
        """That of `NonCartesian`."""
        return self._samples.batch_spec(batch, coils, size)

    def get_config(self):
        """The constructor's arguments."""
        return {
            "image_size": self._samples.image_size,
            "center_fraction": self.center_fraction,
            **Acquisition.get_config(self),
        }


def grid_linearly(kspace, trajectory, size):
    """K-space at the frequencies of a Cartesian grid, by linear interpolation between the three nearest samples.

    Frequencies outside of what the trajectory encloses are zero. The triangles of the last `NUM_CACHED` trajectories
    are kept.

    Args:
        kspace: (coil, samples) complex64.
        trajectory: (samples, 2) float32, radians per pixel, in the order of the image axes.
        size: height and width of the image.

    Returns:
        (coil, height, width) complex64, the zero frequency at index ``n // 2``; in the units of `kspace`, which are
        those of the orthonormal transforms.

    Raises:
        ValueError: if the shapes do not fit each other, or the samples are on one line.
    """
    kspace, trajectory = np.asarray(kspace), np.asarray(trajectory, "float32")
    if kspace.ndim != 2 or trajectory.shape != (kspace.shape[-1], 2):
        raise ValueError(
            f"`kspace` has the shape {kspace.shape} and `trajectory` {trajectory.shape}; expected (coil, samples) and "
            "(samples, 2)."
        )
    samples, weights = _triangles(trajectory.tobytes(), tuple(map(int, size)))
    grid = sum(kspace[:, index] * weight for index, weight in zip(samples, weights, strict=True))
    return grid.reshape(-1, *size).astype("complex64")


@functools.lru_cache(NUM_CACHED)
def _triangles(trajectory, size):
    """The samples around each point of the grid and their weights, (3, points) int32 and float32."""
    from scipy.spatial import Delaunay

    frequencies = [2 * np.pi / n * (np.arange(n) - n // 2) for n in size]
    points = np.stack(np.meshgrid(*frequencies, indexing="ij"), axis=-1).reshape(-1, 2)
    try:
        triangles = Delaunay(np.frombuffer(trajectory, "float32").reshape(-1, 2).astype("float64"))
    except RuntimeError as error:  # Qhull's
        raise ValueError("The samples of the trajectory enclose no area: there is nothing to interpolate.") from error
    found = triangles.find_simplex(points)
    affine = triangles.transform[found]
    weights = np.einsum("pij,pj->pi", affine[:, :2], points - affine[:, 2])
    weights = np.column_stack([weights, 1 - weights.sum(axis=1)])
    weights[found < 0] = 0
    return triangles.simplices[found].T.astype("int32"), weights.T.astype("float32")


def _weighted(trajectory, density):
    """Trajectory and density, 1 by default, as one tensor (batch or 1, samples, 3): each may be shared by the batch."""
    ones = ops.ones_like(trajectory[..., :1])
    weights = ones if density is None else ones * ops.convert_to_tensor(density)[..., None]
    return ops.concatenate([trajectory * ops.ones_like(weights), weights], axis=-1)


def _grid_groups(vectors, points, shape):
    """Complex64 of `shape`, (group, coil, height, width), of vectors (group, coil, samples) at `_weighted` points."""
    grids = []
    for kspace, point in zip(vectors, points, strict=True):
        acquired = point[:, 2] > 0
        if not acquired.any():
            raise ValueError("The density compensation is zero everywhere: there is no sample to grid.")
        grids.append(grid_linearly(kspace[:, acquired], point[acquired, :2], shape[2:]))
    return np.stack(grids)
