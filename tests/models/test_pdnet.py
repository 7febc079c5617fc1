import numpy as np
import pytest
from helpers import acquire, image_by_image, read_checkpoint, recorded_batch, relative_error

from mri_zoo.models import PDNet

PRIMAL_ONLY = {"primal_only": True, "buffers": "adjoint"}


@pytest.mark.parametrize("arguments, expected", [({}, 318_280), ({"primal_only": True}, 156_260)])
def test_published_number_of_parameters(arguments, expected):
    model = PDNet(**arguments)
    model.build()
    assert model.count_params() == expected


@pytest.mark.parametrize(
    "case, arguments",
    [
        ("pdnet", {}),
        ("pdnet_subclassed", {"buffers": "adjoint"}),
        ("pdnet_subclassed_primal_only", PRIMAL_ONLY),
    ],
)
def test_equals_the_recorded_network(reference, case, arguments):
    folder = reference / "tensorflow" / case
    weights = read_checkpoint(folder / "checkpoint.h5")
    if case == "pdnet":  # a functional model: dual and primal nets alternate, six arrays each
        nets = [weights[i : i + 6] for i in range(0, len(weights), 6)]
        weights = sum(nets[1::2] + nets[::2], [])
    for i in range(0, len(weights), 6):
        weights[i] = image_by_image(weights[i], *((3, 1) if i < 18 else (2, 1, 1)))
    model = PDNet(num_iterations=3, num_primal=3, num_dual=2, num_filters=8, **arguments)
    model.build()
    model.set_weights(weights)
    image = model(recorded_batch(folder / "io.npz"))
    with np.load(folder / "io.npz") as io:
        assert relative_error(image, io["output_complex"][..., 0]) < 1e-5


def test_order_of_coils_does_not_matter(rng):
    model = PDNet(2, 2, 2, 4)
    batch, _ = acquire(rng, coils=3, maps=True)
    turned = {key: value[:, [2, 0, 1]] if key != "mask" else value for key, value in batch.items()}
    assert relative_error(turned["kspace"], batch["kspace"]) > 0.1
    assert relative_error(model(turned), model(batch)) < 1e-5


def test_without_dual_networks_fully_sampled_coils_equal_their_combination(rng):
    """A^H A is the identity then, whatever the coils."""
    model = PDNet(2, 2, 1, 4, **PRIMAL_ONLY)
    multi, image = acquire(rng, coils=3, maps=True)
    single, _ = acquire(rng, image=image)
    everything = np.ones_like(single["mask"])
    for batch in (single, multi):
        batch["kspace"] = np.asarray(model.physics.coil_kspace(image, batch))
        batch["mask"] = everything
    assert relative_error(model(multi), model(single)) < 1e-5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_iterations": 0}, "`num_iterations` must be >= 1, got 0"),
        ({"num_primal": 1}, '`num_primal` must be >= 2 with buffers="zeros" and >= 1 otherwise, got 1'),
        ({"num_primal": 0, "buffers": "adjoint"}, "`num_primal` must be >= 2 .* got 0"),
        ({"num_dual": 0}, "strictly positive"),
        ({"num_filters": 0}, "strictly positive"),
        ({"buffers": "ones"}, '`buffers` must be "zeros" or "adjoint", got \'ones\''),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PDNet(**arguments)
