"""An evaluation in pictures: figures of single slices, and one HTML page that holds everything."""

import base64
import datetime
import html
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mri_zoo.data.sampling import effective_acceleration
from mri_zoo.evaluation.harness import replacing
from mri_zoo.evaluation.tables import HEADINGS, facts, groups, methods, table_cells
from mri_zoo.metrics import psnr, ssim

# What a preset's metadata tells the reader of a report, in this order.
_CARD = {
    "summary": "Summary",
    "data": "Training data",
    "training": "Training",
    "licence": "Licence",
    "limits": "Limits",
}
_MANY_ROWS = 40


def write_report(path, result, figures=()):
    """Write an `Evaluation` as one HTML file that needs nothing else: no script, no network, figures inside.

    Args:
        path: of the HTML file.
        result: the `Evaluation`.
        figures: paths of PNG files, one for each of ``result.examples``, as `write_figures` returns them.

    Returns:
        The path.
    """
    path = Path(path)
    sections = [
        _definitions(facts(result)),
        *(_section(heading, _quality_table(rows, result.presets)) for heading, rows in groups(result.rows).items()),
        *(_figure(example, file) for example, file in zip(result.examples, figures, strict=bool(figures))),
        _section("Each volume", _volume_table(result.rows)) if result.rows else "",
        _section(f"Skipped volumes ({len(result.failures)})", _failure_list(result.failures))
        if result.failures
        else "",
        _section("Models", "".join(map(_model_card, result.presets))),
        _section("Methods", _definitions(methods())),
    ]
    page = _PAGE.format(
        title=html.escape(f"Reconstruction of {result.dataset}"),
        style=_STYLE,
        date=datetime.date.today().isoformat(),
        sections="\n".join(filter(None, sections)),
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    return path


def write_figures(folder, result):
    """Write a figure for each of an evaluation's examples, ``figure-1.png`` and so on, and return their paths."""
    return [
        write_figure(Path(folder) / f"figure-{number}.png", example)
        for number, example in enumerate(result.examples, 1)
    ]


def write_figure(path, example):
    """Draw one slice: the reference and each model's image, below them the mask and the errors on one scale.

    All images share one grey scale, and all errors, which are in per cent of the reference's maximum, share another.
    PSNR and SSIM are of this slice alone. Where models had different masks, a third row shows them.

    Args:
        path: of the file; its extension is the format, for example ``.png``.
        example: an `Example` of the harness.

    Returns:
        The path.
    """
    path, reference, names = Path(path), example.reference, list(example.images)
    errors = {name: 100 * np.abs(image - reference) / reference.max() for name, image in example.images.items()}
    masks = list(example.masks.values())
    one_mask = all(np.array_equal(mask, masks[0]) for mask in masks)
    shape = (2 if one_mask else 3, 1 + len(names))
    aspect = reference.shape[0] / reference.shape[1]
    size = (2.5 * shape[1] + 0.6, (2.5 * aspect + 0.35) * shape[0] + 0.6)
    figure = Figure(figsize=size, layout="compressed", facecolor="black")
    figure.suptitle(_caption(example), color="white", fontsize=10, parse_math=False)
    axes = figure.subplots(*shape, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for axis in axes.flat:
        axis.set_axis_off()

    grey = {"cmap": "gray", "vmin": 0, "vmax": np.percentile(reference, 99.8) or None}
    _show(axes[0, 0], reference, "Reference", **grey)
    # Half a per cent of the pixels may exceed the scale, so that a few bright ones do not hide the structure.
    hot = {"cmap": "inferno", "vmin": 0, "vmax": np.percentile(list(errors.values()), 99.5) or None}
    for column, name in enumerate(names, 1):
        image = example.images[name]
        quality = f"{psnr(reference[None], image[None]):.2f} dB, SSIM {ssim(reference[None], image[None]):.3f}"
        _show(axes[0, column], image, f"{name}\n{quality}", **grey)
        drawn = _show(axes[1, column], errors[name], "", **hot)
    bar = figure.colorbar(drawn, ax=axes[1].tolist(), extend="max", fraction=0.05, pad=0.01)
    bar.set_label("|error| (% of maximum)", color="white", fontsize=8)
    bar.ax.tick_params(colors="white", labelsize=8)
    shown = [(axes[1, 0], masks[0])] if one_mask else zip(axes[2, 1:], masks, strict=True)
    for axis, mask in shown:
        axis.set_box_aspect(aspect)
        _show(
            axis, mask, f"Mask, acceleration {effective_acceleration(mask):.2f}", "nearest", cmap="gray", aspect="auto"
        )
    with replacing(path) as part:
        figure.savefig(part, format=path.suffix[1:] or "png", dpi=150, bbox_inches="tight", pad_inches=0.1)
    return path


def _show(axis, image, title, interpolation=None, **options):
    axis.set_title(title, color="white", fontsize=9, parse_math=False)
    return axis.imshow(image, interpolation=interpolation, **options)


def _caption(example):
    return f"{example.volume}, slice {example.slice + 1} of {example.num_slices}, {example.contrast}"


def _section(heading, body):
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{body}\n</section>"


def _quality_table(rows, presets):
    return _table(HEADINGS, [[_cell(cell) for cell in cells] for cells in table_cells(rows, presets)])


def _cell(cell):
    text = html.escape(cell.text)
    text = f"<strong>{text}</strong>" if cell.best else text
    return f'{text} <span class="deviation">({cell.deviation})</span>' if cell.deviation else text


def _volume_table(rows):
    headings = ("Volume", "Contrast", "Network", "PSNR (dB)", "SSIM", "NMSE", "Acceleration", "Slices", "Runtime (s)")
    body = [
        [
            *map(html.escape, (row.volume, row.contrast, row.model)),
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
    caption = html.escape(_caption(example))
    return f"""<figure>
<img alt="{caption}" src="data:image/png;base64,{data}">
<figcaption><b>{caption}.</b> Top: magnitudes on one grey scale. Below: the sampling mask, and absolute errors on one
scale. PSNR and SSIM are of this slice.</figcaption>
</figure>"""


def _failure_list(failures):
    items = (f"<li>{html.escape(failure.reason)}</li>" for failure in failures)
    return f'<ul class="failures">{"".join(items)}</ul>'


def _definitions(pairs):
    items = (f"<dt>{html.escape(term)}</dt><dd>{html.escape(str(text))}</dd>" for term, text in pairs)
    return f"<dl>{''.join(items)}</dl>"


def _model_card(preset):
    pairs = [("Network", f"{type(preset.model).__name__}, {preset.model.count_params():,} parameters")]
    pairs += [("Scaling", preset.scaling), ("Trained with", preset.mask or "no sampling of its own")]
    pairs += [(title, preset.metadata[key]) for key, title in _CARD.items() if preset.metadata.get(key)]
    return f"<h3>{html.escape(preset.name)}</h3>{_definitions(pairs)}"


_STYLE = """
:root { color-scheme: light dark; --text: #1d232b; --soft: #5b6673; --line: #d8dee5; --page: #fff; --mark: #a83232; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ec; --soft: #97a3b0; --line: #333c47; --page: #14181d; --mark: #ef8c82; }
}
body { margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 68rem; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; font-family: ui-monospace, Menlo, Consolas, monospace; }
h1, h2, h3, td, dd, li { overflow-wrap: anywhere; }
header p, figcaption, summary, footer { color: var(--soft); }
header p { margin: .35rem 0 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; }
.text { text-align: left; }
.number { text-align: right; white-space: nowrap; }
.deviation { color: var(--soft); }
figure { margin: 2.75rem 0 0; }
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
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>Reconstructed and judged with mri_zoo, {date}. For research only, not for clinical use.</p>
</header>
{sections}
<footer>Not for clinical use: nothing here was validated for diagnosis. Learned reconstructions can remove or invent
structures, also where PSNR and SSIM are high.</footer>
</body>
</html>
"""
