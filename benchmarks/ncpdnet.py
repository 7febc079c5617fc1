"""Time and peak memory of NCPDNet on one slice: `python benchmarks/ncpdnet.py --help`.

The peers are the same network with tfkbnufft's transform and its adjoint in each iteration, as the predecessor has it
(TensorFlow alone), and the primal-only PDNet on a Cartesian grid, with the same convolutions. Each runs in a process of
its own, so that its peak memory is its own, and all take turns twice. The memory is that of the accelerator where there
is one. The backend is that of KERAS_BACKEND.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time

OURS, GIVEN, BFLOAT16 = "NCPDNet", "NCPDNet, kernel given", "NCPDNet, kernel given, bfloat16"
PREDECESSOR, GRID = "with tfkbnufft in each iteration", "PDNet on a grid"
VARIANTS = (OURS, GIVEN, BFLOAT16, PREDECESSOR, GRID)
HEADINGS = ("network", "coils", "forward", "training step", "forward of tfkbnufft's", "of PDNet's", "peak memory")


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--width", type=int, default=400)
    parser.add_argument("--spokes", type=int, default=100, help="radial, of as many samples as the image is high")
    parser.add_argument("--coils", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--runs", type=int, default=5, help="of which the fastest is printed")
    parser.add_argument("--variant", type=int, nargs="+", choices=range(len(VARIANTS)), help="numbers of the rows")
    parser.add_argument("--no-training", action="store_true", help="the forward pass alone")
    options = parser.parse_args()
    on_tensorflow = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
    names = [VARIANTS[i] for i in options.variant or range(len(VARIANTS))]
    names = [name for name in names if on_tensorflow or name != PREDECESSOR]
    samples = options.spokes * options.height
    print(f"{options.height} x {options.width}, {samples} samples, batch of 1, {alone(device_name)}")
    print("| " + " | ".join(HEADINGS) + " |\n|" + " --- |" * len(HEADINGS))
    for coils in options.coils:
        found = {}
        for turn in ("first", "second"):
            for name in names:
                print(f"{name}, {coils} coil(s), {turn} turn", file=sys.stderr, flush=True)
                forward, step, peak = alone(measure, name, coils, options)
                before = found.get(name, (forward, step, peak))
                step = None if step is None else min(step, before[1])
                found[name] = min(forward, before[0]), step, max(peak, before[2])
        for name, (forward, step, peak) in found.items():
            ratios = [f"{forward / found[peer][0]:.2f}" if peer in found else "" for peer in (PREDECESSOR, GRID)]
            cells = [name, str(coils), f"{1e3 * forward:.0f} ms", f"{1e3 * step:.0f} ms" if step else "", *ratios]
            print("| " + " | ".join([*cells, f"{peak:.1f} GiB"]) + " |", flush=True)


def alone(function, *arguments):
    """The result of a function in a process of its own."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measure(name, coils, options):
    """Seconds of the fastest forward pass and training step, GiB of peak memory."""
    import numpy as np
    from keras import ops

    from mri_zoo.physics.cartesian import Cartesian

    size = (options.height, options.width)
    batch = radial_batch(np, size, options.spokes, coils)
    dtype = "mixed_bfloat16" if name == BFLOAT16 else "float32"
    model = create(name, size, dtype)
    if isinstance(model.physics, Cartesian):
        mask = np.ones((1, 1, 1, size[1]), "float32")
        batch |= {"kspace": np.ones((1, coils, *size), "complex64"), "mask": mask}
    if name in (GIVEN, BFLOAT16):
        batch = model.physics.complete(batch)
    batch = {key: ops.convert_to_tensor(value) for key, value in batch.items()}
    target = np.ones((1, *size), "float32")
    model.compile("adam", "mae")
    forward = fastest(compiled(model, batch), options.runs)
    step = None if options.no_training else fastest(lambda: model.train_on_batch(batch, target), options.runs)
    return forward, step, peak_bytes() / 2**30


def compiled(model, batch):
    """The forward pass as the backend compiles it, without arguments; it waits for the device."""
    import keras
    from keras import ops

    model.build()
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(lambda: model(batch), jit_compile=model.jit_compile)
    elif backend == "jax":
        import jax

        call = jax.jit(lambda *arguments: model.stateless_call(*arguments)[0])
        weights = [[w.value for w in ws] for ws in (model.trainable_variables, model.non_trainable_variables)]
        return lambda: jax.block_until_ready(call(*weights, batch))
    else:
        import torch

        function = torch.no_grad()(lambda: model(batch))
    return lambda: ops.convert_to_numpy(function()[..., 0])


def device_name():
    """The accelerator, or the cores of the host where there is none."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        for device in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(device)["device_name"]
    elif backend == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return jax.devices()[0].device_kind
    else:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores"


def peak_bytes():
    """Of the accelerator, or of the process where there is none."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    elif backend == "jax":
        import jax

        if (found := jax.devices()[0].memory_stats()) is not None:
            return found["peak_bytes_in_use"]
    else:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def create(name, size, dtype):
    """The network of a row, with the published arguments."""
    from mri_zoo.models import NCPDNet
    from mri_zoo.physics.cartesian import Cartesian
    from mri_zoo.physics.noncartesian import NonCartesian

    class Gridded(NonCartesian):
        """Without the Toeplitz product."""

        def complete(self, batch):
            return self.with_maps(batch)

        def coil_normal(self, coil_images, batch):
            return self.coil_adjoint(self.coil_forward(coil_images, batch), batch)

    if name == GRID:
        physics = Cartesian()
    elif name == PREDECESSOR:
        physics = Gridded(size, implementation="tfkbnufft")
    else:
        physics = NonCartesian(size)
    return NCPDNet(physics=physics, dtype=dtype)


def radial_batch(np, size, spokes, coils):
    """Random samples along golden-angle spokes, of several coils with maps."""
    rng = np.random.default_rng(0)
    radius = 2 * np.pi / size[0] * (np.arange(size[0]) - size[0] // 2)
    angle = np.pi * 2 / (1 + 5**0.5) * np.arange(spokes)
    trajectory = radius[None, :, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    density = np.maximum(np.abs(np.broadcast_to(radius, (spokes, len(radius)))), radius[-1] / len(radius) / 2)
    shape = (1, coils, spokes * len(radius))
    batch = {
        "kspace": (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("complex64"),
        "trajectory": trajectory.reshape(1, -1, 2).astype("float32"),
        "density": density.reshape(1, -1).astype("float32"),
    }
    return batch if coils == 1 else batch | {"sensitivity_maps": np.full((1, coils, *size), coils**-0.5, "complex64")}


def fastest(function, runs):
    """Seconds of the fastest call, after a first one."""
    times = []
    for _ in range(1 + runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    main()
