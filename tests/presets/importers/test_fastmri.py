import numpy as np
import pytest

from mri_zoo import import_checkpoint
from mri_zoo.data import DataError
from mri_zoo.presets.importers import find_architecture
from mri_zoo.presets.importers.checkpoint import Checkpoint

torch = pytest.importorskip("torch")


@pytest.fixture
def unet_file(reference):
    return reference / "pytorch" / "fastmri_unet" / "checkpoint.pt"


@pytest.fixture
def varnet_file(reference):
    return reference / "pytorch" / "fastmri_varnet" / "checkpoint.safetensors"


def lightning(arrays, prefix, path):
    """Save arrays as a training of fastMRI does: beside those of the loss and of callbacks."""
    state = {prefix + name: torch.tensor(array) for name, array in arrays.items()}
    state["loss.w"] = torch.ones(1, 1, 7, 7) / 49
    callbacks = {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}}
    torch.save({"epoch": 3, "state_dict": state, "callbacks": callbacks, "lr_schedulers": []}, path)
    return path


def test_training_checkpoints_hold_the_same_network(unet_file, tmp_path):
    plain = import_checkpoint(unet_file, "fastmri", "FastMRIUNet")
    path = lightning(Checkpoint(unet_file).arrays, "unet.", tmp_path / "epoch=3.ckpt")
    found = import_checkpoint(path, "fastmri", "FastMRIUNet")
    for ours, theirs in zip(found.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_checkpoints_of_varnet(varnet_file, tmp_path):
    arrays, select = Checkpoint(varnet_file).arrays, find_architecture("fastmri", "VarNet").select
    assert select(arrays) == arrays
    found = select(Checkpoint(lightning(arrays, "varnet.", tmp_path / "epoch=3.ckpt")).arrays)
    assert list(found) == list(arrays)
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name])


def test_weights_of_another_network_are_refused(unet_file, varnet_file):
    with pytest.raises(DataError, match="checkpoint.pt: has no array `sens_net.norm_unet.unet.down_sample_layers.0"):
        import_checkpoint(unet_file, "fastmri", "VarNet")
    with pytest.raises(
        DataError, match="does not fit FastMRIUNet of fastmri .*it has several networks, `cascades.0.model"
    ):
        import_checkpoint(varnet_file, "fastmri", "FastMRIUNet")


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"num_filters": 9},
            r"`down_sample_layers.0.layers.0.weight` of shape \(8, 1, 3, 3\) gives a weight of shape \(3, 3, 1, 8\); "
            r"expected \(3, 3, 1, 9\) for `network.down\[0\]\[0\].kernel` of FastMRIUNet",
        ),
        ({"num_pools": 4}, "has no array `down_sample_layers.3.layers.0.weight`"),
        ({"num_pools": 2}, r"has no array `up_conv.1.0.layers.0.weight`"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_which_array(unet_file, config, message):
    with pytest.raises(DataError, match=message):
        import_checkpoint(unet_file, "fastmri", "FastMRIUNet", config)
