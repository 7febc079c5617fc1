import numpy as np
import pytest
from helpers import acquire, relative_error

from mri_zoo.data.fourier import ifft2c
from mri_zoo.models import ZeroFilled
from mri_zoo.physics.cartesian import Cartesian


@pytest.mark.parametrize("coils, maps", [(1, False), (1, True), (3, True)])
def test_is_the_adjoint_image(rng, coils, maps):
    batch, _ = acquire(rng, coils=coils, maps=maps)
    expected = ifft2c(batch["kspace"]) * np.conj(batch.get("sensitivity_maps", 1))
    assert relative_error(ZeroFilled().predict(batch, verbose=0), expected.sum(axis=1)) < 1e-6


@pytest.mark.parametrize("coils, maps", [(1, False), (2, True)])
def test_volumes_work_as_slices_do(rng, coils, maps):
    physics = Cartesian(dimensions=3)
    batch, _ = acquire(rng, (4, 5, 6), coils, maps)
    expected = physics.adjoint(batch["kspace"], batch)
    assert relative_error(ZeroFilled(physics=physics).predict(batch, verbose=0), expected) < 1e-6


def test_low_resolution_object_is_recovered_with_estimated_coils(rng):
    """The estimated maps of an object within the window combine to its root-sum-of-squares."""
    size = (25, 50)
    kspace = np.zeros((1, 3, *size), "complex64")
    kspace[..., 11:13, 23:27] = rng.standard_normal((1, 3, 2, 4)) + 1j * rng.standard_normal((1, 3, 2, 4))
    batch = {"kspace": kspace, "mask": np.ones((1, 1, 1, size[1]), "float32")}
    image = ZeroFilled().predict(batch, verbose=0)
    expected = np.linalg.norm(ifft2c(kspace), axis=1)
    assert relative_error(image, expected) < 1e-5


def test_has_no_weights():
    model = ZeroFilled()
    model.build()
    assert model.weights == []
