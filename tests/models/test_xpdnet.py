import h5py
import keras
import numpy as np
import pytest
from helpers import acquire, recorded_batch, relative_error
from keras import ops

from mri_zoo import import_checkpoint
from mri_zoo.data import DataError
from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.didn import DIDN
from mri_zoo.layers.focnet import FocNet
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.models import XPDNet, ZeroFilled
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.fourier import fft2c
from mri_zoo.presets.importers.checkpoint import image_by_image

SOURCE = "fastmri-reproducible-benchmark"
SMALL = {"image_network": MWCNN(4, (3, 4), (1, 1), 1, 5), "num_iterations": 2, "num_primal": 2, "pad_multiple": 4}


class PredecessorsCartesian(Cartesian):
    """On odd sizes its forward transform, alone, shifts there and back in the wrong order."""

    def __init__(self):
        super().__init__()
        self._fft = lambda x: ops.roll(fft2c(ops.roll(x, (-1, -1), (-2, -1))), (1, 1), (-2, -1))

    def coil_normal(self, coil_images, batch):
        return self.coil_adjoint(self.coil_forward(coil_images, batch), batch)


@pytest.mark.parametrize(
    "arguments, num_iterations, expected",
    [
        ({}, 25, 155_536_508),
        ({"refiner_filters": (8, 16, 32, 64)}, 25, 155_649_840),
        ({"image_network": UNetBlock(10, (16, 32, 64))}, 20, 2_379_458),  # UPDNet
        ({"image_network": UNetBlock(10, (16, 32, 64, 128), 2, "prelu", "prelu", 4)}, 25, 12_126_858),  # for brains
    ],
)
def test_published_number_of_parameters(arguments, num_iterations, expected):
    assert XPDNet().num_iterations == 25
    model = XPDNet(num_iterations=1, **arguments)
    model.build()
    (network,) = model.primal_nets
    assert model.count_params() + (num_iterations - 1) * network.count_params() == expected


@pytest.mark.parametrize(
    "case, architecture, config, expected",
    [
        (
            "xpdnet_mwcnn",
            "XPDNet",
            {"residual": True},
            {"num_iterations": 3, "num_primal": 3, "pad_multiple": 8, "refiner_filters": (4, 8, 16)},
        ),
        (
            "xpdnet_mwcnn_dual",
            "XPDNet",
            {"residual": False},
            {"num_iterations": 2, "num_primal": 2, "num_dual": 2, "refiner_filters": None},
        ),
        ("xpdnet_didn", "XPDNet", {"residual": True}, {"num_iterations": 2, "num_primal": 2, "pad_multiple": 16}),
        ("xpdnet_dncnn", "XPDNet", {"residual": True}, {"num_iterations": 3, "num_primal": 3, "pad_multiple": 1}),
        ("xpdnet_unet", "XPDNet", {"pad_multiple": 8, "residual": True}, {"num_iterations": 2, "num_primal": 2}),
        ("updnet", "UPDNet", {}, {"num_iterations": 2, "num_primal": 2, "num_dual": 2, "pad_multiple": 1}),
    ],
)
def test_equals_the_recorded_network(reference, case, architecture, config, expected):
    folder = reference / "tensorflow" / case
    model = import_checkpoint(folder / "checkpoint.h5", SOURCE, architecture, config)
    assert expected.items() <= model.get_config().items()
    batch = recorded_batch(folder / "io.npz")
    if batch["kspace"].shape[-1] % 2:
        model.physics = PredecessorsCartesian()
    with np.load(folder / "io.npz") as io:
        assert relative_error(model(batch), io["output_complex"][..., 0]) < 1e-5
        if "smaps_refined" in io:
            assert relative_error(model.refiner(batch["sensitivity_maps"]), io["smaps_refined"]) < 1e-5


def test_updnet_with_learned_slopes_and_attention_is_imported(tmp_path):
    """As its trainings for fastMRI's brains store it."""
    model = XPDNet(UNetBlock(4, (4, 5), 1, "prelu", "prelu", 2), None, 2, 2, pad_multiple=1, refiner_filters=(4, 5))
    model.build()
    parts = {"smaps_refiner": model.refiner, "image_net_0": model.primal_nets[0], "image_net_1": model.primal_nets[1]}
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = list(parts)
        for name, part in parts.items():
            names = [f"array_{i}" for i in range(len(part.weights))]
            group = file.create_group(name)
            group.attrs["weight_names"] = names
            for array_name, array in zip(names, part.get_weights(), strict=True):
                group[array_name] = array
    found = import_checkpoint(tmp_path / "weights.h5", SOURCE, "UPDNet")
    ours, theirs = ({**of.primal_nets[0].get_config(), "name": ""} for of in (found, model))
    assert ours == theirs and found.refiner_filters == (4, 5)
    for variable, written in zip(found.weights, model.get_weights(), strict=True):
        sees_buffer = written.ndim == 4 and written.shape[2] == 6
        np.testing.assert_array_equal(variable, image_by_image(written, 2, 1) if sees_buffer else written)


def test_networks_of_a_checkpoint_may_be_given(reference):
    """Shapes do not tell activations."""
    path = reference / "tensorflow" / "xpdnet_dncnn" / "checkpoint.h5"
    network = ConvNet(6, 8, 3, activation=0.1)
    for given in (network, keras.saving.serialize_keras_object(network)):
        model = import_checkpoint(path, SOURCE, "XPDNet", {"image_network": given, "residual": True})
        assert model.primal_nets[0].activation == 0.1
    with pytest.raises(ValueError, match=r"gives a weight of shape \(3, 3, 8, 8\); expected \(3, 3, 8, 6\)"):
        import_checkpoint(path, SOURCE, "XPDNet", {"image_network": ConvNet(6, 8, 1), "residual": True})


def test_checkpoint_of_another_model_is_refused(reference):
    path = reference / "tensorflow" / "unet" / "checkpoint.h5"
    with pytest.raises(ValueError, match="has no layer `image_net_0`; expected the weights of XPDNet or UPDNet"):
        import_checkpoint(path, SOURCE, "XPDNet")


def test_updnet_and_xpdnet_are_not_taken_for_each_other(reference):
    """They pad differently, which would change the image."""
    files = {name: reference / "tensorflow" / name / "checkpoint.h5" for name in ("updnet", "xpdnet_didn")}
    with pytest.raises(ValueError, match="does not tell `pad_multiple`, `residual`: give it in `config`"):
        import_checkpoint(files["updnet"], SOURCE, "XPDNet")
    with pytest.raises(DataError, match="image networks are of the kind DIDN, but those of UPDNet are U-nets"):
        import_checkpoint(files["xpdnet_didn"], SOURCE, "UPDNet")


@pytest.mark.parametrize("residual", [True, False])
def test_networks_that_give_nothing_leave_the_buffer_or_empty_it(rng, residual):
    model, (batch, _) = XPDNet(**SMALL, residual=residual), acquire(rng, coils=2, maps=True)
    model.refiner = None
    model.build()
    for network in model.primal_nets:
        network.set_weights([0 * weight for weight in network.get_weights()])
    expected = ZeroFilled()(batch)
    assert relative_error(model(batch) + expected, expected * (2 if residual else 1)) < 1e-5


def test_only_the_residual_of_the_first_image_reaches_the_networks(rng):
    """Fully sampled, the network sees copies of the image and zero; then it does not matter what A is."""
    model, (batch, image) = XPDNet(**{**SMALL, "num_iterations": 1}), acquire(rng)
    everything = np.ones_like(batch["mask"])
    kspace = np.asarray(model.physics.coil_kspace(image, batch))
    found = model({"kspace": kspace, "mask": everything})
    (network,) = model.primal_nets
    channels = np.stack([image.real] * 2 + [image.imag] * 2 + [0 * image.real] * 2, axis=-1)
    padded = np.pad(channels, ((0, 0), (1, 0), (2, 1), (0, 0)))  # 15 x 13 to multiples of 4
    update = np.asarray(network(padded))[:, 1:, 2:-1]
    assert relative_error(found, image + update[..., 0] + 1j * update[..., 2]) < 1e-4


def test_the_template_is_left_alone_and_may_be_in_use(rng):
    template = ConvNet(4, 3)
    template(rng.normal(size=(1, 5, 5, 6)).astype("float32"))
    before = template.get_weights()
    model = XPDNet(template, ConvNet(2, 3), num_iterations=2, num_primal=2)
    model.build()
    assert [network is template for network in model.primal_nets] == [False, False]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    for found, expected in zip(template.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    config = model.get_config()
    assert "build_config" not in config["image_network"]
    assert config["kspace_network"]["class_name"] == "ConvNet"


@pytest.mark.parametrize(
    "network", [MWCNN(4, (3, 4), (1, 1), 1, 5), DIDN(4, 4, 1, 1), FocNet(4, 3, 2), UNetBlock(4, (3, 4))]
)
def test_any_network_corrects_images_of_any_size(rng, network):
    batch, _ = acquire(rng, coils=2, maps=True)
    model = XPDNet(network, num_iterations=1, num_primal=2, refiner_filters=None)
    assert model(batch).shape == (2, 15, 13)
    assert type(model.primal_nets[0]) is type(network)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"num_primal": 0}, "`num_primal` must be a whole number >= 1, got 0"),
        ({"pad_multiple": 0}, "`pad_multiple` must be a whole number >= 1, got 0"),
        ({"refiner_filters": 8}, "`refiner_filters` must name the channels of each scale, got 8"),
        ({"image_network": "MWCNN"}, "`image_network` must be a Keras layer, got 'MWCNN'"),
        ({"image_network": MWCNN(6)}, "`image_network` must have 10 outputs, got 6"),
        ({"kspace_network": ConvNet(4)}, "`kspace_network` must have 2 outputs, got 4"),
        ({"residual": "false"}, "`residual` must be True or False, got 'false'"),
        ({"pad_multiple": 1.5}, "`pad_multiple` must be a whole number >= 1, got 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        XPDNet(**arguments)


def test_a_network_of_other_channels_is_told():
    """One that does not tell before it is built."""
    network = keras.Sequential([keras.layers.Conv2D(6, 3, padding="same"), keras.layers.Activation("tanh")])
    with pytest.raises(ValueError, match="A network gives 6 channels, its buffer has 4"):
        XPDNet(network, num_primal=2).build()
