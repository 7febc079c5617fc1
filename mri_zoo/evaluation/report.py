"""An evaluation in pictures: figures of single slices, and one HTML page that holds everything."""

import base64
import datetime
import html
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mri_zoo.data.noncartesian import Encoding
from mri_zoo.data.sampling import effective_acceleration
from mri_zoo.data.volume import printable
from mri_zoo.evaluation.tables import HEADINGS, facts, groups, methods, table_cells
from mri_zoo.metrics import psnr, ssim
from mri_zoo.storage import replacing

# What a preset's metadata tells the reader of a report, in this order.
_CARD = {
    "summary": "Summary",
    "data": "Training data",
    "training": "Training",
    "licence": "Licence",
    "limits": "Limits",
}
_MANY_ROWS = 40


def write_report(path, results, figures=()):
    """Write evaluations as one HTML file that needs nothing else: no script, no network, figures inside.

    Args:
        path: of the HTML file.
        results: list of `Evaluation`s.
        figures: paths of PNG files for the examples of all of them in turn, as `write_figures` returns them.

    Returns:
        The path.

    Raises:
        ValueError: if there are figures, but not as many as examples.
    """
    path, examples = Path(path), [example for result in results for example in result.examples]
    if figures and len(figures) != len(examples):
        raise ValueError(f"Expected a figure for each of {len(examples)} examples, got {len(figures)}.")
    files = iter(figures)
    models = {preset.name: _model_card(preset) for result in results for preset in result.presets}
    page = _PAGE.format(
        style=_STYLE,
        date=datetime.date.today().isoformat(),
        results="\n".join(_section(result, files) for result in results),
        models="\n".join(models.values()),
        methods=_definitions(methods()),
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    return path


def write_figures(folder, result):
    """Write a figure for each of an evaluation's examples, ``figure-1.png`` and so on, and return their paths.

    Figures that an earlier evaluation left in the folder are removed.
    """
    for path in Path(folder).glob("figure-*.png"):
        path.unlink()
    return [
        write_figure(Path(folder) / f"figure-{number}.png", example)
        for number, example in enumerate(result.examples, 1)
    ]


def write_figure(path, example):
    """Draw one slice: the reference and each model's image, below them the sampling and the errors on one scale.

    All images share one grey scale, and all errors, which are in per cent of the reference's maximum, share another.
    PSNR and SSIM are of this slice alone. Where models had different samplings, a third row shows them.

    Args:
        path: of the file; its extension is the format, for example ``.png``.
        example: an `Example` of the harness.

    Returns:
        The path.
    """
    path, reference, names = Path(path), example.reference, list(example.images)
    errors = {name: 100 * np.abs(image - reference) / reference.max() for name, image in example.images.items()}
    samplings = list(example.sampled.values())
    one = all(np.array_equal(_positions(sampled), _positions(samplings[0])) for sampled in samplings)
    canvas = _Canvas(2 if one else 3, 1 + len(names), reference.shape, title=_caption(example))

    grey = {"cmap": "gray", "vmin": 0, "vmax": np.percentile(reference, 99.8) or None}
    canvas.show(0, 0, reference, "Reference", **grey)
    # Half a per cent of the pixels may exceed the scale, so that a few bright ones do not hide the structure.
    hot = {"cmap": "inferno", "vmin": 0, "vmax": np.percentile(list(errors.values()), 99.5) or None}
    for column, name in enumerate(names, 1):
        image = example.images[name]
        quality = f"{psnr(reference[None], image[None]):.2f} dB, SSIM {ssim(reference[None], image[None]):.3f}"
        canvas.show(0, column, image, f"{printable(name)}\n{quality}", **grey)
        drawn = canvas.show(1, column, errors[name], **hot)
    canvas.add_scale(1, 1 + len(names), drawn, "|error| (% of maximum)")
    for column, sampled in [(0, samplings[0])] if one else enumerate(samplings, 1):
        title = f"acceleration {effective_acceleration(sampled):.2f}"
        if isinstance(sampled, Encoding):
            canvas.scatter(1 if one else 2, column, sampled.trajectory, f"Trajectory, {title}")
        else:
            binary = {"cmap": "gray", "vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "nearest"}
            canvas.show(1 if one else 2, column, sampled, f"Mask, {title}", **binary)
    with replacing(path) as part:
        canvas.figure.savefig(part, format=path.suffix[1:] or "png", dpi=150, facecolor="black")
    return path


class _Canvas:
    """A black page of equal cells for images of one shape, measured in inches; matplotlib's own layouts are slow."""

    cell, gap, heading, scale = 2.5, 0.1, 0.42, 0.75  # width of a cell, between cells, above a cell, right of a row

    def __init__(self, num_rows, num_columns, shape, title):
        self.height = self.cell * shape[0] / shape[1]
        self.size = (
            num_columns * (self.cell + self.gap) + self.gap + self.scale,
            num_rows * (self.height + self.heading) + 2 * self.gap + self.heading / 2,
        )
        self.figure = Figure(figsize=self.size)
        top = 1 - self.gap / self.size[1]
        self.figure.suptitle(title, y=top, va="top", color="white", fontsize=10, parse_math=False)

    def axes(self, row, column, width=None):
        """Axes of a cell, or of its left `width` inches."""
        left = self.gap + column * (self.cell + self.gap)
        bottom = self.size[1] - self.gap - self.heading / 2 - (row + 1) * (self.height + self.heading)
        inches = left, bottom, width or self.cell, self.height
        return self.figure.add_axes([length / self.size[i % 2] for i, length in enumerate(inches)])

    def show(self, row, column, image, title="", **options):
        axes = self.axes(row, column)
        axes.set_axis_off()
        axes.set_title(title, color="white", fontsize=9, pad=4, parse_math=False)
        return axes.imshow(image, **options)

    def scatter(self, row, column, trajectory, title):
        """The samples on the plane of the last two axes."""
        axes = self.axes(row, column)
        axes.set_facecolor("black")
        axes.set_title(title, color="white", fontsize=9, pad=4, parse_math=False)
        axes.plot(trajectory[:, -1], trajectory[:, -2], ",", color="white", alpha=min(1, 2e4 / len(trajectory)))
        axes.set(xlim=(-np.pi, np.pi), ylim=(np.pi, -np.pi), xticks=[], yticks=[], rasterized=True)

    def add_scale(self, row, column, drawn, label):
        axes = self.axes(row, column, width=self.gap)
        bar = self.figure.colorbar(drawn, cax=axes, extend="max")
        bar.set_label(label, color="white", fontsize=8)
        axes.tick_params(colors="white", labelsize=8)


def _text(text):
    """Names and messages as text of HTML, without control characters."""
    return html.escape(printable(text))


def _positions(sampled):
    """The array that tells a mask or an `Encoding` from others."""
    return sampled.trajectory if isinstance(sampled, Encoding) else sampled


def _caption(example):
    return printable(f"{example.volume}, slice {example.slice + 1} of {example.num_slices}, {example.contrast}")


def _section(result, files):
    """Everything about one evaluation; takes its figures from the iterator `files`, if there are any."""
    parts = [f"<h2>{_text(result.dataset)}</h2>", _definitions(facts(result))]
    for heading, rows in groups(result.rows).items():
        parts += [f"<h3>{_text(heading)}</h3>", _quality_table(rows, result.presets)]
    parts += [_figure(example, file) for example, file in zip(result.examples, files, strict=False)]
    if result.rows:
        parts += ["<h3>Each volume</h3>", _volume_table(result.rows)]
    if result.failures:
        parts += [f"<h3>Skipped volumes ({len(result.failures)})</h3>", _failure_list(result.failures)]
    return "\n".join(parts)


def _quality_table(rows, presets):
    return _table(HEADINGS, [[_cell(cell) for cell in cells] for cells in table_cells(rows, presets)])


def _cell(cell):
    text = _text(cell.text)
    text = f"<strong>{text}</strong>" if cell.best else text
    return f'{text} <span class="deviation">({cell.deviation})</span>' if cell.deviation else text


def _volume_table(rows):
    headings = ("Volume", "Contrast", "Network", "PSNR (dB)", "SSIM", "NMSE", "Acceleration", "Slices", "Runtime (s)")
    body = [
        [
            *map(_text, (row.volume, row.contrast, row.model)),
            *(f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.nmse:.4f}", f"{row.acceleration:.2f}"),
            *(str(row.num_slices), f"{row.seconds:.2f}"),
        ]
        for row in rows
    ]
    opened = " open" if len(rows) <= _MANY_ROWS else ""
    return f"<details{opened}><summary>{len(rows)} results</summary>{_table(headings, body, num_texts=3)}</details>"


def _table(headings, rows, num_texts=1):
    """A table of HTML texts, the first `num_texts` columns aligned to the left."""

    def line(tag, cells):
        kinds = ["text"] * num_texts + ["number"] * (len(headings) - num_texts)
        return "".join(f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{line('th', headings)}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def _figure(example, file):
    data = base64.b64encode(Path(file).read_bytes()).decode()
    caption = _text(_caption(example))
    return f"""<figure>
<img alt="{caption}" src="data:image/png;base64,{data}">
<figcaption><b>{caption}.</b> Top: magnitudes on one grey scale. Below: the sampling, and absolute errors on one
scale. PSNR and SSIM are of this slice.</figcaption>
</figure>"""


def _failure_list(failures):
    items = (f"<li>{_text(failure.reason)}</li>" for failure in failures)
    return f'<ul class="failures">{"".join(items)}</ul>'


def _definitions(pairs):
    items = (f"<dt>{_text(term)}</dt><dd>{_text(text)}</dd>" for term, text in pairs)
    return f"<dl>{''.join(items)}</dl>"


def _model_card(preset):
    pairs = [("Network", f"{type(preset.model).__name__}, {preset.model.count_params():,} parameters")]
    pairs += [("Scaling", preset.scaling), ("Own sampling", preset.sampling or "none")]
    pairs += [(title, preset.metadata[key]) for key, title in _CARD.items() if preset.metadata.get(key)]
    return f"<h3><code>{_text(preset.name)}</code></h3>{_definitions(pairs)}"


_STYLE = """
:root { color-scheme: light dark; --text: #1d232b; --soft: #5b6673; --line: #d8dee5; --page: #fff; --mark: #a83232; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ec; --soft: #97a3b0; --line: #333c47; --page: #14181d; --mark: #ef8c82; }
}
body { margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 68rem; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.4rem; margin: 3rem 0 1rem; }
h3 { font-size: 1.05rem; margin: 2.25rem 0 .6rem; }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-weight: 600; }
h2, h3, td, dd, li { overflow-wrap: anywhere; }
header p, figcaption, summary, footer { color: var(--soft); }
header p { margin: .35rem 0 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; }
.text { text-align: left; min-width: 7rem; }
.number { text-align: right; white-space: nowrap; }
.deviation { color: var(--soft); }
figure { margin: 2.25rem 0 0; }
img { display: block; box-sizing: border-box; width: 100%; height: auto; background: #000; border-radius: 8px; }
figcaption { font-size: .9rem; margin-top: .6rem; }
summary { cursor: pointer; margin-bottom: .4rem; }
dl { display: grid; grid-template-columns: minmax(7rem, 10rem) 1fr; gap: .35rem 1.25rem; margin: 0; font-size: .94rem; }
dt { color: var(--soft); }
dd { margin: 0; }
.failures { color: var(--mark); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .9rem; }
@media (max-width: 36rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { body { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MRI reconstruction report</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>MRI reconstruction report</h1>
<p>Reconstructed and judged with mri_zoo, {date}. For research only, not for clinical use.</p>
</header>
{results}
<h2>Models</h2>
{models}
<h2>Methods</h2>
{methods}
<footer>Not for clinical use: nothing here was validated for diagnosis. Learned reconstructions can remove or invent
structures, also where PSNR and SSIM are high.</footer>
</body>
</html>
"""
