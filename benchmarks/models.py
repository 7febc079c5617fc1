"""Time, memory and precision of every Cartesian model on one slice: `python benchmarks/models.py --help`.

What takes turns with a model: its own convolutions on tensors of the same sizes, which no implementation of the network
can avoid; the implementation that its authors published, where `--peers` names a folder with a clone of it; and the
same model with convolutions in bfloat16. Peak memory is of a process that has run this model alone.

The change of the PSNR by bfloat16 is that on the held-out brain: of the demo preset where a model has one, of any other
after `--training` steps on brains of drawn contrasts. That is far from a finished training, and enough for activations
that are not those of random weights.
"""

import argparse
import dataclasses
import functools
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import peers

from mri_zoo import models
from mri_zoo.data import DrawnContrastBrain, GaussianSplit, HeldOutBrain, PercentileScaling, RandomMask, slices_of
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.layers.didn import DIDN
from mri_zoo.layers.direct import DilatedMWCNN
from mri_zoo.layers.focnet import FocNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.losses import DualDomainLoss
from mri_zoo.presets.registry import Preset, load_preset
from mri_zoo.training.self_supervised import JointTraining

ONE_COIL, FOUR_COILS = (640, 368, 1), (320, 320, 4)
PATIENCE = 20  # seconds: no further round of timings begins after them


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with its published arguments.

    Attributes:
        build: makes it, from a dtype policy.
        peer: makes the published implementation, see `peers`; or says why there is none.
        size: (height, width, coils) of the slice.
        preset: demo preset that tells what bfloat16 does to its images, and for how many coils it is.
        joint: the training step is that of JSSL, on a partition of the samples and with its six losses of every step.
    """

    build: Callable
    peer: Callable | str
    size: tuple = FOUR_COILS
    preset: tuple | None = None
    joint: bool = False


def jssl_network(dtype, recomputed=False):
    """The network of JSSL, vSHARP and a network for its maps; the denoisers may be computed again for the gradient."""
    with keras.RematScope("list_of_layers", layer_names=["denoiser"] if recomputed else []):
        vsharp = models.VSHARP(InstanceUNet(2, 32, name="denoiser"), dtype=dtype)
    network = ComplexNet(InstanceUNet(2, 16, dtype=dtype), residual=False, dtype=dtype)
    refiner = SensitivityRefiner(network, dtype=dtype)
    return models.RefinedMaps(vsharp, refiner, dtype=dtype)


def _with_image_network(network, pad_multiple, name, **arguments):
    """XPDNet of 10 iterations; `name` and `arguments` are the predecessor's of the same network."""
    residual = not isinstance(network, FocNet)
    return Case(
        lambda dtype: models.XPDNet(
            network, None, 10, residual=residual, pad_multiple=pad_multiple, refiner_filters=None, dtype=dtype
        ),
        peers.subclassed(
            "xpdnet.XPDNet",
            model_fun=f"fastmri_recon.models.subclassed_models.denoisers.{name}",
            model_kwargs={**arguments, "n_outputs": 10},
            res=residual,
            n_scales=pad_multiple.bit_length() - 1,
            n_iter=10,
            refine_smaps=False,
        ),
    )


CASES = {
    "ZeroFilled": Case(lambda dtype: models.ZeroFilled(dtype=dtype), "no network"),
    "UNet": Case(
        lambda dtype: models.UNet(dtype=dtype),
        peers.functional(
            "unet.unet",
            n_layers=4,
            layers_n_channels=[16, 32, 64, 128],
            layers_n_non_lins=2,
            compile=False,
        ),
        ONE_COIL,
        ("unet-brain-demo-af4", 1),
    ),
    "CascadeNet": Case(
        lambda dtype: models.CascadeNet(dtype=dtype),
        peers.functional("cascading.cascade_net", n_filters=48, fastmri=False),
        ONE_COIL,
    ),
    # End to end: the predecessor trains its other variant in parts. The slope of its leaky ReLU is another.
    "KIKINet": Case(
        lambda dtype: models.KIKINet(final_consistency=True, dtype=dtype),
        peers.functional("kiki.kiki_net", fastmri=False, n_convs=16, n_filters=48, activation="leaky_relu"),
        ONE_COIL,
    ),
    "PDNet": Case(
        lambda dtype: models.PDNet(dtype=dtype),
        peers.functional("pdnet.pdnet", fastmri=False),
        ONE_COIL,
        ("pdnet-brain-demo-af4", 1),
    ),
    "PDNet (multi-coil)": Case(
        lambda dtype: models.PDNet(primal_only=True, buffers="adjoint", refiner_filters=(4, 8, 16), dtype=dtype),
        peers.subclassed("pdnet.PDNet", primal_only=True, refine_smaps=True),
        preset=("pdnet-brain-demo-multicoil-af4", 8),
    ),
    "XPDNet": Case(
        lambda dtype: models.XPDNet(dtype=dtype),
        peers.subclassed(
            "xpdnet.XPDNet",
            model_fun="fastmri_recon.models.subclassed_models.denoisers.mwcnn.MWCNN",
            model_kwargs={
                "n_scales": 3,
                "n_filters_per_scale": [64, 128, 256],
                "n_convs_per_scale": [3, 3, 3],
                "n_first_convs": 2,
                "first_conv_n_filters": 32,
                "n_outputs": 10,
            },
            res=True,
            n_scales=4,
            n_iter=25,
            refine_smaps=True,
        ),
    ),
    # With the other image networks of the predecessor's comparison, those of medium size.
    "XPDNet (UPDNet)": Case(
        lambda dtype: models.XPDNet(UNetBlock(10, (16, 32, 64)), num_iterations=20, pad_multiple=1, dtype=dtype),
        peers.subclassed(
            "updnet.UPDNet",
            layers_n_channels=[16, 32, 64],
            n_dual=1,
            n_iter=20,
            primal_only=True,
            refine_smaps=True,
        ),
    ),
    "XPDNet (DIDN)": _with_image_network(
        DIDN(10, 64, 2, 2), 16, "didn.DIDN", n_scales=3, n_filters=64, n_dubs=2, n_convs_recon=2, res=False
    ),
    "XPDNet (DnCNN)": _with_image_network(ConvNet(10, 32, 9), 1, "dncnn.DnCNN", n_convs=10, n_filters=32, res=False),
    "XPDNet (FocNet)": _with_image_network(FocNet(10, 32), 16, "focnet.FocNet", n_scales=4, n_filters=32),
    "VarNet": Case(lambda dtype: models.VarNet(dtype=dtype), peers.fastmri_varnet),
    "VarNet (DIRECT)": Case(
        lambda dtype: models.VarNet(num_filters=32, refiner_filters=None, normalized=False, dtype=dtype),
        peers.direct("varnet.varnet.EndToEndVarNet", num_layers=12, regularizer_num_filters=32),
    ),
    "FastMRIUNet": Case(lambda dtype: models.FastMRIUNet(dtype=dtype), peers.fastmri_unet),
    "MoDL": Case(lambda dtype: models.MoDL(dtype=dtype), peers.deep_jsense_modl),
    "MoDL (ConjGradNet)": Case(
        lambda dtype: models.MoDL(
            12, NormUNet(2, 32), False, 12, "network_between", "zeros", learned_scale=True, dtype=dtype
        ),
        peers.direct(
            "conjgradnet.conjgradnet.ConjGradNet",
            num_steps=12,
            image_init="zeros",
            cg_tol=1e-8,
            cg_iters=12,
            denoiser_architecture="normunet",
            unet_num_filters=32,
            unet_num_pool_layers=4,
        ),
    ),
    "LPDNet": Case(
        lambda dtype: models.LPDNet(dtype=dtype),
        peers.direct(
            "lpd.lpd.LPDNet",
            num_iter=15,
            num_primal=5,
            num_dual=5,
            primal_model_architecture="UNET",
            dual_model_architecture="NORMUNET",
        ),
    ),
    "LPDNet (DIRECT's XPDNet)": Case(
        lambda dtype: models.LPDNet(
            20, 5, 0, DilatedMWCNN(10, num_inputs=12, last_kernel_size=3), None, "all", False, dtype=dtype
        ),
        peers.direct("xpdnet.xpdnet.XPDNet", num_iter=20, mwcnn_bias=True),
    ),
    "DirectKIKINet": Case(
        lambda dtype: models.DirectKIKINet(dtype=dtype),
        peers.direct(
            "kikinet.kikinet.KIKINet",
            image_model_architecture="UNET",
            image_unet_num_filters=16,
            image_unet_num_pool_layers=4,
            kspace_model_architecture="UNET",
            kspace_unet_num_filters=16,
            kspace_unet_num_pool_layers=4,
        ),
    ),
    "DirectUNet": Case(
        lambda dtype: models.DirectUNet(combine_coils=True, dtype=dtype),
        peers.direct(
            "unet.unet_2d.Unet2d",
            num_filters=64,
            num_pool_layers=4,
            dropout_probability=0.0,
            image_initialization="sense",
        ),
    ),
    "RecurrentVarNet": Case(
        lambda dtype: models.RecurrentVarNet(dtype=dtype),
        peers.direct(
            "recurrentvarnet.recurrentvarnet.RecurrentVarNet",
            num_steps=8,
            recurrent_hidden_channels=128,
            learned_initializer=True,
            initializer_initialization="sense",
            initializer_multiscale=3,
        ),
    ),
    "VSHARP": Case(
        lambda dtype: models.VSHARP(dtype=dtype),
        peers.direct("vsharp.vsharp.VSharpNet", num_steps=12, num_steps_dc_gd=10, auxiliary_steps=-1),
    ),
    "RefinedMaps (of VSHARP)": Case(jssl_network, "see VSHARP", joint=True),
    "RefinedMaps (of VSHARP, recomputed)": Case(
        functools.partial(jssl_network, recomputed=True), "see VSHARP", joint=True
    ),
    "RefinedMaps (of LPDNet)": Case(
        lambda dtype: models.RefinedMaps(models.LPDNet(dtype=dtype), dtype=dtype),
        peers.direct(
            "lpd.lpd.LPDNet",
            maps_network=True,
            num_iter=15,
            num_primal=5,
            num_dual=5,
            primal_model_architecture="UNET",
            dual_model_architecture="NORMUNET",
        ),
    ),
}
HEADINGS = (
    "model",
    "height x width x coils",
    "parameters",
    "forward",
    "of its convolutions",
    "published code",
    "its forward",
    "training step",
    "its training step",
    "bfloat16 forward",
    "PSNR in bfloat16",
    "peak memory",
)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES), metavar="NAME", help="rows")
    parser.add_argument(
        "--sizes", nargs="+", type=_size, metavar="HEIGHTxWIDTHxCOILS", help="of the slice, in place of each row's own"
    )
    parser.add_argument("--runs", type=int, default=5, help="timed rounds at most; the fastest call is printed")
    parser.add_argument("--peers", metavar="FOLDER", help="holds clones of the published code, see benchmarks/peers.py")
    parser.add_argument("--no-step", action="store_true", help="without times of training steps")
    parser.add_argument(
        "--training", type=int, default=150, metavar="STEPS", help="before the images in bfloat16; 0 for no such images"
    )
    options = parser.parse_args()
    # For the processes of the rows: what `tf.keras` is in the predecessor's code, while ours is `keras`.
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="1")
    print(f"Batch of 1, {os.cpu_count()} cores, {_bfloat16_support()}.\n")
    print("| " + " | ".join(HEADINGS) + " |\n|" + " --- |" * len(HEADINGS), flush=True)
    for name in options.models:
        for size in options.sizes or [CASES[name].size]:
            # A process of its own for each row: only so is its peak memory its own.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print("| " + " | ".join(pool.apply(measure, (name, size, options))) + " |", flush=True)


def measure(name, size, options):
    """The cells of one row."""
    case = CASES[name]
    batch, target = make_batch(*size)
    model = case.build("float32")
    model.compile("adam", "mae")
    model.predict_on_batch(batch)
    trained = model.count_params() > 0 and not options.no_step
    trainer, samples = (JointTraining(model), partition(batch)) if case.joint else (model, batch)
    if trained:
        trainer.compile("adam", DualDomainLoss() if case.joint else "mae")
        trainer.train_on_batch(samples, target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    forward = {"ours": lambda: model.predict_on_batch(batch)}
    step = {"ours": lambda: trainer.train_on_batch(samples, target)} if trained else {}
    try:
        if isinstance(case.peer, str):
            raise peers.NoPeerError(case.peer)
        peer = case.peer(options.peers, batch, target)
        forward["peer"] = peer.forward
        step.update({"peer": peer.step} if trained else {})
        published = peer.name if peer.parameters == model.count_params() else f"{peer.name} ({peer.parameters:,})"
    except peers.NoPeerError as reason:
        published = f"- ({reason})"
    lower = "-"
    if model.count_params():
        alone = convolutions_alone(model, batch)
        forward["convolutions"] = lambda: alone.predict_on_batch(np.zeros((1, 1, 1, 1), "float32"))
        half = case.build("mixed_bfloat16")
        half.build()
        half.set_weights(model.get_weights())
        forward["bfloat16"] = lambda: half.predict_on_batch(batch)
    forward, step = fastest(forward, options.runs), fastest(step, options.runs)
    if case.preset and options.training:
        lower = change_of_preset(*case.preset)
    elif model.count_params() and options.training:
        lower = change_after_training(case.build, size[2], options.training)
    return (
        name,
        " x ".join(map(str, size)),
        f"{model.count_params():,}",
        _milliseconds(forward, "ours"),
        _milliseconds(forward, "convolutions"),
        published,
        _milliseconds(forward, "peer"),
        _milliseconds(step, "ours"),
        _milliseconds(step, "peer"),
        _milliseconds(forward, "bfloat16"),
        lower,
        f"{peak:.1f} GiB",
    )


def make_batch(height, width, num_coils):
    """One slice of noise, sampled along random lines and the central ones, with maps for several coils; a target."""
    rng = np.random.default_rng(0)
    shape = (1, num_coils, height, width)
    kspace, maps = ((rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("complex64") for _ in range(2))
    mask = (rng.uniform(size=(1, 1, 1, width)) < 0.25).astype("float32")
    mask[..., width // 2 - width // 25 : width // 2 + width // 25] = 1
    batch = {"kspace": kspace * mask, "mask": mask}
    if num_coils > 1:
        batch["sensitivity_maps"] = maps / np.linalg.norm(maps, axis=1, keepdims=True)
    return batch, np.ones((1, height, width), "float32")


def partition(batch):
    """Of a batch: some samples are the input, the others the target, and the maps come from the measured centre."""
    masks = GaussianSplit()(np.broadcast_to(batch["mask"][0, 0], batch["kspace"].shape[-2:]), seed=0)
    keys = ("kspace", "mask"), ("target_kspace", "target_mask")
    parts = {"self_supervised": np.ones(1, "float32")}
    for (kspace, mask), part in zip(keys, masks, strict=True):
        parts |= {kspace: batch["kspace"] * part, mask: part[None, None]}
    return parts


def change_of_preset(name, num_coils):
    """What a preset loses on the held-out brain when its convolutions run in bfloat16."""
    preset = load_preset(name)
    config = {**preset.model.get_config(), "dtype": "mixed_bfloat16"}
    half = type(preset.model).from_config(config)
    half.build()
    half.set_weights(preset.model.get_weights())
    return change(preset, half, num_coils)


def change_after_training(build, num_coils, steps):
    """What a model loses in bfloat16 after some steps of training in float32."""
    keras.utils.set_random_seed(0)
    model, half = build("float32"), build("mixed_bfloat16")
    brains = [DrawnContrastBrain(seed, num_coils, size=(96, 96)) for seed in range(8)]
    slices = slices_of(brains, RandomMask(4), scaling=PercentileScaling()).repeat()
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=1e-3, warmup_steps=steps // 10)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mae")
    model.fit(slices.batch(1), steps_per_epoch=steps, verbose=0)
    half.build()
    half.set_weights(model.get_weights())
    return change(Preset("float32", model, PercentileScaling(), RandomMask(4)), half, num_coils)


def change(preset, half, num_coils):
    """The PSNR of a preset's model on the held-out brain, and what is lost with `half` in its place."""
    presets = [preset, dataclasses.replace(preset, name="bfloat16", model=half)]
    with tempfile.TemporaryDirectory() as folder:
        rows = evaluate(presets, [HeldOutBrain(num_coils)], folder).rows
    whole, lower = (next(row.psnr for row in rows if row.model == preset.name) for preset in presets)
    return f"{lower - whole:+.3f} dB of {whole:.2f} dB"


def convolutions_alone(model, batch):
    """A model that runs the same convolutions, each on zeros of the size that it sees in `model`."""
    calls = []

    def record(layer):
        call = layer.call

        def recording(x):
            calls.append((layer, x.shape))
            return call(x)

        layer.call = recording
        return call

    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    convolutions = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    originals = [record(layer) for layer in convolutions]
    model({key: keras.ops.convert_to_tensor(value) for key, value in batch.items()})
    for layer, call in zip(convolutions, originals, strict=True):
        layer.call = call

    class Convolutions(keras.Model):
        def call(self, x):
            # One number of each: batches differ, as some networks see the coils one by one.
            return keras.ops.stack([layer(keras.ops.zeros(shape) + x)[:1, 0, 0, 0] for layer, shape in calls], axis=-1)

    return Convolutions()


def fastest(functions, runs):
    """Seconds of each function's fastest call; they take turns, so that a busy machine slows all of them alike."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()
    begin = time.perf_counter()
    for done in range(runs):
        if done and time.perf_counter() - begin > PATIENCE:
            break
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def _milliseconds(times, which):
    """The time, and its ratio to ours."""
    if which not in times:
        return "-"
    ratio = f", {times[which] / times['ours']:.2f} x" if which != "ours" else ""
    return f"{1e3 * times[which]:.0f} ms{ratio}"


def _size(text):
    try:
        height, width, coils = map(int, text.split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTHxCOILS, as 320x320x4, got {text!r}") from error
    return height, width, coils


def _bfloat16_support():
    """What the CPU has for bfloat16, as far as Linux tells."""
    try:
        with open("/proc/cpuinfo", encoding="ascii") as file:
            flags = set(next(line for line in file if line.startswith("flags")).split())
    except (OSError, StopIteration):
        return "its support of bfloat16 unknown"
    found = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    missing = [flag for flag in ("amx_bf16", "avx512_bf16") if flag not in flags]
    return " and ".join([f"with {flag}" for flag in found] + [f"without {flag}" for flag in missing])


if __name__ == "__main__":
    main()
