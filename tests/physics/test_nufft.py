import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import fft_reference, inner, random_complex, relative_error

from mri_zoo.physics.nufft import normal_kernel, nufft, nufft_adjoint, toeplitz

# What each implementation promises: its largest deviation from the exact sum, relative to the largest value.
TOLERANCE = {"finufft": 2e-5, "kaiser_bessel": 1e-4, "tfkbnufft": 3e-3, "ndft": 5e-6}
SIZES = [(15, 13), (16, 9), (12, 10), (7, 5, 9), (6, 8, 4)]


def draw(rng, size, groups=1, samples=120):
    return rng.uniform(-np.pi, np.pi, (groups, samples, len(size))).astype("float32")


def exact_matrix(trajectory, size):
    """A as its definition has it, in double precision: (groups, samples, prod(size))."""
    positions = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in size), indexing="ij"), axis=-1)
    phase = trajectory.astype("float64") @ positions.reshape(-1, len(size)).T
    return np.exp(-1j * phase) / np.sqrt(np.prod(size))


def apply(matrix, vectors):
    """The matrix on (batch, coil, ...), whose last axes are flattened."""
    flat = vectors.reshape(*vectors.shape[:2], -1).astype("complex128")
    return np.einsum("bkr,bcr->bck", np.broadcast_to(matrix, (len(vectors), *matrix.shape[1:])), flat)


def adjoint_of(matrix):
    return np.conj(np.swapaxes(matrix, 1, 2))


@pytest.mark.parametrize("groups, coils", [(1, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("implementation", TOLERANCE)
def test_equals_the_exact_sum_and_passes_the_dot_product_test(rng, implementation, size, groups, coils):
    x, w = random_complex(rng, (2, coils, *size)), draw(rng, size, groups)
    y, matrix = random_complex(rng, (2, coils, 120)), exact_matrix(w, size)
    samples, image = nufft(x, w, implementation), nufft_adjoint(y, w, size, implementation)
    assert samples.dtype == image.dtype == tf.complex64
    assert relative_error(samples, apply(matrix, x)) < TOLERANCE[implementation]
    expected = apply(adjoint_of(matrix), y).reshape(x.shape)
    assert relative_error(image, expected) < TOLERANCE[implementation]
    assert abs(inner(samples, y) - inner(x, image)) < 1e-5 * abs(inner(x, image))


@pytest.mark.parametrize("size", [(8, 6), (9, 7), (5, 4, 3)])
@pytest.mark.parametrize("implementation", TOLERANCE)
def test_full_cartesian_grid_is_the_fourier_transform(rng, implementation, size):
    frequencies = [2 * np.pi * (np.arange(n) - n // 2) / n for n in size]
    w = np.stack(np.meshgrid(*frequencies, indexing="ij"), axis=-1).reshape(1, -1, len(size))
    x = random_complex(rng, (1, 2, *size))
    samples = np.reshape(nufft(x, w, implementation), x.shape)
    assert relative_error(samples, fft_reference(x, len(size))) < TOLERANCE[implementation]


@pytest.mark.parametrize("size", [(9, 8), (5, 4, 6)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("implementation", ["finufft", "kaiser_bessel", "ndft", "tfkbnufft"])
def test_gradients_of_both_transforms_in_both_arguments(rng, implementation, size, groups):
    x, y = random_complex(rng, (2, 3, *size)), random_complex(rng, (2, 3, 40))
    w, matrix = draw(rng, size, groups, 40), None
    matrix = exact_matrix(w, size)
    transforms = {
        "forward": (x, y, lambda x, w: nufft(x, w, implementation), lambda m: m),
        "adjoint": (y, x, lambda y, w: nufft_adjoint(y, w, size, implementation), adjoint_of),
    }
    tolerance = 5 * TOLERANCE[implementation]
    for argument, weight, transform, form in transforms.values():
        argument, trajectory = tf.constant(argument), tf.constant(w)
        with tf.GradientTape() as tape:
            tape.watch([argument, trajectory])
            loss = tf.reduce_sum(tf.math.real(tf.math.conj(weight) * transform(argument, trajectory)))
        in_argument, in_trajectory = tape.gradient(loss, [argument, trajectory])
        expected = apply(adjoint_of(form(matrix)), weight).reshape(argument.shape)
        assert relative_error(in_argument, expected) < tolerance
        # Re <weight, A argument> along a direction of the trajectory, by central differences in double precision.
        direction = rng.standard_normal(w.shape)
        change = 0
        for step in (1e-5, -1e-5):
            moved = apply(form(exact_matrix(w + step * direction, size)), argument.numpy()).reshape(weight.shape)
            change += np.sum(np.real(np.conj(weight) * moved)) / (2 * step)
        scale = np.linalg.norm(in_trajectory) * np.linalg.norm(direction)
        assert abs(np.sum(in_trajectory * direction) - change) < tolerance * scale


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("groups", [1, 2])
def test_toeplitz_is_the_adjoint_of_the_weighted_forward(rng, size, groups):
    x, w = random_complex(rng, (2, 3, *size)), draw(rng, size, groups)
    density, matrix = rng.random((groups, 120)).astype("float32"), exact_matrix(w, size)
    kernel = normal_kernel(w, density, size)
    assert kernel.shape == (groups, *(2 * n for n in size)) and kernel.dtype == tf.float32
    expected = apply(adjoint_of(matrix), density[:, None] * apply(matrix, x)).reshape(x.shape)
    assert relative_error(toeplitz(x, kernel), expected) < 2e-5


@pytest.mark.parametrize("size", [(15, 12)])
def test_compiled_with_unknown_sizes(rng, size):
    x, w = random_complex(rng, (2, 3, *size)), draw(rng, size, 2)
    density = np.ones((2, 120), "float32")

    def products(x, w, density, implementation):
        samples = nufft(x, w, implementation)
        size = keras.ops.shape(x)[2:]
        kernel = normal_kernel(w, density, size, implementation)
        return samples, nufft_adjoint(samples, w, size, implementation), toeplitz(x, kernel)

    open_shapes = [tf.TensorSpec([None] * x.ndim, tf.complex64), tf.TensorSpec([None, None, len(size)], tf.float32)]
    open_shapes += [tf.TensorSpec([None, None], tf.float32)]
    expected = products(x, w, density, "ndft")
    for implementation in ("finufft", "kaiser_bessel"):
        deferred = tf.function(lambda *a, name=implementation: products(*a, name), input_signature=open_shapes)
        for actual, exact in zip(deferred(x, w, density), expected, strict=True):
            assert relative_error(actual, exact) < TOLERANCE["kaiser_bessel"]
    compiled = tf.function(lambda *a: products(*a, "kaiser_bessel"), jit_compile=True)
    for actual, exact in zip(compiled(x, w, density), expected, strict=True):
        assert relative_error(actual, exact) < TOLERANCE["kaiser_bessel"]
