"""Networks that are fitted to each scan and not trained: the first fit, from which those of other scans start."""

import math
from pathlib import Path

import keras
from keras import ops

from mri_zoo.presets.registry import check_preset, load_preset, save_preset
from mri_zoo.storage import exclusive
from mri_zoo.training.devices import on_devices, require_one_device
from mri_zoo.training.recipes import make_optimizer
from mri_zoo.training.settings import FREE, check_settings, settings_of, write_settings
from mri_zoo.training.supervised import batches_of, initial_model

_REPORTS = 10


@on_devices
def fit_one_slice(recipe, output, resume=False, prepared=None, report=print, verbose=0):
    """Fit a recipe's `DIP` to the first slice of an epoch and make a preset of it, whose next fits start from there.

    Scans of one contrast, trajectory, acceleration and number of coils then take a tenth of the steps.

    Args:
        recipe: of `load_recipe`; the number of steps is the model's `num_steps`, epochs are not looked at.
        output: folder, gets the preset in `preset/NAME`.
        resume: a finished fit is kept; one that was interrupted starts again.
        prepared: see `mri_zoo.training.supervised.train`.
        report: called with a line ten times.
        verbose: not used.
        devices: see there; one, as there is one slice.

    Returns:
        The fitted model.

    Raises:
        BlockingIOError: if another fit uses `output`.
        FileExistsError: if `output` holds a fit and `resume` is False.
        ValueError: if the recipe leaves `root` open, the slice has another number of coils than the model, the fit that
            `output` holds had other settings, no preset can be made, or several devices are asked for.

    Reference: Darestani and Heckel, IEEE TCI 7:724, 2021; Ramzi, thesis, section 5.2.5.
    """
    require_one_device("The fit of a network to one slice")
    with exclusive(output, "fit"):
        return _fit(recipe, Path(output), resume, prepared, report)


def _fit(recipe, output, resume, prepared, report):
    preset = output / "preset" / recipe["name"]
    if preset.exists() and not resume:
        raise FileExistsError(f"{output} holds a fit already: keep it (--resume) or choose another folder.")
    data = batches_of(recipe, prepared)
    keras.utils.set_random_seed(recipe["seed"])
    model = initial_model(recipe)
    training = (
        f"Fitted to one slice in {model.num_steps} steps of {recipe['optimizer'].__name__}; seed {recipe['seed']}."
    )
    card = {"summary": recipe["name"], "training": training, **recipe["card"]}
    config, _ = check_preset(preset, model, recipe["scaling"], recipe["sampling"], card)  # now, not after the fit
    settings = settings_of(recipe, data=data.description(), network=config["arguments"])
    if preset.exists():
        wanted = {key: text for key, text in settings.items() if key not in (*FREE, "epochs")}
        check_settings(output, wanted, what="a fit")
        return load_preset(preset).model
    write_settings(output, settings)
    model.compile(make_optimizer(recipe, model.num_steps))
    with data.errors():
        batch, _ = next(iter(data.train(0)))
    total = model.num_steps
    for i in range(_REPORTS):
        steps = total * (i + 1) // _REPORTS - total * i // _REPORTS
        if steps:
            model.reconstruct(batch, steps)
            loss = float(ops.convert_to_numpy(model.compute_loss(model.prepare(batch))))
            if not math.isfinite(loss):
                raise ValueError(f"{output}: the fit diverged: its loss is {loss}. Choose a smaller learning rate.")
            report(f"step {total * (i + 1) // _REPORTS}/{total}  loss {loss:.5g}")
    save_preset(preset, model, recipe["scaling"], recipe["sampling"], card)
    return model
