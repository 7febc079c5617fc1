"""Trainings that are compared over several seeds, so that a difference can be told from chance."""

import dataclasses
from pathlib import Path

import numpy as np

from mri_zoo.data.volume import DataError
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.presets.registry import BASELINE, load_preset
from mri_zoo.training.devices import device_names
from mri_zoo.training.settings import LABELS, check_settings, read_settings, settings_of, write_settings
from mri_zoo.training.supervised import train

HEADINGS = ["Training", "Seeds", "PSNR (dB)", "SSIM", "NMSE"]


def train_with_seeds(recipes, output, seeds, report=print, devices=None):
    """Train recipes with several seeds each, and judge all on the volumes of the first one's split "test".

    Each training lies in ``output/NAME/seed-K`` and goes on where it was interrupted; a finished one is not repeated.
    Its ``settings.json`` tells what it was trained with; one that lacks it is taken as it is. The zero-filled
    reconstruction is judged beside them.

    Args:
        recipes: of `load_recipe`, with different names; the sampling of the test is the first one's.
        output: folder; gets the harness' ``volumes.csv`` and ``table.md`` too.
        seeds: whole numbers.
        report: called with one line per epoch.
        devices: of each training, see `mri_zoo.training.supervised.train`.

    Returns:
        A list of (name of the recipe, seed or None for the baseline, list of the rows of the test volumes).

    Raises:
        ValueError: if there is nothing to compare, two recipes have one name, or a training was begun with other
            settings.
        DataError: if no test volume can be judged; a part of them is reported and left out.
    """
    device_names(devices)  # now, as what comes below starts TensorFlow
    names = [recipe["name"] for recipe in recipes]
    if not recipes or not seeds or len(set(names)) < len(names):
        raise ValueError(f"Expected recipes with different names and seeds, got {', '.join(names)} and {list(seeds)}.")
    output, presets = Path(output), {BASELINE: load_preset(BASELINE)}
    keys, settings = {BASELINE: (BASELINE, None)}, [_settings(recipe) for recipe in recipes]
    for seed in seeds:
        for recipe, wanted in zip(recipes, settings, strict=True):
            folder = output / recipe["name"] / f"seed-{seed}"
            preset = folder / "preset" / recipe["name"]
            check_settings(folder, wanted)
            if not preset.exists():
                report(f"{recipe['name']}, seed {seed}")
                if not read_settings(folder):
                    write_settings(folder, wanted)  # before, for a training that is interrupted
                train({**recipe, "seed": seed}, folder, resume=True, report=report, devices=devices)
            name = f"{recipe['name']}, seed {seed}"
            presets[name], keys[name] = dataclasses.replace(load_preset(preset), name=name), (recipe["name"], seed)
    first = recipes[0]
    result = evaluate(presets.values(), first["sources"](first["root"], "test"), output, sampling=first["sampling"])
    for failure in result.failures:
        report(failure.reason)
    if not result.rows:
        raise DataError(f"No test volume could be judged; the last one: {result.failures[-1].reason}")
    rows = {name: [row for row in result.rows if row.model == name] for name in presets}
    return [(*keys[name], rows[name]) for name in presets]


def seeds_table(results):
    """The means over volumes, and their mean and standard deviation over seeds, one list of cells for each training.

    Args:
        results: of `train_with_seeds`.

    Returns:
        A list of cells of text for each of `HEADINGS`, in the order of the recipes.
    """
    table = []
    for name in dict.fromkeys(name for name, _, _ in results):
        runs = [rows for other, _, rows in results if other == name]
        cells = [name, str(len(runs))]
        for metric, digits in (("psnr", 2), ("ssim", 4), ("nmse", 4)):
            means = [np.mean([getattr(row, metric) for row in rows]) for rows in runs]
            spread = f" ± {np.std(means, ddof=1):.{digits}f}" if len(means) > 1 else ""
            cells.append(f"{np.mean(means):.{digits}f}{spread}")
        table.append(cells)
    return table


def _settings(recipe):
    return {key: text for key, text in settings_of(recipe).items() if key not in (*LABELS, "seed")}
