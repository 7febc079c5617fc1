"""Time and peak memory of each model on one slice: `python benchmarks/models.py --help`.

Two peers take turns with the model: its own convolutions as one plain Keras chain on tensors of the same sizes, which
no implementation of the network can avoid, and the predecessor's published code, where `--peers` names a folder with a
clone of it. Peak memory is of a process that has run this model alone.
"""

import argparse
import multiprocessing
import os
import resource
import time

import peers

# Our class, its arguments, and the predecessor's function and arguments.
ARCHITECTURES = {
    "UNet": ("UNet", {}, None, {}),
    "CascadeNet": ("CascadeNet", {}, "cascading.cascade_net", {"n_filters": 48}),
    # End to end: the predecessor trains its other variant in parts. The slope of its leaky ReLU is another.
    "KIKINet": (
        "KIKINet",
        {"final_consistency": True},
        "kiki.kiki_net",
        {"n_convs": 16, "n_filters": 48, "activation": "leaky_relu"},
    ),
    "PDNet": ("PDNet", {}, "pdnet.pdnet", {}),
    "PDNet (primal only)": ("PDNet", {"primal_only": True}, "pdnet.pdnet", {"primal_only": True}),
}
HEADINGS = (
    "model",
    "parameters",
    "forward",
    "of its convolutions",
    "of the predecessor's",
    "training step",
    "of the predecessor's",
    "peak memory",
)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--width", type=int, default=368)
    parser.add_argument("--coils", type=int, default=1)
    parser.add_argument("--runs", type=int, default=7, help="timed rounds; the fastest of each kind is printed")
    parser.add_argument("--peers", metavar="FOLDER", help="holds a clone of the predecessor, see benchmarks/peers.py")
    parser.add_argument("--model", choices=list(ARCHITECTURES), help="this model only")
    options = parser.parse_args()
    print(f"{options.height} x {options.width}, {options.coils} coil(s), batch of 1, {os.cpu_count()} cores")
    print("| " + " | ".join(HEADINGS) + " |\n|" + " --- |" * len(HEADINGS))
    for name in [options.model] if options.model else ARCHITECTURES:
        # A process of its own for each model: only so is its peak memory its own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print("| " + " | ".join(pool.apply(measure, (name, options))) + " |", flush=True)


def measure(name, options):
    """The cells of one row."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # what `tf.keras` is, in the predecessor's code; ours is `keras`
    import keras
    import numpy as np

    from mri_zoo import models

    architecture, arguments, peer_builder, peer_arguments = ARCHITECTURES[name]
    rng = np.random.default_rng(0)
    shape = (1, options.coils, options.height, options.width)
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("complex64")
    batch = {"kspace": kspace, "mask": np.ones((1, 1, 1, options.width), "float32")}
    target = np.ones((1, options.height, options.width), "float32")
    model = getattr(models, architecture)(**arguments)
    model.compile("adam", "mae")
    model.predict_on_batch(batch)
    model.train_on_batch(batch, target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    alone = convolutions_alone(keras, model, batch)
    forward = {
        "ours": lambda: model.predict_on_batch(batch),
        "convolutions": lambda: alone.predict_on_batch(np.zeros((1, 1, 1, 1), "float32")),
    }
    step = {"ours": lambda: model.train_on_batch(batch, target)}
    peer = None
    if peer_builder and options.coils == 1:
        size = (options.height, options.width, 1)
        peer = peers.predecessor(options.peers, peer_builder, input_size=size, **peer_arguments)
    if peer is not None:
        inputs = peers.predecessor_inputs(batch)
        forward["predecessor"] = lambda: peer.predict_on_batch(inputs)
        step["predecessor"] = lambda: peer.train_on_batch(inputs, target[..., None])
    forward, step = (fastest(functions, options.runs) for functions in (forward, step))
    return (
        name,
        f"{model.count_params():,}",
        f"{1e3 * forward['ours']:.0f} ms",
        _ratio(forward, "convolutions"),
        _ratio(forward, "predecessor"),
        f"{1e3 * step['ours']:.0f} ms",
        _ratio(step, "predecessor"),
        f"{peak:.1f} GiB",
    )


def _ratio(times, peer):
    return f"{times['ours'] / times[peer]:.2f} x {1e3 * times[peer]:.0f} ms" if peer in times else ""


def convolutions_alone(keras, model, batch):
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


def fastest(functions, runs):
    """Seconds of each function's fastest call; they take turns, so that a busy machine slows all of them alike."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


if __name__ == "__main__":
    main()
