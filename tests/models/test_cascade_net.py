import shutil

import h5py
import keras
import numpy as np
import pytest
from helpers import acquire, recorded_batch, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.models import CascadeNet
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.consistency import blend_measured, replace_measured

BENCHMARK = "fastmri-reproducible-benchmark"


@pytest.fixture(autouse=True)
def same_weights_each_time():
    keras.utils.set_random_seed(0)


@pytest.fixture
def recording(reference):
    return reference / "tensorflow" / "cascade_net"


@pytest.mark.parametrize("soft_consistency, expected", [(False, 424_570), (True, 424_571)])
def test_published_number_of_parameters(soft_consistency, expected):
    model = CascadeNet(soft_consistency=soft_consistency)
    model.build()
    assert model.count_params() == expected


def test_equals_the_recorded_network(recording):
    model = import_checkpoint(recording / "checkpoint.h5", BENCHMARK, "CascadeNet", {"activation": "relu"})
    expected = {"num_cascades": 3, "num_convolutions": 3, "num_filters": 6, "soft_consistency": False}
    assert expected.items() <= model.get_config().items()
    with np.load(recording / "io.npz") as io:
        assert relative_error(model(recorded_batch(recording / "io.npz")), io["output_complex"][..., 0]) < 1e-5


def test_learned_weight_of_data_consistency_is_imported(recording, tmp_path):
    """The recorded network with the scalar, which the predecessor stores after the first network: 1 changes nothing."""
    path, batch = tmp_path / "soft.h5", recorded_batch(recording / "io.npz")
    images = {}
    for value in (1.0, 0.5):
        shutil.copyfile(recording / "checkpoint.h5", path)
        with h5py.File(path, "r+") as file:
            layers = list(file.attrs["layer_names"])
            layers.insert(1 + layers.index("conv2d_3"), "multiply_scalar")
            file.attrs["layer_names"] = layers
            group = file.create_group("multiply_scalar")
            group.attrs["weight_names"] = ["multiply_scalar/sample_weight:0"]
            group["multiply_scalar/sample_weight:0"] = np.array([value], "float32")
        model = import_checkpoint(path, BENCHMARK, "CascadeNet", {"activation": "relu"})
        assert model.soft_consistency and model.consistency_weight.numpy() == [value]
        images[value] = model(batch)
    with np.load(recording / "io.npz") as io:
        assert relative_error(images[1.0], io["output_complex"][..., 0]) < 1e-5
        assert relative_error(images[0.5], io["output_complex"][..., 0]) > 1e-3


@pytest.mark.parametrize("coils", [1, 3])
@pytest.mark.parametrize("weight", [None, 0.3])
def test_data_consistency_is_that_of_every_coils_kspace(rng, coils, weight):
    model = CascadeNet(1, 1, 4, soft_consistency=weight is not None)
    batch, _ = acquire(rng, coils=coils, maps=coils > 1)
    image = model.networks[0](model.physics.adjoint(batch["kspace"], batch)[..., None])[..., 0]
    kspace, measured = model.physics.coil_kspace(image, batch), batch["kspace"]
    if weight is None:
        expected = replace_measured(kspace, measured, batch["mask"])
    else:
        model.consistency_weight.assign([weight])
        expected = blend_measured(kspace, measured, batch["mask"], weight)
    everything = {**batch, "mask": np.ones_like(batch["mask"])}
    assert relative_error(model(batch), model.physics.adjoint(expected, everything)) < 1e-5


def test_measured_samples_are_kept(rng):
    model, (batch, _) = CascadeNet(2, 1, 4, physics=Cartesian()), acquire(rng)
    assert relative_error(model.physics.forward(model(batch), batch), batch["kspace"]) < 1e-5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_cascades": 0}, "`num_cascades` must be a whole number >= 1, got 0"),
        ({"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
        ({"num_filters": 0}, "`num_filters` must be a whole number >= 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CascadeNet(**arguments)
