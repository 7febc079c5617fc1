"""The published implementations, built from clones of their repositories, for benchmarks that measure them beside ours.

`--peers FOLDER` holds the clones under their own names: github.com/zaccharieramzi/fastmri-reproducible-benchmark,
facebookresearch/fastMRI, NKI-AI/direct and utcsilab/deep-jsense. Their weights are random: what is compared is time.
The first is Keras 2 code and runs on `tf_keras` (`pip install tf_keras`); the others need PyTorch. Packages that only
their readers of files, optimizers and NUFFTs need are replaced by empty ones.
"""

import dataclasses
import functools
import importlib
import os
import sys
import types
from collections.abc import Callable
from unittest import mock

import numpy as np

PREDECESSOR, FASTMRI, DIRECT, DEEP_JSENSE = "fastmri-reproducible-benchmark", "fastMRI", "direct", "deep-jsense"
NOT_NEEDED = {
    PREDECESSOR: ("tfkbnufft", "tfkbnufft.kbnufft", "fastmri_recon.models.training.compile"),
    FASTMRI: ("yaml",),
    DIRECT: ("omegaconf", "omegaconf.omegaconf"),
    DEEP_JSENSE: ("sigpy",),
}


class NoPeerError(Exception):
    """Why a model is measured alone."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A published implementation on the batch that it was made for.

    Attributes:
        name: of its repository.
        parameters: their number.
        forward, step: reconstruct the batch; take one training step on it, with Adam.
    """

    name: str
    parameters: int
    forward: Callable
    step: Callable


def functional(builder, **arguments):
    """The predecessor's `builder`, "module.function", of models of single-coil data."""

    def build(folder, batch, target):
        if batch["kspace"].shape[1] > 1:
            raise NoPeerError("its code is of single-coil data")
        model = _named(folder, PREDECESSOR, f"fastmri_recon.models.functional_models.{builder}")
        kspace = batch["kspace"][:, 0, ..., None]
        mask = np.broadcast_to(batch["mask"][:, 0], kspace.shape[:-1]).astype("complex64")
        model = model(input_size=kspace.shape[1:], **arguments)
        # Its U-net starts from an image.
        return _keras_2(model, [kspace, mask] if len(model.inputs) > 1 else np.abs(kspace), target)

    return build


def subclassed(name, **arguments):
    """The predecessor's model `name`, "module.Class", of multi-coil data."""

    def build(folder, batch, target):
        model = _named(folder, PREDECESSOR, f"fastmri_recon.models.subclassed_models.{name}")
        options = dict(arguments)
        if "model_fun" in options:
            options["model_fun"] = _named(folder, PREDECESSOR, options["model_fun"])
        kspace, maps = batch["kspace"], _maps(batch)
        mask = np.broadcast_to(batch["mask"][:, 0], kspace[:, 0].shape)[:, None].astype("complex64")
        return _keras_2(model(multicoil=True, fastmri=False, **options), [kspace[..., None], mask, maps], target)

    return build


def fastmri_varnet(folder, batch, target):
    """The VarNet of fastMRI's leaderboard."""
    network = _named(folder, FASTMRI, "fastmri.models.varnet.VarNet")(12, 8, 4, 18, 4)
    kspace, mask = _real(batch["kspace"]), _torch(batch["mask"][..., None]).bool()
    return _torch_peer(FASTMRI, network, lambda: network(kspace, mask), target)


def fastmri_unet(folder, batch, target):
    """The U-net of fastMRI, on an image: its transforms and its normalisation belong to its reader of files."""
    network = _named(folder, FASTMRI, "fastmri.models.unet.Unet")(1, 1, 32, 4, 0.0)
    image = _torch(np.abs(batch["kspace"][:, :1]))
    return _torch_peer(FASTMRI, network, lambda: network(image), target)


def direct(name, maps_network=False, **arguments):
    """DIRECT's network `name`, "package.module.Class"; `maps_network` adds that of its engines for sensitivity maps."""

    def build(folder, batch, target):
        transforms = _named(folder, DIRECT, "direct.data.transforms")
        network = _named(folder, DIRECT, f"direct.nn.{name}")(transforms.fft2, transforms.ifft2, **arguments)
        mask = np.broadcast_to(batch["mask"][..., None], (1, 1, *batch["kspace"].shape[2:], 1))
        inputs = {"masked_kspace": _real(batch["kspace"]), "sensitivity_map": _real(_maps(batch))}
        if "unet_2d" not in name:
            inputs["sampling_mask"] = _torch(mask).bool()

        def reconstruct(**inputs):
            image = network(**inputs)
            return image[-1] if isinstance(image, list) else image  # vSHARP gives those of all iterations

        if not maps_network:
            return _torch_peer(DIRECT, network, lambda: reconstruct(**inputs), target)
        refiner = _named(folder, DIRECT, "direct.nn.unet.unet_2d.UnetModel2d")(2, 2, 8, 4, 0.0)

        def refined():
            coils = inputs["sensitivity_map"].permute(0, 1, 4, 2, 3).unbind(1)
            maps = importlib.import_module("torch").stack([refiner(coil) for coil in coils], 1)
            maps = maps / maps.square().sum((1, 2), keepdim=True).sqrt()
            return reconstruct(**{**inputs, "sensitivity_map": maps.permute(0, 1, 3, 4, 2)})

        return _torch_peer(DIRECT, importlib.import_module("torch").nn.ModuleList([network, refiner]), refined, target)

    return build


def deep_jsense_modl(folder, batch, target):
    """MoDL as published with Deep J-Sense, which runs on a GPU alone: `cuda()` is made to do nothing."""
    torch = importlib.import_module("torch")
    kspace = batch["kspace"]
    settings = types.SimpleNamespace(
        mode="MoDL", logging=False, verbose=False, batch_size=1, att_config=None,
        img_channels=64, img_blocks=4, img_sep=False, use_img_net=True, use_map_net=False,
        map_init="espirit", img_init="estimated", mps_kernel_shape=kspace.shape[1:],
        l2lam_init=0.01, l2lam_train=True, block1_max_iter=0, block2_max_iter=4, cg_eps=1e-6,
    )  # fmt: skip
    with mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor):
        network = _named(folder, DEEP_JSENSE, "models.MoDLDoubleUnroll")(settings)
    data = {
        "ksp": _real(kspace),
        "mask": _torch(batch["mask"][:, 0]),
        "s_maps_cplx": _torch(_maps(batch)),
    }
    return _torch_peer(DEEP_JSENSE, network, lambda: network(data, 6)[0], target)


def _named(folder, repository, name):
    """What is called `name` in a repository's code.

    Raises:
        NoPeerError: without its clone, or where its code cannot be imported.
    """
    if not folder:
        raise NoPeerError("no --peers")
    clone = os.path.join(folder, repository)
    if not os.path.isdir(clone):
        raise NoPeerError(f"no clone of {repository} in {folder}")
    if clone not in sys.path:
        sys.path.insert(0, clone)
        sys.modules.update({package: mock.MagicMock() for package in NOT_NEEDED[repository]})
    module, _, member = name.rpartition(".")
    try:
        found = importlib.import_module(module)
        return getattr(found, member) if hasattr(found, member) else importlib.import_module(name)
    except ImportError as error:
        raise NoPeerError(f"{repository} cannot be imported: {error}") from error


def _keras_2(model, inputs, target):
    model.compile("adam", "mae")
    model.predict_on_batch(inputs)  # makes the weights
    return Peer(
        PREDECESSOR,
        model.count_params(),
        functools.partial(model.predict_on_batch, inputs),
        functools.partial(model.train_on_batch, inputs, target[..., None]),
    )


def _torch_peer(name, network, call, target):
    torch = importlib.import_module("torch")
    torch.set_num_threads(os.cpu_count())
    optimizer = torch.optim.Adam(network.parameters())

    def forward():
        with torch.inference_mode():
            call()

    def step():
        optimizer.zero_grad()
        (call().abs() - float(target.mean())).abs().mean().backward()
        optimizer.step()

    return Peer(name, sum(weight.numel() for weight in network.parameters()), forward, step)


def _torch(array):
    return importlib.import_module("torch").from_numpy(np.ascontiguousarray(array))


def _real(array):
    """Complex (...) as a real tensor (..., 2)."""
    return importlib.import_module("torch").view_as_real(_torch(array))


def _maps(batch):
    return batch.get("sensitivity_maps", np.ones_like(batch["kspace"]))
