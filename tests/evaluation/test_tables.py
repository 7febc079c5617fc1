import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy import stats

from mri_zoo.data.masks import EquispacedMask, RandomMask
from mri_zoo.evaluation.harness import Evaluation, Failure, Row
from mri_zoo.evaluation.tables import (
    COMPARISON_HEADINGS,
    HEADINGS,
    compare,
    facts,
    groups,
    markdown_report,
    side_by_side,
    table_cells,
    terminal_report,
)


def preset(name, parameters):
    return SimpleNamespace(name=name, model=SimpleNamespace(count_params=lambda: parameters))


def row(volume, model, psnr, ssim=0.9, nmse=0.01, seconds=1.0, contrast="T1w", num_slices=24, acceleration=4.0):
    return Row(volume, contrast, model, nmse, psnr, ssim, seconds, num_slices, acceleration)


PRESETS = [preset("zero-filled", 0), preset("slow", 1234567), preset("fast", 481801)]
ROWS = [
    row("a", "zero-filled", 28, 0.70, 0.10, 0.1),
    row("b", "zero-filled", 31, 0.80, 0.20, 0.1, "T2w", 30, 4.5),
    row("a", "slow", 34.001, 0.9000, 0.02, 8.0),
    row("b", "slow", 36, 0.9400, 0.04, 10.0, "T2w", 30, 4.5),
    row("a", "fast", 34, 0.9100, 0.02, 2.0),
    row("b", "fast", 36, 0.9200, 0.03, 4.0, "T2w", 30, 4.5),
]


def texts(cells):
    return [f"{'*' * cell.best}{cell.text}|{cell.deviation}" for cell in cells]


def test_table_has_means_sample_deviations_and_the_best():
    zero_filled, slow, fast = map(texts, table_cells(ROWS, PRESETS))
    assert zero_filled == ["zero-filled|", "29.50|2.12", "0.7500|0.0707", "0.1500|0.0707", "0|", "0.10|"]
    # 35.0005 dB is printed as 35.00 dB: a draw.
    assert slow == ["slow|", "*35.00|1.41", "*0.9200|0.0283", "0.0300|0.0141", "1,234,567|", "9.00|"]
    assert fast == ["fast|", "*35.00|1.41", "0.9150|0.0071", "*0.0250|0.0071", "481,801|", "*3.00|"]
    assert len(HEADINGS) == len(fast)


def test_one_model_is_not_the_best_and_one_volume_has_no_deviation():
    (cells,) = table_cells([row("a", "slow", 34)], PRESETS[1:2])
    assert texts(cells) == ["slow|", "34.00|", "0.9000|", "0.0100|", "1,234,567|", "1.00|"]


def test_contrasts_have_their_own_tables():
    assert {name: [r.volume for r in rows] for name, rows in groups(ROWS).items()} == {
        "All volumes (2)": ["a", "b"] * 3,
        "T1w (1)": ["a"] * 3,
        "T2w (1)": ["b"] * 3,
    }
    assert list(groups(ROWS[::2])) == ["All volumes (1)"]
    assert groups([]) == {}


def make_evaluation(**options):
    mask = RandomMask(4)
    fields = {"dataset": "test", "presets": PRESETS, "samplings": {p.name: mask for p in PRESETS}, "rows": ROWS}
    return Evaluation(**fields | options)


def test_report_is_in_the_form_of_the_thesis():
    report = markdown_report(make_evaluation())
    lines = report.splitlines()
    assert lines[0] == "# Reconstruction of test"
    assert "| Network | PSNR-mean (std) (dB) | SSIM-mean (std) | NMSE-mean (std) | #params | Runtime (s) |" in lines
    assert "| slow | **35.00** (1.41) | **0.9200** (0.0283) | 0.0300 (0.0141) | 1,234,567 | 9.00 |" in lines
    assert "| fast | **36.00** | 0.9200 | **0.0300** | 481,801 | **4.00** |" in lines
    assert [line for line in lines if line.startswith("## ")] == [
        "## All volumes (2)", "## T1w (1)", "## T2w (1)", "## Methods"
    ]  # fmt: skip
    assert f"Keras {keras.__version__}" in report and "Skipped" not in report


def test_facts_tell_volumes_and_sampling():
    found = dict(facts(make_evaluation(failures=[Failure("c", "c: why")])))
    assert found["Volumes"] == "2, of 24 to 30 slices; 1 skipped"
    assert repr(RandomMask(4)) in found["Sampling"]
    assert "seeded by the volume's file name; effective acceleration 4.25 (4.00 to 4.50)" in found["Sampling"]
    rows = [row("a", "fast", 30, num_slices=1), row("b", "fast", 31, num_slices=1)]
    for measured, start, part in [(1, "RandomMask(", "1 of 2 volumes keep their own"), (2, "each volume's own;", "")]:
        mixed = [dataclasses.replace(row, as_measured=i < measured) for i, row in enumerate(rows)]
        found = dict(facts(make_evaluation(rows=mixed, samplings={"fast": RandomMask(4)})))
        assert found["Volumes"] == "2, of 1 slice; 0 skipped"
        assert found["Sampling"].startswith(start) and part in found["Sampling"]
    masks = {"zero-filled": RandomMask(4), "slow": EquispacedMask(4), "fast": RandomMask(4)}
    found = dict(facts(make_evaluation(samplings=masks)))
    assert repr(masks["slow"]) in found["Sampling for slow"]
    assert repr(masks["fast"]) in found["Sampling for zero-filled, fast"]


def test_names_from_files_are_plain_text_in_markdown():
    rows = [row("v", "a|b*", 30, contrast="<script>x"), row("w", "a|b*", 30, contrast="`[T1](w)")]
    failures = [Failure("v", "v: two\nlines | <b>")]
    report = markdown_report(make_evaluation(presets=[preset("a|b*", 1)], samplings={}, rows=rows, failures=failures))
    assert "| a\\|b\\* | 30.00" in report
    assert "## &lt;script&gt;x (1)" in report and "## \\`\\[T1\\](w) (1)" in report
    assert "- v: two lines \\| &lt;b&gt;" in report
    assert "<" not in report


def test_comparison_is_paired():
    psnr, gains = np.array([30.0, 31.5, 28, 33, 35]), np.array([1.5, 0.5, -0.25, 2, 1])
    rows = [row(str(i), "base", value, 0.8) for i, value in enumerate(psnr)]
    rows += [row(str(i), "new", value, 0.8) for i, value in enumerate(psnr + gains)]
    rows += [row("elsewhere", "new", 99, 0.99)]
    (cells,) = compare(rows + rows[:1], "base")
    expected = ["new|", "5|", "+0.95|0.87", "4|", f"{stats.wilcoxon(gains).pvalue:.2g}|", "+0.0000|0.0000", "0|", "1|"]
    assert texts(cells) == expected and len(COMPARISON_HEADINGS) == len(expected)


def test_what_cannot_be_compared_is_refused():
    rows = [row("a", "base", 30), row("a", "new", 31)]
    with pytest.raises(ValueError, match="baseline 'other'; there are 'base', 'new'"):
        compare(rows, "other")
    with pytest.raises(ValueError, match="new and base have no volume in common"):
        compare([rows[0], row("b", "new", 31)], "base")
    with pytest.raises(ValueError, match="base has two results for a: PSNR 30.0000 and 29.9000 dB"):
        compare([*rows, row("a", "base", 29.9)], "base")
    assert compare([*rows, row("a", "base", 30.001)], "base")


def test_evaluations_stand_side_by_side():
    spiral = [row(r.volume, r.model.replace("slow", "slower"), r.psnr + 1, r.ssim, seconds=2.0) for r in ROWS]
    headings, table = side_by_side({"Radial": ROWS, "Spiral": spiral})
    assert headings[1:] == [
        f"{t}, {what}" for t in ("Radial", "Spiral") for what in ("PSNR (dB) / SSIM", "runtime (s)")
    ]
    zero_filled, slow, fast = map(texts, table)
    assert zero_filled == ["zero-filled|", "29.50 / 0.7500|", "0.10|", "30.50 / 0.7500|", "2.00|"]
    assert slow == ["slow, slower|", "*35.00 / 0.9200|", "9.00|", "*36.00 / 0.9200|", "2.00|"]
    assert fast[:2] == ["fast|", "*35.00 / 0.9150|"]
    with pytest.raises(ValueError, match="the same number of models, got 3 in Radial, 1 in Spiral"):
        side_by_side({"Radial": ROWS, "Spiral": ROWS[:2]})


def test_the_terminal_shows_names_as_they_are():
    rows = [row("v", "a|b*", 30, contrast="x"), row("w", "a|b*", 30, contrast="[T1w]")]
    result = make_evaluation(
        presets=[preset("a|b*", 1)], samplings={}, rows=rows, failures=[Failure("v", "v: 3 -> 4\n\x1b[2J & <b>")]
    )
    text, table = terminal_report(result), markdown_report(result)
    assert "- v: 3 -> 4 \\x1b[2J & <b>\n" in text and "## [T1w] (1)\n" in text and "| a|b* | 30.00" in text
    assert "- v: 3 -&gt; 4 \\\\x1b\\[2J &amp; &lt;b&gt;\n" in table
    assert text.splitlines()[-1] == table.splitlines()[-1]
