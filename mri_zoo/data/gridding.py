"""Non-Cartesian k-space on a Cartesian grid, for networks that know no other."""

import numpy as np
from scipy.interpolate import LinearNDInterpolator

from mri_zoo.data.volume import DataError


def grid_linearly(kspace, trajectory, size):
    """K-space at the frequencies of a Cartesian grid, by linear interpolation between the three nearest samples.

    Frequencies outside of what the trajectory encloses are zero. `PDNet` on the result, with a mask of ones, is the
    thesis' "PDNet with gridding": it shows what the non-uniform transform is needed for.

    Args:
        kspace: (coil, samples) complex64.
        trajectory: (samples, 2) float32, radians per pixel, in the order of the image axes.
        size: height and width of the image.

    Returns:
        (coil, height, width) complex64, the zero frequency at index ``n // 2``; in the units of `kspace`, which are
        those of the orthonormal transforms.

    Raises:
        DataError: if the shapes do not fit each other, or the samples are on one line.

    Reference: Ramzi, thesis, section 5.2.5; `grid_non_cartesian` of fastmri-reproducible-benchmark.
    """
    kspace, trajectory = np.asarray(kspace), np.asarray(trajectory)
    if kspace.ndim != 2 or trajectory.shape != (kspace.shape[-1], 2):
        raise DataError(
            f"`kspace` has the shape {kspace.shape} and `trajectory` {trajectory.shape}; expected (coil, samples) and "
            "(samples, 2)."
        )
    frequencies = [2 * np.pi / n * (np.arange(n) - n // 2) for n in size]
    try:
        interpolate = LinearNDInterpolator(trajectory, kspace.T, fill_value=0)
    except RuntimeError as error:  # SciPy's, of its triangulation
        raise DataError("The samples of the trajectory enclose no area: there is nothing to interpolate.") from error
    return np.moveaxis(interpolate(*np.meshgrid(*frequencies, indexing="ij")), -1, 0).astype("complex64")
