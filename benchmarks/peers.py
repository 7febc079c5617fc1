"""The published implementations, built from clones of their repositories, for benchmarks that measure them beside ours.

The predecessor, github.com/zaccharieramzi/fastmri-reproducible-benchmark, is Keras 2 code: it runs on `tf_keras`
(`pip install tf_keras`), with the compilation of its optimizer and its NUFFT left out, which need packages that no
longer import.
"""

import importlib
import os
import sys
from unittest import mock

import numpy as np

PREDECESSOR = "fastmri-reproducible-benchmark"


def predecessor(folder, builder, **arguments):
    """A compiled Keras 2 model, or None without a clone in `folder`.

    Args:
        folder: holds the clone under its own name.
        builder: "module.function" below `fastmri_recon.models.functional_models`.
        arguments: of the function.
    """
    clone = folder and os.path.join(folder, PREDECESSOR)
    if not clone:
        return None
    if not os.path.isdir(clone):
        raise SystemExit(f"{clone}: no such folder; expected a clone of github.com/zaccharieramzi/{PREDECESSOR}")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    sys.path.insert(0, clone)
    for name in ("tfkbnufft", "tfkbnufft.kbnufft", "fastmri_recon.models.training.compile"):
        sys.modules[name] = mock.MagicMock()
    module, function = builder.split(".")
    module = importlib.import_module(f"fastmri_recon.models.functional_models.{module}")
    model = getattr(module, function)(fastmri=False, **arguments)
    model.compile("adam", "mae")
    return model


def predecessor_inputs(batch):
    """Our single-coil batch as its functional models take it."""
    kspace = batch["kspace"][:, 0]
    return [kspace[..., None], np.broadcast_to(batch["mask"][:, 0], kspace.shape).astype("complex64")]
