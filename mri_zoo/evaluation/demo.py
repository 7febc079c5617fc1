"""The demo: every demo model on the embedded real brain, with one coil and with several."""

import csv
from pathlib import Path

from mri_zoo.data.demo import HeldOutBrain
from mri_zoo.evaluation.harness import COLUMNS, evaluate, replacing
from mri_zoo.evaluation.report import write_figures, write_report
from mri_zoo.presets.registry import BASELINE, list_models, load_preset

NUM_COILS = 8


def evaluate_demo(output, progress=None):
    """Reconstruct the held-out brain with the bundled models; write ``volumes.csv``, figures and ``report.html``.

    Single-coil models see the brain through one coil, the others (``multicoil`` in their names) through eight.

    Args:
        output: folder of the results; the tables of each part lie in a folder of their own.
        progress: called as ``progress(done, total, text)``.

    Returns:
        The two `Evaluation`s.
    """
    output = Path(output)
    names = [name for name in list_models() if "-brain-demo-" in name]
    results, figures = [], []
    for title, num_coils in [("single-coil", 1), (f"{NUM_COILS}-coil", NUM_COILS)]:
        chosen = [BASELINE, *sorted((n for n in names if ("multicoil" in n) == (num_coils > 1)), reverse=True)]
        presets, folder = [load_preset(name) for name in chosen], output / title
        results.append(
            evaluate(presets, [HeldOutBrain(num_coils)], folder, dataset=f"held-out brain, {title}", progress=progress)
        )
        figures += write_figures(folder, results[-1])
    with replacing(output / "volumes.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(row, key) for key in COLUMNS] for result in results for row in result.rows)
    write_report(output / "report.html", results, figures)
    return results
