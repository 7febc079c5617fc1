"""The transforms, their gradients and the Toeplitz product on JAX and PyTorch; there, this file runs as a script."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent


def values(x, w, y, density, implementation):
    """Samples, image, product and loss."""
    from keras import ops

    from mri_zoo.physics.nufft import normal_kernel, nufft, nufft_adjoint, toeplitz

    samples = nufft(x, w, implementation)
    image = nufft_adjoint(y, w, x.shape[2:], implementation)
    product = toeplitz(x, normal_kernel(w, density, x.shape[2:], implementation))
    loss = ops.sum(ops.square(ops.abs(samples - y))) + ops.sum(ops.square(ops.abs(image - x)))
    return samples, image, product, loss + ops.sum(ops.square(ops.abs(product - x)))


def product_of_arrays(x, w, density, implementation):
    """The Toeplitz product of a NumPy array."""
    from keras import ops

    from mri_zoo.physics.nufft import normal_kernel, toeplitz

    return ops.convert_to_numpy(toeplitz(x, normal_kernel(w, density, x.shape[2:], implementation)))


def compute(x, w, y, density, implementation):
    """The values and the gradients in image, trajectory and samples as NumPy arrays, on the running backend."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        results = jax.jit(lambda *a: values(*a, implementation))(x, w, y, density)
        gradients = jax.jit(jax.grad(lambda *a: values(*a, implementation)[-1], (0, 1, 2)))(x, w, y, density)
        # The gradient of a complex tensor is the conjugate of TensorFlow's and PyTorch's.
        return [np.asarray(a) for a in (*results, np.conj(gradients[0]), gradients[1], np.conj(gradients[2]))]
    if keras.backend.backend() == "torch":
        import torch

        arguments = [torch.tensor(a, requires_grad=True) for a in (x, w, y)]
        results = values(*arguments, torch.tensor(density), implementation)
        results[-1].backward()
        return [a.detach().numpy() for a in results] + [a.grad.numpy() for a in arguments]
    import tensorflow as tf

    arguments = [tf.constant(a) for a in (x, w, y)]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        results = values(*arguments, density, implementation)
    return [a.numpy() for a in (*results, *tape.gradient(results[-1], arguments))]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(9, 8), (5, 4, 6)])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_numbers_of_tensorflow(rng, tmp_path, backend, size):
    from helpers import random_complex, relative_error

    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install mri-zoo[{backend}]")
    x, y = random_complex(rng, (2, 3, *size)), random_complex(rng, (2, 3, 40))
    w, density = rng.uniform(-np.pi, np.pi, (1, 40, len(size))).astype("float32"), np.ones((1, 40), "float32")
    np.savez(tmp_path / "inputs.npz", x, w, y, density)
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    expected = compute(x, w, y, density, "ndft")
    expected.append(expected[2])
    for implementation in ("finufft", "kaiser_bessel", "ndft"):
        with np.load(tmp_path / f"{implementation}.npz") as file:
            for actual, exact in zip(file.values(), expected, strict=True):
                assert relative_error(actual, exact) < 1e-4


if __name__ == "__main__":
    from mri_zoo.physics.noncartesian import NonCartesian

    # On the CPU, without data to look at.
    assert NonCartesian().supports_jit == (importlib.util.find_spec("finufft") is None)
    folder = Path(sys.argv[1])
    with np.load(folder / "inputs.npz") as file:
        inputs = list(file.values())
    for name in ("finufft", "kaiser_bessel", "ndft"):
        x, w, _, density = inputs
        np.savez(folder / f"{name}.npz", *compute(*inputs, name), product_of_arrays(x, w, density, name))
