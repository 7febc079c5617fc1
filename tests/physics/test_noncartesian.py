import keras
import numpy as np
import pytest
from helpers import inner, random_complex, relative_error

from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.physics.nufft import nufft

SIZES = [(15, 13), (8, 9), (5, 7, 4)]


def measure(rng, size, coils=1, maps=False, groups=2):
    """A batch of two along random trajectories, and its image."""
    image = random_complex(rng, (2, *size))
    sensitivities = random_complex(rng, (2, coils, *size))
    sensitivities /= np.linalg.norm(sensitivities, axis=1, keepdims=True)
    if not maps:
        sensitivities = np.ones_like(sensitivities)
    trajectory = rng.uniform(-np.pi, np.pi, (groups, 90, len(size))).astype("float32")
    batch = {
        "kspace": np.array(nufft(sensitivities * image[:, None], trajectory, "ndft")),
        "trajectory": trajectory,
        "density": rng.uniform(0.5, 2, (groups, 90)).astype("float32"),
    }
    return (batch | {"sensitivity_maps": sensitivities} if maps else batch), image


@pytest.mark.parametrize("coils, maps, groups", [(1, False, 2), (1, True, 1), (3, True, 2), (3, True, 1)])
@pytest.mark.parametrize("size", SIZES)
def test_operators(rng, size, coils, maps, groups):
    batch, image = measure(rng, size, coils, maps, groups)
    physics, y = NonCartesian(size, len(size)), random_complex(rng, batch["kspace"].shape)
    assert relative_error(physics.forward(image, batch), batch["kspace"]) < 2e-5
    # The adjoint includes the density D, so D y takes the place of y in the dot-product test.
    lhs = inner(physics.forward(image, batch), batch["density"][:, None] * y)
    assert abs(lhs - inner(image, physics.adjoint(y, batch))) < 1e-5 * abs(lhs)
    expected = physics.adjoint(physics.forward(image, batch), batch)
    assert relative_error(physics.normal(image, batch), expected) < 2e-5
    assert relative_error(physics.normal(image, physics.complete(batch)), expected) < 2e-5


def test_serialisation_keeps_the_arguments():
    physics = NonCartesian((6, 5, 4), 3, "ndft", 0.2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(physics))
    assert copy.get_config() == physics.get_config()
    assert copy.image_size == (6, 5, 4) and copy.implementation == "ndft"
