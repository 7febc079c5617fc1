"""A training along spokes of a few seconds, for the tests."""

from tiny_recipe import sources

from mri_zoo.data.preparation import PercentileScaling
from mri_zoo.data.trajectories import RadialTrajectory
from mri_zoo.models import NCPDNet

recipe = {
    "name": "ncpdnet-blobs",
    "model": NCPDNet,
    "model_arguments": {"num_iterations": 1, "num_primal": 2, "num_filters": 4},
    "sources": sources,
    "root": "nowhere",
    "sampling": RadialTrajectory(2),
    "scaling": PercentileScaling(),
    "learning_rate": 0.01,
    "epochs": 1,
    "card": {"summary": "NC-PDNet on blobs"},
}
