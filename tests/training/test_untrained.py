from pathlib import Path

import numpy as np
import pytest

from mri_zoo.data.sampling import sampling_to_config
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.presets import load_preset
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.supervised import prepare, train

RECIPE = Path(__file__).with_name("tiny_dip_recipe.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("run"), []
    train(load_recipe(RECIPE), folder, report=lines.append)
    return folder, lines


def test_the_loss_falls_and_the_preset_is_warm(finished):
    folder, lines = finished
    assert [line.split()[1] for line in lines] == [f"{6 * i}/60" for i in range(1, 11)]
    losses = [float(line.split()[-1]) for line in lines]
    assert losses[-1] < 0.8 * losses[0]
    preset = load_preset(folder / "preset" / "dip-blobs")
    assert preset.model.warm and sampling_to_config(preset.sampling)["name"] == "spiral"
    assert "Fitted to one slice in 60 steps of Adam" in preset.metadata["training"]


def test_the_preset_is_judged_as_any_other(finished, tmp_path):
    recipe = load_recipe(RECIPE)
    preset = load_preset(finished[0] / "preset" / "dip-blobs")
    result = evaluate([preset], recipe["sources"]("", "validation"), tmp_path)
    assert not result.failures and np.isfinite(result.rows[0].psnr)
    assert int(preset.model.optimizer.iterations) == 4 * 6  # a slice ahead, and three


def test_a_finished_fit_is_kept(finished):
    folder, _ = finished
    with pytest.raises(FileExistsError, match="holds a fit already"):
        train(load_recipe(RECIPE), folder, report=print)
    model = train(load_recipe(RECIPE), folder, resume=True, report=print)
    expected = load_preset(folder / "preset" / "dip-blobs").model
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.warm
    with pytest.raises(ValueError, match="holds a fit with another `seed` 0 instead of 4"):
        train(load_recipe(RECIPE, ["seed=4"]), folder, resume=True, report=print)


def test_prepared_batches_serve_as_well(tmp_path):
    recipe = load_recipe(RECIPE, ["model_arguments.num_steps=3"])
    prepare(recipe, tmp_path / "batches")
    lines = []
    train(recipe, tmp_path / "run", prepared=tmp_path / "batches", report=lines.append)
    assert len(lines) == 3 and (tmp_path / "run" / "preset" / "dip-blobs" / "config.json").is_file()


def test_another_number_of_coils_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be of one scan with 2 coil\(s\), got \(scan, coil\) \(1, 1\)"):
        train(load_recipe(RECIPE, ["model_arguments.num_coils=2"]), tmp_path, report=print)
