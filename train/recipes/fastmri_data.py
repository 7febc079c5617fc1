"""What the thesis' trainings on single-coil knees of fastMRI have in common (sections 4.2.3 and 4.2.4)."""

from mri_zoo.data import ConstantScaling, FastMRIFile, RandomMask, find_volumes


def sources(root, split):
    """The volumes of `root`, a folder with fastMRI's `singlecoil_train` and `singlecoil_val`."""
    folder = {"train": "singlecoil_train", "validation": "singlecoil_val"}[split]
    return [FastMRIFile(path) for path in find_volumes(f"{root}/{folder}", "fastmri")]


# An epoch sees one of the eight innermost slices of each volume. Adam is the thesis' optimizer, the norm of the whole
# gradient clipped to 1 (so Keras 2.2 understood `clipnorm`); its later code has RectifiedAdam without clipping.
SINGLE_COIL_KNEE = {
    "sources": sources,
    "root": None,
    "sampling": RandomMask(4),
    "scaling": ConstantScaling(1e6),
    "train_options": {"slices": "random", "inner_slices": 8, "crop": (320, 320)},
    "validation_options": {"inner_slices": 8, "crop": (320, 320)},
    "optimizer_arguments": {"global_clipnorm": 1.0},
    "learning_rate": 1e-3,
    "card": {
        "data": "fastMRI, single-coil knees (Zbontar et al., arXiv:1811.08839).",
        "licence": "Weights: MIT. Training data: fastMRI's data use agreement; none of it is part of this preset.",
        "limits": "For research. Not for clinical use.",
    },
}
