"""Judge models on a scan that was measured along a trajectory, of which there is no ground truth."""

import dataclasses

import numpy as np

from mri_zoo.data.files import open_volume
from mri_zoo.data.fourier import center_crop
from mri_zoo.data.noncartesian import CenteredEcho
from mri_zoo.data.preparation import PercentileScaling, draw_sampling
from mri_zoo.data.volume import DataError, Volume
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.evaluation.reconstruction import reconstruct
from mri_zoo.models import CGSENSE
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.presets.registry import BASELINE, Preset, load_preset


class SomeShots:
    """Every n-th shot of a measured scan in HDF5, whose reference is CG-SENSE of all its shots.

    The echo is put into the centre of k-space.

    Args:
        path: see `TrajectoryFile`.
        every: n.

    Raises:
        DataError: if the file is not in that layout, or has fewer than n shots.
    """

    def __init__(self, path, every=2):
        source = CenteredEcho(open_volume(path))
        self._shots = source.info.num_shots
        if not 1 <= every <= self._shots:
            raise DataError(f"{path}: has {self._shots} shots, of which every {every}th cannot be taken.")
        self._source, self._every = source, every
        density = source.info.density
        self.info = dataclasses.replace(
            source.info,
            trajectory=self._some(source.info.trajectory.T).T,
            num_shots=len(range(0, self._shots, every)),
            density=None if density is None else self._some(density),
            target_size=source.info.recon_size or source.info.image_size[-2:],
        )

    def read(self, slices=None):
        """The slices with these indices (all by default), in the order asked for."""
        volume = self._source.read(slices)
        reference = np.abs(reconstruct(cg_sense(), volume, draw_sampling(None, self._source.info)))
        reference = center_crop(reference, self.info.target_size)
        return Volume(self.info, volume.slices, self._some(volume.kspace), reference)

    def _some(self, samples):
        """Of (..., samples)."""
        shots = samples.reshape(*samples.shape[:-1], self._shots, -1)[..., :: self._every, :]
        return shots.reshape(*samples.shape[:-1], -1)


def cg_sense():
    """CG-SENSE along trajectories as a preset; with less weight, stripes appear in the scan of the phantom."""
    model = CGSENSE(20, 0.1, physics=NonCartesian())
    model.build()
    metadata = {"summary": "conjugate-gradient SENSE; learns nothing"}
    return Preset("cg-sense", model, PercentileScaling(), None, metadata)


def evaluate_measured(path, output, names=(), every=2, progress=None, finish=None):
    """Compare the adjoint, CG-SENSE and presets, all of every n-th shot, with CG-SENSE of all shots.

    Args:
        path: of the scan, see `TrajectoryFile`.
        output: folder of ``table.md`` and ``volumes.csv``.
        names: of presets.
        every: n.
        progress: called as ``progress(done, total, text)``.
        finish: called with the `Evaluation` before `output` is free for others, as `write_figures` would be.

    Returns:
        The `Evaluation`.
    """
    own = load_preset(BASELINE), cg_sense()
    presets = [*own, *(load_preset(name) for name in names if name not in [preset.name for preset in own])]
    title = f"every {every}. shot; the reference is CG-SENSE of all shots"
    return evaluate(presets, [SomeShots(path, every)], output, dataset=title, progress=progress, finish=finish)
