import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import fft_reference, inner, random_complex, relative_error

from mri_zoo.physics import nufft as module
from mri_zoo.physics.nufft import check_density, check_trajectory, normal_kernel, nufft, nufft_adjoint, toeplitz

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


@pytest.fixture
def predecessor(reference):
    """Recorded arrays of the predecessor, by the name of the case."""
    with np.load(reference / "tensorflow" / "numeric" / "nufft.npz") as file:
        arrays = dict(file)
    return lambda case: {k.removeprefix(f"{case}__"): v for k, v in arrays.items() if k.startswith(f"{case}__")}


@pytest.mark.parametrize("case", ["radial", "spiral", "radial_odd", "radial_custom_grid", "3d_radial"])
def test_equals_the_recorded_predecessor(predecessor, case):
    recorded = predecessor(case)
    x, y, w = recorded["image"], recorded["kspace_in"], np.swapaxes(recorded["trajectory"], 1, 2)
    size = x.shape[2:]
    twofold = tuple(recorded["grid_size"]) == tuple(2 * n for n in size)
    factor = np.float32(np.sqrt(np.prod(recorded["grid_size"]) / np.prod(size)))  # of the predecessor's "ortho"
    for implementation in ("finufft", "kaiser_bessel") + (("tfkbnufft",) if twofold else ()):
        # With its library we repeat the predecessor's rounding; else we see the error of its table and of its grid.
        tolerance = 2e-5 if implementation == "tfkbnufft" else 3e-3 if twofold else 2e-2
        assert relative_error(nufft(x, w, implementation), recorded["kspace_forward"] * factor) < tolerance
        adjoint = nufft_adjoint(y, w, size, implementation)
        assert relative_error(adjoint, recorded["image_adjoint"] * factor) < tolerance


def test_gradients_equal_the_recorded_predecessor(predecessor):
    recorded = predecessor("radial_odd")
    x, y, w = recorded["image"], recorded["kspace_in"], np.swapaxes(recorded["trajectory"], 1, 2)
    x, y = tf.constant(x), tf.constant(y)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, y])
        samples, image = nufft(x, w, "tfkbnufft"), nufft_adjoint(y, w, x.shape[2:], "tfkbnufft")
    in_image = tape.gradient(samples, x, output_gradients=y)
    in_samples = tape.gradient(image, y, output_gradients=x)
    assert relative_error(in_image, 2 * recorded["vjp_forward_of_kspace_in"]) < 2e-5
    assert relative_error(in_samples, 2 * recorded["vjp_adjoint_of_image"]) < 2e-5


@pytest.mark.parametrize("case", ["24x20", "25x19", "9x11x7"])
def test_equals_finufft_in_double_precision(reference, case):
    size = tuple(int(n) for n in case.split("x"))
    with np.load(reference / "pytorch" / "numeric" / "nufft.npz") as file:
        names = ("pts", "c", "f", "type1_isignp", "type2_isignm")
        w, samples, image, type_1, type_2 = (file[f"finufft_{name}_{case}"][None] for name in names)
    factor = np.float32(np.prod(size) ** -0.5)
    for implementation in ("finufft", "kaiser_bessel"):
        tolerance = TOLERANCE[implementation]
        assert relative_error(nufft(image[None], w, implementation)[0], type_2 * factor) < tolerance
        adjoint = nufft_adjoint(samples[None], w, size, implementation)
        assert relative_error(adjoint[0], type_1 * factor) < tolerance


@pytest.mark.parametrize("kind", ["radial", "random"])
def test_equals_other_libraries(reference, kind):
    with np.load(reference / "pytorch" / "numeric" / "nufft.npz") as file:
        w = 2 * np.pi * file[f"traj_{kind}"].reshape(1, -1, 2)
        image, recorded = file["image"], {k: file[k] for k in file if k.endswith(kind)}
    samples = nufft(image[None, None], w)[0, 0]
    # Both divide by sqrt(prod(2 n)), torchkbnufft the adjoint of what it had not divided.
    factor = np.sqrt(np.prod(image.shape), dtype="float32")
    assert relative_error(samples, 2 * recorded[f"mrinufft_op_{kind}"]) < 2e-6
    assert relative_error(samples, 2 * recorded[f"torchkbnufft_ortho_{kind}"]) < 2e-3
    adjoint = nufft_adjoint(factor * samples[None, None], w, image.shape)[0, 0]
    assert relative_error(adjoint, 4 * factor * recorded[f"mrinufft_adj_{kind}"]) < 2e-6
    assert relative_error(adjoint, 2 * recorded[f"torchkbnufft_adjoint_ortho_{kind}"]) < 2e-3


def test_a_missing_library_is_named_with_the_command_that_installs_it(rng, monkeypatch):
    x, w = random_complex(rng, (1, 1, 6, 5)), draw(rng, (6, 5))
    monkeypatch.setitem(__import__("sys").modules, "tfkbnufft", None)
    module._tfkbnufft_operators.cache_clear()
    with pytest.raises(ImportError, match="pip install tfkbnufft"):
        nufft(x, w, "tfkbnufft")
    monkeypatch.setattr(module, "_is_installed", lambda library: False)
    expected = nufft(x, w, "kaiser_bessel")
    np.testing.assert_array_equal(nufft(x, w, "auto"), expected)


@pytest.mark.parametrize(
    "image, trajectory, implementation, message",
    [
        ((1, 1, 6, 5), (1, 9, 3), "auto", "trajectory of 3 axes does not fit an image of the size"),
        ((1, 1, 6, 5, 4), (1, 9, 2), "auto", "trajectory of 2 axes does not fit an image of the size"),
        ((1, 1, 6, 5), (9, 2), "auto", r"must be \(batch or 1, samples, dim\), got the shape \(9, 2\)"),
        ((3, 1, 6, 5), (2, 9, 2), "auto", "must have a batch of 1 or 3, as the data, got 2"),
        ((1, 1, 6, 5), (1, 9, 2), "fft", "must be one of auto, finufft, .*got 'fft'"),
    ],
)
def test_bad_arguments_are_refused(image, trajectory, implementation, message):
    with pytest.raises(ValueError, match=message):
        nufft(np.zeros(image, "complex64"), np.zeros(trajectory, "float32"), implementation)


def test_adjoint_and_product_refuse_what_does_not_fit(rng):
    with pytest.raises(ValueError, match="8 samples were measured, the trajectory has 9"):
        nufft_adjoint(np.zeros((1, 1, 8), "complex64"), draw(rng, (6, 5), samples=9), (6, 5))
    with pytest.raises(ValueError, match=r"does not fit an image of the size \(0, 5\)"):
        nufft_adjoint(np.zeros((1, 1, 9), "complex64"), draw(rng, (6, 5), samples=9), (0, 5))
    for shape in [(1, 12, 12), (2, 12, 10), (12, 10), (1, 12, 10, 8)]:
        with pytest.raises(ValueError, match=r"a batch of 1 or the images' and twice their size; got the shape \(\d"):
            toeplitz(np.zeros((3, 1, 6, 5), "complex64"), np.zeros(shape, "float32"))
    with pytest.raises(ValueError, match="from -pi to pi, got values up to 4"):
        nufft(np.zeros((1, 1, 6, 5), "complex64"), [[[0.0, 4.0]]])


@pytest.mark.parametrize("groups, shared", [(2, 1), (1, 2), (2, 2)])
def test_kernel_of_shared_trajectory_or_density(rng, groups, shared):
    size, w, density = (9, 8), draw(rng, (9, 8), groups), rng.uniform(0.5, 2, (shared, 120)).astype("float32")
    found = normal_kernel(w, density, size)
    w, density = np.broadcast_to(w, (2, 120, 2)), np.broadcast_to(density, (2, 120))
    expected = [normal_kernel(*pair, size)[0] for pair in zip(w[:, None], density[:, None], strict=True)]
    assert relative_error(found, np.stack(expected)) < 1e-5
    with pytest.raises(ValueError, match="119 samples were measured, the trajectory has 120"):
        normal_kernel(w, density[:1, 1:], size)
    for wrong in [np.ones((3, 120), "float32"), density[0]]:
        with pytest.raises(ValueError, match=r"`density` must be \(batch or 1, samples\), got the shape \(.*120,?\)"):
            normal_kernel(w, wrong, size)


@pytest.mark.parametrize(
    "trajectory, message",
    [
        (np.zeros((4, 3)), r"shape \(..., samples, 2\), got \(4, 3\)"),
        (np.zeros(2), r"got \(2,\)"),
        ([[0, np.nan]], "NaN"),
        ([[0, -3.2]], "radians per pixel, from -pi to pi, got values up to 3.2. Cycles per pixel"),
    ],
)
def test_bad_trajectories_are_refused(trajectory, message):
    with pytest.raises(ValueError, match=message):
        check_trajectory(trajectory, 2)


@pytest.mark.parametrize(
    "density, message",
    [
        ([1, np.inf], "NaN or infinite"),
        ([1, -1], "must not be negative"),
        ([0, 0], "zero"),
        ([[1, 1], [0, 0]], "zero"),
        ([], "zero"),
    ],
)
def test_bad_densities_are_refused(density, message):
    with pytest.raises(ValueError, match=message):
        check_density(density)


@pytest.mark.parametrize("value, message", [(np.nan, "holds NaN"), (50, "radians per pixel, from -pi to pi")])
def test_values_of_trajectories_in_numpy_are_checked(rng, value, message):
    w = draw(rng, (6, 5), samples=9)
    w[0, 3, 1] = value
    with pytest.raises(ValueError, match=message):
        nufft(random_complex(rng, (1, 1, 6, 5)), w)
    with pytest.raises(ValueError, match=message):
        nufft_adjoint(random_complex(rng, (1, 1, 9)), w, (6, 5))


def test_samples_without_an_axis_of_coils_are_refused(rng):
    with pytest.raises(ValueError, match=r"`samples` must be \(batch, coil, samples\), got the shape \(1, 120\)"):
        nufft_adjoint(random_complex(rng, (1, 120)), draw(rng, (6, 5)), (6, 5))


def test_grids_with_more_points_than_indices_are_refused(rng):
    y, w = random_complex(rng, (1, 1, 9)), draw(rng, (6, 5, 4), samples=9)
    with pytest.raises(ValueError, match="1 trajectories on a grid of 1300 x 1300 x 1300 points .* beyond int32"):
        nufft_adjoint(y, w, (650, 650, 650), "kaiser_bessel")


def test_a_tensor_of_nan_does_not_reach_the_library(rng):
    w = tf.fill((1, 9, 2), np.float32(np.nan))
    with pytest.raises(ValueError, match="The trajectory holds NaN"):
        nufft_adjoint(random_complex(rng, (1, 1, 9)), w, (6, 5), "finufft")


def test_tracing_warns_of_nothing(rng, caplog):
    x, w = random_complex(rng, (1, 1, 6, 5)), draw(rng, (6, 5))
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        tf.function(lambda x: nufft(x, w))(x)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records


def test_plus_pi_is_minus_pi(rng):
    x = random_complex(rng, (1, 1, 6, 5))
    edge = np.full((1, 1, 2), np.pi, "float32")
    check_trajectory(edge, 2)
    for implementation in TOLERANCE:
        assert relative_error(nufft(x, edge, implementation), nufft(x, -edge, implementation)) < 3e-3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_asks_finufft_for_one_thread():
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, repr(module._threads).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"{'nthreads': 1}" and module._threads == {}
    os.close(reading), os.close(writing)


FORKED = """
import multiprocessing, sys
import numpy as np
from mri_zoo.data import RadialTrajectory
from mri_zoo.data.noncartesian import make_encoding

encoding = make_encoding(RadialTrajectory(4)((96, 96)), (96, 96))
image = np.ones((1, 96, 96), "complex64")
encoding.measure(image)
worker = multiprocessing.get_context("fork").Process(target=lambda: encoding.measure(image))
worker.start()
worker.join(60)
worker.kill()
sys.exit(worker.exitcode)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_finufft_runs_in_a_forked_process():
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", FORKED], env=environment, timeout=200).returncode == 0
