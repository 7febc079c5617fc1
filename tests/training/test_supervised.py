import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from mri_zoo.data import DataError, GaussianMask, GaussianSplit, PreparedBatches
from mri_zoo.losses import L1MultiScaleSSIM
from mri_zoo.presets import load_preset
from mri_zoo.training.recipes import load_recipe, make_optimizer
from mri_zoo.training.supervised import _best_epoch, _Pipeline, prepare, train

RECIPE = Path(__file__).with_name("tiny_recipe.py")
RECIPES = Path(__file__).parents[2] / "train" / "recipes"


def arrays(path):
    """All arrays of a weights file, the optimizer's included."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def silent(line):
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    train(load_recipe(RECIPE), folder, report=silent)
    return folder


def test_training_lowers_the_loss_and_leaves_all_its_files(finished):
    with open(finished / "log.csv") as file:
        log = list(csv.DictReader(file))
    assert [row["epoch"] for row in log] == ["1", "2", "3"]
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    assert {"val_loss", "val_slice_psnr", "val_slice_ssim", "seconds"} < set(log[0])
    assert list((finished / "tensorboard").glob("events.*"))
    names = {path.name for path in finished.iterdir()}
    checkpoints = {f"{name}.weights.h5" for name in ("last", "previous", "best")}
    assert names == {"log.csv", *checkpoints, "settings.json", "tensorboard", "preset"}


def test_preset_holds_the_best_epoch(finished):
    preset = load_preset(finished / "preset" / "pdnet-blobs")
    with h5py.File(finished / "best.weights.h5") as file:
        epoch = int(file.attrs["epoch"])
    with open(finished / "log.csv") as file:
        psnr = [float(row["val_slice_psnr"]) for row in csv.DictReader(file)]
    assert epoch == 1 + int(np.argmax(psnr))
    best = load_recipe(RECIPE)["model"](**load_recipe(RECIPE)["model_arguments"])
    best.load_weights(finished / "best.weights.h5")
    for ours, theirs in zip(preset.model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_killed_and_resumed_equals_uninterrupted(finished, tmp_path):
    command = [sys.executable, "-m", "mri_zoo", "train", str(RECIPE), "-o", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        if (tmp_path / "run" / "last.weights.h5").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    with pytest.raises(FileExistsError, match="holds a training already"):
        train(load_recipe(RECIPE), tmp_path / "run", report=silent)
    lines = []
    train(load_recipe(RECIPE), tmp_path / "run", resume=True, report=lines.append)
    assert lines[0] in ("resuming after epoch 1 of 3", "resuming after epoch 2 of 3")
    whole, resumed = arrays(finished / "last.weights.h5"), arrays(tmp_path / "run" / "last.weights.h5")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    logs = [list(csv.DictReader(open(folder / "log.csv"))) for folder in (finished, tmp_path / "run")]
    for row, other in zip(*logs, strict=True):
        assert float(row["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=1e-5)


def test_training_starts_from_the_weights_of_a_preset(finished, tmp_path):
    preset = finished / "preset" / "pdnet-blobs"
    still = ["epochs=1", "learning_rate=0.0", f"initial_weights={preset}"]
    model = train(load_recipe(RECIPE, still), tmp_path / "tuned", report=silent)
    text = load_preset(tmp_path / "tuned" / "preset" / "pdnet-blobs").metadata["training"]
    assert "3 epochs" in text and "From these weights: 1 epochs" in text and "learning rate 0 (cosine)" in text
    for ours, theirs in zip(model.get_weights(), load_preset(preset).model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_initial_weights_of_another_network_are_refused(finished, tmp_path):
    other = [f"initial_weights={finished / 'preset' / 'pdnet-blobs'}", "model_arguments.num_filters=5"]
    with pytest.raises(ValueError, match="`initial_weights` .* is a PDNet of .* parameters; the recipe's PDNet has"):
        train(load_recipe(RECIPE, other), tmp_path / "run", report=silent)


def test_patience_stops_a_training_that_no_longer_improves(tmp_path):
    lines = []
    recipe = load_recipe(RECIPE, ["learning_rate=0.0", "patience=1", "epochs=5"])
    train(recipe, tmp_path, report=lines.append)
    assert "has not improved for 1 epochs" in lines[-1]
    assert sum(line.startswith("epoch") for line in lines) == 2


def test_batches_have_one_shape_and_the_last_of_each_may_be_smaller(tmp_path):
    recipe = load_recipe(RECIPE, ["epochs=2", "batch_size=4"])
    blobs = type(recipe["sources"](None, "train")[0])
    recipe["sources"] = lambda root, split: [blobs(seed, size=(17 - 2 * (seed % 2), 13)) for seed in range(4)]
    batches = list(_Pipeline(recipe).train(0))  # 6 slices of each size
    assert sorted(tuple(target.shape) for _, target in batches) == [(n, h, 13) for n in (2, 4) for h in (15, 17)]
    lines = []
    train(recipe, tmp_path, report=lines.append)
    card = load_preset(tmp_path / "preset" / "pdnet-blobs").metadata["training"]
    assert card.startswith("2 epochs of 4 steps of 4 slice(s)") and len(lines) == 2
    assert arrays(tmp_path / "last.weights.h5")["optimizer/vars/0"] == 2 * 4  # its steps


@pytest.mark.parametrize(
    "options, number, certain",
    [
        ({}, 4, True),
        ({"slices": "random"}, 2, True),
        ({"inner_slices": 2, "crop": (9, 11)}, 2, True),
        ({"augment": True}, 4, False),  # the images are no squares
        ({"split": GaussianSplit(window=2), "partitions": 3}, 10, True),
    ],
)
def test_number_of_batches_is_told_in_advance_where_it_is_certain(options, number, certain):
    recipe = {**load_recipe(RECIPE, ["batch_size=4"]), "train_options": options}
    blobs = type(recipe["sources"](None, "train")[0])
    recipe["sources"] = lambda root, split: [blobs(seed, size=(17 - 2 * (seed % 2), 13)) for seed in range(4)]
    data = _Pipeline(recipe)
    assert data.steps() == number
    batches = data.train(0)
    found = len(list(batches))
    if certain:
        assert len(batches) == found == number
    else:
        assert batches.cardinality() < 0 and number <= found <= number + 2


def test_prepared_batches_are_the_pipelines_and_can_be_trained_on(tmp_path):
    recipe = load_recipe(RECIPE, ["epochs=1", "batch_size=2"])
    assert prepare(recipe, tmp_path / "data", epochs=2) == (12, 2)
    batches = PreparedBatches(tmp_path / "data" / "train")
    inputs, target = batches[0]
    assert inputs["kspace"].shape == (2, 1, 17, 14) and inputs["kspace"].dtype == np.complex64
    assert inputs["mask"].shape == (2, 1, 1, 14) and target.shape == (2, 17, 14)
    orders = [PreparedBatches(batches.folder, shuffle_seed=0, epoch=e)._order.tolist() for e in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    train(recipe, tmp_path / "run", prepared=tmp_path / "data", report=silent)
    assert (tmp_path / "run" / "preset" / "pdnet-blobs" / "config.json").is_file()
    with pytest.raises(FileExistsError, match="train exists already; choose another folder"):
        prepare(recipe, tmp_path / "data")


def test_unfinished_or_incomplete_prepared_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="no batches.json"):
        PreparedBatches(tmp_path)
    (tmp_path / "batches.json").write_text('{"batches": 2, "description": null}')
    with pytest.raises(DataError, match="batch-00000.npz is missing"):
        PreparedBatches(tmp_path)


def test_an_epoch_without_a_number_is_never_the_best():
    history = [{"val_slice_psnr": value} for value in (float("nan"), 1.0, 3.0, 2.0)]
    assert _best_epoch(history, {"monitor": "val_slice_psnr", "mode": "max"}) == 2
    assert _best_epoch(history, {"monitor": "val_slice_psnr", "mode": "min"}) == 1


def test_misspelt_options_are_refused(tmp_path):
    recipe = load_recipe(RECIPE, ["train_options.inner_slice=2"])
    with pytest.raises(ValueError, match="options hold `inner_slice`; `slices_of` takes .*inner_slices"):
        train(recipe, tmp_path / "run", report=silent)
    with pytest.raises(ValueError, match="`patience` must be None or >= 1, got -1"):
        load_recipe(RECIPE, ["patience=-1"])


@pytest.mark.parametrize(
    "loss, options, message",
    [
        (L1MultiScaleSSIM(), {}, r"at least 161 pixels for 5 scales.*got \(17, 14\)"),
        (L1MultiScaleSSIM(power_factors=(1.0,)), {"train_options": {"crop": (8, 8)}}, r"at least 11 .*got \(8, 8\)"),
        (L1MultiScaleSSIM(), {"train_options": {"split": GaussianSplit(window=16)}, "loss": "mae"}, "is larger than"),
    ],
)
def test_what_cannot_be_judged_or_split_is_refused_before_the_first_epoch(tmp_path, loss, options, message):
    recipe = {**load_recipe(RECIPE), "loss": loss, **options}
    with pytest.raises(ValueError, match=message):
        train(recipe, tmp_path / "run", report=silent)
    assert not (tmp_path / "run" / "log.csv").exists()


def test_monitor_that_is_never_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`monitor` is 'val_psnr', but an epoch measures"):
        train(load_recipe(RECIPE, ["monitor=val_psnr"]), tmp_path, report=silent)


def test_overrides_reach_into_dicts_and_samplings():
    recipe = load_recipe(
        RECIPE, ["epochs=7", "model_arguments.num_iterations=2", "sampling.acceleration=2", "root=/data"]
    )
    assert recipe["epochs"] == 7 and recipe["root"] == "/data"
    assert recipe["model_arguments"]["num_iterations"] == 2 and recipe["model_arguments"]["num_filters"] == 4
    assert recipe["sampling"].acceleration == 2 and recipe["sampling"].center_fraction == 0.2
    assert load_recipe(RECIPE)["model_arguments"]["num_iterations"] == 1


def test_a_function_of_the_epoch_scales_the_rate():
    recipe = {**load_recipe(RECIPE), "epochs": 5, "schedule": lambda epoch: 0.5 ** (epoch // 2)}
    schedule = make_optimizer(recipe, 5 * 3)._learning_rate
    rates = [float(schedule(step)) for step in range(5 * 3)]
    assert rates == pytest.approx([0.01] * 6 + [0.005] * 6 + [0.0025] * 3)
    assert float(make_optimizer({**recipe, "epochs": 2}, 6).learning_rate) == pytest.approx(0.01)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*_af*.py")), ids=lambda path: path.stem)
def test_published_recipes_are_whole(path):
    recipe = load_recipe(path)
    assert recipe["model"](**recipe["model_arguments"]).get_config()
    assert make_optimizer(recipe, 100 * recipe["epochs"]).learning_rate > 0
    if "fastmri" in path.stem:  # model, data and anatomy in the order of the published weights
        assert re.match(r"[a-z-]+-fastmri-(knee|brain)-", recipe["name"])


@pytest.mark.parametrize(
    "override, message",
    [
        ("epoch=1", "no `epoch`; did you mean 'epochs'"),
        ("epochs", "takes key=value"),
        ("epochs=0", "`epochs` must be a whole number >= 1"),
        ("sampling.accelerations=2", "did you mean 'acceleration'"),
        ("sampling.acceleration=0.5", "`acceleration` must be >= 1"),
        ("schedule=steps", "`schedule` must be"),
        ("epochs.more=1", "cannot reach"),
    ],
)
def test_bad_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(RECIPE, [override])


def test_overrides_keep_the_rest_of_a_sampling(tmp_path):
    start = f"import runpy\nfrom mri_zoo.data import GaussianMask\nrecipe = runpy.run_path({str(RECIPE)!r})['recipe']\n"
    for arguments, expected in [("4", 0.01), ("4, 0.08", 0.08)]:
        path = tmp_path / "recipe.py"
        path.write_text(f"{start}recipe['sampling'] = GaussianMask({arguments}, dimensions=2)")
        sampling = load_recipe(path, ["sampling.acceleration=8"])["sampling"]
        assert sampling == GaussianMask(8, expected, dimensions=2)


def test_masks_of_series_are_refused(tmp_path):
    start = (
        f"import runpy\nfrom mri_zoo.data import KtUniformMask\nrecipe = runpy.run_path({str(RECIPE)!r})['recipe']\n"
    )
    (tmp_path / "recipe.py").write_text(f"{start}recipe['sampling'] = KtUniformMask(4)")
    with pytest.raises(ValueError, match=r"`sampling` must sample slices without frames, got KtUniformMask\("):
        load_recipe(tmp_path / "recipe.py")


def test_training_on_files_needs_a_root(tmp_path):
    with pytest.raises(ValueError, match="leaves `root` open; give it with `--set root=DIR`"):
        train(load_recipe(RECIPE, ["root=None"]), tmp_path / "run", report=silent)


def test_bad_recipe_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such recipe"):
        load_recipe(tmp_path / "missing.py")
    (tmp_path / "empty.py").write_text("recipe = 3")
    with pytest.raises(DataError, match="defines no dict called `recipe`"):
        load_recipe(tmp_path / "empty.py")
    (tmp_path / "typo.py").write_text("recipe = {'leaning_rate': 1}")
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        load_recipe(tmp_path / "typo.py")


def test_cosine_schedule_ends_at_zero():
    recipe = load_recipe(RECIPE)
    schedule = make_optimizer(recipe, 100)._learning_rate
    assert float(schedule(0)) == pytest.approx(0.01) and float(schedule(100)) == pytest.approx(0, abs=1e-8)


def test_thirds_divide_the_rate_by_ten_after_whole_epochs():
    recipe = {**load_recipe(RECIPE, ["schedule=thirds"]), "epochs": 50}
    schedule = make_optimizer(recipe, 50 * 4)._learning_rate
    rates = [float(schedule(4 * epoch + step)) for epoch in range(50) for step in (0, 3)]
    assert rates == pytest.approx([0.01] * 2 * 17 + [0.001] * 2 * 17 + [0.0001] * 2 * 16)


def test_a_diverged_training_stops_before_it_is_stored(tmp_path):
    recipe = load_recipe(RECIPE, ["learning_rate=1e30", "epochs=2"])
    with pytest.raises(ValueError, match="diverged in epoch 1"):
        train(recipe, tmp_path, report=silent)
    assert not list(tmp_path.glob("*.weights.h5")) and not (tmp_path / "preset").exists()


def test_averaged_weights_are_those_of_one_fit_and_do_not_enter_the_training(tmp_path):
    plain, averaged = (load_recipe(RECIPE, ["epochs=2", *more]) for more in ((), ("optimizer_arguments.use_ema=True",)))
    rows = []
    for name, recipe in (("plain", plain), ("averaged", averaged)):
        train(recipe, tmp_path / name, report=silent)
        rows.append((tmp_path / name / "log.csv").read_text().splitlines()[2].split(",")[1:-1])
    assert rows[0] == rows[1]  # the average is a result, not a state of the training
    before, after = (
        load_preset(next((tmp_path / n / "preset").iterdir())).model.get_weights() for n in ("plain", "averaged")
    )
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(before, after, strict=True))
