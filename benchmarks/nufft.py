"""Time of the non-uniform Fourier transforms: `python benchmarks/nufft.py --help`.

Forward, adjoint and normal (A^H D A) of each implementation, for random images along golden-angle spokes (in three
dimensions random points). The Toeplitz product is our normal operator; its kernel is computed beforehand, as models do,
and the column `kernel` tells how long that takes. The peers take turns with it in the same run: tfkbnufft, FINUFFT
called on NumPy arrays, and torchkbnufft, each where it is installed (`pip install torchkbnufft`). Ratios are to the
Toeplitz product. The backend is that of Keras: KERAS_BACKEND=jax, for example, where peers of TensorFlow are left out.
"""

import argparse
import importlib.util
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops
from ncpdnet import device_name

from mri_zoo.physics.nufft import normal_kernel, nufft, nufft_adjoint, toeplitz

PROBLEMS = {  # size of the image, number of samples
    "320x320": ((320, 320), 64_000),
    "640x400": ((640, 400), 64_000),
    "128x128x128": ((128, 128, 128), 500_000),
}
GRIDDED = 200_000_000  # neighbours of the samples of all coils; gridding with more takes many gigabytes and minutes
COLUMNS = ("forward", "adjoint", "normal")
HEADINGS = ("image", "samples", "coils", "implementation", *COLUMNS, "normal / Toeplitz", "kernel")
IMPLEMENTATIONS = ("toeplitz", "finufft", "kaiser_bessel", "tfkbnufft", "raw finufft", "torchkbnufft")
GRIDDING = ("kaiser_bessel", "tfkbnufft", "torchkbnufft")


def main():
    """Print one table, and which rows were left out for their size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", choices=list(PROBLEMS), action="append", help="these only")
    parser.add_argument("--coils", type=int, action="append", help="these only, instead of 1, 8 and 32")
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, action="append", help="these only")
    parser.add_argument("--runs", type=int, default=5, help="timed rounds; the fastest is printed")
    parser.add_argument("--limit", type=float, default=20, help="seconds after which a cell is not measured again")
    options = parser.parse_args()
    print(f"{keras.backend.backend()}, {device_name()}\n")
    print("| " + " | ".join(HEADINGS) + " |\n|" + " --- |" * len(HEADINGS))
    left_out = []
    for problem in options.problem or PROBLEMS:
        for coils in options.coils or (1, 8, 32):
            left_out += print_rows(problem, coils, options)
    absent = [name for name in options.implementation or IMPLEMENTATIONS if not is_available(name)]
    if absent:
        print(f"\nNot installed, or not on this backend: {', '.join(absent)}")
    if left_out:
        print(f"\nLeft out, as they would grid more than {GRIDDED:,} neighbours: {'; '.join(left_out)}")


def print_rows(problem, coils, options):
    """The times of all implementations, which take turns; returns the rows that are too large."""
    size, number = PROBLEMS[problem]
    what = " x ".join(map(str, size)), f"{number:,}", str(coils)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, coils, *size, 2), dtype="float32").view("complex64")[..., 0]
    samples = rng.standard_normal((1, coils, number, 2), dtype="float32").view("complex64")[..., 0]
    trajectory = spokes(size, number) if len(size) == 2 else rng.uniform(-np.pi, np.pi, (1, number, 3))
    arrays = image, samples, trajectory.astype("float32"), np.ones((1, number), "float32")
    makers = {"toeplitz": toeplitz_functions, "raw finufft": raw_finufft, "torchkbnufft": torchkbnufft}
    found, left_out = {}, []
    for name in filter(is_available, options.implementation or IMPLEMENTATIONS):
        if name in GRIDDING and samples.size * 6 ** len(size) > GRIDDED:
            left_out.append(f"{name} at {problem} with {coils} coils")
            continue
        functions = makers.get(name, lambda *arrays, name=name: our_functions(name, *arrays))(*arrays)
        found.update({(name, column): function for column, function in functions.items()})
    times = fastest(found, options.runs, options.limit)
    for name in dict.fromkeys(name for name, _ in found):
        cells = [f"{1e3 * times[name, c]:.1f} ms" if (name, c) in times else "" for c in COLUMNS]
        ratio = ""
        if ("toeplitz", "normal") in times:
            ratio = f"{times[name, 'normal'] / times['toeplitz', 'normal']:.2f} x"
        kernel = f"{1e3 * times[name, 'kernel']:.0f} ms" if (name, "kernel") in times else ""
        print("| " + " | ".join([*what, name, *cells, ratio, kernel]) + " |", flush=True)
    return left_out


def is_available(name):
    """Whether an implementation's library is installed and runs on this backend."""
    library = {"toeplitz": "keras", "kaiser_bessel": "keras", "raw finufft": "finufft"}.get(name, name)
    return importlib.util.find_spec(library) is not None and (
        name != "tfkbnufft" or keras.backend.backend() == "tensorflow"
    )


def spokes(size, number):
    """(1, number, 2): golden-angle spokes of 640 samples."""
    radius = np.linspace(-np.pi, np.pi, 640, endpoint=False)
    angle = np.arange(number // 640) * np.pi * (np.sqrt(5) - 1) / 2
    return (np.stack([np.sin(angle), np.cos(angle)], axis=-1)[:, None] * radius[:, None]).reshape(1, number, 2)


def compiled(function, *arguments):
    """The function as the backend compiles it, without arguments, which are on the device; it waits for its result."""
    arguments = [ops.convert_to_tensor(x) for x in arguments]
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(function)
        return lambda: function(*arguments).numpy()[..., 0]
    if backend == "jax":
        import jax

        function = jax.jit(function)
        return lambda: jax.block_until_ready(function(*arguments))
    return lambda: ops.convert_to_numpy(function(*arguments)[..., 0])


def toeplitz_functions(image, samples, trajectory, density):
    """The normal operator of the zoo, and its kernel."""
    size = image.shape[2:]
    kernel = compiled(lambda w, d: normal_kernel(w, d, size), trajectory, density)
    transfer = normal_kernel(trajectory, density, size)
    return {"normal": compiled(toeplitz, image, transfer), "kernel": kernel}


def our_functions(name, image, samples, trajectory, density):
    """`nufft` and `nufft_adjoint` with an implementation, and their product."""
    size = image.shape[2:]
    return {
        "forward": compiled(lambda x, w: nufft(x, w, name), image, trajectory),
        "adjoint": compiled(lambda y, w: nufft_adjoint(y, w, size, name), samples, trajectory),
        "normal": compiled(lambda x, w: nufft_adjoint(nufft(x, w, name), w, size, name), image, trajectory),
    }


def raw_finufft(image, samples, trajectory, density):
    """The library on NumPy arrays."""
    import finufft

    size, points = image.shape[2:], [np.ascontiguousarray(axis) for axis in trajectory[0].T]
    type_1, type_2 = (getattr(finufft, f"nufft{len(size)}d{kind}") for kind in (1, 2))

    def forward():
        return type_2(*points, image[0], isign=-1, eps=1e-6)

    def adjoint(samples=samples[0]):
        return type_1(*points, samples, n_modes=size, isign=1, eps=1e-6)

    return {"forward": forward, "adjoint": adjoint, "normal": lambda: adjoint(forward())}


def torchkbnufft(image, samples, trajectory, density):
    """The library with its default settings, and its own Toeplitz product as the normal operator."""
    import torch
    import torchkbnufft as tkbn

    size = image.shape[2:]
    image, samples = torch.from_numpy(image), torch.from_numpy(samples)
    points = torch.from_numpy(np.ascontiguousarray(trajectory[0].T))
    forward, adjoint = tkbn.KbNufft(im_size=size), tkbn.KbNufftAdjoint(im_size=size)
    product, kernel = tkbn.ToepNufft(), tkbn.calc_toeplitz_kernel(points, size)
    return {
        "forward": lambda: forward(image, points),
        "adjoint": lambda: adjoint(samples, points),
        "normal": lambda: product(image, kernel),
        "kernel": lambda: tkbn.calc_toeplitz_kernel(points, size),
    }


def fastest(functions, runs, limit):
    """Seconds of each function's fastest call; they take turns, so that a busy machine slows all of them alike."""
    first = {name: seconds(function) for name, function in functions.items()}
    times = {name: [time] if time > limit else [] for name, time in first.items()}
    for _ in range(runs):
        for name, function in functions.items():
            if sum(times[name]) < limit:
                function()  # until now, threads of another library may have been waiting in a loop
                times[name].append(seconds(function))
    return {name: min(found) for name, found in times.items()}


def seconds(function):
    """Of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
