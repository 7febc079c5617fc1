import numpy as np
import pytest
from helpers import acquire, relative_error

from mri_zoo.models import CGSENSE
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.noncartesian import NonCartesian


def test_solves_the_normal_equations(rng):
    """Against the dense matrix of the acquisition."""
    batch, _ = acquire(rng, (7, 6), coils=2, maps=True)
    physics, weight = Cartesian(), 0.05
    basis = np.eye(42, dtype="complex64").reshape(42, 7, 6)
    batches = {key: np.repeat(np.asarray(value)[:1], 42, 0) for key, value in batch.items()}
    normal = np.asarray(physics.normal(basis, batches)).reshape(42, 42).T
    adjoint = np.asarray(physics.adjoint(batch["kspace"], batch))[0].ravel()
    expected = np.linalg.solve(normal + weight * np.eye(42), adjoint).reshape(1, 7, 6)
    first = {key: np.asarray(value)[:1] for key, value in batch.items()}
    assert relative_error(CGSENSE(42, weight).predict(first, verbose=0), expected) < 1e-4


def test_takes_every_physics():
    assert CGSENSE(physics=NonCartesian(dimensions=3)).get_config()["num_steps"] == 10


@pytest.mark.parametrize(
    "arguments, message", [((0,), "`num_steps` must be a whole"), ((1, -1), "`weight` must be >= 0")]
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CGSENSE(*arguments)
