import pytest

from mri_zoo.evaluation.demo import _part
from mri_zoo.presets import load_preset


@pytest.mark.parametrize(
    "name, title, coils",
    [
        ("pdnet-brain-demo-af4", "single-coil", 1),
        ("unet-brain-demo-multicoil-af4", "8-coil", 8),
        ("ncpdnet-brain-demo-radial-af4", "8-coil-trajectories", 8),
    ],
)
def test_models_are_shown_with_the_data_that_they_are_for(name, title, coils):
    assert _part(load_preset(name))[1:] == (title, coils)
