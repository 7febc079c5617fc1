import errno
import functools
import hashlib
import http.server
import io
import json
import resource
import shutil
import signal
import threading
import zipfile

import numpy as np
import pytest

from mri_zoo import list_models, load_preset
from mri_zoo.data import DataError
from mri_zoo.data.preparation import scaling_to_config
from mri_zoo.data.sampling import sampling_from_config
from mri_zoo.presets import download, download_preset, published
from mri_zoo.presets.importers import import_preset
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.scratch import scratch_folder

# Recordings in the layout of what is published.
RECORDED = {
    ("fastmri-reproducible-benchmark", "CascadeNet"): "tensorflow/cascade_net",
    ("fastmri-reproducible-benchmark", "KIKINet"): "tensorflow/kiki_sep",
    ("fastmri-reproducible-benchmark", "NCPDNet"): "tensorflow/ncpdnet_multicoil",
    ("fastmri-reproducible-benchmark", "PDNet"): "tensorflow/pdnet",
    ("fastmri-reproducible-benchmark", "UNet"): "tensorflow/unet",
    ("fastmri-reproducible-benchmark", "UPDNet"): "tensorflow/updnet",
    ("fastmri-reproducible-benchmark", "XPDNet"): "tensorflow/xpdnet_mwcnn",
    ("fastmri", "FastMRIUNet"): "pytorch/fastmri_unet",
    ("fastmri", "VarNet"): "pytorch/fastmri_varnet",
    ("direct", "VarNet"): "pytorch/direct_e2evarnet",
    ("direct", "KIKINet"): "pytorch/direct_kikinet_unet_conv_normalize",
    ("direct", "LPDNet"): "pytorch/direct_lpdnet_unet_conv",
    ("direct", "MoDL"): "pytorch/direct_conjgradnet_resnet",
    ("direct", "RecurrentVarNet"): "pytorch/direct_recurrentvarnet",
    ("direct", "UNet"): "pytorch/direct_jssl_engine_unet",  # with a network for the sensitivity maps
    ("direct", "VSHARP3D"): "pytorch/direct_vsharp3d",
    ("direct", "XPDNet"): "pytorch/direct_xpdnet_primal",
}
PDNET = "pdnet-fastmri-knee-singlecoil-af4"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def end_headers(self):
        if "broken-off" in self.path:
            self.send_header("Content-Length", str(10**6))
            self.close_connection = True
        super().end_headers()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is served; all published addresses lead there. Downloads are kept in `tmp_path / "cache"`."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MRI_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", address)
    text = published.FILE.read_text().replace("https://", f"{address}/")
    monkeypatch.setattr(published, "FILE", tmp_path / "published.json")
    published.FILE.write_text(text)
    yield folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def imported(monkeypatch):
    """The contents of the files that were imported, by a stand-in that keeps next to nothing."""
    contents = []

    def import_preset(path, source, architecture, folder, *arguments):
        contents.append(path.read_bytes())
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(download, "import_preset", import_preset)
    return contents


def place(site, name):
    """Where the file of a published checkpoint is served from; its folder is made."""
    owner_and_file = download._address(published.find_published(name)["url"]).split("/", 3)[3]
    path = site / owner_and_file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def change(name, **changes):
    """Change an entry of the list."""
    entries = published.published()
    entries[name].update(changes)
    published.FILE.write_text(json.dumps(entries))


def leftovers(tmp_path):
    """What the cache folder holds."""
    return [path.name for path in (tmp_path / "cache").glob("*")]


def serve_recording(site, name, recording):
    """Serve a recorded checkpoint in the layout of a published one."""
    entry, path = published.find_published(name), place(site, name)
    if path.suffix == ".h5":
        return shutil.copyfile(recording, path)
    torch = pytest.importorskip("torch")
    weights = {name: torch.from_numpy(array.copy()) for name, array in Checkpoint(recording).arrays.items()}
    if path.suffix == ".pt":
        torch.save(weights, path)
        return path
    if not any(name.startswith("model.") for name in weights):
        weights = {f"model.{name}": tensor for name, tensor in weights.items()}
    networks = {}
    for name, tensor in weights.items():
        network, _, name = name.partition(".")
        networks.setdefault(network, {})[name] = tensor
    training = {
        **networks,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1}]},
        "lr_scheduler": {"last_epoch": 3, "gamma": 0.2},
        "__author__": "somebody",
        "__version__": "1.0.4",
        "__datetime__": "2022-01-01 12:00:00",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/config.yaml", "model: {}")
        with archive.open(f"model/{entry['member']}", "w") as file:
            torch.save(training, file)
    return path


def layouts():
    """One name of every kind of checkpoint."""
    entries = published.published().items()
    return list({(entry["source"], entry["architecture"]): name for name, entry in entries}.values())


QUICK = ("CascadeNet", "PDNet", "NCPDNet", "FastMRIUNet", "LPDNet", "UNet")  # of every source and kind of file


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (published.find_published(name)["architecture"] not in QUICK))
        for name in layouts()
    ],
)
def test_every_layout_becomes_a_preset(site, reference, tmp_path, monkeypatch, name):
    entry = published.find_published(name)
    source, architecture = entry["source"], entry["architecture"]
    recording = next((reference / RECORDED[source, architecture]).glob("checkpoint.*"))
    served, models = serve_recording(site, name, recording), []
    monkeypatch.setattr(download, "import_preset", lambda *given: models.append(import_preset(*given)))

    folder, digest = download_preset(name)
    assert digest == hashlib.sha256(served.read_bytes()).hexdigest()
    assert leftovers(tmp_path) == [name] and folder == tmp_path / "cache" / name
    preset = load_preset(name)
    for ours, imported in zip(preset.model.get_weights(), models[0].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, imported)
    assert entry["scaling"] in (None, scaling_to_config(preset.scaling))
    assert preset.sampling == (entry["sampling"] and sampling_from_config(entry["sampling"]))
    assert getattr(preset.model.physics, "alternating_signs", False) == ("calgary-campinas" in name)
    card = (folder / "README.md").read_text()
    assert entry["licence"] in card and entry["data"] in card and digest in card
    assert list(list_models())[-1] == name and entry["summary"] in list_models()[name]
    assert published.list_published()[name].startswith("downloaded, unverified; ")


def test_verified_downloads_are_checked(site, imported, tmp_path):
    place(site, PDNET).write_bytes(b"weights")
    _, digest = download_preset(PDNET)
    change(PDNET, sha256=digest)
    assert download_preset(PDNET)[1] == digest
    assert published.list_published()[PDNET].startswith("downloaded, verified; ")
    shutil.rmtree(tmp_path / "cache")
    change(PDNET, sha256="0" * 64)
    with pytest.raises(DataError, match=rf"http://.*/model_weights.h5: .* SHA-256 {digest} instead of 0000"):
        download_preset(PDNET)
    assert not leftovers(tmp_path) and imported == [b"weights"] * 2


def test_progress_is_told_in_megabytes(site, imported):
    place(site, PDNET).write_bytes(bytes(3 * 10**6))
    told = []
    download_preset(PDNET, lambda *arguments: told.append(arguments))
    assert told[0] == (1, 3, f"{PDNET}, MB") and told[-1] == (3, 3, f"{PDNET}, MB")


def test_what_cannot_be_downloaded_names_its_address(site, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"http://.*/PDNet-fastmri/.*/model_weights.h5: .* answers 404 File not found"):
        download_preset(PDNET)
    change(PDNET, url="hf://somebody/broken-off/model_weights.h5")
    place(site, PDNET).write_bytes(b"the first half")
    with pytest.raises(DataError, match=r"http://.*/broken-off/.*: cannot be downloaded, no connection"):
        download_preset(PDNET)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port that discards everything
    with pytest.raises(DataError, match=r"127.0.0.1:9/.*: cannot be downloaded, no connection \(ConnectionError\)"):
        download_preset(PDNET)
    assert not leftovers(tmp_path)


def test_damaged_files_are_refused(site, reference, tmp_path):
    content = (reference / "tensorflow" / "pdnet" / "checkpoint.h5").read_bytes()
    place(site, PDNET).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"^http://.*/model_weights.h5: is truncated or damaged"):
        download_preset(PDNET)
    assert not leftovers(tmp_path)

    change(PDNET, url="hf://somebody/zipped/file.zip", member="model_7.h5")
    path = place(site, PDNET)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model_7.h5", content)
    zipped = path.read_bytes()
    middle = len(zipped) // 2
    for damaged in (zipped[:middle], zipped[:middle] + bytes([zipped[middle] ^ 1]) + zipped[middle + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"^http://.*/file.zip: is a truncated or damaged zip file"):
            download_preset(PDNET)
        assert not leftovers(tmp_path)


def damaged_archives():
    """Kind of damage: the content of a zip."""
    found = {}
    for kind, method in {"deflate": zipfile.ZIP_DEFLATED, "lzma": zipfile.ZIP_LZMA, "bz2": zipfile.ZIP_BZIP2}.items():
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("model_7.h5", np.random.default_rng(0).bytes(5000))
        content = bytearray(packed.getvalue())
        content[60:90] = bytes(30)
        found[kind] = bytes(content)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model_7.h5", b"weights")
    stored = packed.getvalue()
    found["checksum"] = stored.replace(b"weights", b"wEights", 1)
    header = stored.index(b"PK\x01\x02")
    for kind, offset, value in (("encrypted", 8, 1), ("unknown method", 10, 77), ("place", 42, 99)):
        content = bytearray(stored)
        content[header + offset] = value
        if kind == "encrypted":
            content[6] = value
        found[kind] = bytes(content)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model_7.h5", bytes(10**7))
    found["bomb"] = packed.getvalue()
    return found | {"page": b"<html>", "nothing": b""}


@pytest.mark.parametrize("kind", damaged_archives())
def test_a_damaged_archive_is_one_line(site, imported, tmp_path, kind):
    change(PDNET, url="hf://somebody/zipped/file.zip", member="model_7.h5")
    place(site, PDNET).write_bytes(damaged_archives()[kind])
    with pytest.raises(DataError, match=r"^http://[^\n]*/file.zip: [^\n]*$") as caught:
        download_preset(PDNET)
    assert ("unpacks to 10,000,000 bytes" if kind == "bomb" else "truncated or damaged") in str(caught.value)
    assert not leftovers(tmp_path) and not imported


def test_a_full_disk_is_one_line(site, imported, tmp_path):
    place(site, PDNET).write_bytes(bytes(3 * 10**6))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot be kept there") as caught:
            download_preset(PDNET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(tmp_path / "cache")
    assert not leftovers(tmp_path) and not imported


def test_what_a_killed_download_left_goes_with_the_next_one_and_what_another_makes_stays(site, imported, tmp_path):
    place(site, PDNET).write_bytes(b"weights")
    killed = tmp_path / "cache" / "downloading-killed"
    killed.mkdir(parents=True)
    (killed / ".lock").touch()  # which nobody holds
    (killed / "model_weights.h5").write_bytes(bytes(1000))
    with scratch_folder(tmp_path / "cache", "downloading-") as others:
        download_preset(PDNET)
        assert sorted(leftovers(tmp_path)) == sorted([PDNET, others.name])
    assert leftovers(tmp_path) == [PDNET]


@pytest.mark.parametrize("member", ["../../model_7.h5", "/model_7.h5", "a/../../model_7.h5"])
def test_paths_in_a_zip_lead_nowhere(site, imported, tmp_path, member):
    change(PDNET, url="hf://somebody/zipped/file.zip", member="model_7.h5")
    with zipfile.ZipFile(place(site, PDNET), "w") as archive:
        archive.writestr(member, b"weights")
        archive.writestr("../../other.txt", "text")
    before = set(tmp_path.rglob("*"))
    folder, _ = download_preset(PDNET)
    assert imported == [b"weights"]
    assert set(tmp_path.rglob("*")) - before == {folder.parent, folder, folder / "config.json"}


@pytest.mark.parametrize("members, number", [(["other.h5"], 0), (["5x/model_7.h5", "10x/model_7.h5"], 2)])
def test_a_zip_must_hold_the_checkpoint_once(site, members, number):
    change(PDNET, url="hf://somebody/zipped/file.zip", member="model_7.h5")
    with zipfile.ZipFile(place(site, PDNET), "w") as archive:
        for member in members:
            archive.writestr(member, "text")
    with pytest.raises(DataError, match=rf"^http://.*/file.zip: holds {number} files `model_7.h5`; expected one"):
        download_preset(PDNET)


def test_a_missing_library_is_told_before_the_download(site, monkeypatch):
    change(PDNET, url="hf://somebody/torch/weights.pt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"{PDNET} .* needs `pip install mri_zoo\[torch\]`"):
        download_preset(PDNET)
