import numpy as np
import pytest
from helpers import acquire, direct_batches, fft_reference, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.data.fourier import ifft2c
from mri_zoo.models import RecurrentVarNet
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import root_sum_of_squares


def test_published_number_of_parameters():
    model = RecurrentVarNet()
    model.build()
    assert model.count_params() == 6_918_424


def test_equals_the_recorded_network(reference):
    folder = reference / "pytorch" / "direct_recurrentvarnet"
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", "RecurrentVarNet")
    expected = {"num_iterations": 3, "num_filters": 8, "num_layers": 3, "shared": False, "initializer_scales": 2}
    assert expected.items() <= model.get_config().items()
    assert model.initializer_filters == (6, 6, 8, 8)
    assert model.count_params() == 10_717
    for batch, outputs in direct_batches(folder / "io.npz"):
        assert relative_error(np.abs(model(batch)), outputs["output_image_rss"]) < 1e-5


def test_a_shared_unit_does_not_tell_how_often_it_runs(reference):
    path = reference / "pytorch" / "direct_recurrentvarnet" / "checkpoint.safetensors"
    model = RecurrentVarNet(2, 4, 2, shared=True, initializer_filters=None)
    model.build()
    assert len(model.units) == len(model.step_sizes) == 1
    with pytest.raises(ValueError, match="holds arrays for which this RecurrentVarNet has no place: `block_list.1"):
        import_checkpoint(path, "direct", "RecurrentVarNet", {"shared": True})


@pytest.mark.parametrize("initializer_filters", [None, (4, 4)])
def test_networks_that_add_nothing_leave_the_measured_coil_images(rng, initializer_filters):
    model = RecurrentVarNet(2, 4, 2, False, initializer_filters, (1, 2), 1)
    batch, _ = acquire(rng, coils=3, maps=True)
    model.build()
    for unit in model.units:
        unit.set_weights([0 * weight for weight in unit.get_weights()])
    expected = np.asarray(root_sum_of_squares(model.physics.coil_adjoint(batch["kspace"], batch)))
    image = np.asarray(model(batch))
    assert relative_error(np.abs(image), expected) < 1e-5
    adjoint = np.asarray(model.physics.adjoint(batch["kspace"], batch))
    np.testing.assert_allclose(image * np.conj(adjoint), np.abs(image * adjoint), atol=1e-4)  # the same phase


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"num_layers": 0}, "`num_layers` must be a whole number >= 1, got 0"),
        ({"initializer_dilations": (1, 2)}, "`dilations` must be as many as `num_filters`"),
        ({"initializer_image": "input_image"}, 'must be "adjoint" or "coil_sum", got \'input_image\''),
        ({"initializer_scales": 5}, "`num_scales` must be a whole number from 1 to 4, got 5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecurrentVarNet(**arguments)


@pytest.mark.parametrize("initializer_image", ["adjoint", "coil_sum"])
@pytest.mark.parametrize("alternating_signs", [False, True])
def test_states_begin_with_the_kspace_of_the_named_image(rng, monkeypatch, initializer_image, alternating_signs):
    physics = Cartesian(alternating_signs=alternating_signs)
    model = RecurrentVarNet(1, 4, 2, True, (4,), (1,), 1, initializer_image, physics=physics)
    batch, _ = acquire(rng, (12, 10), coils=3, maps=True)
    adjoint = np.sum(np.conj(batch["sensitivity_maps"]) * ifft2c(batch["kspace"]), axis=1)
    # DIRECT's transform without shifts, and k-space as it sees it.
    signs = (-1) ** np.add.outer(np.arange(12), np.arange(10))
    seen = batch["kspace"] * signs if alternating_signs else batch["kspace"]
    transform = (lambda x: np.fft.fft2(x, norm="ortho")) if alternating_signs else fft_reference
    expected = transform(adjoint) if initializer_image == "adjoint" else np.sum(seen, axis=1)
    model.build()
    inputs, call = [], model.initializer.call
    monkeypatch.setattr(model.initializer, "call", lambda x: inputs.append(np.asarray(x)) or call(x))
    model(batch)
    assert relative_error(inputs[0][..., 0] + 1j * inputs[0][..., 1], expected) < 1e-5
    assert RecurrentVarNet.from_config(model.get_config()).initializer_image == initializer_image
