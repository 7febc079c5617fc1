import numpy as np
import pytest
from helpers import acquire, recorded_batch, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.models import PDNet

PRIMAL_ONLY = {"primal_only": True, "buffers": "adjoint"}


@pytest.mark.parametrize("arguments, expected", [({}, 318_280), ({"primal_only": True}, 156_260)])
def test_published_number_of_parameters(arguments, expected):
    model = PDNet(**arguments)
    model.build()
    assert model.count_params() == expected


@pytest.mark.parametrize(
    "case, expected",
    [
        ("pdnet", {"num_iterations": 3, "num_primal": 3, "num_dual": 2, "num_filters": 8, "buffers": "zeros"}),
        ("pdnet_subclassed", {"num_iterations": 3, "num_primal": 3, "num_dual": 2, "buffers": "adjoint"}),
        ("pdnet_subclassed_primal_only", {"num_iterations": 3, "num_primal": 3, **PRIMAL_ONLY}),
        ("pdnet_multicoil_refine", {"num_iterations": 3, **PRIMAL_ONLY, "refiner_filters": (4, 8, 16)}),
    ],
)
def test_equals_the_recorded_network(reference, case, expected):
    folder = reference / "tensorflow" / case
    model = import_checkpoint(folder / "checkpoint.h5", "fastmri-reproducible-benchmark", "PDNet")
    assert expected.items() <= model.get_config().items()
    batch = recorded_batch(folder / "io.npz")
    with np.load(folder / "io.npz") as io:
        assert relative_error(model(batch), io["output_complex"][..., 0]) < 1e-5
        if "smaps_refined" in io:
            assert relative_error(model.refiner(batch["sensitivity_maps"]), io["smaps_refined"]) < 1e-5


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
        ({"num_iterations": 0}, "`num_iterations` must be a whole number >= 1, got 0"),
        ({"num_primal": 1}, '`num_primal` must be >= 2 with buffers="zeros", got 1'),
        ({"num_primal": 0, "buffers": "adjoint"}, "`num_primal` must be a whole number >= 1, got 0"),
        ({"num_dual": 0}, "`num_dual` must be a whole number >= 1, got 0"),
        ({"num_filters": 0}, "`num_filters` must be a whole number >= 1, got 0"),
        ({"buffers": "ones"}, '`buffers` must be "zeros" or "adjoint", got \'ones\''),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PDNet(**arguments)
