"""An evaluation in numbers: tables in the form of the thesis, paired comparisons, and what was done."""

import dataclasses
import html
import os
import platform
import re
import sys

import keras
import numpy as np
from scipy import stats

from mri_zoo.data.masks import SamplingMask
from mri_zoo.data.volume import printable

HEADINGS = ("Network", "PSNR-mean (std) (dB)", "SSIM-mean (std)", "NMSE-mean (std)", "#params", "Runtime (s)")
COMPARISON_HEADINGS = ("Network", "Volumes") + tuple(
    f"{metric} {column}" for metric in ("PSNR", "SSIM") for column in ("gain (std)", "better in", "p")
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """Of a table: a text, after it in parentheses a standard deviation, and whether it is the best of its column."""

    text: str
    deviation: str = ""
    best: bool = False


def table_cells(rows, presets):
    """A table in the form of Tables 4.1 to 4.4 of the thesis, with NMSE.

    Means and sample standard deviations are over volumes. The best of several models is marked in each column; the
    fastest is looked for among those with parameters, as zero-filling does not compete.

    Args:
        rows: of all models, for the volumes of the table.
        presets: the models, in the order of the table.

    Returns:
        For each model a list of `Cell`s, one for each of `HEADINGS`.
    """
    by_model = {preset.name: [row for row in rows if row.model == preset.name] for preset in presets}
    parameters = {preset.name: preset.model.count_params() for preset in presets}
    networks = [name for name, count in parameters.items() if count]
    columns = [
        [Cell(name) for name in by_model],
        _column(by_model, "psnr", ".2f", max),
        _column(by_model, "ssim", ".4f", max),
        _column(by_model, "nmse", ".4f", min),
        [Cell(f"{count:,}") for count in parameters.values()],
        [dataclasses.replace(cell, deviation="") for cell in _column(by_model, "seconds", ".2f", min, networks)],
    ]
    return [list(cells) for cells in zip(*columns, strict=True)]


def groups(rows):
    """{heading: rows}: of all volumes and, if there are several contrasts, of each."""
    found = {"All volumes": rows}
    contrasts = sorted({row.contrast for row in rows})
    if len(contrasts) > 1:
        found |= {contrast: [row for row in rows if row.contrast == contrast] for contrast in contrasts}
    return {f"{name} ({len({row.volume for row in group})})": group for name, group in found.items() if group}


def facts(result):
    """What an `Evaluation` is of, as a list of (term, text)."""
    slices = list({row.volume: row.num_slices for row in result.rows}.values())
    volumes = f"{len(slices)}" + (f", of {_range(slices)} slice{'s' if max(slices) > 1 else ''}" if slices else "")
    found = [("Volumes", f"{volumes}; {len(result.failures)} skipped")]
    sampling = {}  # models with the same sampling share a line
    for name, used in result.samplings.items():
        rows = [row for row in result.rows if row.model == name]
        measured, accelerations = sum(row.as_measured for row in rows), [row.acceleration for row in rows]
        drawn = used is not None and (measured < len(rows) or not rows)
        text = str(used) if drawn else "each volume's own"
        if drawn and isinstance(used, SamplingMask):
            text += ", seeded by the volume's file name"
        if 0 < measured < len(rows):
            text += f"; {measured} of {len(rows)} volumes keep their own"
        if accelerations:
            text += f"; effective acceleration {np.mean(accelerations):.2f} ({_range(accelerations, '.2f')})"
        sampling.setdefault(text, []).append(name)
    for text, names in sampling.items():
        found.append(("Sampling" if len(sampling) == 1 else f"Sampling for {', '.join(names)}", text))
    return found


def methods():
    """How every `Evaluation` of this process is done, as a list of (term, text)."""
    return [
        (
            "Metrics",
            "of the magnitude, centre-cropped to the reference, over whole volumes as fastMRI defines them: the data "
            "range is the maximum of the volume's reference, SSIM is averaged over slices; mean and sample standard "
            "deviation over volumes",
        ),
        ("Runtime", f"mean per volume, from k-space to image, without reading and compiling, on {_hardware()}"),
        ("Software", _versions()),
    ]


def markdown_report(result):
    """The text of ``table.md``: a table of all volumes, one for each contrast, what was skipped, what was done."""
    return _report(result, _escape)


def terminal_report(result):
    """The text of `markdown_report` for a terminal: names and messages are shown as they are."""
    return _report(result, _one_line)


def _report(result, escape):
    lines = [f"# Reconstruction of {escape(result.dataset)}", "", *_markdown_list(facts(result), escape)]
    for heading, rows in groups(result.rows).items():
        table = markdown_table(HEADINGS, table_cells(rows, result.presets), escape)
        lines += ["", f"## {escape(heading)}", "", *table]
    if result.failures:
        lines += ["", f"## Skipped ({len(result.failures)})", ""]
        lines += [f"- {escape(failure.reason)}" for failure in result.failures]
    lines += ["", "## Methods", "", *_markdown_list(methods(), escape)]
    return "\n".join(lines) + "\n"


def _one_line(text):
    """File names and messages as plain text: no control characters, no line breaks."""
    return printable(" ".join(text.split()))


def _escape(text):
    """File names and messages as plain Markdown text: what `_one_line` gives without markup, HTML, column breaks."""
    return re.sub(r"([\\`*|\[\]])", r"\\\1", html.escape(_one_line(text), quote=False))


def markdown_table(headings, table, escape=_escape):
    """The lines of a Markdown table of `Cell`s; the first column is text, the others are numbers.

    Args:
        headings: of the columns.
        table: a list of `Cell`s for each row.
        escape: function that makes a text of the table out of a cell's.
    """
    rows = [[_markdown_cell(cell, escape) for cell in cells] for cells in table]
    rule = [":---", *["---:"] * (len(headings) - 1)]
    return [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]


def compare(rows, baseline):
    """What each model gains over another, volume by volume.

    Args:
        rows: of one or several evaluations of the same volumes.
        baseline: name of the model to compare with.

    Returns:
        For each other model a list of `Cell`s, one for each of `COMPARISON_HEADINGS`: the volumes that both have, and
        for PSNR (dB) and SSIM the mean difference, the number of volumes with a higher value, and the p-value of a
        two-sided Wilcoxon signed-rank test.

    Raises:
        ValueError: if the baseline has no rows, a model shares no volume with it, or a model has two results for a
            volume, so that the evaluations cannot have had the same sampling.
    """
    by_model = {}
    for row in rows:
        known = by_model.setdefault(row.model, {}).setdefault(row.volume, row)
        if abs(known.psnr - row.psnr) > 0.01:  # dB, which leaves room for another device's rounding
            raise ValueError(
                f"{row.model} has two results for {row.volume}: PSNR {known.psnr:.4f} and {row.psnr:.4f} dB. "
                "Only evaluations with the same sampling and crop can be compared."
            )
    if baseline not in by_model:
        raise ValueError(f"No rows of the baseline {baseline!r}; there are {', '.join(map(repr, by_model))}.")
    theirs, table = by_model.pop(baseline), []
    for model, ours in by_model.items():
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            raise ValueError(f"{model} and {baseline} have no volume in common.")
        cells = [Cell(model), Cell(str(len(common)))]
        for metric, style in (("psnr", "+.2f"), ("ssim", "+.4f")):
            gains = np.array([getattr(ours[name], metric) - getattr(theirs[name], metric) for name in common])
            p_value = stats.wilcoxon(gains).pvalue if gains.any() else 1.0
            deviation = _deviation(gains, style[1:])
            cells += [Cell(f"{gains.mean():{style}}", deviation), Cell(str(np.sum(gains > 0))), Cell(f"{p_value:.2g}")]
        table.append(cells)
    return table


def side_by_side(evaluations):
    """A table in the form of Tables 5.1 to 5.7 of the thesis: one pair of columns for each evaluation.

    The n-th models of all evaluations share a line: those of the thesis are one architecture, trained for the column.

    Args:
        evaluations: {heading: rows} of finished evaluations, see `mri_zoo.evaluation.harness.read_rows`.

    Returns:
        The headings, and a list of `Cell`s for each model; the best PSNR of a column is marked.

    Raises:
        ValueError: if the evaluations have different numbers of models.
    """
    headings, lines = ["Network"], {}
    for heading, rows in evaluations.items():
        headings += [f"{heading}, PSNR (dB) / SSIM", f"{heading}, runtime (s)"]
        by_model = {name: [row for row in rows if row.model == name] for name in dict.fromkeys(r.model for r in rows)}
        lines[heading] = zip(
            [Cell(name) for name in by_model],
            _column(by_model, "psnr", ".2f", max),
            _column(by_model, "ssim", ".4f", max),
            _column(by_model, "seconds", ".2f", min),
            strict=True,
        )
    table = []
    try:
        for cells in zip(*lines.values(), strict=True):
            names = dict.fromkeys(name.text for name, *_ in cells)
            table.append([Cell(", ".join(names))])
            for _, psnr, ssim, seconds in cells:
                table[-1] += [Cell(f"{psnr.text} / {ssim.text}", best=psnr.best), Cell(seconds.text)]
    except ValueError as error:
        counts = ", ".join(f"{len({row.model for row in rows})} in {name}" for name, rows in evaluations.items())
        raise ValueError(f"Evaluations side by side need the same number of models, got {counts}.") from error
    return headings, table


def _column(by_model, metric, style, better, competing=None):
    """The cells of one metric; `better` is max or min."""
    values = {name: np.array([getattr(row, metric) for row in rows]) for name, rows in by_model.items()}
    means = {name: value.mean() for name, value in values.items()}
    competing = list(by_model) if competing is None else competing
    # Equal as printed is equal.
    best = f"{better(means[name] for name in competing):{style}}" if len(competing) > 1 else None
    return [
        Cell(f"{means[name]:{style}}", _deviation(value, style), name in competing and f"{means[name]:{style}}" == best)
        for name, value in values.items()
    ]


def _deviation(values, style):
    return f"{np.std(values, ddof=1):{style}}" if len(values) > 1 else ""


def _range(values, style="d"):
    low, high = min(values), max(values)
    return f"{low:{style}}" if low == high else f"{low:{style}} to {high:{style}}"


def _markdown_list(pairs, escape):
    return [f"- {escape(term)}: {escape(text)}" for term, text in pairs]


def _markdown_cell(cell, escape):
    text = f"**{escape(cell.text)}**" if cell.best else escape(cell.text)
    return f"{text} ({cell.deviation})" if cell.deviation else text


def _hardware():
    devices = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    if keras.backend.backend() == "torch":
        return devices + (", GPU" if sys.modules["torch"].cuda.is_available() else "")
    accelerators = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    return ", ".join([devices, *accelerators])


def _versions():
    backend = keras.backend.backend()
    own, below = (sys.modules[name].__version__ for name in ("mri_zoo", backend))
    return f"mri_zoo {own}, Keras {keras.__version__}, {backend} {below}"
