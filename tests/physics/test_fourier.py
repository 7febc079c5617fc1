import numpy as np
import pytest
import tensorflow as tf
from helpers import fft_reference, inner, random_complex, relative_error

from mri_zoo.physics.fourier import fft2c, fft3c, ifft2c, ifft3c

TRANSFORMS = {2: (fft2c, ifft2c), 3: (fft3c, ifft3c)}
SIZES = [(8, 6), (9, 7), (8, 7), (1, 5), (2, 1), (4, 6, 8), (5, 7, 3), (6, 3, 4), (1, 3, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_transform_is_the_centred_orthonormal_one(rng, size):
    forward, inverse = TRANSFORMS[len(size)]
    x = random_complex(rng, (2, 3, *size))
    kspace = forward(x)
    assert np.asarray(kspace).dtype == np.complex64
    assert relative_error(kspace, fft_reference(x, len(size))) < 1e-6
    assert relative_error(inverse(kspace), x) < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_inverse_is_the_adjoint(rng, size):
    forward, inverse = TRANSFORMS[len(size)]
    x, y = random_complex(rng, (2, *size)), random_complex(rng, (2, *size))
    np.testing.assert_allclose(inner(forward(x), y), inner(x, inverse(y)), rtol=1e-5)


@pytest.mark.parametrize("size", [(6, 9), (3, 4, 5)])
def test_constant_image_is_one_point_at_the_centre(size):
    kspace = np.array(TRANSFORMS[len(size)][0](np.ones(size, "complex64")))
    centre = tuple(n // 2 for n in size)
    assert kspace[centre] == pytest.approx(np.sqrt(np.prod(size)), rel=1e-6)
    kspace[centre] = 0
    assert np.abs(kspace).max() < 1e-5


@pytest.mark.parametrize("size", [(9, 6), (3, 4, 5)])
def test_size_may_be_unknown_until_run_time(rng, size):
    dimensions = len(size)
    signature = [tf.TensorSpec([None] * (dimensions + 2), tf.complex64)]
    x = random_complex(rng, (2, 3, *size))
    for transform in TRANSFORMS[dimensions]:
        deferred = tf.function(transform, input_signature=signature)
        np.testing.assert_allclose(deferred(x), transform(x), atol=1e-6)


@pytest.mark.parametrize("size", ["7x5", "8x5", "9x16", "1x7", "13x1"])
def test_equals_fastmri(reference, size):
    with np.load(reference / "pytorch" / "numeric" / "fastmri_fft_complex.npz") as recorded:
        x = recorded[f"x_{size}"]
        assert relative_error(fft2c(x), recorded[f"fft2c_{size}"]) < 1e-6
        assert relative_error(ifft2c(x), recorded[f"ifft2c_{size}"]) < 1e-6
