import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest
from zoo import LEARNED, create

from mri_zoo import cli
from mri_zoo.cli import _chosen_sampling, errors_in_one_line
from mri_zoo.data import (
    CIRCUSMask,
    EquispacedMask,
    GaussianMask,
    PercentileScaling,
    PoissonDiscMask,
    Radial3DTrajectory,
    RadialTrajectory,
    RandomMask,
    SpiralTrajectory,
)
from mri_zoo.data.fourier import fft2c, ifft2c, root_sum_of_squares
from mri_zoo.data.noncartesian import make_encoding
from mri_zoo.data.sampling import get_sampling, sampling_from_config
from mri_zoo.data.trajectories import radial
from mri_zoo.models import NCPDNet, PDNet
from mri_zoo.presets.importers import SOURCES
from mri_zoo.presets.published import published
from mri_zoo.presets.registry import load_preset, save_preset

RECIPE = Path(__file__).parent / "training" / "tiny_recipe.py"
SPOKES = RECIPE.with_name("tiny_trajectory_recipe.py")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line as a user would; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mri-zoo", *map(str, arguments)])
        monkeypatch.setattr(cli.console, "width", 500)
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def image(height=40, width=36, num_slices=2):
    y, x = np.mgrid[:height, :width]
    one = np.exp(-((y - height / 2) ** 2 + (x - width / 2) ** 2) / 60) + 0.3 * ((y // 5 + x // 7) % 2)
    return np.stack([one * (1 + s) for s in range(num_slices)]).astype("float32")


def write_fastmri(path, coils=3, **replaced):
    """A small file in fastMRI's layout; keyword arguments replace datasets, None removes them."""
    phases = np.exp(1j * np.arange(coils))[:, None, None] / np.sqrt(coils)
    kspace = fft2c(image()[:, None] * phases).astype("complex64")
    datasets = {"kspace": kspace, "reconstruction_rss": root_sum_of_squares(ifft2c(kspace))[:, 4:36, 2:34]}
    with h5py.File(path, "w") as file:
        for name, value in {**datasets, **replaced}.items():
            if value is not None:
                file[name] = value
        file.attrs["acquisition"] = "AXT2"
    return path


def write_nifti(path, shape=(40, 36, 2)):
    data = np.moveaxis(image(), 0, -1) if shape == (40, 36, 2) else np.ones(shape, "float32")
    nibabel.save(nibabel.Nifti1Image(data, np.diag([2, 2, 5, 1])), path)
    return path


def write_measured(path, units="radians/pixel", num_shots=20, **replaced):
    """A slice along spokes, two coils; keyword arguments replace datasets."""
    shots = radial(num_shots, 40)
    samples = make_encoding(shots, (40, 36)).measure(image(num_slices=1) * np.sqrt([[[0.5]], [[0.5j]]]))
    datasets = {"kspace": samples.reshape(2, *shots.shape[:2]), "trajectory": shots[..., ::-1], **replaced}
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value
        file["trajectory"].attrs["units"] = units
        file.attrs["matrix_size"] = (36, 40)
    return path


def untrained(path, model, sampling=None):
    model.build()
    return save_preset(path, model, PercentileScaling(), sampling, {"summary": "untrained"})


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    for command in ("models", "demo", "reconstruct", "evaluate", "train", "prepare", "check-data"):
        assert command in out
        assert run(command, "--help")[0] == 0


def test_models_lists_the_baseline(run):
    code, out, _ = run("models")
    assert code == 0 and "zero-filled" in out and "cg-sense     " in out


def test_classes_of_ones_own_are_imported_when_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rules_of_cli.py").write_text("print('imported')")
    (tmp_path / "broken_rules.py").write_text("1 / 0")
    code, out, _ = run("--import", "my_rules_of_cli", "models")
    assert code == 0 and out.startswith("imported\n") and "zero-filled" in out
    code, _, error = run("--import", "broken_rules", "models")
    assert code == 2 and error == "mri-zoo: --import broken_rules: ZeroDivisionError: division by zero.\n"


def test_published_checkpoints_are_listed(run):
    code, out, _ = run("weights", "list")
    assert code == 0 and "varnet-fastmri-knee-leaderboard" in out and "unverified; fastmri: " in out


def test_an_unverified_download_tells_the_hash_to_record(run, monkeypatch):
    monkeypatch.setattr("mri_zoo.presets.download_preset", lambda name, progress: (Path("cache") / name, "0123abcd"))
    code, out, _ = run("weights", "download", "pdnet-oasis-af4")
    assert code == 0 and "pdnet-oasis-af4: preset cache/pdnet-oasis-af4" in out and "SHA-256 0123abcd" in out


def test_import_tells_scaling_and_sampling(run, reference, tmp_path):
    file = reference / "tensorflow" / "pdnet_subclassed" / "checkpoint.h5"
    arguments = ("weights", "import", file, "--from", "fastmri-reproducible-benchmark", "--architecture", "PDNet")
    code, out, _ = run(*arguments, "-o", tmp_path / "plain")
    assert "assumed, as neither the arrays nor --config tell: activation='relu', physics=Cartesian(" in out
    assert "## Assumed at import" in (tmp_path / "plain" / "README.md").read_text()
    assert code == 0 and "scaling: ConstantScaling(factor=1000000.0)\nsampling: not told" in out
    assert "arguments, by the arrays, --config or default: " in out and "num_filters=8, primal_only=False" in out
    options = ("--scaling", "percentile:95", "--mask", "equispaced", "--licence", "CC0")
    code, out, _ = run(*arguments, "-o", tmp_path / "other", *options)
    assert code == 0 and "scaling: PercentileScaling(percentile=95.0)\nsampling: EquispacedMask(acceleration=4" in out
    assert load_preset(tmp_path / "other").scaling == PercentileScaling(95)
    assert "## Licence\n\nCC0" in (tmp_path / "other" / "README.md").read_text()
    code, _, error = run(*arguments, "-o", tmp_path / "third", "--scaling", "percentile")
    assert code == 2 and "Unknown scaling 'percentile'" in error


@pytest.mark.parametrize(
    "case, architecture, trajectory, size",
    [
        ("ncpdnet_radial", "NCPDNet", "radial", (640, 400)),
        ("dip", "DIP", "spiral", (640, 400)),
        ("unet_complex_nc", "DealiasingNet", "spiral", (640, 400)),
        ("pdnet_subclassed_primal_only", "PDNet", "radial", (640, 400)),
        ("ncpdnet_3d", "NCPDNet", "radial_stack", (176, 256, 256)),
    ],
)
def test_an_imported_trajectory_is_as_published(run, reference, tmp_path, case, architecture, trajectory, size):
    file = reference / "tensorflow" / case / "checkpoint.h5"
    arguments = ("weights", "import", file, "--from", "fastmri-reproducible-benchmark", "--architecture", architecture)
    config = {"NCPDNet": {"compensated": True, "normalized": False}, "DealiasingNet": {"compensated": True}}
    config["DealiasingNet"] |= {"residual": True}
    (tmp_path / "config.json").write_text(json.dumps(config.get(architecture, {})))
    arguments += ("--config", tmp_path / "config.json", "--trajectory", trajectory, "--acceleration", 4)
    arguments += ("-o", tmp_path / "preset")
    assert run(*arguments)[0] == 0
    preset = load_preset(tmp_path / "preset")
    found = preset.sampling
    assert preset.model.physics.along_trajectory and found == get_sampling(trajectory, 4, size, benchmark=True)
    same = [entry["sampling"] for entry in published().values() if (entry["sampling"] or {}).get("name") == trajectory]
    assert all(found == sampling_from_config(config) for config in same) and (same or trajectory == "radial_stack")


def test_an_image_size_is_that_of_an_imported_trajectory(run, reference, tmp_path):
    file = reference / "tensorflow" / "pdnet_subclassed" / "checkpoint.h5"
    arguments = ("weights", "import", file, "--from", "fastmri-reproducible-benchmark", "--architecture", "PDNet")
    arguments += ("--image-size", "96x80", "-o", tmp_path / "preset")
    assert run(*arguments, "--trajectory", "spiral")[0] == 0
    assert load_preset(tmp_path / "preset").sampling == SpiralTrajectory(4, (96, 80), benchmark=True)
    code, _, error = run(*arguments, "--mask", "random")
    assert code == 2 and "--image-size is of the images of a trajectory" in error


def test_help_of_import_lists_every_architecture(run):
    code, out, _ = run("weights", "import", "--help")
    assert code == 0 and "fastmri: FastMRIUNet, VarNet" in out  # other lines are broken
    paragraphs = cli.import_weights.__doc__.split("\n\n")
    listed = dict(" ".join(text.split()).split(": ") for text in paragraphs if text.strip().startswith(tuple(SOURCES)))
    assert listed == {source: ", ".join(sorted(names, key=str.lower)) for source, names in SOURCES.items()}


def test_evaluate_writes_its_files(run, tmp_path):
    write_fastmri(tmp_path / "a.h5")
    output = tmp_path / "results"
    code, out, _ = run(
        *("evaluate", "--dataset", "fastmri", "--root", tmp_path, "--model", "zero-filled"),
        *("--acceleration", 4, "--mask", "equispaced", "-o", output),
    )
    assert code == 0 and "zero-filled" in out
    with open(output / "volumes.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["volume", "contrast", "model", "nmse", "psnr", "ssim", "seconds"]
    assert rows[0]["volume"] == "a.h5" and rows[0]["contrast"] == "AXT2"
    assert {path.name for path in output.iterdir()} == {"volumes.csv", "table.md", "report.html", "figure-1.png"}


@pytest.mark.slow
@pytest.mark.parametrize("data", ["demo", "fastmri", "oasis", "scans", "volumes"])
def test_one_command_judges_every_model(run, tmp_path, request, data):
    """On embedded, written and, where they are, real scans; the networks have random weights."""
    dataset, root = data, tmp_path / "data"
    root.mkdir()
    if data == "fastmri":
        write_fastmri(root / "a.h5")
    elif data == "oasis":
        write_nifti(root / "sub-1_T1w.nii.gz")
    elif data != "demo":
        shared = request.getfixturevalue("shared_data")
        dataset = {"scans": "fastmri", "volumes": "oasis"}[data]
        root = shared / {"scans": "train/kspace_multicoil", "volumes": "test/volumes/sct_cspine_T2star.nii.gz"}[data]
    names = [name for name in LEARNED if name != "vsharp_3d"]  # it takes frames
    for name in names:
        model = create(name, **({"crop": None} if name in ("unet", "fastmri_unet") else {}))
        model.build()
        save_preset(tmp_path / name, model, PercentileScaling())
    models = [argument for name in names for argument in ("--model", tmp_path / name)]
    output = tmp_path / "results"
    code, out, error = run(
        *("evaluate", "--dataset", dataset, *(() if data == "demo" else ("--root", root)), "--model", "zero-filled"),
        *(*models, "--acceleration", 4, "--mask", "random", "--figures", 0, "-o", output),
    )
    assert code == 0, error
    assert all(name in out for name in names)
    with open(output / "volumes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["zero-filled", *names] * (len(rows) // (1 + len(names)))
    assert all(np.isfinite(float(row["psnr"])) for row in rows)


def test_one_acceleration_for_masks_and_trajectories_is_refused():
    presets = [SimpleNamespace(sampling=sampling) for sampling in (None, RandomMask(4), RadialTrajectory(4))]
    with pytest.raises(ValueError, match="trained with masks and trajectories"):
        _chosen_sampling(presets, None, 8, None)
    assert _chosen_sampling(presets, None, None, None) is None
    assert _chosen_sampling(presets, "spiral", 8, None) == SpiralTrajectory(8)
    assert _chosen_sampling(presets[::2], None, 8, None) == RadialTrajectory(8)
    for sampling in (GaussianMask(4, dimensions=2), Radial3DTrajectory(4)):
        with pytest.raises(ValueError, match="trained with masks and trajectories"):
            _chosen_sampling([SimpleNamespace(sampling=sampling), presets[2]], None, 8, None)


def test_masks_of_columns_and_of_samples_share_an_acceleration():
    presets = [SimpleNamespace(sampling=sampling) for sampling in (RandomMask(4), PoissonDiscMask(4))]
    assert _chosen_sampling(presets, None, 8, None) == RandomMask(8)


@pytest.mark.parametrize(
    "own, options, expected",
    [
        (GaussianMask(4, dimensions=2), (None, 8, None), GaussianMask(8, dimensions=2)),
        (CIRCUSMask(4, kind="spiral"), (None, 8, None), CIRCUSMask(8, kind="spiral")),
        (EquispacedMask(4, offset=1), ("equispaced", 8, None), EquispacedMask(8, offset=1)),
        (EquispacedMask(4, offset=1), (None, None, 0.1), EquispacedMask(4, 0.1, offset=1)),
        (EquispacedMask(4, offset=1), ("random", None, 0.1), RandomMask(4, 0.1)),
        (RandomMask(4, 0.06), (None, 8, None), RandomMask(8, 0.06)),
        (RadialTrajectory(4, angles="uniform"), (None, 8, None), RadialTrajectory(8, angles="uniform")),
        (
            RadialTrajectory(4, (640, 400), benchmark=True),
            ("spiral", None, None),
            SpiralTrajectory(4, (640, 400), benchmark=True),
        ),
        (RadialTrajectory(4, benchmark=True), ("spiral", None, None), SpiralTrajectory(4, benchmark=True)),
    ],
)
def test_options_change_only_what_they_say_of_the_own_sampling(own, options, expected):
    assert _chosen_sampling([SimpleNamespace(sampling=own)], *options) == expected


def test_evaluate_simulates_coils_of_magnitude_volumes(run, tmp_path):
    write_nifti(tmp_path / "sub-1_T1w.nii.gz")
    output = tmp_path / "results"
    options = ("evaluate", "--dataset", "oasis", "--root", tmp_path, "--model", "cg-sense", "--acceleration", 3)
    assert run(*options, "--coils", 4, "-o", output)[0] == 0
    assert "sub-1_T1w.nii.gz,T1w,cg-sense" in (output / "volumes.csv").read_text()


def test_a_volume_that_fails_is_listed_and_the_exit_code_is_1(run, tmp_path):
    write_fastmri(tmp_path / "good.h5")
    bad = fft2c(image()[:, None]).astype("complex64")
    bad[1, 0, 3, 3] = np.nan
    write_fastmri(tmp_path / "nan.h5", kspace=bad)
    code, out, _ = run(
        *("evaluate", "--dataset", "fastmri", "--root", tmp_path, "--model", "zero-filled", "--acceleration", 4),
        *("-o", tmp_path / "results"),
    )
    assert code == 1
    assert "nan.h5" in out and "NaN" in out
    assert "good.h5" in (tmp_path / "results" / "volumes.csv").read_text()


@pytest.mark.parametrize("ending", [".h5", ".nii", ".nii.gz", ".png"])
@pytest.mark.parametrize("kind", ["fastmri", "nifti"])
def test_reconstruct_writes_every_format(run, tmp_path, ending, kind):
    scan = write_fastmri(tmp_path / "a.h5") if kind == "fastmri" else write_nifti(tmp_path / "a_T2w.nii.gz")
    output = tmp_path / f"out{ending}"
    code, out, _ = run("reconstruct", scan, "--model", "zero-filled", "-o", output)
    assert code == 0 and "fully sampled, acceleration 1.00" in out
    if ending == ".h5":
        with h5py.File(output) as file:
            np.testing.assert_allclose(file["reconstruction"][()], image(), rtol=1e-3, atol=1e-3)
    elif ending != ".png":
        written = nibabel.load(output)
        np.testing.assert_allclose(np.moveaxis(written.get_fdata(), -1, 0), image(), rtol=1e-3, atol=1e-3)
        if kind == "nifti":
            np.testing.assert_array_equal(written.affine, np.diag([2, 2, 5, 1]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([scan.name, output.name])


def test_reconstruct_undersamples_a_full_scan_on_request(run, tmp_path):
    write_nifti(tmp_path / "a.nii")
    _, out, _ = run(
        "reconstruct", tmp_path / "a.nii", "--model", "zero-filled", "--acceleration", 4, "-o", tmp_path / "o.png"
    )
    assert "undersampled here" in out


def test_reconstruct_finds_the_sampling_of_an_undersampled_scan(run, tmp_path):
    kspace = fft2c(image()[:, None]).astype("complex64")
    kspace[..., 1::2] = 0
    write_fastmri(tmp_path / "a.h5", kspace=kspace, reconstruction_rss=None)
    _, out, _ = run(
        "reconstruct", tmp_path / "a.h5", "--model", "zero-filled", "--acceleration", 4, "-o", tmp_path / "o.h5"
    )
    assert "as measured, not with the sampling asked for, acceleration 2.00" in out


def test_reconstruct_reads_stacks_of_images(run, tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["T1w"] = image()
    code, out, _ = run(
        *("reconstruct", tmp_path / "images.h5", "--images", "T1w", "--coils", 2),
        *("--model", "zero-filled", "-o", tmp_path / "o.nii.gz"),
    )
    assert code == 0 and "2 slices" in out


def test_train_prepare_and_resume(run, tmp_path):
    settings = ("--set", "epochs=1", "-o", tmp_path / "run")
    code, out, _ = run("train", RECIPE, *settings)
    assert code == 0 and "epoch 1/1" in out and "pdnet-blobs" in out
    code, _, error = run("train", RECIPE, *settings)
    assert code == 2 and "resume it (--resume)" in error
    assert run("train", RECIPE, "--resume", *settings)[0] == 0
    code, _, error = run("train", RECIPE, "--resume", *settings, "--set", "model_arguments.num_filters=5")
    assert code == 2 and "holds a training with another" in error and "num_filters: 5" in error
    code, out, _ = run("prepare", RECIPE, "-o", tmp_path / "data")
    assert code == 0 and "12 training and 3 validation batches" in out
    scan, preset = write_nifti(tmp_path / "a.nii"), tmp_path / "run" / "preset" / "pdnet-blobs"
    code, out, _ = run("reconstruct", scan, "--model", preset, "-o", tmp_path / "out.nii")
    assert code == 0 and "undersampled here" in out


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_mask_that_cannot_be_drawn_is_told_in_one_line(run, tmp_path, command):
    code, _, error = run(command, RECIPE, "--set", "sampling.center_fraction=0.001", "-o", tmp_path / "run")
    assert code == 2 and error.count("\n") == 1
    assert re.match(r"mri-zoo: blobs\d.h5, slice \d: `center_fraction` 0.001 gives no line of 14; it takes more", error)


def test_train_prepare_evaluate_and_reconstruct_along_a_trajectory(run, tmp_path):
    code, out, _ = run("prepare", SPOKES, "-o", tmp_path / "batches")
    assert code == 0 and "12 training and 3 validation batches" in out
    assert len(list((tmp_path / "batches").glob("*/shared-*.npy"))) == 2 * 3
    for name, options in {"run": (), "prepared": ("--prepared", tmp_path / "batches")}.items():
        code, out, _ = run("train", SPOKES, *options, "-o", tmp_path / name)
        assert code == 0 and "epoch 1/1" in out
    preset = tmp_path / "run" / "preset" / "ncpdnet-blobs"
    assert load_preset(preset).sampling == RadialTrajectory(2)

    write_fastmri(tmp_path / "scan.h5")
    arguments = ("evaluate", "--dataset", "fastmri", "--root", tmp_path / "scan.h5", "--model", "zero-filled")
    for options, told in [
        ((), "RadialTrajectory(acceleration=2"),
        (("--trajectory", "spiral"), "SpiralTrajectory(acceleration=2"),
        (("--trajectory", "radial", "--acceleration", 3), "RadialTrajectory(acceleration=3"),
    ]:
        code, out, error = run(*arguments, "--model", preset, *options, "-o", tmp_path / "results")
        assert code == 0 and told in out, error
        with open(tmp_path / "results" / "volumes.csv") as file:
            assert [row["model"] for row in csv.DictReader(file)] == ["zero-filled", "ncpdnet-blobs"]

    for model in (preset, "zero-filled"):
        scan, output = write_measured(tmp_path / "spokes.h5"), tmp_path / "image.h5"
        code, out, _ = run("reconstruct", scan, "--model", model, "-o", output)
        assert code == 0 and "1 slice by" in out and out.strip().endswith("as measured, acceleration 1.80")
        with h5py.File(output) as file:
            found = file["reconstruction"][0]
    assert np.corrcoef(found.ravel(), image()[0].ravel())[0, 1] > 0.8
    write_measured(tmp_path / "untold.h5", "")
    told = ("--units", "radians per pixel", "--image-size", "36x32")
    assert run("reconstruct", tmp_path / "untold.h5", "--model", preset, "-o", output, *told)[0] == 0
    with h5py.File(output) as file:
        assert file["reconstruction"].shape == (1, 36, 32)
    code, out, _ = run("reconstruct", tmp_path / "scan.h5", "--model", preset, "-o", output, "--trajectory", "spiral")
    assert code == 0 and "undersampled here, acceleration 2.00" in out


def test_an_echo_off_the_centre_is_told(run, tmp_path):
    moved = np.mod(radial(20, 40)[..., ::-1] + [2 * np.pi * 5 / 36, 0] + np.pi, 2 * np.pi) - np.pi
    write_measured(tmp_path / "moved.h5", trajectory=moved)
    arguments = ("reconstruct", tmp_path / "moved.h5", "--model", "zero-filled", "-o", tmp_path / "image.h5")
    assert "; the echo is 5 samples off the centre, try --center-echo" in run(*arguments)[1]
    code, out, _ = run(*arguments, "--center-echo")
    assert code == 0 and "off the centre" not in out
    with h5py.File(tmp_path / "moved.h5", "a") as file:
        file["kspace"][...] = 0
    assert "all samples are zero" in run(*arguments)[2]


def test_a_trajectory_recipe_resumes(run, tmp_path):
    assert run("train", SPOKES, "-o", tmp_path / "run")[0] == 0
    code, out, _ = run("train", SPOKES, "--set", "epochs=2", "--resume", "-o", tmp_path / "run")
    assert code == 0 and "resuming after epoch 1 of 2" in out and "epoch 2/2" in out


def bad_trajectories():
    """Arguments after the command's own, and what is said."""
    full, measured = ("reconstruct", "{scan}", "--model"), ("reconstruct", "{measured}", "--model")
    evaluate = ("evaluate", "--dataset", "fastmri", "--root", "{scan}", "--model", "{spokes}")
    output = ("-o", "{tmp}/o.h5")
    return {
        "misspelt": ((*evaluate, "--trajectory", "radail"), "did you mean 'radial'"),
        "three dimensions": (
            (*evaluate, "--trajectory", "radial_3d"),
            "spokes needs k-space that was sampled with a tr",
        ),
        "a mask": ((*evaluate, "--mask", "random"), "a trajectory of 2 dimensions, this was with a mask"),
        "a network of masks": (
            (*full, "{masks}", "--trajectory", "spiral", *output),
            "masks needs k-space that was sampled with a mask, this was with a trajectory of 2 dimensions",
        ),
        "a centre": ((*evaluate, "--trajectory", "radial", "--center-fraction", "0.1"), "has no `center_fraction`"),
        "acceleration below 1": ((*evaluate, "--acceleration", "0.5"), "`acceleration` must be >= 1 and finite, got"),
        "no shot": (
            (*full, "{spokes}", "--acceleration", "40", *output),
            "scan.h5: `acceleration` 40.0 leaves no shot for images of (40, 36) pixels",
        ),
        "measured, for masks": (
            (*measured, "{masks}", *output),
            "measured.h5: masks needs k-space that was sampled with",
        ),
        "beyond the edge": (
            ("reconstruct", "{far}", "--model", "{spokes}", *output),
            "far.h5: dataset `trajectory`: The trajectory reaches 3.17301 radians/pixel",
        ),
        "wrong units": (("reconstruct", "{units}", "--model", "{spokes}", *output), "has the units 'furlongs'"),
        "unknown units": ((*measured, "{spokes}", "--units", "furlongs", *output), "furlongs"),
        "no size": ((*measured, "{spokes}", "--image-size", "40", *output), "--image-size must be like 320x320"),
        "size of a Cartesian scan": (
            (*full, "{spokes}", "--image-size", "9x9", *output),
            "`image_size` cannot be given",
        ),
        "NaN in the trajectory": (("reconstruct", "{holes}", "--model", "{spokes}", *output), "trajectory holds NaN"),
        "NaN in k-space": (
            ("reconstruct", "{nan}", "--model", "{spokes}", *output),
            "nan.h5: dataset `kspace` holds NaN",
        ),
        "last axis": (("reconstruct", "{axis}", "--model", "{spokes}", *output), "expected (shot, sample, 2 or 3)"),
        "sample counts": (
            ("reconstruct", "{fewer}", "--model", "{spokes}", *output),
            "has shape (19, 40, 2); expected",
        ),
        "zero density": (
            ("reconstruct", "{zero}", "--model", "{spokes}", *output),
            "density compensation is zero everyw",
        ),
        "image size": (
            ("reconstruct", "{small}", "--model", "{spokes}", *output),
            "way to the edge of k-space for an im",
        ),
    }


@pytest.fixture(scope="module")
def bad_scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    shots = radial(20, 40)[..., ::-1]
    samples = np.ones((2, 20, 40), "complex64")
    write_fastmri(folder / "scan.h5")
    write_measured(folder / "measured.h5")
    write_measured(folder / "far.h5", trajectory=shots * 1.01)
    write_measured(folder / "units.h5", "furlongs")
    write_measured(folder / "holes.h5", trajectory=np.where(shots == shots[3, 5], np.nan, shots))
    write_measured(folder / "nan.h5", kspace=np.where(np.arange(40) == 3, np.nan, samples).astype("complex64"))
    write_measured(folder / "axis.h5", trajectory=np.zeros((20, 40, 4)))
    write_measured(folder / "fewer.h5", trajectory=shots[1:])
    write_measured(folder / "zero.h5", density=np.zeros((20, 40)))
    write_measured(folder / "small.h5", trajectory=shots / 8)
    untrained(folder / "spokes", NCPDNet(1, 1, 2), RadialTrajectory(2))
    untrained(folder / "masks", PDNet(1, 2, 1, 2), RandomMask(2, 0.2))
    return folder


@pytest.mark.parametrize("name", bad_trajectories())
def test_bad_trajectories_give_one_clear_line_and_exit_code_2(run, tmp_path, bad_scans, name):
    places = {path.stem: path for path in bad_scans.iterdir()} | {"tmp": tmp_path}
    arguments, message = bad_trajectories()[name]
    code, _, error = run(*(argument.format(**places) for argument in arguments))
    assert code == 2 and message in error
    assert error.startswith("mri-zoo: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_check_data_tells_what_is_there_and_what_is_wrong(run, tmp_path):
    write_fastmri(tmp_path / "good.h5")
    write_nifti(tmp_path / "good_T1w.nii.gz")
    code, out, _ = run("check-data", tmp_path)
    assert code == 0
    assert "AXT2, 2 slices of 40 x 36, 3 coils, with a reference, use: mri-zoo evaluate --dataset fastmri" in out
    assert "T1w, 2 slices of 40 x 36, 1 coil, with a reference, use: mri-zoo evaluate --dataset oasis" in out
    (tmp_path / "broken.h5").write_bytes((tmp_path / "good.h5").read_bytes()[:3000])
    code, out, _ = run("check-data", tmp_path)
    assert code == 1 and "broken.h5" in out and "3 files, 1 with problems" in out


def bad_inputs():
    evaluate = ("evaluate", "--dataset", "fastmri", "--model", "zero-filled", "--acceleration", "4")
    reconstruct = ("reconstruct", "{scan}", "--model", "zero-filled", "-o", "{tmp}/o.h5")
    return {
        "missing file": (("reconstruct", "{tmp}/no.h5", *reconstruct[2:]), "no.h5: no such file"),
        "not HDF5": (("reconstruct", "{text}", *reconstruct[2:]), "text.h5: is not an HDF5 file"),
        "truncated HDF5": (("reconstruct", "{truncated}", *reconstruct[2:]), "truncated.h5"),
        "missing dataset": (("reconstruct", "{nokspace}", *reconstruct[2:]), "nokspace.h5: has no dataset `kspace`"),
        "wrong rank": (("reconstruct", "{flat}", *reconstruct[2:]), "flat.h5: dataset `kspace` has shape (40, 36)"),
        "wrong dtype": (("reconstruct", "{real}", *reconstruct[2:]), "real.h5: dataset `kspace` has type float32"),
        "NaN": (("reconstruct", "{nan}", *reconstruct[2:]), "nan.h5: dataset `kspace` holds NaN"),
        "mask that does not fit": (("reconstruct", "{badmask}", *reconstruct[2:]), "badmask.h5: dataset `mask`"),
        "4-D NIfTI": (("reconstruct", "{bold}", *reconstruct[2:]), "bold.nii: holds a 4-D series"),
        "empty folder": ((*evaluate, "--root", "{empty}"), "empty: the folder holds no .h5 file"),
        "missing folder": ((*evaluate, "--root", "{tmp}/nowhere"), "nowhere: no such file or folder"),
        "no root": (evaluate, "--dataset fastmri needs --root"),
        "unknown model": ((*reconstruct[:3], "zero-fill", *reconstruct[4:]), "did you mean 'zero-filled'"),
        "acceleration below 1": ((*reconstruct, "--acceleration", "0.5"), "`acceleration` must be >= 1, got 0.5"),
        "unknown sampling": ((*reconstruct, "--acceleration", "4", "--mask", "randm"), "did you mean 'random'"),
        "no central line": ((*reconstruct, "--acceleration", "4", "--center-fraction", "0.001"), "line"),
        "unknown format": ((*reconstruct[:-1], "{tmp}/o.jpg"), "o.jpg: the name must end in one of .h5"),
        "output folder missing": ((*reconstruct[:-1], "{tmp}/no/o.h5"), "no/"),
        "output is a file": ((*evaluate, "--root", "{good}", "-o", "{text}"), "text.h5: cannot write results there"),
        "missing recipe": (("train", "{tmp}/no.py", "-o", "{tmp}/run"), "no.py: no such recipe"),
        "acceleration 0": (("reconstruct", "{scan}", *reconstruct[2:], "--acceleration", "0"), "must be >= 1, got 0"),
        "empty centre": (
            ("reconstruct", "{scan}", *reconstruct[2:], "--acceleration", "4", "--center-fraction", "0.001"),
            "scan.h5: `center_fraction` 0.001 gives no line",
        ),
        "empty mask": (
            ("reconstruct", "{emptymask}", *reconstruct[2:]),
            "emptymask.h5: dataset `mask` samples nothing",
        ),
        "zeros": (("reconstruct", "{zeros}", *reconstruct[2:]), "zeros.h5: all samples are zero"),
        "bad setting": (("train", str(RECIPE), "--set", "epoch=1", "-o", "{tmp}/run"), "did you mean 'epochs'"),
        "not downloaded": (
            (*reconstruct[:3], "pdnet-oasis-af4", *reconstruct[4:]),
            "`mri-zoo weights download pdnet-o",
        ),
        "not published": (("weights", "download", "pdnet-oasi-af4"), "did you mean 'pdnet-oasis-af4'"),
        "nothing to check": (("check-data", "{empty}"), "empty: holds no scan"),
    }


@pytest.mark.parametrize("name", bad_inputs())
def test_bad_input_gives_one_clear_line_and_exit_code_2(run, tmp_path, name):
    kspace = fft2c(image()[:, None]).astype("complex64")
    nan = kspace.copy()
    nan[0, 0, 0, 0] = np.inf
    (tmp_path / "empty").mkdir()
    (tmp_path / "good").mkdir()
    write_fastmri(tmp_path / "good" / "a.h5")
    write_fastmri(tmp_path / "scan.h5")
    write_fastmri(tmp_path / "nokspace.h5", kspace=None)
    write_fastmri(tmp_path / "flat.h5", kspace=kspace[0, 0])
    write_fastmri(tmp_path / "real.h5", kspace=kspace.real)
    write_fastmri(tmp_path / "nan.h5", kspace=nan)
    write_fastmri(tmp_path / "badmask.h5", mask=np.ones(35))
    write_fastmri(tmp_path / "emptymask.h5", mask=np.zeros(36))
    write_fastmri(tmp_path / "zeros.h5", kspace=0 * kspace)
    write_nifti(tmp_path / "bold.nii", (8, 8, 4, 3))
    (tmp_path / "text.h5").write_text("not a scan")
    (tmp_path / "truncated.h5").write_bytes((tmp_path / "scan.h5").read_bytes()[:5000])
    places = {path.stem: path for path in tmp_path.iterdir()} | {"tmp": tmp_path}
    before = sorted(tmp_path.rglob("*"))
    arguments, message = bad_inputs()[name]
    code, _, error = run(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message in error
    assert error.startswith("mri-zoo: ") and error.count("\n") == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] in ([], [tmp_path / "results"])


@pytest.mark.parametrize("output", ["a.h5/image.h5", "missing/image.h5"])
def test_unwritable_output_is_told_before_the_work(run, tmp_path, output):
    scan = write_fastmri(tmp_path / "a.h5")
    code, _, error = run("reconstruct", scan, "--model", "zero-filled", "-o", tmp_path / output)
    assert code == 2 and f"{tmp_path / output}: cannot be written" in error


def test_a_scan_is_not_replaced_by_its_image(run, tmp_path):
    scan = write_fastmri(tmp_path / "a.h5")
    content = scan.read_bytes()
    code, _, error = run("reconstruct", scan, "--model", "zero-filled", "-o", tmp_path / "." / "a.h5")
    assert code == 2 and "is the scan itself" in error and scan.read_bytes() == content


def test_images_without_kspace_are_found_and_named(run, tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["T1w"], file["T2w"] = image(), 2 * image()
    code, out, _ = run("reconstruct", tmp_path / "images.h5", "--model", "zero-filled", "-o", tmp_path / "o.h5")
    assert code == 0 and "of `T1w` by zero-filled" in out
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_allclose(file["reconstruction"][()], image(), atol=1e-4 * image().max())


def test_the_baseline_alone_has_an_acceleration(run, tmp_path):
    write_nifti(tmp_path / "a.nii", (30, 26, 2))
    arguments = ("--dataset", "oasis", "--root", tmp_path / "a.nii", "--model", "zero-filled", "-o", tmp_path / "r")
    code, out, _ = run("evaluate", *arguments)
    assert code == 0 and "RandomMask(acceleration=4, center_fraction=0.08)" in out


def test_a_recipe_of_bad_data_leaves_nothing(run, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((16, 16, 4), np.nan, "float32"), np.eye(4)), tmp_path / "nan.nii")
    (tmp_path / "recipe.py").write_text(
        "import runpy\nfrom mri_zoo.data import NIfTIFile\n"
        f"recipe = runpy.run_path({str(RECIPE)!r})['recipe'] | "
        "{'sources': lambda root, split: [NIfTIFile(root + '/nan.nii')], 'root': None, 'sampling': 'random'}\n"
    )
    arguments = ("prepare", tmp_path / "recipe.py", "--set", f"root={tmp_path}", "-o", tmp_path / "batches")
    code, _, error = run(*arguments)
    assert code == 2 and "`sampling` must be of type SamplingMask or" in error and "got 'random'" in error
    text = (tmp_path / "recipe.py").read_text().replace(", 'sampling': 'random'", "")
    (tmp_path / "recipe.py").write_text(text)
    code, _, error = run(*arguments)
    assert code == 2 and f"{tmp_path}/nan.nii: the image holds NaN" in error and error.count("\n") == 1
    assert not list((tmp_path / "batches").glob("*"))
    (tmp_path / "recipe.py").write_text("recipe = {")
    code, _, error = run(*arguments)
    assert code == 2 and "recipe.py is not a recipe that runs: SyntaxError" in error


@pytest.mark.parametrize(
    "arguments", [("evaluate", "--dataset", "mars", "--model", "x"), ("reconstruct",), ("nonsense",)]
)
def test_wrong_use_has_exit_code_2(run, arguments):
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize("text, found", [("8 GB of 4", "8 GB of 4"), ("", "no size is told")])
def test_a_lack_of_memory_is_one_line(capsys, text, found):
    with pytest.raises(SystemExit, match="2"), errors_in_one_line("mri-zoo"):
        raise MemoryError(text)
    assert capsys.readouterr().err == f"mri-zoo: this does not fit into the memory ({found}).\n"
