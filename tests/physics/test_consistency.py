import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire, random_complex, relative_error
from keras import ops

from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.complex import from_parts
from mri_zoo.physics.consistency import blend_measured, conjugate_gradient, gradient_step, replace_measured

PROBLEMS = [((5, 4), 1, False), ((4, 5), 3, True), ((2, 3, 3), 2, True)]


@pytest.fixture(params=PROBLEMS, ids=str)
def problem(request, rng):
    """Physics, batch, and an estimate that is not the imaged object."""
    size, coils, maps = request.param
    batch, image = acquire(rng, size, coils, maps)
    return Cartesian(len(size)), batch, random_complex(rng, image.shape)


def dense_normal(physics, batch, index):
    """A^H A of one batch entry as a matrix."""
    one = {key: value[index : index + 1] for key, value in batch.items()}
    size = batch["kspace"].shape[2:]
    units = np.eye(np.prod(size)).reshape(-1, 1, *size).astype("complex64")
    return np.stack([np.ravel(physics.normal(unit, one)) for unit in units], axis=1).astype("complex128")


def systems(physics, batch, image, weight):
    """The dense system of each batch entry: matrix, right-hand side and start."""
    back_projected = np.asarray(physics.adjoint(batch["kspace"], batch))
    for i in range(len(image)):
        matrix = dense_normal(physics, batch, i) + weight * np.eye(image[i].size)
        yield matrix, np.ravel(back_projected[i] + weight * image[i]), np.ravel(image[i])


@pytest.mark.parametrize("full_height_mask", [False, True])
def test_replacement_and_blending(rng, full_height_mask):
    batch, _ = acquire(rng, (9, 6), coils=2, maps=True, full_height_mask=full_height_mask)
    measured, mask = batch["kspace"], batch["mask"]
    kspace = random_complex(rng, measured.shape)
    sampled = np.broadcast_to(mask == 1, measured.shape)
    assert 0 < sampled.sum() < sampled.size

    np.testing.assert_allclose(replace_measured(kspace, measured, mask), np.where(sampled, measured, kspace), rtol=1e-6)
    np.testing.assert_allclose(
        blend_measured(kspace, measured, mask, 0.25),
        np.where(sampled, 0.75 * kspace + 0.25 * measured, kspace),
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        blend_measured(kspace, measured, mask, 1), replace_measured(kspace, measured, mask), atol=1e-6
    )


def test_blending_weight_is_learnable(rng):
    batch, _ = acquire(rng, (5, 4))
    kspace, weight = random_complex(rng, batch["kspace"].shape), tf.Variable(0.3)
    with tf.GradientTape() as tape:
        energy = ops.sum(ops.square(ops.abs(blend_measured(kspace, batch["kspace"], batch["mask"], weight))))
    deviation = batch["kspace"] - batch["mask"] * kspace
    expected = 2 * np.sum(np.real(np.conj(kspace + 0.3 * deviation) * deviation))
    assert float(tape.gradient(energy, weight)) == pytest.approx(expected, rel=1e-5)


def solve(image, batch, physics, weight, num_steps):
    return conjugate_gradient(image, physics.adjoint(batch["kspace"], batch), batch, physics, weight, num_steps)


def test_gradient_step_is_the_gradient_of_the_data_term(problem):
    physics, batch, image = problem
    parts = [tf.constant(image.real), tf.constant(image.imag)]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        residual = physics.forward(from_parts(*parts), batch) - batch["kspace"]
        energy = ops.sum(ops.square(ops.real(residual)) + ops.square(ops.imag(residual))) / 2
    real, imaginary = (np.asarray(part) for part in tape.gradient(energy, parts))
    step = gradient_step(image, physics.adjoint(batch["kspace"], batch), batch, physics, 0.7)
    assert relative_error(step, image - 0.7 * (real + 1j * imaginary)) < 1e-5


def test_conjugate_gradient_converges_to_the_dense_solution(problem):
    physics, batch, image = problem
    solution = np.asarray(solve(image, batch, physics, weight=0.1, num_steps=25))
    for x, (matrix, right, _) in zip(solution, systems(physics, batch, image, 0.1), strict=True):
        assert relative_error(np.ravel(x), np.linalg.solve(matrix, right)) < 1e-5


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_conjugate_gradient_takes_exact_steps(problem, num_steps):
    physics, batch, image = problem
    steps = np.asarray(solve(image, batch, physics, weight=0.1, num_steps=num_steps))
    for found, (matrix, right, x) in zip(steps, systems(physics, batch, image, 0.1), strict=True):
        residual = direction = right - matrix @ x
        for _ in range(num_steps):
            if np.linalg.norm(residual) < 1e-6:  # one coil has two eigenvalues, hence two steps
                break
            size = np.vdot(residual, residual) / np.vdot(direction, matrix @ direction)
            x, following = x + size * direction, residual - size * matrix @ direction
            direction = following + direction * np.vdot(following, following) / np.vdot(residual, residual)
            residual = following
        assert relative_error(np.ravel(found), x) < 1e-5


def test_conjugate_gradient_is_differentiable_in_the_weight(problem):
    physics, batch, image = problem
    weight = tf.Variable(0.3)
    with tf.GradientTape() as tape:
        x = solve(image, batch, physics, weight, num_steps=15)
        energy = ops.sum(ops.square(ops.real(x)) + ops.square(ops.imag(x)))
    expected = 0.0
    for matrix, right, z in systems(physics, batch, image, 0.3):
        x = np.linalg.solve(matrix, right)
        expected += 2 * np.vdot(x, np.linalg.solve(matrix, z - x)).real
    assert float(tape.gradient(energy, weight)) == pytest.approx(expected, rel=1e-3)


def test_conjugate_gradient_stays_at_a_solution(rng):
    """No residual is left to divide by, in the value and in the gradient."""
    batch, _ = acquire(rng, (5, 4))
    batch["kspace"][1] = 0
    image, weight = random_complex(rng, (2, 5, 4)), tf.Variable(0.1)
    image[1] = 0
    with tf.GradientTape() as tape:
        x = solve(image, batch, Cartesian(), weight, num_steps=3)
        energy = ops.sum(ops.square(ops.abs(x)))
    np.testing.assert_array_equal(x[1], 0)
    assert np.all(np.isfinite(x)) and np.isfinite(tape.gradient(energy, weight))


def test_conjugate_gradient_needs_a_step(rng):
    batch, image = acquire(rng, (5, 4))
    with pytest.raises(ValueError, match="`num_steps` must be >= 1, got 0"):
        solve(image, batch, Cartesian(), 0.1, num_steps=0)
