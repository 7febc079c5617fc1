"""Time and peak memory of each model on one slice: `python benchmarks/models.py --help`.

The peer, measured in the same process, is the model's own convolutions as one plain Keras chain on tensors of the same
sizes: what no implementation of the network can avoid. Peak memory is of a process that runs this model alone.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import time

ARCHITECTURES = {
    "UNet": {},
    "PDNet": {},
    "PDNet (primal only)": {"primal_only": True},
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--width", type=int, default=368)
    parser.add_argument("--coils", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each kind; the median is printed")
    parser.add_argument("--model", choices=list(ARCHITECTURES), help="this model only")
    options = parser.parse_args()
    print(f"{options.height} x {options.width}, {options.coils} coil(s), batch of 1, {os.cpu_count()} cores")
    heading = ("model", "parameters", "forward", "convolutions", "ratio", "training step", "peak memory")
    print("| " + " | ".join(heading) + " |\n|" + " --- |" * len(heading))
    for name in [options.model] if options.model else ARCHITECTURES:
        # A process of its own for each model: only so is its peak memory its own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print("| " + " | ".join(pool.apply(measure, (name, options))) + " |", flush=True)


def measure(name, options):
    """The cells of one row."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np

    from mri_zoo import models

    rng = np.random.default_rng(0)
    shape = (1, options.coils, options.height, options.width)
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("complex64")
    batch = {"kspace": kspace, "mask": np.ones((1, 1, 1, options.width), "float32")}
    target = np.ones((1, options.height, options.width), "float32")
    model = getattr(models, name.split()[0])(**ARCHITECTURES[name])
    model.compile("adam", "mae")
    forward = _median(lambda: model.predict_on_batch(batch), options.runs)
    bare = _convolutions_alone(keras, model, batch)
    alone = _median(lambda: bare.predict_on_batch(np.zeros((1, 1, 1, 1), "float32")), options.runs)
    step = _median(lambda: model.train_on_batch(batch, target), options.runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        name,
        f"{model.count_params():,}",
        f"{1e3 * forward:.0f} ms",
        f"{1e3 * alone:.0f} ms",
        f"{forward / alone:.2f}",
        f"{1e3 * step:.0f} ms",
        f"{peak:.1f} GiB",
    )


def _convolutions_alone(keras, model, batch):
    """A model that runs the same convolutions, each on zeros of the size that it sees in `model`."""
    calls = []

    def record(layer):
        call = layer.call

        def recording(x):
            calls.append((layer, x.shape))
            return call(x)

        layer.call = recording
        return call

    convolutions = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Conv2D)]
    originals = [record(layer) for layer in convolutions]
    model({key: keras.ops.convert_to_tensor(value) for key, value in batch.items()})
    for layer, call in zip(convolutions, originals, strict=True):
        layer.call = call

    class Convolutions(keras.Model):
        def call(self, x):
            return keras.ops.stack([layer(keras.ops.zeros(shape) + x)[:, 0, 0, 0] for layer, shape in calls], axis=-1)

    return Convolutions()


def _median(function, runs):
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
