"""The documentation holds what it shows: commands parse, links lead somewhere, examples run."""

import inspect
import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer.main

import mri_zoo.models
from mri_zoo.cli import app
from mri_zoo.presets.importers import SOURCES
from mri_zoo.presets.registry import presets_table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))


def blocks(page, language):
    """The code blocks of a page that are marked with a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """The arguments of every `mri-zoo` command in the shell blocks of a page."""
    lines = [part for block in blocks(page, "bash") for line in block.splitlines() for part in line.split(" && ")]
    words = [shlex.split(line) for line in lines]
    return [arguments for program, *arguments in filter(None, words) if program == "mri-zoo"]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_parse(page):
    group = typer.main.get_command(app)
    for name, *arguments in commands(page):
        assert name in group.commands
        group.commands[name].make_context(name, list(arguments))  # raises on unknown options and wrong values


def test_every_command_is_shown():
    shown = {name for page in PAGES for name, *_ in commands(page)}
    assert shown == set(typer.main.get_command(app).commands)


def test_table_of_presets_is_that_of_their_cards():
    text = (ROOT / "README.md").read_text()
    assert text.partition("<!-- presets:begin -->\n")[2].partition("\n<!-- presets:end -->")[0] == presets_table()


def test_table_of_models_has_all_with_their_numbers_and_importers():
    """A number of parameters is that of the docstring of its class."""
    lines = (ROOT / "docs" / "models.md").read_text().splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    names = [row[0].strip(" `") for row in rows]
    assert sorted(names) == sorted(set(mri_zoo.models.__all__) - {"ReconstructionModel"})
    for name, row in zip(names, rows, strict=True):
        for number in re.findall(r"\d+(?:,\d{3})+", row[3]):
            assert number in getattr(mri_zoo.models, name).__doc__, (name, number)
    listed = set()
    for name, row in zip(names, rows, strict=True):
        for part in row[4].split(";") if name != "DataConsistent" else ():
            source, _, architectures = part.partition(":")
            listed |= {
                (source.strip(), architecture.strip()) for architecture in architectures.split(",") if source.strip()
            }
    assert listed == {(source, name) for source, architectures in SOURCES.items() for name in architectures}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


@pytest.mark.parametrize("exit_code", [0, 3])
def test_ci_runs_the_test_command_of_the_readme(tmp_path, exit_code):
    """With programs in place of Python, pip and pytest that only tell how they were called."""
    (command,) = [line for line in (ROOT / "README.md").read_text().splitlines() if "&& pytest" in line]
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    scripts = {"python3": 'mkdir -p "$3/bin"; echo "echo activate >> $LOG" > "$3/bin/activate"', "pip": ""}
    for name, body in {**scripts, "pytest": f"exit {exit_code}"}.items():
        (programs / name).write_text(f'#!/usr/bin/env bash\necho {name} "$@" >> "$LOG"\n{body}\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(log), "TMPDIR": str(tmp_path)}
    assert subprocess.run([ROOT / ".ci" / "run"], cwd=tmp_path, env=environment).returncode == exit_code

    found = log.read_text().splitlines()
    environment_folder = found[0].split()[-1]
    assert environment_folder.startswith(str(tmp_path)) and not Path(environment_folder).parent.exists()
    expected = command.replace(".venv", environment_folder).replace('"', "").split(" && ")
    assert found == [line.replace(f". {environment_folder}/bin/activate", "activate") for line in expected]


def test_examples_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks("README.md", "python"):
        if "model.fit(" in block:  # a small one: TensorFlow takes half a minute for the gradient of the large one
            namespace["model"] = mri_zoo.models.PDNet(num_iterations=2, num_filters=4)
        exec(block, namespace)
    assert (
        namespace["model"].optimizer.iterations == 8
        and namespace["images"].shape == (4, 96, 128)
        and namespace["images"].dtype == "complex64"
    )
    zero_filled, unet = namespace["result"].rows
    assert unet.psnr > zero_filled.psnr
    assert Path("results/table.md").exists()


def test_examples_of_the_data_page_run(rng, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure, pipeline, scan = blocks("docs/data.md", "python")
    exec(figure, {})
    assert Path("radial.png").stat().st_size > 10_000
    exec(pipeline, {})
    assert set(capsys.readouterr().out.splitlines()) == {
        f"(1, 1, {height}, 48) (1, 1, 1, 48) (1, {height}, 48)" for height in (48, 64)
    }
    namespace = {}
    exec(scan, namespace)
    kspace = rng.standard_normal((3, 2, 5, 4)).astype("complex64")
    volume = namespace["ArrayScan"]("scan", kspace).read([2])
    assert volume.slices == (2,) and (volume.kspace == kspace[[2]]).all()
    assert (volume.info.num_slices, volume.info.num_coils, volume.info.height, volume.info.width) == kspace.shape


def test_added_model_runs_as_printed(rng, tmp_path, monkeypatch):
    model, tests, recipe = blocks("docs/add_a_model.md", "python")
    (entry,) = blocks("docs/add_a_model.md", "py")
    module = types.ModuleType("mri_zoo.models.unrolled_gradient")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(model, vars(module))
    monkeypatch.setattr(mri_zoo.models, "__all__", [*mri_zoo.models.__all__, "UnrolledGradient"])
    monkeypatch.setattr(mri_zoo.models, "UnrolledGradient", module.UnrolledGradient, raising=False)

    ((model_class, arguments),) = eval(f"{{{entry}}}", vars(mri_zoo.models)).values()
    assert model_class(**arguments).get_config().items() >= arguments.items()
    namespace = {}
    exec(tests, namespace)
    for name, test in namespace.items():
        if name.startswith("test_"):
            test(*([rng] if inspect.signature(test).parameters else []))

    monkeypatch.chdir(tmp_path)
    path = Path("train/recipes/unrolled_gradient_brain_demo_af4.py")
    path.parent.mkdir(parents=True)
    path.write_text(recipe)
    for command in commands("docs/add_a_model.md"):
        app(command, standalone_mode=False)
    assert "unrolled-gradient-brain-demo-af4" in Path("results/table.md").read_text()
