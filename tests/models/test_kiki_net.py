import keras
import numpy as np
import pytest
from helpers import acquire, recorded_batch, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.models import KIKINet
from mri_zoo.physics.consistency import blend_measured, replace_measured


@pytest.fixture(autouse=True)
def same_weights_each_time():
    keras.utils.set_random_seed(0)


def test_published_number_of_parameters():
    model = KIKINet()
    model.build()
    assert model.count_params() == 1_251_080


@pytest.mark.parametrize("case, final_consistency", [("kiki_sep", False), ("kiki_net", True)])
def test_equals_the_recorded_network(reference, case, final_consistency):
    folder = reference / "tensorflow" / case
    model = import_checkpoint(
        folder / "checkpoint.h5", "fastmri-reproducible-benchmark", "KIKINet", {"activation": 0.1}
    )
    expected = {"num_cascades": 2, "num_convolutions": 4, "num_filters": 6, "final_consistency": final_consistency}
    assert expected.items() <= model.get_config().items()
    with np.load(folder / "io.npz") as io:
        assert relative_error(model(recorded_batch(folder / "io.npz")), io["output_complex"][..., 0]) < 1e-5


@pytest.mark.parametrize("coils", [1, 3])
@pytest.mark.parametrize("weight", [None, 0.3])
def test_networks_take_turns(rng, coils, weight):
    model = KIKINet(2, 1, 4, final_consistency=True, soft_consistency=weight is not None)
    batch, _ = acquire(rng, coils=coils, maps=coils > 1)
    everything = {**batch, "mask": np.ones_like(batch["mask"])}
    model.build()
    if weight is not None:
        model.consistency_weight.assign([weight])
    kspace = measured = batch["kspace"]
    outputs = []
    for kspace_net, image_net in (model.networks[:2], model.networks[2:]):
        per_coil = [kspace_net(kspace[:, coil, ..., None]) for coil in range(coils)]
        kspace = np.stack([np.asarray(x)[..., 0] for x in per_coil], axis=1)
        image = image_net(model.physics.adjoint(kspace, everything)[..., None])[..., 0]
        outputs += [kspace, image]
        kspace = model.physics.coil_kspace(image, batch)
        if weight is None:
            kspace = replace_measured(kspace, measured, batch["mask"])
        else:
            kspace = blend_measured(kspace, measured, batch["mask"], weight)
        kspace = np.asarray(kspace)
    outputs[-1] = model.physics.adjoint(kspace, everything)
    for found, expected in zip(model.stage_outputs(batch), outputs, strict=True):
        assert relative_error(found, expected) < 1e-5
    assert relative_error(model(batch), outputs[-1]) < 1e-5


def test_each_stage_has_its_network_and_the_weight_that_it_uses_first():
    model = KIKINet(2, 1, 4, soft_consistency=True)
    model.build()
    assert [len(stage) for stage in model.stages] == [1, 1, 2, 1]
    assert [stage[0] for stage in model.stages] == model.networks
    assert model.stages[2][1] is model.consistency_weight


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_cascades": 0}, "`num_cascades` must be a whole number >= 1, got 0"),
        ({"num_convolutions": 0}, "`num_convolutions` must be a whole number >= 1, got 0"),
        ({"num_filters": 0}, "`num_filters` must be a whole number >= 1, got 0"),
        ({"num_cascades": 1, "soft_consistency": True}, "`soft_consistency` with `num_cascades` 1 needs"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        KIKINet(**arguments)
