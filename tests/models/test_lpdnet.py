import numpy as np
import pytest
from helpers import acquire, direct_batches, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.layers.convnet import ConvNet
from mri_zoo.layers.direct import DilatedMWCNN, DirectConvNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.normunet import NormUNet
from mri_zoo.models import LPDNet


def count(model):
    return sum(np.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("networks, expected", [((), 971_524), ((InstanceUNet(10, 8, 3), NormUNet(10, 8, 3)), 242_436)])
def test_published_number_of_parameters(networks, expected):
    model = LPDNet(6, 5, 5, *networks)
    model.build()
    assert count(model) == expected


def test_published_number_of_parameters_of_directs_xpdnet():
    """One of its 20 networks; all of them take half a gigabyte."""
    network = DilatedMWCNN(10, 32, 4, num_inputs=12, last_kernel_size=3)
    network(np.zeros((1, 16, 16, 12), "float32"))
    assert 20 * network.count_params() == 124_826_520


@pytest.mark.parametrize(
    "case, architecture, expected, parameters",
    [
        ("lpdnet_unet_conv", "LPDNet", {"num_iterations": 3, "num_primal": 3, "num_dual": 2, "shared": True}, 8_603),
        ("lpdnet_mwcnn_didn", "LPDNet", {"num_iterations": 2, "num_primal": 2, "num_dual": 2}, 19_550),
        # DIRECT's two networks of k-space share a slope, ours have one each.
        ("xpdnet_conv", "XPDNet", {"num_primal": 2, "num_dual": 2, "exchange": "all", "shared": False}, 14_465 + 1),
        ("xpdnet_primal", "XPDNet", {"num_primal": 3, "num_dual": 0, "kspace_network": None}, 49_652),
    ],
)
def test_equals_the_recorded_network(reference, case, architecture, expected, parameters):
    folder = reference / "pytorch" / f"direct_{case}"
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", architecture)
    assert expected.items() <= model.get_config().items()
    assert count(model) == parameters
    for batch, outputs in direct_batches(folder / "io.npz"):
        assert relative_error(model(batch), outputs["output"]) < 1e-5


def test_iterations_must_share_their_arrays(reference, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = safetensors.load_file(reference / "pytorch" / "direct_lpdnet_unet_conv" / "checkpoint.safetensors")
    arrays["primal_net.1.primal_block.up_conv.1.1.bias"] += 1
    safetensors.save_file(arrays, tmp_path / "changed.safetensors")
    with pytest.raises(
        ValueError, match="array `primal_net.1.*bias` differs from `primal_net.0.*bias`; expected one sh"
    ):
        import_checkpoint(tmp_path / "changed.safetensors", "direct", "LPDNet")


def test_without_a_kspace_network_residuals_add_up(rng, monkeypatch):
    """What A^H brings back is A^H (y - A x - A x - ...) if the image stays as it is."""
    seen, model = [], LPDNet(3, 1, 0, DirectConvNet(2, 4, 2), exchange="all")
    batch, _ = acquire(rng)
    model.build()
    monkeypatch.setattr(model.primal_nets[0], "call", lambda x: seen.append(np.asarray(x)) or x[..., :2])
    model(batch)
    adjoint = np.asarray(model.physics.adjoint(batch["kspace"], batch))
    for i, x in enumerate(seen):  # one coil: A^H A x = x for the adjoint image
        np.testing.assert_allclose(x[..., 2] + 1j * x[..., 3], -i * adjoint, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"num_primal": 1}, '`num_primal` must be >= 2 with exchange="one", got 1'),
        ({"num_dual": 0}, '`num_dual` must be >= 1 with exchange="one" and >= 0 otherwise, got 0'),
        (
            {"num_dual": 0, "exchange": "all", "kspace_network": ConvNet(2)},
            "`kspace_network` must be None with `num_dual` 0",
        ),
        ({"kspace_network": ConvNet(2)}, "`kspace_network` must have 10 outputs, got 2"),
        ({"exchange": "two"}, '`exchange` must be "one" or "all", got \'two\''),
        ({"image_network": "unet"}, "`image_network` must be a Keras layer, got 'unet'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LPDNet(**arguments)
