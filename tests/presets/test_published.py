import re

import pytest

from mri_zoo.data.preparation import scaling_from_config
from mri_zoo.data.sampling import sampling_from_config
from mri_zoo.presets.importers import SOURCES
from mri_zoo.presets.published import cache_folder, downloaded, find_published, list_published, published
from mri_zoo.presets.registry import bundled_folder, load_preset

KEYS = {"summary", "url", "member", "source", "architecture", "config", "scaling", "sampling"}
KEYS |= {"data", "limits", "licence", "megabytes", "sha256"}


@pytest.mark.parametrize("name", published())
def test_entry_is_complete(name):
    entry = find_published(name)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) and not (bundled_folder() / name).exists()
    assert set(entry) == KEYS and all(entry[key] for key in ("summary", "data", "licence"))
    assert re.fullmatch(r"https://.*\.pt|https://.*\.zip|hf://[^/]+/[^/]+/[^/]+\.h5", entry["url"])
    assert (entry["member"] is not None) == entry["url"].endswith(".zip")
    assert entry["sha256"] is None or re.fullmatch("[0-9a-f]{64}", entry["sha256"])
    for key, from_config in (("sampling", sampling_from_config), ("scaling", scaling_from_config)):
        if entry[key] is not None:
            from_config(entry[key])


@pytest.mark.parametrize("name", published())
def test_config_fits_the_class(name):
    entry = find_published(name)
    foreign = SOURCES[entry["source"]][entry["architecture"]]
    model = foreign.model.from_config({**foreign.model().get_config(), **entry["config"]})
    for argument, value in entry["config"].items():
        found = model.get_config()[argument]
        assert (list(found) if isinstance(found, tuple) else found) == value


def test_checkpoints_that_are_not_there_are_listed_and_not_loaded():
    name, line = next(iter(list_published().items()))
    assert line.startswith("unverified; ") and "licence: " in line
    assert not downloaded() and not cache_folder().exists()
    with pytest.raises(ValueError, match=f"{name} is not downloaded yet: `mri-zoo weights download {name}`"):
        load_preset(name)


def test_unknown_names_suggest_published_ones_too():
    for function in (load_preset, find_published):
        with pytest.raises(ValueError, match="did you mean 'varnet-fastmri-knee-leaderboard'"):
            function("varnet-fastmri-leaderboard")
