"""A trajectory in pictures: its shots, and what it makes of a point."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.storage import replacing

_MOST_SHOTS = 200  # more are drawn one over the other


def point_spread(trajectory, size):
    """The image of a point in the middle, with density compensation.

    Args:
        trajectory: (..., dimension) float32, radians per pixel.
        size: of the image.

    Returns:
        (*size) float32 magnitude, 1 at its maximum.
    """
    encoding = make_encoding(trajectory, size, kernel=False)
    point = np.zeros((1, *encoding.size), np.complex64)
    point[(0, *(n // 2 for n in encoding.size))] = 1
    spread = np.abs(encoding.adjoint(encoding.measure(point)))[0]
    return spread / spread.max()


def write_trajectory_figure(path, trajectory, size):
    """Draw shots and point-spread function; of three dimensions the latter in the central plane.

    Args:
        path: of the file; its extension is the format, for example ``.png``.
        trajectory: (shot, sample, dimension) float32, radians per pixel.
        size: of the image.

    Returns:
        The path.
    """
    path, spread = Path(path), point_spread(trajectory, size)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot(1, 2, 1, **({"projection": "3d"} if len(size) == 3 else {}))
    for shot in trajectory[:: -(-len(trajectory) // _MOST_SHOTS)]:
        axes.plot(*shot.T[::-1], linewidth=0.5)
    names = ("kx", "ky", "kz")[: len(size)]
    axes.set(title=f"{trajectory.shape[0]} shots of {trajectory.shape[1]} samples", aspect="equal")
    axes.set(**{f"{axis}label": f"{name} (radians per pixel)" for axis, name in zip("xyz", names, strict=False)})
    if len(size) == 2:
        axes.invert_yaxis()  # as images are shown
    else:
        spread = spread[size[0] // 2]
    axes = figure.add_subplot(1, 2, 2)
    decibels = 20 * np.log10(np.maximum(spread, 1e-4))
    drawn = axes.imshow(decibels, cmap="gray", vmin=-60, vmax=0)
    axes.set(title="Point-spread function", xlabel="pixels", ylabel="pixels")
    figure.colorbar(drawn, ax=axes, label="dB")
    with replacing(path) as part:
        figure.savefig(part, format=path.suffix[1:] or "png", dpi=120)
    return path
