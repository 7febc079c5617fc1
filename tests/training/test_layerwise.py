import csv
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import acquire, fft_reference

from mri_zoo.models import KIKINet, PDNet
from mri_zoo.presets import load_preset
from mri_zoo.training.layerwise import Stage
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.supervised import train

RECIPE = Path(__file__).with_name("tiny_kiki_recipe.py")
FOLDERS = ("stage-1", "stage-2", "stage-3", ".")


def silent(line):
    pass


def weights_of(network):
    return [[np.array(weight) for weight in part.weights] for part in network.networks]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    network = train(load_recipe(RECIPE), folder, report=silent)
    return folder, network


def test_each_stage_changes_its_network_alone(finished):
    folder, network = finished
    stages = [weights_of(load_preset(folder / name / "preset" / "kiki-blobs").model) for name in FOLDERS]
    for i in range(1, 4):
        for k in range(4):
            equal = [np.array_equal(*pair) for pair in zip(stages[i - 1][k], stages[i][k], strict=True)]
            assert all(equal) if k != i else not any(equal)
    for found, expected in zip(weights_of(network), stages[-1], strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(network.trainable_variables) == len(network.weights)


def test_the_loss_falls_in_every_stage(finished):
    for name in FOLDERS:
        with open(finished[0] / name / "log.csv") as file:
            log = list(csv.DictReader(file))
        assert len(log) == 2 and float(log[1]["loss"]) < float(log[0]["loss"])
        assert 0 < float(log[1]["val_slice_psnr"]) < 100


def test_resumed_between_stages_equals_uninterrupted(finished, tmp_path):
    for name in FOLDERS[:3]:
        shutil.copytree(finished[0] / name, tmp_path / name)
    shutil.rmtree(tmp_path / "stage-3" / "preset")  # killed before its end
    with pytest.raises(FileExistsError, match="stage-1 holds a training already"):
        train(load_recipe(RECIPE), tmp_path, report=silent)
    lines = []
    network = train(load_recipe(RECIPE), tmp_path, resume=True, report=lines.append)
    assert lines[:2] == ["stage 3 of 4", "resuming after epoch 2 of 2"]
    for ours, theirs in zip(network.get_weights(), finished[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("coils", [1, 2])
def test_stages_learn_from_full_kspace_its_image_and_the_target(rng, coils):
    keras.utils.set_random_seed(0)
    batch, image = acquire(rng, coils=coils, maps=coils > 1)
    maps = batch.get("sensitivity_maps", np.ones((1, 1, 1, 1)))
    batch["full_kspace"] = fft_reference(maps * image[:, None]).astype("complex64")
    target = np.abs(image)[:, 2:13, 1:12]
    network = KIKINet(num_convolutions=1, num_filters=4, soft_consistency=True)
    network.build()
    outputs = [np.asarray(output) for output in network.stage_outputs(batch)]
    cropped = np.abs(outputs[3])[:, 2:13, 1:12]
    expected = [batch["full_kspace"], image, batch["full_kspace"], image]
    for i, output in enumerate(outputs):
        stage = Stage(network, i)
        paths = {variable.path for variable in network.networks[i].variables}
        paths |= {network.consistency_weight.path} if i == 2 else set()
        assert {variable.path for variable in stage.trainable_variables} == paths
        stage.compile(loss="mae", metrics=["mse"])
        loss, squared = stage.evaluate(batch, target, verbose=0)
        error = output - expected[i] if i < 3 else cropped - target
        assert loss == pytest.approx(np.mean(np.abs(error)), rel=1e-4)
        if i % 2:
            magnitude = np.abs(output)[:, 2:13, 1:12]
        else:
            magnitude = np.abs(network.physics.combine_kspace(output, batch))[:, 2:13, 1:12]
        assert squared == pytest.approx(np.mean((magnitude - target) ** 2), rel=1e-4)


def test_what_cannot_be_trained_in_stages_is_refused(tmp_path):
    recipe = load_recipe(RECIPE)
    with pytest.raises(ValueError, match="PDNet names no `stages`"):
        train({**recipe, "model": PDNet, "model_arguments": {}}, tmp_path / "a", report=silent)
    with pytest.raises(ValueError, match="needs `full_kspace` in the batch.* The batch has kspace, mask"):
        train({**recipe, "train_options": {}, "validation_options": {}}, tmp_path / "b", report=silent)
    with pytest.raises(ValueError, match=r"`index` must be in \[0, 4\), got 4"):
        Stage(KIKINet(num_convolutions=1, num_filters=4), 4)
