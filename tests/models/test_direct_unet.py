import numpy as np
import pytest
from helpers import acquire, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.models import DirectUNet


def test_published_number_of_parameters():
    network = InstanceUNet(2, 64)
    network(np.zeros((1, 16, 16, 2), "float32"))
    assert network.count_params() == 31_024_386
    config = DirectUNet().get_config()
    assert config["num_filters"] == network.num_filters and config["num_pools"] == network.num_pools


@pytest.mark.parametrize(
    "case, arguments, found",
    [
        ("zerofilled", {"residual": False, "combine_coils": False}, {"num_filters": 6, "normalized": False}),
        ("sense_norm_skip", {"residual": True, "combine_coils": True}, {"num_filters": 4, "normalized": True}),
    ],
)
def test_equals_the_recorded_network(reference, case, arguments, found):
    folder = reference / "pytorch" / f"direct_unet2d_{case}"
    model = import_checkpoint(folder / "checkpoint.safetensors", "direct", "UNet", arguments)
    assert found.items() <= model.get_config().items()
    with np.load(folder / "io.npz") as io:
        for size in ("even", "odd"):
            kspace = io[f"{size}_masked_kspace"]
            batch = {"kspace": kspace, "mask": np.ones((len(kspace), 1, 1, 1), "float32")}  # it is masked already
            if model.combine_coils:
                batch["sensitivity_maps"] = io[f"{size}_sensitivity_map"]
            assert relative_error(model(batch), io[f"{size}_output"]) < 1e-5


def test_maps_are_used_only_if_asked_for(rng):
    batch, _ = acquire(rng, coils=3, maps=True)
    other = {**batch, "sensitivity_maps": batch["sensitivity_maps"][:, ::-1]}
    for combine_coils in (False, True):
        model = DirectUNet(4, 2, combine_coils=combine_coils)
        assert (relative_error(model(other), model(batch)) > 1e-3) == combine_coils
