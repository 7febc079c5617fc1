"""NC-PDNet in three dimensions on small single-coil brain volumes, radial trajectories, acceleration 4."""

from demo_data import CARD, SHORT_TRAINING, small_volumes

from mri_zoo.data import PercentileScaling, Radial3DTrajectory
from mri_zoo.models import NCPDNet
from mri_zoo.physics.noncartesian import NonCartesian

recipe = {
    "name": "ncpdnet3d-brain-demo-radial-af4",
    "model": NCPDNet,
    # Section 5.2.5 of the thesis.
    "model_arguments": {
        "num_iterations": 6,
        "num_primal": 2,
        "num_filters": 16,
        "physics": NonCartesian(dimensions=3),
    },
    "sources": small_volumes,
    "root": None,
    "sampling": Radial3DTrajectory(4),
    "scaling": PercentileScaling(),
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "epochs": 45,
    "card": {
        **CARD,
        "summary": "NC-PDNet in 3-D for single-coil brains, radial trajectories at acceleration 4",
        "limits": "For k-space that was made of magnitude images, without phase. " + SHORT_TRAINING + CARD["limits"],
    },
}
