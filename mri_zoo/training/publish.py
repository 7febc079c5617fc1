"""From a finished training to a preset among `weights/`, with its measured quality on the card."""

import tempfile
from pathlib import Path

import numpy as np

from mri_zoo.evaluation.datasets import sources_of
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.presets.registry import BASELINE, load_preset, save_preset


def publish(preset_folder, weights_folder, volumes=None, kspace=None, num_coils=1, progress=None):
    """Measure a preset on the held-out brain, and on a folder of volumes, and store it with what was found.

    Args:
        preset_folder: the preset that a training made.
        weights_folder: where the preset's folder goes.
        volumes: folder of NIfTI volumes that were not trained on.
        kspace: folder of raw k-space in fastMRI's layout that was not trained on.
        num_coils: receive coils to simulate for the brain and the volumes.
        progress: called as ``progress(done, total, text)``.

    Returns:
        The folder of the published preset.

    Raises:
        ValueError: if a volume cannot be evaluated.
    """
    preset = load_preset(preset_folder)
    data = {"held-out brain (nibabel)": sources_of("demo", num_coils=num_coils)}
    if volumes is not None:
        data[_title(volumes)] = sources_of("oasis", volumes, num_coils)
    if kspace is not None:
        data[_title(kspace)] = sources_of("fastmri", kspace)
    quality = []
    for title, sources in data.items():
        with tempfile.TemporaryDirectory() as folder:
            result = evaluate([load_preset(BASELINE), preset], sources, folder, dataset=title, progress=progress)
        if result.failures:
            raise ValueError("; ".join(f"{failure.volume}: {failure.reason}" for failure in result.failures))
        means = {
            (name, key): np.mean([getattr(row, key) for row in result.rows if row.model == name])
            for name in (BASELINE, preset.name)
            for key in ("psnr", "ssim")
        }
        quality.append(
            {
                "data": title,
                "volumes": len(sources),
                "PSNR (dB)": f"{means[preset.name, 'psnr']:.2f}",
                "SSIM": f"{means[preset.name, 'ssim']:.4f}",
                "zero-filled PSNR (dB)": f"{means[BASELINE, 'psnr']:.2f}",
                "zero-filled SSIM": f"{means[BASELINE, 'ssim']:.4f}",
            }
        )
    metadata = {**preset.metadata, "quality": quality}
    return save_preset(Path(weights_folder) / preset.name, preset.model, preset.scaling, preset.sampling, metadata)


def _title(folder):
    """The last two parts of its path."""
    return "/".join(Path(folder).absolute().parts[-2:])
