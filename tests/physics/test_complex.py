import numpy as np
import pytest
import tensorflow as tf
from helpers import random_complex
from keras import ops

from mri_zoo.physics.complex import from_channels, from_parts, from_real, scale, to_channels


def test_parts_and_real_tensors_become_complex64(rng):
    real, imaginary = rng.standard_normal((2, 3, 5), dtype="float32")
    np.testing.assert_array_equal(from_parts(real, imaginary), real + 1j * imaginary)
    np.testing.assert_array_equal(from_real(real), real + 0j)
    assert np.asarray(from_real(real)).dtype == np.complex64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_become_complex64(dtype):
    x = ops.cast([0.5, -2.0], dtype)
    np.testing.assert_array_equal(from_parts(x, 2 * x), np.array([0.5 + 1j, -2 - 4j], "complex64"))


def test_gradients_reach_both_parts(caplog):
    parts = [tf.constant([3.0, -1.0]), tf.constant([4.0, 2.0])]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        # |z|^2 has the gradient 2 a and 2 b; the factor makes the two parts mix.
        energy = ops.sum(ops.square(ops.abs(from_parts(*parts) * (1 + 2j))))
    real, imaginary = tape.gradient(energy, parts)
    np.testing.assert_allclose(real, [30.0, -10.0], rtol=1e-6)
    np.testing.assert_allclose(imaginary, [40.0, 20.0], rtol=1e-6)
    assert "imaginary part" not in caplog.text


@pytest.mark.parametrize("factor_shape", [(), (1, 1, 5), (2, 1, 1), (2, 3, 5)])
def test_scale_broadcasts_a_real_factor(rng, factor_shape):
    x, factor = random_complex(rng, (2, 3, 5)), rng.standard_normal(factor_shape).astype("float32")
    np.testing.assert_allclose(scale(x, factor), x * factor, rtol=1e-6)


def test_scale_takes_integer_masks(rng):
    x, mask = random_complex(rng, (3, 5)), np.array([0, 1, 1, 0, 1], "uint8")
    np.testing.assert_array_equal(scale(x, mask), x * mask)


def test_channels_are_all_real_then_all_imaginary_parts(rng):
    x = random_complex(rng, (2, 3, 5, 3))
    channels = np.asarray(to_channels(x))
    assert channels.dtype == np.float32
    np.testing.assert_array_equal(channels, np.concatenate([x.real, x.imag], axis=-1))
    np.testing.assert_array_equal(from_channels(channels), x)
    with pytest.raises(ValueError, match="an even number of channels, got 3"):
        from_channels(channels[..., :3])
