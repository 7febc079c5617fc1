import matplotlib.image
import numpy as np
import pytest

from mri_zoo.data.trajectories import Radial3DTrajectory, RadialTrajectory, cartesian
from mri_zoo.evaluation.trajectory import point_spread, write_trajectory_figure


def test_point_spread_of_the_full_grid_is_a_point():
    spread = point_spread(cartesian((15, 13)), (15, 13))
    assert np.unravel_index(spread.argmax(), spread.shape) == (7, 6) and spread.max() == 1
    assert np.sort(spread, axis=None)[-2] < 0.05


def test_undersampling_spreads_a_point():
    near, far = (point_spread(RadialTrajectory(acceleration)((31, 29)), (31, 29)) for acceleration in (1, 6))
    assert np.median(far) > 2 * np.median(near)


@pytest.mark.parametrize("sampling, size", [(RadialTrajectory(4), (21, 18)), (Radial3DTrajectory(4), (7, 10, 8))])
def test_figure_is_written(tmp_path, sampling, size):
    path = write_trajectory_figure(tmp_path / "trajectory.png", sampling(size), size)
    image = matplotlib.image.imread(path)
    assert image.ndim == 3 and image[..., :3].std() > 0.05 and [p.name for p in tmp_path.iterdir()] == [path.name]
