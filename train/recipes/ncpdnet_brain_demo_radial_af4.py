"""NC-PDNet on brains with 8 coils, golden-angle radial trajectories, acceleration 4."""

import functools

from demo_data import CARD, sources

from mri_zoo.data import PercentileScaling, RadialTrajectory
from mri_zoo.models import NCPDNet

recipe = {
    "name": "ncpdnet-brain-demo-radial-af4",
    "model": NCPDNet,
    # Phases of all strengths: that of a spiral scan turns faster than a spin echo's.
    "sources": functools.partial(sources, num_coils=8, phases=(1, 2, 4, 8)),
    "root": None,
    "sampling": RadialTrajectory(4),
    "scaling": PercentileScaling(),
    "train_options": {"slices": "random", "inner_slices": 24},
    "validation_options": {"inner_slices": 4},
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "epochs": 70,
    "card": {
        **CARD,
        "summary": "NC-PDNet for brains with 8 coils, radial trajectories at acceleration 4",
        "limits": "Trained along spokes on simulated phases. Of a phantom that was measured along spirals it also "
        "removes the faint background that the reference has: by PSNR it lies between the compensated adjoint and "
        "CG-SENSE, by SSIM below both (`evaluate/measured.py`). " + CARD["limits"],
    },
}
