"""Checkpoints of configurations that nobody published, written as their sources name and order the arrays."""

import h5py
import numpy as np
import pytest
from helpers import relative_error

from mri_zoo import import_checkpoint
from mri_zoo.data import DataError
from mri_zoo.layers.direct import DilatedMWCNN, DirectConvNet
from mri_zoo.layers.focnet import FocNet
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.models import DIP, LPDNet, XPDNet
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.presets.importers import find_architecture
from mri_zoo.presets.importers.checkpoint import Checkpoint, image_by_image
from mri_zoo.presets.importers.options import resolve

BENCHMARK = "fastmri-reproducible-benchmark"


def randomized(model, rng):
    model.build()
    for variable in model.variables:
        variable.assign(0.1 + rng.random(variable.shape))
    return model


def write_keras(path, layers):
    """A file of Keras 2 with the variables of each layer: those that are trained first, each with its own name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        for layer, variables in layers.items():
            group, ordered = file.create_group(layer), sorted(variables, key=lambda v: v.name.startswith("moving_"))
            names = [f"{layer}/part_{i}/{variable.name}:0" for i, variable in enumerate(ordered)]
            group.attrs["weight_names"] = names
            for name, variable in zip(names, ordered, strict=True):
                group[name] = np.asarray(variable)


def expect_equal(found, model):
    """Kernels that see the buffer of XPDNet are there in the order of its channels."""
    nets = model.primal_nets if isinstance(model, XPDNet) else []
    firsts = [net.first[0] if isinstance(net.first, list) else net.first for net in nets]
    see_buffer = {id(layer.kernel) for layer in firsts}
    for ours, theirs in zip(found.variables, model.variables, strict=True):
        array = np.asarray(theirs)
        np.testing.assert_array_equal(
            np.asarray(ours), image_by_image(array, 2, 1) if id(theirs) in see_buffer else array
        )


def xpdnet(network):
    return XPDNet(network, num_iterations=2, num_primal=2, refiner_filters=None, pad_multiple=8)


def test_mwcnn_without_biases(rng, tmp_path):
    model = randomized(xpdnet(MWCNN(4, (3, 5), (1, 2), 2, 6, use_bias=False)), rng)
    write_keras(tmp_path / "x.h5", {f"image_net_{i}": net.weights for i, net in enumerate(model.primal_nets)})
    found = import_checkpoint(tmp_path / "x.h5", BENCHMARK, "XPDNet", {"residual": True})
    assert found.primal_nets[0].use_bias is False
    expect_equal(found, model)
    with pytest.raises(DataError, match="has no array for|gives a weight of shape"):
        import_checkpoint(tmp_path / "x.h5", BENCHMARK, "XPDNet", {"residual": True, "image_network.use_bias": True})


def test_mwcnn_with_batch_normalization(rng, tmp_path):
    """There, a block makes its normalisation before its convolution."""
    model = randomized(xpdnet(MWCNN(4, (3, 5), (1, 2), 2, 6, batch_normalization=True)), rng)

    def blocks(layers):
        layers = [layer for layer in layers if layer.weights]
        while layers:
            convolve, *layers = layers
            if layers and hasattr(layers[0], "gamma"):
                norm, *layers = layers
                yield from norm.weights
            yield from convolve.weights

    nets = {}
    for i, net in enumerate(model.primal_nets):
        nets[f"image_net_{i}"] = [*blocks(net.first), *blocks(net.last)]
        for down, up in zip(net.down, net.up, strict=True):
            nets[f"image_net_{i}"] += [*blocks(down), *blocks(up)]
    write_keras(tmp_path / "x.h5", nets)
    found = import_checkpoint(tmp_path / "x.h5", BENCHMARK, "XPDNet", {"residual": True})
    assert found.primal_nets[0].batch_normalization
    expect_equal(found, model)


def test_focnet_with_batch_normalization(rng, tmp_path):
    model, nets = randomized(xpdnet(FocNet(4, 3, 2, batch_normalization=True)), rng), {}
    for i, net in enumerate(model.primal_nets):
        weights = [weight for scale in net.unpoolings for layer in scale for weight in layer.weights]
        weights += [switch for scale in net.switches for switch in scale] + net.first.weights
        for scale, norms in zip(net.convolutions, net.norms, strict=True):
            for convolve, norm in zip(scale, norms, strict=True):
                weights += convolve.weights + norm.weights
        nets[f"image_net_{i}"] = weights + net.last.weights
    write_keras(tmp_path / "x.h5", nets)
    found = import_checkpoint(tmp_path / "x.h5", BENCHMARK, "XPDNet")
    assert found.primal_nets[0].batch_normalization and found.residual is False
    report = found.import_report
    assert "residual" not in report.told and not report.given
    assert report.assumed == {"residual": False, "image_network.beta": 0.2, "normalize_image": False} | {
        "physics": report.assumed["physics"]
    }
    expect_equal(found, model)
    foreign, checkpoint = find_architecture(BENCHMARK, "XPDNet"), Checkpoint(tmp_path / "x.h5")
    foreign = foreign.adapt(foreign, checkpoint, report.told)
    arguments, report = resolve(foreign, checkpoint, report.told, {"residual": True}, "XPDNet")
    assert arguments["residual"] is True and "residual" not in report.assumed
    given = {"image_network": FocNet(4, 3, 2)}
    with pytest.raises(DataError, match="this checkpoint has batch normalisation, which this XPDNet has not"):
        import_checkpoint(tmp_path / "x.h5", BENCHMARK, "XPDNet", given)


def test_dip_with_batch_normalization(rng, tmp_path):
    sizes = {"latent_size": 5, "num_hidden": 6, "base_size": 3, "num_upsamplings": 1, "num_filters": 4}
    model = randomized(DIP(**sizes, batch_normalization=True, physics=NonCartesian()), rng)
    parts = {"dense": model.hidden.weights, "dense_1": model.base.weights}
    parts |= {f"conv_block_{i}": [w for layer in block for w in layer.weights] for i, block in enumerate(model.blocks)}
    write_keras(tmp_path / "dip.h5", parts | {"conv2d": model.last.weights})
    found = import_checkpoint(tmp_path / "dip.h5", BENCHMARK, "DIP")
    assert found.batch_normalization and sizes.items() <= found.get_config().items()
    expect_equal(found, model)


def test_mwcnn_of_direct_with_batch_normalization(rng, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    primal = DilatedMWCNN(4, 3, 2, False, num_inputs=6, last_kernel_size=1, batch_normalization=True)
    model = randomized(LPDNet(1, 2, 1, primal, DirectConvNet(2, 3, 2)), rng)
    (network,), (dual,), arrays = model.primal_nets, model.dual_nets, {}

    def put(name, layer):
        norm = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        for variable in layer.weights:
            value = np.asarray(variable)
            if variable.name == "kernel":
                arrays[f"{name}.weight"] = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
            elif variable.name != "alpha":
                arrays[f"{name}.{norm.get(variable.name, variable.name)}"] = value

    block = "primal_net.0.primal_block."
    for i in range(2):
        names = [f"0.down.{i}.convblock{i}.net.{j}" for j in (0, 1)]
        names += [f"0.down.{i}.dilconvblock{i}.net.{j}" for j in (0, 1, 3, 4)]
        up = [f"0.up.{1 - i}.invdilconvblock{-i}.net.{j}" for j in (0, 1, 3, 4)]
        up += [f"0.up.{1 - i}.invconvblock{-i}.net.{j}" for j in (0, 1)]
        for layers, layer_names in ((network.down[i], names), (network.up[i], up)):
            for layer, name in zip((layer for layer in layers if layer.weights), layer_names, strict=True):
                put(block + name, layer)
    put(f"{block}1", network.last[0])
    for i, layer in enumerate(dual.convolutions):
        put(f"dual_net.0.dual_block.conv.{2 * i}", layer)
    arrays["dual_net.0.dual_block.conv.1.weight"] = np.asarray(dual.activate.alpha).reshape(1)
    safetensors.save_file(arrays, tmp_path / "lpd.safetensors")
    found = import_checkpoint(tmp_path / "lpd.safetensors", "direct", "LPDNet")
    assert found.primal_nets[0].batch_normalization and not found.primal_nets[0].use_bias
    expect_equal(found, model)


def test_normalised_recurrentvarnet(reference, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = reference / "pytorch" / "direct_recurrentvarnet" / "checkpoint.safetensors"
    arrays = {name.replace("regularizer.", "regularizer.convgru."): a for name, a in Checkpoint(path).arrays.items()}
    safetensors.save_file(arrays, tmp_path / "normalised.safetensors")
    plain, found = (
        import_checkpoint(file, "direct", "RecurrentVarNet") for file in (path, tmp_path / "normalised.safetensors")
    )
    assert found.normalized and not plain.normalized and found.units[0].normalized
    expect_equal(found, plain)
    batch = {"kspace": np.ones((1, 2, 32, 26), "complex64"), "mask": np.ones((1, 1, 1, 26), "float32")}
    assert relative_error(found(batch), plain(batch)) > 1e-3
    with pytest.raises(DataError, match="gives a weight of shape"):
        import_checkpoint(path, "direct", "RecurrentVarNet", {"initializer_scales": 3})


def test_deep_jsense_with_a_name_for_each_iteration(reference, tmp_path):
    """`img_sep`: upstream repeats one network, so that its arrays are there several times."""
    safetensors = pytest.importorskip("safetensors.numpy")
    path, config = (
        reference / "pytorch" / "deepjsense_modl" / "checkpoint.safetensors",
        {"mode": "MoDL", "num_steps": 2},
    )
    arrays = Checkpoint(path).arrays
    names = {
        name: [name] if "l2lam" in name else [name.replace("net.", f"net.{i}.", 1) for i in range(3)] for name in arrays
    }
    several = {new: arrays[name] for name, new_names in names.items() for new in new_names}
    safetensors.save_file(several, tmp_path / "several.safetensors")
    found = import_checkpoint(tmp_path / "several.safetensors", "deep-jsense", "MoDL", config)
    assert found.num_iterations == 3
    expect_equal(found, import_checkpoint(path, "deep-jsense", "MoDL", {**config, "num_iterations": 3}))
    several["image_net.1.ResNetBlocks.0.conv1.net.1.weight"] = (
        2 * several["image_net.1.ResNetBlocks.0.conv1.net.1.weight"]
    )
    safetensors.save_file(several, tmp_path / "different.safetensors")
    with pytest.raises(DataError, match="differs from .* expected one shared weight"):
        import_checkpoint(tmp_path / "different.safetensors", "deep-jsense", "MoDL", config)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda name, array: None if "bias" in name else array, "this checkpoint has no biases, which this CascadeNet"),
        (
            lambda name, array: np.pad(array, [(1, 1)] * 2 + [(0, 0)] * 2) if array.ndim == 4 else array,
            "kernel of 5 x 5",
        ),
        (lambda name, array: array[..., :0] if array.ndim == 4 else array, "CascadeNet"),
        (lambda name, array: array[None] if array.ndim == 4 else array, "kernel of 1 x 3 x 3"),
    ],
)
def test_other_forms_are_refused_by_their_option(reference, tmp_path, change, message):
    with (
        h5py.File(reference / "tensorflow" / "cascade_net" / "checkpoint.h5") as file,
        h5py.File(tmp_path / "other.h5", "w") as other,
    ):
        other.attrs["layer_names"] = file.attrs["layer_names"]
        for layer in file.attrs["layer_names"]:
            names = list(file[layer].attrs["weight_names"])
            group, arrays = other.create_group(layer), {name: change(name, file[layer][name][()]) for name in names}
            group.attrs["weight_names"] = [name for name in names if arrays[name] is not None]
            for name in group.attrs["weight_names"]:
                group[name] = arrays[name]
    with pytest.raises(DataError, match=message):
        import_checkpoint(tmp_path / "other.h5", BENCHMARK, "CascadeNet", {"activation": "relu"})
