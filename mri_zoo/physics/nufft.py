"""Non-uniform Fourier transforms in two and three dimensions, and the Toeplitz form of their normal operator.

With the trajectory w in radians per pixel and the image's origin at index ``n // 2``, as everywhere in this zoo::

    (A x)_k = prod(n)**-0.5 sum_r x_r exp(-i w_k . (r - n // 2))

so that A equals the centred orthonormal FFT where the trajectory is the full Cartesian grid. The predecessor's
"ortho" scaling is ``2**(-dim / 2)`` of this one.

The trajectory's leading axis is the batch, or 1: then one trajectory is shared by the whole batch, and all images and
coils are transformed in one call. Every implementation is differentiable in both arguments: the gradient in the
trajectory is the transform of the image multiplied by its coordinates, whatever the implementation.
"""

import functools
import importlib
import math
import os

import keras
import numpy as np
from keras import ops

from mri_zoo.physics.complex import from_parts, scale
from mri_zoo.physics.fourier import plain_fft, plain_ifft
from mri_zoo.physics.kaiser_bessel import kaiser_bessel, kaiser_bessel_adjoint, outer

PRECISION = 1e-6  # asked of FINUFFT, which computes in single precision

_threads = {}  # options of FINUFFT: none, so all cores, but one in a fork, which the threads of OpenMP do not survive
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _threads.update(nthreads=1))


def nufft(image, trajectory, implementation="auto"):
    """Images to their Fourier transform at the points of the trajectory.

    Args:
        image: (batch, coil, *size) complex64, two or three axes of size.
        trajectory: (batch or 1, samples, dim) float32, radians per pixel in [-pi, pi], in the order of the image axes.
        implementation: "finufft" (a callback to the host), "kaiser_bessel" (gridding, compiled on any device, error
            about 1e-5), "tfkbnufft" (TensorFlow only, error about 1e-3), "ndft" (the exact sum, slow) or "auto":
            FINUFFT on the CPU where it is installed, else gridding.

    Returns:
        (batch, coil, samples) complex64.

    Raises:
        ValueError: if the arguments do not fit each other, or a trajectory that is no tensor holds values which
            `check_trajectory` refuses.
        ImportError: if the implementation's library is missing.
    """
    given, image, trajectory = trajectory, _tensor(image, "complex64"), _tensor(trajectory, "float32")
    size = ops.shape(image)[2:]
    _check_shapes(image, trajectory, size)
    _check_values(given)
    forward, _ = _implementation(implementation, image)
    batch, coils = ops.shape(image)[:2]
    # One group of vectors for each trajectory: (1, batch * coil) where it is shared.
    groups = ops.shape(trajectory)[0]
    samples = forward(ops.reshape(image, (groups, -1, *size)), trajectory)
    return ops.reshape(samples, (batch, coils, ops.shape(trajectory)[1]))


def nufft_adjoint(samples, trajectory, size, implementation="auto"):
    """The adjoint of `nufft`, without density compensation.

    Args:
        samples: (batch, coil, samples) complex64.
        trajectory: (batch or 1, samples, dim) float32.
        size: of the image, two or three numbers.
        implementation: see `nufft`.

    Returns:
        (batch, coil, *size) complex64.

    Raises:
        ValueError: if the arguments do not fit each other, or a trajectory that is no tensor holds values which
            `check_trajectory` refuses.
        ImportError: if the implementation's library is missing.
    """
    given, size = trajectory, tuple(size)
    samples, trajectory = _tensor(samples, "complex64"), _tensor(trajectory, "float32")
    if len(samples.shape) != 3:
        raise ValueError(f"`samples` must be (batch, coil, samples), got the shape {tuple(samples.shape)}.")
    _check_shapes(samples, trajectory, size)
    _check_values(given)
    _check_number(samples, trajectory)
    _, adjoint = _implementation(implementation, samples)
    batch, coils = ops.shape(samples)[:2]
    groups, number = ops.shape(trajectory)[:2]
    images = adjoint(ops.reshape(samples, (groups, -1, number)), trajectory, size)
    return ops.reshape(images, (batch, coils, *size))


def normal_kernel(trajectory, density, size, implementation="auto"):
    """The transfer function with which `toeplitz` applies A^H D A: computed once, it replaces all gridding.

    It is the Fourier transform, on a grid of twice the size, of the point-spread function of all pixel distances.

    Args:
        trajectory: (batch or 1, samples, dim) float32.
        density: (batch or 1, samples) float32.
        size: of the image.
        implementation: see `nufft`.

    Returns:
        (batch or 1, 2 n_1, ..., 2 n_dim) float32, the zero frequency first.

    Raises:
        ValueError, ImportError: as `nufft_adjoint`.

    Reference: Wajer and Pruessmann, ISMRM 2001; Fessler et al., IEEE TSP 53:3393, 2005.
    """
    given, density, trajectory = trajectory, _tensor(density, "float32"), _tensor(trajectory, "float32")
    _check_shapes(trajectory, trajectory, size)
    _check_values(given)
    if len(density.shape) != 2 or len({trajectory.shape[0], density.shape[0]} - {1, None}) > 1:
        raise ValueError(
            f"`density` must be (batch or 1, samples), got the shape {tuple(density.shape)} with a trajectory of "
            f"{tuple(trajectory.shape)}."
        )
    _check_number(density, trajectory)
    # As the density is real, the spread at a distance is the conjugate of that at the opposite one: half of them do.
    phase = trajectory[..., 0] * ops.cast(size[0] // 2, "float32")  # with it the first row's distance is 0
    moved = scale(from_parts(ops.cos(phase), ops.sin(phase)), density)
    half = (size[0], *(2 * n for n in size[1:]))
    spread = nufft_adjoint(moved[:, None], trajectory, half, implementation)[:, 0]
    # No two pixels are n apart. Without the distance -n, the transform of the rest is real.
    weights = [1 - 0.5 * ops.cast(ops.arange(size[0]) < 1, "float32")]
    spread = scale(spread, outer([*weights, *(ops.cast(ops.arange(2 * n) > 0, "float32") for n in size[1:])]))
    spread = ops.roll(spread, [-n for n in size[1:]], tuple(range(2, len(size) + 1)))
    spread = ops.pad(spread, [(0, 0), (0, size[0]), *[(0, 0)] * (len(size) - 1)])
    transfer = ops.real(plain_fft(spread, len(size)))
    # The adjoint's factor prod(half)**-0.5 becomes prod(n)**-1; 2 is for the other half.
    return transfer * (2 * 2 ** ((len(size) - 1) / 2) * ops.rsqrt(ops.cast(math.prod(size), "float32")))


def toeplitz(image, kernel):
    """A^H D A of images: a convolution, by Fourier transforms alone.

    Args:
        image: (batch, coil, *size) complex64.
        kernel: (batch or 1, *doubled size) float32 of `normal_kernel`.

    Returns:
        (batch, coil, *size) complex64.
    """
    image, kernel = _tensor(image, "complex64"), _tensor(kernel, "float32")
    allowed = [(1, image.shape[0]), *((None if n is None else 2 * n,) for n in image.shape[2:])]
    pairs = zip(kernel.shape, allowed, strict=False)
    if len(kernel.shape) != len(allowed) or any(n is not None and n not in ns and None not in ns for n, ns in pairs):
        raise ValueError(
            f"A kernel must have a batch of 1 or the images' and twice their size; got the shape {tuple(kernel.shape)} "
            f"for images of {tuple(image.shape)}."
        )
    if len(kernel.shape) == 4:  # a volume with its doubled axes would take eight times the memory
        return _split_product(image, kernel, 0)
    height, width = ops.shape(image)[2:]
    padded = ops.pad(image, [(0, 0), (0, 0), (0, height), (0, width)])
    return plain_ifft(scale(plain_fft(padded, 2), kernel[:, None]), 2)[:, :, :height, :width]


def _split_product(image, kernel, axis):
    """The product from this image axis on, whose frequencies of the doubled grid are split into even and odd ones.

    The odd ones are those of the image times a half-sample phase, so all Fourier transforms have the image's own size.
    Sums of 2**dim of them stand for one transform of the doubled size.
    """
    size = ops.shape(image)[2:]
    if axis == len(size):
        return plain_ifft(scale(plain_fft(image, axis), kernel[:, None] / 2**axis), axis)
    odd, even = (kernel[(..., slice(i, None, 2), *[slice(None)] * (len(size) - 1 - axis))] for i in (1, 0))
    phase = ops.cast(ops.arange(size[axis]), "float32") * (math.pi / ops.cast(size[axis], "float32"))
    turn = ops.reshape(from_parts(ops.cos(phase), -ops.sin(phase)), (-1, *[1] * (len(size) - 1 - axis)))
    return _split_product(image, even, axis + 1) + _split_product(image * turn, odd, axis + 1) * ops.conj(turn)


def check_trajectory(trajectory, dimensions):
    """Refuse a trajectory that is not one: for NumPy arrays, as readers and data pipelines have them.

    The value +pi, which symmetric spokes reach, is accepted: on pixels it is the frequency -pi.

    Args:
        trajectory: (..., samples, dim), radians per pixel.
        dimensions: of the image, 2 or 3.

    Raises:
        ValueError: says what is wrong.
    """
    trajectory = np.asarray(trajectory)
    if trajectory.ndim < 2 or trajectory.shape[-1] != dimensions or not trajectory.size:
        raise ValueError(f"A trajectory must have the shape (..., samples, {dimensions}), got {trajectory.shape}.")
    if not np.all(np.isfinite(trajectory)):
        raise ValueError("The trajectory holds NaN or infinite values.")
    furthest = np.max(np.abs(trajectory), initial=0)
    if furthest > np.float32(np.pi) * (1 + 1e-6):
        raise ValueError(
            f"A trajectory must be in radians per pixel, from -pi to pi, got values up to {furthest:.6g}. Cycles per "
            "pixel are multiplied by 2 pi, cycles per field of view by 2 pi / size."
        )


def check_reach(trajectory, size, units="radians/pixel"):
    """Refuse an image size that a trajectory cannot mean.

    It must not stay near the centre of that image's k-space, where each axis is looked at by itself, as each has its
    number of pixels; nor have far too few or too many samples.

    Args:
        trajectory: (..., samples, dimension) radians per pixel.
        size: of the image.
        units: in which the trajectory came.

    Raises:
        ValueError: if the trajectory stays within a quarter of the way to the edge along an axis of several pixels, or
            there are over 200 pixels for a sample or over 50 samples for a pixel.
    """
    trajectory = np.asarray(trajectory)
    furthest = np.abs(trajectory).max(axis=tuple(range(trajectory.ndim - 1))) / np.pi
    names = ("depth", "height", "width")[-len(size) :]
    for axis, reached, extent in zip(names, furthest, size, strict=True):
        if extent > 1 and reached < 0.25:
            # Of other units the number of pixels is no part.
            remedy = " Then the image must have fewer pixels." if units == "cycles/FOV" else ""
            raise ValueError(
                f"Along the {axis}, the trajectory reaches only {reached:.3g} of the way to the edge of k-space for an "
                f"image of {' x '.join(map(str, size))} pixels. Are the units {units} right?{remedy}"
            )
    pixels, number = math.prod(size), math.prod(trajectory.shape[-2:-1])
    if not number / 50 <= pixels <= 200 * number:
        # Units that are wrong show in the count where the size of the image follows from them.
        doubt = "Are the units cycles/FOV right? Then the" if units == "cycles/FOV" else "The"
        raise ValueError(
            f"{number} samples do not fit an image of {' x '.join(map(str, size))} pixels. {doubt} image must have "
            f"{'more' if pixels < number else 'fewer'} pixels (`image_size`, --image-size)."
        )


def check_density(density):
    """Refuse density compensation that cannot be: for NumPy arrays.

    Args:
        density: (..., samples).

    Raises:
        ValueError: if weights are negative, not finite, or all zero, of one trajectory of several, too.
    """
    density = np.asarray(density)
    if not np.all(np.isfinite(density)):
        raise ValueError("The density compensation holds NaN or infinite values.")
    if np.iscomplexobj(density) or np.min(density, initial=0) < 0:
        raise ValueError("The density compensation must be real and must not be negative.")
    if not np.all(np.any(density, axis=-1)):
        raise ValueError("The density compensation is zero everywhere: the image would be, too.")


def resolved(implementation, x=None):
    """The implementation that "auto" stands for with data like `x`; without, on the device of Keras."""
    if implementation != "auto":
        return implementation
    return "finufft" if _is_installed("finufft") and _is_on_cpu(x) else "kaiser_bessel"


def host_implementation():
    """The implementation for NumPy in and NumPy out: FINUFFT where it is installed, whatever accelerator there is."""
    return "finufft" if _is_installed("finufft") else "auto"


def _tensor(x, dtype):
    return ops.convert_to_tensor(x, dtype=dtype)


def _check_shapes(data, trajectory, size):
    if len(trajectory.shape) != 3:
        raise ValueError(f"`trajectory` must be (batch or 1, samples, dim), got the shape {tuple(trajectory.shape)}.")
    dimensions = trajectory.shape[-1]
    empty = any(isinstance(n, int) and n < 1 for n in size)  # a graph may leave an extent open
    if dimensions not in (2, 3) or len(size) != dimensions or empty:
        raise ValueError(f"A trajectory of {dimensions} axes does not fit an image of the size {tuple(size)}.")
    batch, groups = data.shape[0], trajectory.shape[0]
    if None not in (batch, groups) and groups not in (1, batch):
        raise ValueError(f"`trajectory` must have a batch of 1 or {batch}, as the data, got {groups}.")


def _check_number(samples, trajectory):
    measured, known = samples.shape[-1], trajectory.shape[1]
    if None not in (measured, known) and measured != known:
        raise ValueError(f"{measured} samples were measured, the trajectory has {known}.")


def _check_values(trajectory):
    # A tensor would have to come from its device, or is part of a graph.
    if isinstance(trajectory, (np.ndarray, list, tuple)):
        check_trajectory(trajectory, np.shape(trajectory)[-1])


def _implementation(name, x):
    """The differentiable (forward, adjoint) of an implementation for data like `x`."""
    name = resolved(name, x)
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"`implementation` must be one of auto, {', '.join(IMPLEMENTATIONS)}, got {name!r}.")
    return _differentiable(*IMPLEMENTATIONS[name])


def _differentiable(transform, transform_adjoint):
    """Both transforms with their gradients: each one's is the other, and in the trajectory a transform again.

    A callback has no gradient of its own, and that of gridding in the trajectory would be less accurate.
    """

    def forward(image, trajectory):
        @ops.custom_gradient
        def function(image, trajectory):
            def gradient(*args, upstream=None):
                upstream = _backend_gradient(args[0] if upstream is None else upstream)
                size = ops.shape(image)[2:]
                turned = _trajectory_gradient(forward, image, upstream, trajectory)
                return _backend_gradient(adjoint(upstream, trajectory, size)), turned

            return transform(image, trajectory), gradient

        return function(image, trajectory)

    def adjoint(samples, trajectory, size):
        @ops.custom_gradient
        def function(samples, trajectory):
            def gradient(*args, upstream=None):
                upstream = _backend_gradient(args[0] if upstream is None else upstream)
                turned = _trajectory_gradient(forward, upstream, samples, trajectory)
                return _backend_gradient(forward(upstream, trajectory)), turned

            return transform_adjoint(samples, trajectory, size), gradient

        return function(samples, trajectory)

    return forward, adjoint


def _backend_gradient(x):
    """JAX hands over the conjugate of what TensorFlow and PyTorch call the gradient of a complex tensor."""
    return ops.conj(x) if keras.backend.backend() == "jax" else x


def _trajectory_gradient(forward, image, samples, trajectory):
    """Im <samples, A (r image)> for each sample and each coordinate r, summed over the vectors of a group."""
    gradients = []
    for axis, n in enumerate(ops.shape(image)[2:]):
        position = ops.cast(ops.arange(n) - n // 2, "float32")
        position = ops.reshape(position, [-1 if i == axis else 1 for i in range(len(image.shape) - 2)])
        moved = forward(scale(image, position), trajectory)
        gradients.append(ops.sum(ops.real(samples) * ops.imag(moved) - ops.imag(samples) * ops.real(moved), axis=1))
    return ops.stack(gradients, axis=-1)


@functools.cache  # AutoGraph leaves such a function alone, and would warn about the library inside
def _is_installed(library):
    return importlib.util.find_spec(library) is not None


def _library(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f'implementation="{name}" needs a library: pip install {name}') from error


def _is_on_cpu(x):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_logical_devices("GPU") and not tf.config.list_logical_devices("TPU")
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    x = ops.zeros(()) if x is None else x  # on the device of Keras
    return x.device.type == "cpu"


# FINUFFT


def _finufft(image, trajectory):
    shape = (*ops.shape(image)[:2], ops.shape(trajectory)[1])
    return on_host(_finufft_type_2, shape, image, trajectory)


def _finufft_adjoint(samples, trajectory, size):
    return on_host(_finufft_type_1, (*ops.shape(samples)[:2], *size), samples, trajectory)


def _finufft_type_2(image, trajectory, shape):
    samples = _run_finufft(2, -1, image, trajectory, shape)
    samples *= np.float32(math.prod(image.shape[2:]) ** -0.5)
    return samples


def _finufft_type_1(samples, trajectory, shape):
    image = _run_finufft(1, 1, samples, trajectory, shape)
    image *= np.float32(math.prod(image.shape[2:]) ** -0.5)
    return image


def _run_finufft(kind, sign, inputs, trajectory, shape):
    """All vectors of a trajectory in one call, which uses every core of the host."""
    check_trajectory(trajectory, trajectory.shape[-1])  # with NaN, FINUFFT would write outside of its memory
    output = np.empty(shape, "complex64")
    transform = getattr(_library("finufft"), f"nufft{trajectory.shape[-1]}d{kind}")
    for vectors, points, out in zip(inputs, trajectory, output, strict=True):
        transform(*np.ascontiguousarray(points.T), vectors, out=out, isign=sign, eps=PRECISION, **_threads)
    return output


def on_host(function, shape, data, trajectory):
    """Complex64 ``function(data, trajectory, shape)`` of NumPy arrays, inside whatever graph there is; no gradient."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # Without state it is left out of a graph where nothing reads it: the gradient in the trajectory, for example.
        result = tf.numpy_function(function, [data, trajectory, tf.stack(shape)], tf.complex64, stateful=False)
        result.set_shape([n if isinstance(n, int) else None for n in shape])
        return result
    if backend == "jax":
        import jax

        def callback(data, trajectory):
            return function(np.asarray(data), np.asarray(trajectory), shape)

        spec = jax.ShapeDtypeStruct(shape, np.complex64)
        return jax.pure_callback(callback, spec, data, trajectory, vmap_method="sequential")
    arrays = (ops.convert_to_numpy(x) for x in (data, trajectory))
    return ops.convert_to_tensor(function(*arrays, shape))


# tfkbnufft


def _tfkbnufft(image, trajectory):
    forward, _, factor = _tfkbnufft_operators(ops.shape(image)[2:])
    return forward(image, ops.swapaxes(trajectory, 1, 2)) * factor


def _tfkbnufft_adjoint(samples, trajectory, size):
    _, adjoint, factor = _tfkbnufft_operators(size)
    return adjoint(samples, ops.swapaxes(trajectory, 1, 2)) * factor


@functools.lru_cache(maxsize=16)
def _tfkbnufft_operators(size):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f'implementation="tfkbnufft" needs the TensorFlow backend, not {keras.backend.backend()}.')
    if not all(isinstance(n, int) for n in size):
        raise ValueError('implementation="tfkbnufft" needs an image size that is known when the graph is traced.')
    library = _library("tfkbnufft")
    import tensorflow as tf

    with tf.init_scope():  # the tables are kept, so they must not belong to the graph that happens to be traced
        module = library.kbnufft.KbNufftModule(im_size=size, norm="ortho")
        operator = module._extract_nufft_interpob()
    return library.kbnufft_forward(operator), library.kbnufft_adjoint(operator), 2 ** (len(size) / 2)


# The exact sum


def _ndft(image, trajectory):
    """Axis by axis from the last: a matrix product, then sums that keep the samples apart."""
    size = ops.shape(image)[2:]
    waves = _waves(trajectory, size)
    samples = ops.einsum("gc...n,gnk->gc...k", image, waves[-1])
    for wave in waves[-2::-1]:
        samples = ops.sum(samples * _between(wave, len(samples.shape)), axis=-2)
    return samples


def _ndft_adjoint(samples, trajectory, size):
    waves = [ops.conj(wave) for wave in _waves(trajectory, size)]
    for wave in waves[:-1]:
        samples = samples[..., None, :] * _between(wave, len(samples.shape) + 1)
    return ops.einsum("gc...k,gnk->gc...n", samples, waves[-1])


def _between(wave, rank):
    """(groups, n, samples) with axes inserted after the first, up to the rank."""
    return ops.reshape(wave, (ops.shape(wave)[0], *[1] * (rank - 3), *ops.shape(wave)[1:]))


def _waves(trajectory, size):
    """``exp(-i w r)`` of every axis, divided by the square root of its length: (groups, n, samples) complex64."""
    waves = []
    for axis, n in enumerate(size):
        phase = ops.cast(ops.arange(n) - n // 2, "float32")[:, None] * trajectory[:, None, :, axis]
        waves.append(scale(from_parts(ops.cos(phase), -ops.sin(phase)), ops.rsqrt(ops.cast(n, "float32"))))
    return waves


IMPLEMENTATIONS = {
    "finufft": (_finufft, _finufft_adjoint),
    "kaiser_bessel": (kaiser_bessel, kaiser_bessel_adjoint),
    "tfkbnufft": (_tfkbnufft, _tfkbnufft_adjoint),
    "ndft": (_ndft, _ndft_adjoint),
}
