"""The embedded demo data: a real brain to judge on and drawn brains to train on, both carried by packages."""

import functools
import importlib.resources

import nibabel
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mri_zoo.data.simulate import Simulation, smooth_field
from mri_zoo.data.volume import DataError, VolumeInfo

_HELD_OUT_SEED = 4  # any fixed number: everyone sees the same k-space

# Proton density, T1 and T2 (ms) at 1.5 T as in the BrainWeb simulator (Kwan et al., IEEE TMI 18:1085, 1999).
_TISSUES = {
    "grey matter": (0.86, 833, 83),
    "white matter": (0.77, 500, 70),
    "fluid": (1.0, 2569, 329),
    "skull": (0.0, 1, 1),
    "scalp fat": (1.0, 350, 70),
}
# Ranges of the repetition time and the echo time in ms.
_SEQUENCES = {
    "T1w": ((400, 700), (8, 20)),
    "MPRAGE": ((1900, 2300), (3, 5)),
    "PDw": ((2500, 4000), (12, 25)),
    "T2w": ((3000, 6000), (80, 110)),
    "FLAIR": ((8000, 10000), (90, 120)),
}
# Directions of rows, columns and slices in the template's axes (right, anterior, superior), the head upright.
_ORIENTATIONS = {
    "axial": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)),
    "coronal": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
}


class HeldOutBrain(Simulation):
    """The real brain in nibabel's `example4d.nii.gz`, never trained on.

    The first of its two frames: 24 axial slices of 96 x 128 pixels (2 x 2 x 2.2 mm), all of which show brain and all of
    which are used, in radiological orientation. The file holds magnitudes, with zeros around the brain: one coil sees
    them as they are, without phase, like the OASIS volumes of the thesis; for more coils a smooth phase and coil maps
    are simulated, always the same ones. Neither nibabel nor the header
    (repetition time 2 s, no echo time) names the contrast: by its looks it is T2*-weighted echo-planar imaging.

    Args:
        num_coils: number of simulated receive coils.

    Raises:
        DataError: if this nibabel comes without its test data.
    """

    def __init__(self, num_coils=1):
        self._brain = _load_example4d()
        info = VolumeInfo("example4d.nii.gz", len(self._brain), 1, *self._brain.shape[1:], contrast="T2star")
        super().__init__(info, num_coils, seed=_HELD_OUT_SEED, phase=num_coils > 1)

    def images(self, slices):
        """See `Simulation.images`."""
        return self._brain[list(slices)]


class DrawnContrastBrain(Simulation):
    """The MNI152 brain in a drawn anatomy, orientation and contrast: training data without a download.

    The grey matter, white matter and fluid of nilearn's MNI152 template get the signals of a drawn sequence (T1w spin
    echo, MPRAGE, PDw, T2w or FLAIR) from their relaxation times. So do a skull and a scalp, drawn around four brains
    out of five, as the template has none. A volume is axial, coronal or sagittal, tilted and scaled. Each of its slices
    is bent smoothly and modulated by the template's texture, a fine grain and a bias field.

    Args:
        seed: draws everything; the same seed gives the same numbers.
        num_coils: number of simulated receive coils.
        num_slices: slices, evenly spaced through the middle 70 % of the brain.
        size: (height, width) in pixels; the shorter side spans 200 to 260 mm.
        phase: see `Simulation`.

    Raises:
        ImportError: if nilearn is not installed.
        ValueError: if an argument is out of range.

    Reference: Fonov et al., NeuroImage 54:313, 2011 (the template).
    """

    def __init__(self, seed, num_coils=1, num_slices=32, size=(192, 192), phase=True):
        if num_slices < 1 or seed < 0:
            raise ValueError(f"`num_slices` must be at least 1 and `seed` not negative, got {num_slices} and {seed}.")
        rng = np.random.default_rng((seed, 0, 1))
        orientation, contrast = rng.choice(list(_ORIENTATIONS)).item(), rng.choice(list(_SEQUENCES)).item()
        info = VolumeInfo(f"mni152_{orientation}_{contrast}_{seed}", num_slices, 1, *size, contrast, "mni152")
        super().__init__(info, num_coils, seed=seed, phase=phase)
        self._signals = _draw_signals(contrast, rng)
        tilt = Rotation.from_rotvec(rng.normal(0, 6, 3), degrees=True).as_matrix()
        self._axes = (tilt @ np.transpose(_ORIENTATIONS[orientation])).astype(np.float32)
        self._pixel = rng.uniform(200, 260) / min(size)
        self._layers = rng.uniform((1, 4, 3), (3, 8, 9)) if rng.uniform() < 0.8 else None
        self._grain = rng.uniform(0.02, 0.08)
        _load_templates()

    def images(self, slices):
        """See `Simulation.images`."""
        return np.stack([self._draw(index, np.random.default_rng((self._seed, index, 2))) for index in slices])

    def _draw(self, index, rng):
        """One slice: the signals of its tissues by their fractions, modulated."""
        t1, grey, white = self._sample_templates(index, rng)
        brain = np.clip(4 * t1, 0, 1)
        # The template averages 152 brains: squares sharpen its maps.
        fractions = np.stack([grey, white, np.clip(brain - grey - white, 0, 1)]) ** 2
        fractions *= brain / np.maximum(fractions.sum(0), 1e-3)
        # What the mean T1w intensities of the template's three tissues leave unexplained is its texture.
        texture = t1 - np.tensordot(np.float32([0.65, 0.88, 0.26]), fractions, 1)
        texture += self._grain * ndimage.gaussian_filter(rng.standard_normal(t1.shape, np.float32), 0.7)
        bias = np.exp(0.15 * smooth_field(*t1.shape, rng))
        image = np.tensordot(self._signals[:3], fractions, 1)
        if self._layers is not None:
            image += np.tensordot(self._signals[2:], self._draw_head(brain, rng), 1)
        return np.maximum(image * (1 + texture) * bias, 0)

    def _sample_templates(self, index, rng):
        """(T1w, grey matter, white matter) in the bent plane of one slice, each (height, width) from 0 to 1."""
        height, width, num_slices = self.info.height, self.info.width, self.info.num_slices
        templates = _load_templates()
        extent = np.float32(templates[0].shape)
        depth = 0.7 * ((index + 0.5) / num_slices - 0.5) * extent @ np.abs(self._axes[:, 2])
        rows, columns = (self._pixel * (np.arange(size) - size // 2) for size in (height, width))
        plane = np.stack(np.broadcast_arrays(rows[:, None], columns, depth)).astype(np.float32)
        plane += 3 * np.stack([smooth_field(height, width, rng) for _ in range(3)])
        voxels = np.tensordot(self._axes, plane, 1) + (extent / 2)[:, None, None]
        return [ndimage.map_coordinates(t, voxels, np.float32, order=1) / np.float32(255) for t in templates]

    def _draw_head(self, brain, rng):
        """(3, height, width) fractions of fluid, skull and scalp: layers of uneven thickness around the brain."""
        outside = ndimage.gaussian_filter(brain, 2 / self._pixel) < 0.5
        distance = self._pixel * ndimage.distance_transform_edt(outside).astype(np.float32)
        distance *= np.exp(0.2 * smooth_field(*brain.shape, rng))
        inside = [np.clip((edge - distance) / self._pixel + 0.5, 0, 1) for edge in np.cumsum(self._layers)]
        return np.maximum(np.diff([brain, *inside], axis=0), 0)


class DrawnContrastVolume(DrawnContrastBrain):
    """A `DrawnContrastBrain` whose slices make one volume: they are bent and modulated alike, and without the grain.

    A single coil without phase sees it, as the coils and phases of simulations are drawn for each slice.

    Args:
        seed, num_slices, size: see `DrawnContrastBrain`.
    """

    def __init__(self, seed, num_slices=48, size=(64, 64)):
        super().__init__(seed, 1, num_slices, size, phase=False)
        self._grain = 0.0

    def images(self, slices):
        """See `Simulation.images`."""
        return np.stack([self._draw(index, np.random.default_rng((self._seed, 0, 2))) for index in slices])


def _draw_signals(contrast, rng):
    """Signals of `_TISSUES` in a drawn spin-echo or inversion-recovery sequence, the largest one scaled to 1."""
    density, t1, t2 = np.transpose(list(_TISSUES.values())) * np.exp(rng.normal(0, 0.08, (3, len(_TISSUES))))
    repetition, echo = (rng.uniform(*limits) for limits in _SEQUENCES[contrast])
    null_of_fluid = t1[2] * np.log(2 / (1 + np.exp(-repetition / t1[2])))
    # Right after an excitation nothing is left to invert: an inversion time of a whole repetition is a plain spin echo.
    inversion = {"MPRAGE": rng.uniform(800, 1100), "FLAIR": null_of_fluid}.get(contrast, repetition)
    magnetisation = 1 - 2 * np.exp(-inversion / t1) + np.exp(-repetition / t1)
    signals = density * np.abs(magnetisation) * np.exp(-echo / t2)
    return (signals / signals.max()).astype(np.float32)


@functools.cache
def _load_example4d():
    """(slice, height, width) float32, seen from the feet, anterior on top."""
    resource = importlib.resources.files("nibabel") / "tests" / "data" / "example4d.nii.gz"
    if not resource.is_file():
        raise DataError(
            f"{resource} is missing: this nibabel comes without its test data, `pip install nibabel` has it."
        )
    with importlib.resources.as_file(resource) as path:
        frame = nibabel.load(path).dataobj[..., 0]
    brain = np.ascontiguousarray(np.rot90(frame).transpose(2, 0, 1), dtype=np.float32)
    brain.flags.writeable = False
    return brain


@functools.cache
def _load_templates():
    """T1w, grey and white matter of the MNI152 template, uint8, 1 mm voxels (right, anterior, superior), brain only."""
    try:
        from nilearn import datasets
    except ImportError as error:
        raise ImportError("Drawn brains need the MNI152 template of nilearn: `pip install mri-zoo[demo]`.") from error
    loaders = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    templates = [np.asarray(load(resolution=1).dataobj) for load in loaders]
    box = ndimage.find_objects((templates[0] > 0).astype(np.uint8))[0]
    return [np.ascontiguousarray(np.rint(255 * template[box]).astype(np.uint8)) for template in templates]
