"""The checkpoints that other codebases publish, and where downloaded ones are kept."""

import json
import os
from pathlib import Path

from mri_zoo.arguments import suggestion

FILE = Path(__file__).with_name("published.json")


def published():
    """What `published.json` tells: a dict from each name, ``<model>-<data>-<setting>``, to a dict.

    Its keys:
        summary: what the model is for.
        url: https, or ``hf://owner/repository/file`` for the Hugging Face hub.
        member: the name of the checkpoint where the file is a zip, or None.
        source, architecture, config: arguments of `import_checkpoint`.
        scaling, sampling: as presets store them; None for the source's scaling, and where it is not known.
        data, limits, licence: texts for the model card; limits may be None.
        megabytes: size of the file, or None.
        sha256: of the file; None until someone has downloaded it and found that it works.
    """
    return json.loads(FILE.read_text())


def find_published(name):
    """The entry of this name; raises ValueError with the nearest one if there is none."""
    entries = published()
    if name not in entries:
        raise ValueError(
            f"No published checkpoint is called {name!r}{suggestion(name, entries)} `mri-zoo weights list` lists them."
        )
    return entries[name]


def list_published():
    """The names of `published` with one line on each: state, source, what it is, size, licence.

    A checkpoint is `unverified` until its SHA-256 is recorded, then `verified`: downloads are checked against it.
    """
    lines, here = {}, downloaded()
    for name, entry in published().items():
        state = "downloaded, " * (name in here) + ("unverified" if entry["sha256"] is None else "verified")
        size = "" if entry["megabytes"] is None else f" ({entry['megabytes']:,} MB)"
        lines[name] = f"{state}; {entry['source']}: {entry['summary']}{size}; licence: {entry['licence']}"
    return lines


def cache_folder():
    """The folder of downloaded presets: `MRI_ZOO_CACHE`, or the system's for caches."""
    import pooch

    return Path(os.environ.get("MRI_ZOO_CACHE") or pooch.os_cache("mri_zoo"))


def downloaded():
    """A dict from the names of `published` that are downloaded to the folders of their presets."""
    folders = {name: cache_folder() / name for name in published()}
    return {name: folder for name, folder in folders.items() if (folder / "config.json").is_file()}
