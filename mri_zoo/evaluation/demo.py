"""The demo: every demo model on the embedded real brain, with one coil and with several."""

from pathlib import Path

from mri_zoo.data.demo import HeldOutBrain
from mri_zoo.data.trajectories import SamplingTrajectory
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.evaluation.report import write_figures, write_report
from mri_zoo.evaluation.results import write_rows
from mri_zoo.presets.registry import BASELINE, list_models, load_preset
from mri_zoo.storage import exclusive, replacing

NUM_COILS = 8


def evaluate_demo(output, progress=None):
    """Reconstruct the held-out brain with the bundled models; write ``volumes.csv``, figures and ``report.html``.

    There is one part for each kind of acquisition: one coil, eight (``multicoil`` in the models' names), eight along
    trajectories, and one along three-dimensional trajectories.

    Args:
        output: folder of the results; the tables of each part lie in a folder of their own.
        progress: called as ``progress(done, total, text)``.

    Returns:
        The `Evaluation`s of the parts.
    """
    output = Path(output)
    parts = {}
    for name in sorted((name for name in list_models() if "-brain-demo-" in name), reverse=True):
        preset = load_preset(name)
        parts.setdefault(_part(preset), [load_preset(BASELINE)]).append(preset)
    results, figures = [], []
    with exclusive(output, "evaluation"):
        for (_, title, num_coils), presets in sorted(parts.items()):
            folder, told = output / title, {"dataset": f"held-out brain, {title}", "progress": progress}

            def draw(result, folder=folder):
                figures.extend(write_figures(folder, result))

            results.append(evaluate(presets, [HeldOutBrain(num_coils)], folder, **told, finish=draw))
        with replacing(output / "volumes.csv") as part:
            with open(part, "w", newline="", encoding="utf-8") as file:
                write_rows(file, [row for result in results for row in result.rows])
        write_report(output / "report.html", results, figures)
    return results


def _part(preset):
    """Where a model is shown: the position and title of the part, and its number of coils."""
    if not isinstance(preset.sampling, SamplingTrajectory):
        return (1, f"{NUM_COILS}-coil", NUM_COILS) if "multicoil" in preset.name else (0, "single-coil", 1)
    if preset.sampling.dimensions == 3:
        return 3, "3-D-trajectories", 1
    return 2, f"{NUM_COILS}-coil-trajectories", NUM_COILS
