"""Signals end a command with one line, wherever they arrive."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from mri_zoo import interruption
from mri_zoo.data import DataError
from mri_zoo.data.check import check_folder
from mri_zoo.interruption import one_line_for_signals, to_go_on
from mri_zoo.storage import exclusive, replacing
from mri_zoo.training.checkpoints import read_checkpoint

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def listening():
    """Programs that a shell starts in the background ignore SIGINT, and so do those that they start."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.fixture
def leaves(monkeypatch):
    """The process of the tests does not end where a command's would."""
    monkeypatch.setattr(interruption, "_leave", lambda code, at_exit=None: sys.exit(code))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_unwinds_and_is_one_line(leaves, tmp_path, capsys, number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop, one_line_for_signals("program"):
        to_go_on("run it again with --resume")
        with one_line_for_signals("inner"), exclusive(tmp_path), replacing(tmp_path / "file") as part:
            part.write_text("half")
            os.kill(os.getpid(), number)
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == f"program: ended by {number.name}; to go on, run it again with --resume\n"
    assert not list(tmp_path.iterdir()) and signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_library_makes_of_the_interruption_does_not_matter(leaves, capsys, number):
    with pytest.raises(SystemExit) as stop, one_line_for_signals("program"):
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            raise RuntimeError("an error inside of a graph") from error
    assert stop.value.code == 128 + number and capsys.readouterr().err.count("\n") == 1


class SignalWhenDeleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_interruption_that_python_drops_comes_again(leaves):
    with pytest.raises(SystemExit) as stop, one_line_for_signals("program"):
        del [SignalWhenDeleted()][0]
        time.sleep(20)
        raise AssertionError("The program went on.")
    assert stop.value.code == 143


def test_an_error_of_one_scan_that_is_none_ends_all(leaves, tmp_path, monkeypatch):
    def read(path):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            pass
        raise DataError("made of the interruption")

    monkeypatch.setattr("mri_zoo.data.check.open_volume", read)
    for name in ("first.h5", "second.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["kspace"] = np.ones((1, 4, 4), "complex64")
    found = []
    with pytest.raises(SystemExit) as stop, one_line_for_signals("program"):
        found += check_folder(tmp_path)
    assert stop.value.code == 143 and not found


def test_a_library_that_does_not_return_is_left_and_its_file_removed(tmp_path):
    code = (
        "import hashlib\nfrom mri_zoo.interruption import one_line_for_signals\nfrom mri_zoo.storage import replacing\n"
        "with one_line_for_signals('program'), replacing('file') as part:\n    part.write_text('half')\n"
        "    print('ready', flush=True)\n    hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, **pipes)
    assert process.stdout.readline() == "ready\n" and list(tmp_path.iterdir())
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "program: ended by SIGTERM; to go on, run it again\n")
    assert not list(tmp_path.iterdir())


def test_without_a_signal_nothing_changes():
    with pytest.raises(KeyError), one_line_for_signals("program"):
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_an_import_is_one_line(tmp_path, number):
    (tmp_path / "slow.py").write_text(
        "import os\nnowhere = os.open(os.devnull, os.O_WRONLY)\nos.dup2(nowhere, 2)\n"  # as while TensorFlow greets
        f"try:\n    os.kill(os.getpid(), {number:d})\n    import time; time.sleep(5)\nexcept BaseException: pass\n"
    )
    code = "from mri_zoo.interruption import one_line_for_signals\nwith one_line_for_signals('program'): import slow"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        128 + number,
        f"program: ended by {number.name}; to go on, run it again\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("seconds, number", [(2, signal.SIGINT), (6, signal.SIGTERM), (25, signal.SIGINT)])
def test_a_command_ends_in_one_line_at_any_time(tmp_path, seconds, number):
    command = [sys.executable, "-m", "mri_zoo", "demo", "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    if process.returncode:  # it may have been faster
        assert process.returncode == 128 + number
        assert errors.startswith(f"mri-zoo: ended by {number.name}; to go on, ") and errors.count("\n") == 1


@pytest.mark.slow
def test_train_ends_at_once_and_goes_on(tmp_path):
    """A command of which the operating system sends the signal, in the midst of an epoch."""
    recipe = Path(__file__).parent / "training" / "tiny_recipe.py"
    run, whole = tmp_path / "run", tmp_path / "whole"

    def command(output, epochs, *options):
        settings = ["--set", f"epochs={epochs}", "--set", "schedule=constant", *options]
        return [sys.executable, "-u", "-m", "mri_zoo", "train", str(recipe), "-o", str(output), *settings]

    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command(run, 500), text=True, **pipes)
    assert any(line.startswith("epoch 2/") for line in process.stdout)
    time.sleep(0.3)
    process.terminate()
    start = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and time.monotonic() - start < 5
    assert errors.count("\n") == 1 and "--resume" in errors
    done = read_checkpoint(run / "last.weights.h5").epoch + 1
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    subprocess.run(command(run, done, "--resume"), check=True)
    subprocess.run(command(whole, done), check=True)
    with h5py.File(run / "last.weights.h5") as found, h5py.File(whole / "last.weights.h5") as expected:

        def compare(name, item):
            if isinstance(item, h5py.Dataset):
                np.testing.assert_array_equal(found[name], item, err_msg=name)

        expected.visititems(compare)
