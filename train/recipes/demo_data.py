"""The brains that the demo presets learn from: real volumes and images, and drawn contrasts of the MNI152 template."""

import itertools
from pathlib import Path

from mri_zoo.data import DrawnContrastBrain, ImageFile, NIfTIFile, SimulatedAcquisition

# Matrix sizes in turn, so that no network learns one size.
SIZES = [(96, 96), (112, 96), (128, 96), (96, 112), (112, 112), (128, 128), (160, 144)]
VALIDATION_SUBJECT = "patient20"  # of the volumes; no slice of this subject is trained on
DRAWN_BRAINS = {"train": range(48), "validation": range(1000, 1004)}
ACQUISITIONS = 3  # of each real volume, with different matrix sizes, phases and coils

CARD = {
    "data": (
        "Real brains: open_ms_data (CC-BY; Lesjak et al., Neuroinformatics 2016), the 3 T images of the "
        "Ultra-low-field-MRI-Scanner repository (CC0; Liu et al., Nature Communications 2021), torchio-data (MIT); and "
        "slices with drawn contrasts from the MNI152 template (Fonov et al., NeuroImage 2011; bundled with nilearn). "
        "All are magnitude images, and k-space is their Fourier transform; several coils and their phase are "
        "simulated; of the acquisitions with one coil, half have no phase, as in the OASIS experiments of the thesis. "
        "Nothing here was trained on raw scanner data or on fastMRI."
    ),
    "licence": "Weights: MIT. Training data: CC-BY, CC0 and MIT as above; none of it is part of this preset.",
    "limits": "For demonstration and tests: trained on few subjects and simulated acquisitions. Not for clinical use.",
}


def sources(root, split, num_coils):
    """The volumes of a split, seen by `num_coils` coils: by one with phase and, as in OASIS, without in turns."""
    volumes = [
        NIfTIFile(path)
        for path in sorted(Path(root).glob("volumes/*.nii.gz"))
        if (VALIDATION_SUBJECT in path.name) == (split == "validation")
    ]
    if split == "train":
        paths = sorted(Path(root).glob("images_2d/*.h5"))
        volumes += [ImageFile(path, contrast) for path in paths for contrast in ("T1w", "T2w")]
    volumes = volumes * (ACQUISITIONS if split == "train" else 1)
    sizes = itertools.cycle(SIZES)

    def options(seed):
        return {"num_coils": num_coils, "size": next(sizes), "seed": seed, "phase": num_coils > 1 or seed % 2 == 1}

    acquired = [SimulatedAcquisition(volume, **options(seed)) for seed, volume in enumerate(volumes)]
    drawn = [DrawnContrastBrain(**options(seed)) for seed in DRAWN_BRAINS[split]]
    return acquired + drawn
