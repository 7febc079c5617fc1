"""Download published checkpoints and make presets of them."""

import contextlib
import importlib.util
import lzma
import os
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

from mri_zoo.data.preparation import scaling_from_config
from mri_zoo.data.sampling import sampling_from_config
from mri_zoo.data.volume import DataError
from mri_zoo.presets.importers import find_architecture, import_preset
from mri_zoo.presets.published import cache_folder, find_published
from mri_zoo.presets.registry import sha256
from mri_zoo.presets.scratch import scratch_folder
from mri_zoo.storage import errors_name

_UNPACKED = 64  # times that a member of an archive may be larger than it: weights are hardly compressed at all
# What Python's reader of archives raises of damaged ones, of encrypted ones and of unknown methods.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError)
_DAMAGED = (*_DAMAGED, ArithmeticError, AttributeError, LookupError, MemoryError, OSError, TypeError, ValueError)


def download_preset(name, progress=None):
    """Download a published checkpoint and keep it as a preset, which `load` finds by its name.

    The checkpoint itself is not kept. Nothing remains of a download that fails, and the next download removes what is
    left of one whose process was killed. Two at once do not disturb each other. `HF_ENDPOINT` names another server than
    huggingface.co.

    Args:
        name: one of `mri_zoo.presets.published.published`.
        progress: function (megabytes done, megabytes in total, text), called now and then.

    Returns:
        The preset's folder, and the SHA-256 of the file.

    Raises:
        ValueError: if there is no such name; the message suggests the nearest one.
        DataError: if the file cannot be downloaded, is not the one expected, or does not fit; the message names its
            address.
        OSError: if the cache cannot be written, for example as the disk is full; it names the file or the cache.
        ImportError: if the file is one of PyTorch, and that is not installed.
    """
    entry = find_published(name)
    find_architecture(entry["source"], entry["architecture"])
    url = _address(entry["url"])
    if not url.endswith(".h5") and importlib.util.find_spec("torch") is None:  # told before gigabytes are on their way
        raise ImportError(f"{name} is a checkpoint of PyTorch: it needs `pip install mri_zoo[torch]`.")
    folder = cache_folder()
    with scratch_folder(folder, "downloading-") as scratch:
        path = scratch / PurePosixPath(url).name
        _fetch(url, path, name, progress)
        digest = sha256(path)
        if entry["sha256"] not in (None, digest):
            raise DataError(f"{url}: is not the expected file: SHA-256 {digest} instead of {entry['sha256']}.")
        origin = url
        if entry["member"] is not None:
            with _errors_name(url, path):
                path = _member(path, entry["member"])
            origin = f"{url} ({entry['member']})"
        with _errors_name(origin, path):
            _keep(path, folder / name, entry, f"Imported from {origin}, not trained here. SHA-256 `{digest}`.")
    return folder / name, digest


def _address(url):
    if not url.startswith("hf://"):
        return url
    owner, repository, file = url.removeprefix("hf://").split("/", 2)
    server = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{server.rstrip('/')}/{owner}/{repository}/resolve/main/{file}"


def _fetch(url, path, name, progress):
    import requests  # pooch brings it along
    from pooch import HTTPDownloader

    bar = _Bar(f"{name}, MB", progress) if progress is not None else False
    download = HTTPDownloader(progressbar=bar, chunk_size=2**20, timeout=60)
    try:
        download(url, path, None)
    except requests.HTTPError as error:
        answer = f"{error.response.status_code} {error.response.reason}"
        raise DataError(f"{url}: cannot be downloaded, the server answers {answer}.") from error
    except requests.RequestException as error:
        raise DataError(f"{url}: cannot be downloaded, no connection ({type(error).__name__}).") from error
    except OSError as error:  # of the disk
        reason = f"{url} cannot be kept there ({error.strerror or error})"
        raise OSError(error.errno, reason, str(path.parent.parent)) from error
    except ValueError as error:  # a length that is no number
        raise DataError(f"{url}: cannot be downloaded, the server's answer cannot be understood ({error}).") from error


class _Bar:
    """The form in which pooch tells of its progress."""

    def __init__(self, text, progress):
        self.text, self.progress, self.done, self.total = text, progress, 0, 0

    def update(self, size):
        self.done += size
        self.progress(min(self.done, self.total) // 10**6, self.total // 10**6, self.text)

    def reset(self):
        self.done = 0

    def close(self):
        pass


def _member(path, name):
    """The file of this name out of a zip, copied to a folder beside it; no path of the archive is ever used."""
    target = path.parent / "member" / name
    target.parent.mkdir()
    with errors_name(target), contextlib.ExitStack() as stack:
        with _damage(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            found = [info for info in archive.infolist() if PurePosixPath(info.filename).name == name]
            if len(found) != 1:
                raise DataError(f"{path}: holds {len(found)} files `{name}`; expected one.")
            size, most = found[0].file_size, _UNPACKED * path.stat().st_size
            if size > most:
                raise DataError(f"{path}: `{name}` unpacks to {size:,} bytes; expected at most {most:,} of this file.")
            packed = stack.enter_context(archive.open(found[0]))
        with target.open("wb") as file:
            while True:
                with _damage(path):
                    content = packed.read(2**20)
                if not content:
                    return target
                file.write(content)


@contextlib.contextmanager
def _damage(path):
    """Reading a damaged or encrypted archive gives one line; writing what was read has errors of its own."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path}: is a truncated or damaged zip file ({error or type(error).__name__}).") from error


def _keep(path, folder, entry, training):
    scaling = None if entry["scaling"] is None else scaling_from_config(entry["scaling"])
    sampling = None if entry["sampling"] is None else sampling_from_config(entry["sampling"])
    card = {key: entry[key] for key in ("summary", "data", "limits", "licence") if entry[key] is not None}
    card["training"] = training
    import_preset(path, entry["source"], entry["architecture"], folder, entry["config"], sampling, scaling, card)


@contextlib.contextmanager
def _errors_name(url, path):
    """Errors name the address of the file, not where it lies until it is imported."""
    try:
        yield
    except ValueError as error:
        raise DataError(str(error).replace(str(path), url)) from error
