"""Files that are whole or not there, and folders of one run at a time."""

import errno
import signal
import subprocess
import sys

import pytest
from helpers import disk_of

from mri_zoo.storage import exclusive, replacing, write_bytes, write_text


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    with replacing(path) as part:
        part.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_stays_alone(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as part:
        part.write_text("half of tw")
        raise KeyboardInterrupt
    assert [p.read_text() for p in tmp_path.iterdir()] == ["one"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    write_bytes(tmp_path / "a", b"one")
    with disk_of(1000), pytest.raises(OSError) as caught:
        write_bytes(tmp_path / "a", bytes(2000))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "a"))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"one"]


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    with exclusive(tmp_path / "run", "training"):
        with (
            pytest.raises(BlockingIOError, match="in use by another training"),
            exclusive(tmp_path / "run", "training"),
        ):
            pass
    with exclusive(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    assert not list((tmp_path / "run").iterdir())


def test_a_killed_process_frees_its_folder(tmp_path):
    code = "import os, sys\nfrom mri_zoo.storage import exclusive\nwith exclusive(sys.argv[1]): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").exists()
    with exclusive(tmp_path):
        pass
