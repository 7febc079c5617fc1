import pytest
from helpers import acquire, direct_batches, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.layers.direct import DirectConvNet
from mri_zoo.models import DirectKIKINet


def test_published_number_of_parameters():
    model = DirectKIKINet()
    model.build()
    assert model.count_params() == 3_878_532


def test_equals_the_recorded_network(reference):
    """Its option `normalize` scales k-space by the square of the scaling factor."""
    folder = reference / "pytorch" / "direct_kikinet_unet_conv_normalize"
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", "KIKINet")
    assert model.num_iterations == 2 and model.count_params() == 30_685
    ((batch, outputs),) = direct_batches(folder / "io.npz")
    scale = outputs["scaling_factor"][:, None, None] ** 2
    batch["kspace"] = batch["kspace"] / scale[:, None]
    assert relative_error(model(batch) * scale, outputs["output"]) < 1e-5


def test_networks_that_keep_their_input_leave_the_adjoint_image(rng, monkeypatch):
    """With one coil, A^H A A^H y = A^H y."""
    model = DirectKIKINet(3, DirectConvNet(2, 4, 1), DirectConvNet(2, 4, 1))
    batch, _ = acquire(rng)
    model.build()
    for network in (model.image_network, model.kspace_network):
        monkeypatch.setattr(network, "call", lambda x: x)
    assert relative_error(model(batch), model.physics.adjoint(batch["kspace"], batch)) < 1e-5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"image_network": "unet"}, "`image_network` must be a Keras layer, got 'unet'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DirectKIKINet(**arguments)
