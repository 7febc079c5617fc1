"""Signals end a command with one line, wherever they arrive."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mri_zoo.interruption import one_line_for_signals, to_go_on
from mri_zoo.storage import exclusive, replacing

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_unwinds_and_is_one_line(tmp_path, capsys, number):
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
def test_what_a_library_makes_of_the_interruption_does_not_matter(capsys, number):
    with pytest.raises(SystemExit) as stop, one_line_for_signals("program"):
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            raise RuntimeError("an error inside of a graph") from error
    assert stop.value.code == 128 + number and capsys.readouterr().err.count("\n") == 1


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
