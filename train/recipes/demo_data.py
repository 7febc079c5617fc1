"""The brains that the demo presets learn from: real volumes and images, and drawn contrasts of the MNI152 template."""

import itertools
from pathlib import Path

from mri_zoo.data import DrawnContrastBrain, DrawnContrastVolume, ImageFile, NIfTIFile, SimulatedAcquisition

# Matrix sizes in turn, so that no network learns one size.
SIZES = [(96, 96), (112, 96), (128, 96), (96, 112), (112, 112), (128, 128), (160, 144)]
VALIDATION_SUBJECT = "patient20"  # of the volumes; no slice of this subject is trained on
DRAWN_BRAINS = {"train": range(48), "validation": range(1000, 1004)}
DRAWN_VOLUMES = {"train": range(16), "validation": range(1000, 1002)}
VOLUME_SIZE = (40, 40)  # of their slices; small, so that a training of minutes sees many
ACQUISITIONS = 3  # of each real volume, with different matrix sizes, phases and coils

CARD = {
    "data": (
        "Real brains: open_ms_data (CC-BY; Lesjak et al., Neuroinformatics 2016), the 3 T images of the "
        "Ultra-low-field-MRI-Scanner repository (CC0; Liu et al., Nature Communications 2021), torchio-data (MIT); and "
        "slices with drawn contrasts from the MNI152 template (Fonov et al., NeuroImage 2011; bundled with nilearn). "
        "All are magnitude images, and k-space is their Fourier transform; several coils and their phase are "
        "simulated, one coil sees the magnitude without phase, as in the OASIS experiments of the thesis. "
        "Nothing here was trained on raw scanner data or on fastMRI."
    ),
    "licence": "Weights: MIT. Training data: CC-BY, CC0 and MIT as above; none of it is part of this preset.",
    "limits": "For demonstration and tests: trained on few subjects and simulated acquisitions. Not for clinical use.",
}

# One coil without phase has Hermitian k-space, on which a network comes to rely.
SINGLE_COIL_LIMITS = (
    "For k-space that was made of magnitude images, not for raw k-space of one coil: that has a phase, which this "
    "network never saw (the quality on raw scans below tells). "
)
SHORT_TRAINING = "Trained for little more than a thousand steps; more make it better. "


def sources(root, split, num_coils, phases=(1,)):
    """The volumes of a split, seen by `num_coils` coils: by one without phase, as in OASIS, by more with phase.

    `phases` tell in turn how strong it is, see `Simulation`.
    """
    volumes = real_volumes(root, split)
    if split == "train":
        paths = sorted(Path(root).glob("images_2d/*.h5"))
        volumes += [ImageFile(path, contrast) for path in paths for contrast in ("T1w", "T2w")]
    volumes = volumes * (ACQUISITIONS if split == "train" else 1)
    sizes, strengths = itertools.cycle(SIZES), itertools.cycle(phases if num_coils > 1 else (0,))
    acquired = [
        SimulatedAcquisition(volume, num_coils, next(sizes), seed, next(strengths))
        for seed, volume in enumerate(volumes)
    ]
    drawn = [
        DrawnContrastBrain(seed, num_coils, size=next(sizes), phase=next(strengths)) for seed in DRAWN_BRAINS[split]
    ]
    return acquired + drawn


def small_volumes(root, split):
    """The volumes of a split as a three-dimensional acquisition sees them: small, by one coil, without phase."""
    real = [SimulatedAcquisition(volume, 1, VOLUME_SIZE, phase=False) for volume in real_volumes(root, split)]
    return real + [DrawnContrastVolume(seed, 24, VOLUME_SIZE) for seed in DRAWN_VOLUMES[split]]


def real_volumes(root, split):
    """The NIfTI files of a split."""
    return [
        NIfTIFile(path)
        for path in sorted(Path(root).glob("volumes/*.nii.gz"))
        if (VALIDATION_SUBJECT in path.name) == (split == "validation")
    ]
