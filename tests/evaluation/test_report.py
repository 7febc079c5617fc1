import html.parser
import re
from types import SimpleNamespace

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from mri_zoo.data.masks import RandomMask
from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.evaluation.harness import Evaluation, Example, Failure, Row
from mri_zoo.evaluation.report import write_figure, write_figures, write_report
from mri_zoo.metrics import psnr, ssim

NASTY = "<script>alert(1)</script>&\"'$x_1$.h5"


def make_example(rng, volume="scan.h5", size=(21, 34), masks=None):
    reference = rng.random(size).astype("float32")
    images = {"zero-filled": 0.5 * reference, "pdnet": reference + 0.1 * rng.random(size).astype("float32")}
    mask = np.zeros((1, 40), "float32")
    mask[:, ::4] = 1
    return Example(volume, "T1w", 4, 12, reference, images, masks or {"zero-filled": mask, "pdnet": mask})


def make_preset(name, **metadata):
    model = SimpleNamespace(count_params=lambda: 318280)
    return SimpleNamespace(name=name, model=model, scaling=ConstantScaling(), sampling=None, metadata=metadata)


def make_evaluation(rng, name="scan.h5", dataset="some data", **options):
    presets = [make_preset("zero-filled"), make_preset("pdnet", licence="MIT & more", limits="<none>", sha256="abc")]
    rows = [Row(name, "T1w", preset.name, 0.01, 33.3, 0.9, 1.5, 12, 4.0) for preset in presets]
    masks = {preset.name: RandomMask(4) for preset in presets}
    return Evaluation(dataset, presets, masks, rows, examples=[make_example(rng, name)], **options)


class Page(html.parser.HTMLParser):
    """Elements, addresses and text of a page; checks that elements are closed in order."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.addresses, self.text, self.open = [], [], "", []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset", "action")]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def drawn(monkeypatch, path, example):
    """The matplotlib figure of an example, {title's first line: axes} and the axes of the error maps."""
    figures, save = [], matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda *args, **kw: (figures.append(args[0]), save(*args, **kw))
    )
    write_figure(path, example)
    axes = [axis for axis in figures[0].axes if axis.images]
    titled = {axis.get_title().split("\n")[0]: axis for axis in axes if axis.get_title()}
    return figures[0], titled, [axis for axis in axes if not axis.get_title()]


def test_figure_shows_images_on_one_scale_and_errors_on_another(rng, tmp_path, monkeypatch):
    example = make_example(rng)
    figure, titled, errors = drawn(monkeypatch, tmp_path / "figure.png", example)
    assert list(titled) == ["Reference", "zero-filled", "pdnet", "Mask, acceleration 4.00"]
    for name, image in {"Reference": example.reference, **example.images}.items():
        np.testing.assert_array_equal(titled[name].images[0].get_array(), image)
        assert titled[name].images[0].get_clim() == titled["Reference"].images[0].get_clim()
    for axis, image in zip(errors, example.images.values(), strict=True):
        expected = 100 * np.abs(image - example.reference) / example.reference.max()
        np.testing.assert_allclose(axis.images[0].get_array(), expected, rtol=1e-6)
        assert axis.images[0].get_clim() == errors[0].images[0].get_clim()
    assert errors[0].images[0].get_clim()[0] == 0 < errors[0].images[0].get_clim()[1] <= 50
    target, image = example.reference[None], example.images["pdnet"][None]
    assert titled["pdnet"].get_title() == f"pdnet\n{psnr(target, image):.2f} dB, SSIM {ssim(target, image):.3f}"
    assert figure.get_suptitle() == "scan.h5, slice 5 of 12, T1w"
    assert matplotlib.image.imread(tmp_path / "figure.png").ndim == 3
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_cells_of_a_figure_keep_the_shape_of_the_image_and_do_not_overlap(rng, tmp_path, monkeypatch):
    figure, _, _ = drawn(monkeypatch, tmp_path / "figure.png", make_example(rng, size=(21, 34)))
    width, height = figure.get_size_inches()
    inches = [axis.get_position().extents * (width, height, width, height) for axis in figure.axes]
    for x0, y0, x1, y1 in inches[:4]:
        np.testing.assert_allclose((y1 - y0) / (x1 - x0), 21 / 34, rtol=1e-6)
    for i, a in enumerate(inches):
        assert 0 <= a[0] < a[2] <= width and 0 <= a[1] < a[3] <= height
        for b in inches[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_different_masks_are_all_shown(rng, tmp_path, monkeypatch):
    masks = {"zero-filled": np.ones((1, 40), "float32"), "pdnet": np.eye(40, dtype="float32")}
    _, titled, errors = drawn(monkeypatch, tmp_path / "figure.png", make_example(rng, masks=masks))
    assert "Mask, acceleration 1.00" in titled and "Mask, acceleration 40.00" in titled and len(errors) == 2


def test_names_in_figures_are_not_mathematics(rng, tmp_path):
    example = make_example(rng, volume="$\\frac{$.h5")  # a syntax error to a mathematical typesetter
    assert write_figure(tmp_path / "figure.png", example).stat().st_size > 0


def test_report_is_one_file_with_everything_in_it(rng, tmp_path):
    results = [make_evaluation(rng, dataset="one coil"), make_evaluation(rng, "other.h5", dataset="eight coils")]
    figures = [figure for i, result in enumerate(results) for figure in write_figures(_folder(tmp_path, i), result)]
    page = Page(write_report(tmp_path / "report.html", results, figures))
    assert page.tags.count("img") == 2 and page.tags.count("script") == 0 and page.tags.count("link") == 0
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", (tmp_path / "report.html").read_text())
    for text in (
        "one coil",
        "eight coils",
        "other.h5",
        "33.30",
        "318,280",
        "MIT & more",
        "<none>",
        "RandomMask(acceleration=4",
    ):
        assert text in page.text
    assert "clinical use" in page.text and "abc" not in page.text
    assert page.text.count("Licence") == 1  # a model of both evaluations is described once
    assert not list(tmp_path.glob("*.part"))


def test_names_from_files_are_plain_text_in_the_report(rng, tmp_path):
    result = make_evaluation(rng, NASTY, dataset=NASTY, failures=[Failure(NASTY, f"{NASTY}: <b>bad</b>")])
    result.presets[1].name = NASTY
    result.samplings[NASTY] = result.samplings.pop("pdnet")
    for volume, contrast in ((NASTY, NASTY), ("other.h5", "T1w")):
        result.rows += [Row(volume, contrast, name, 0.01, 33.3, 0.9, 1.5, 12, 4.0) for name in ("zero-filled", NASTY)]
    del result.rows[:2]
    page = Page(write_report(tmp_path / "report.html", [result], write_figures(tmp_path, result)))
    assert "script" not in page.tags
    # Data set, group heading, volumes (2) with contrast and model, skipped, caption, tables, model card.
    assert page.text.count(NASTY) >= 9 and f"{NASTY}: <b>bad</b>" in page.text


def test_report_without_figures_and_results(rng, tmp_path):
    result = make_evaluation(rng, failures=[Failure("x.h5", "x.h5: truncated")])
    page = Page(write_report(tmp_path / "report.html", [result]))
    assert "img" not in page.tags and "x.h5: truncated" in page.text
    result.rows.clear()
    result.examples.clear()
    page = Page(write_report(tmp_path / "report.html", [result], []))
    assert "x.h5: truncated" in page.text and "Each volume" not in page.text


def test_figures_must_fit_the_examples(rng, tmp_path):
    with pytest.raises(ValueError, match="each of 1 examples, got 2"):
        write_report(tmp_path / "report.html", [make_evaluation(rng)], ["a.png", "b.png"])


def _folder(path, number):
    folder = path / str(number)
    folder.mkdir()
    return folder
