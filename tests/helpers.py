"""What several test files share: random data, an acquisition in plain NumPy, and the recorded networks."""

import contextlib
import resource
import signal

import numpy as np
from keras import ops

from mri_zoo.losses import DualDomainLoss
from mri_zoo.physics.complex import scale
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.physics.nufft import nufft, nufft_adjoint

JOINT_LOSSES = {  # those of JSSL one by one, by DIRECT's names
    "l1_loss": DualDomainLoss(DualDomainLoss().image[:1], []),
    "ssim_loss": DualDomainLoss(DualDomainLoss().image[1:2], []),
    "hfen_l1_norm_loss": DualDomainLoss(DualDomainLoss().image[2:3], []),
    "hfen_l2_norm_loss": DualDomainLoss(DualDomainLoss().image[3:], []),
    "kspace_nmae_loss": DualDomainLoss([], DualDomainLoss().kspace[:1]),
    "kspace_nmse_loss": DualDomainLoss([], DualDomainLoss().kspace[1:]),
}


@contextlib.contextmanager
def disk_of(size):
    """A block in which no file can have more than `size` bytes, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def random_complex(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype("complex64")


def inner(x, y):
    """<x, y> in double precision, linear in y."""
    return np.vdot(np.asarray(x).astype("complex128"), np.asarray(y).astype("complex128"))


def relative_error(actual, expected):
    """Largest deviation relative to the largest expected magnitude."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    return np.max(np.abs(actual - expected)) / np.max(np.abs(expected))


def fft_reference(x, dimensions=2):
    """The centred orthonormal transform, as the conventions define it."""
    axes = tuple(range(-dimensions, 0))
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(x, axes), axes=axes, norm="ortho"), axes)


def center(images, size):
    """The centre of images (..., height, width)."""
    top, left = ((have - want) // 2 for have, want in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def acquire(rng, size=(15, 13), coils=1, maps=False, full_height_mask=False, batch_size=2, image=None):
    """Undersampled k-space of a random image.

    The four central columns are sampled, and half of the others. Without `maps` the batch lacks `sensitivity_maps`.

    Returns:
        The batch (dict of NumPy arrays) and the image (batch, *size) complex64.
    """
    image = random_complex(rng, (batch_size, *size)) if image is None else image
    sensitivities = random_complex(rng, (batch_size, coils, *size)) if coils > 1 or maps else np.ones((1, 1, *size))
    sensitivities = sensitivities / np.linalg.norm(sensitivities, axis=1, keepdims=True)
    rows = size[:-1] if full_height_mask else (1,) * (len(size) - 1)
    mask = rng.random((batch_size, 1, *rows, size[-1])) < 0.5
    mask[..., size[-1] // 2 - 2 : size[-1] // 2 + 2] = True
    kspace = mask * fft_reference(sensitivities * image[:, None], len(size))
    batch = {"kspace": kspace.astype("complex64"), "mask": mask.astype("float32")}
    return (batch | {"sensitivity_maps": sensitivities.astype("complex64")} if maps else batch), image


def acquire_frames(rng, size=(15, 13), frames=2, **options):
    """Slices as frames, an axis before the height of all arrays, each with a mask of its own: see `acquire`."""
    batches, images = zip(*(acquire(rng, size, **options) for _ in range(frames)), strict=True)
    return {key: np.stack([batch[key] for batch in batches], axis=2) for key in batches[0]}, np.stack(images, axis=1)


def ndft_matrix(trajectory, size):
    """The exact non-uniform transform, orthonormal, as a matrix (samples, pixels) in double precision."""
    axes = [np.arange(n) - n // 2 for n in size]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(size))
    return np.exp(-1j * trajectory.astype("float64") @ positions.T) / np.sqrt(len(positions))


def acquire_noncartesian(rng, size=(15, 13), coils=1, maps=False, batch_size=2, image=None, full_grid=False):
    """Samples of a random image at random frequencies, half as many as pixels, or all those of the Cartesian grid.

    A quarter of the random ones are near the centre. Without `maps` the batch lacks `sensitivity_maps`. The trajectory
    is repeated for each slice, since Keras cuts all arrays into batches.

    Returns:
        The batch (dict of NumPy arrays) and the image (batch, *size) complex64.
    """
    image = random_complex(rng, (batch_size, *size)) if image is None else image
    sensitivities = random_complex(rng, (batch_size, coils, *size)) if coils > 1 or maps else np.ones((1, 1, *size))
    sensitivities = sensitivities / np.linalg.norm(sensitivities, axis=1, keepdims=True)
    pixels = int(np.prod(size))
    trajectory = rng.uniform(-np.pi, np.pi, (pixels // 2, len(size)))
    trajectory[: pixels // 8] /= 8
    if full_grid:
        axes = [2 * np.pi / n * (np.arange(n) - n // 2) for n in size]
        trajectory = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(size))
    trajectory = trajectory.astype("float32")
    kspace = (sensitivities * image[:, None]).reshape(batch_size, coils, -1) @ ndft_matrix(trajectory, size).T
    density = np.ones(len(trajectory)) if full_grid else 0.5 + rng.random(len(trajectory))
    batch = {
        "kspace": kspace.astype("complex64"),
        "trajectory": np.stack([trajectory] * batch_size),
        "density": np.stack([density] * batch_size).astype("float32"),
    }
    return (batch | {"sensitivity_maps": sensitivities.astype("complex64")} if maps else batch), image


def recorded_noncartesian_batch(path, transform_size):
    """The inputs of a recorded non-Cartesian case of the predecessor, and the size of its images.

    The predecessor pads images to `transform_size` and divides by the square root of its doubled grid. Ours divides by
    that of the image alone, in samples as in A; the density takes up what this changes in A^H A.
    """
    with np.load(path) as io:
        arrays = dict(io)
    true = np.ravel(arrays["shape"][:1])
    size = (*transform_size[: len(transform_size) - len(true)], *(int(n) for n in true))
    gain = np.prod(size) / np.prod(2 * np.array(transform_size))  # of the predecessor's A^H A, relative to ours
    batch = {
        "kspace": (arrays["kspace"][..., 0] / np.sqrt(gain)).astype("complex64"),
        "trajectory": np.swapaxes(arrays["trajectory"], 1, 2),
        "density": (gain * arrays["density"].real).astype("float32"),
    }
    return (batch | {"sensitivity_maps": arrays["smaps"]} if "smaps" in arrays else batch), size


class PaddedNonCartesian(NonCartesian):
    """The predecessor's way: its table-based transform of images padded to one size and the adjoint in each iteration.

    The table is off by 1e-3, and in what way depends on the size.
    """

    def __init__(self, image_size, transform_size):
        super().__init__(image_size, len(image_size), "tfkbnufft")
        self.padding = [((m - n) // 2, (m - n) // 2) for n, m in zip(image_size, transform_size, strict=True)]
        self.transform_size = transform_size
        self.gain = np.sqrt(np.prod(transform_size) / np.prod(image_size)).astype("complex64")

    def complete(self, batch):
        return self.with_maps(batch)

    def coil_forward(self, coil_images, batch):
        padded = ops.pad(coil_images, [(0, 0), (0, 0), *self.padding])
        return self.gain * nufft(padded, batch["trajectory"], self.implementation)

    def coil_adjoint(self, kspace, batch):
        weighted = scale(kspace, batch["density"][:, None])
        images = nufft_adjoint(weighted, batch["trajectory"], self.transform_size, self.implementation)
        inside = [slice(before, before + n) for (before, _), n in zip(self.padding, self.image_size, strict=True)]
        return self.gain * images[(..., *inside)]

    def coil_normal(self, coil_images, batch):
        return self.coil_adjoint(self.coil_forward(coil_images, batch), batch)


def recorded_batch(path):
    """The inputs of a recorded case of the predecessor."""
    with np.load(path) as io:
        if "smaps" not in io:
            return {"kspace": io["kspace"][:, None, ..., 0], "mask": io["mask"][:, None].astype("float32")}
        kspace, mask, maps = io["kspace"][..., 0], io["mask"].astype("float32"), io["smaps"]
        return {"kspace": kspace, "mask": mask, "sensitivity_maps": maps}


def direct_batches(path):
    """The batch and a dict of the outputs of each recording of a case of DIRECT: sizes, or with frames."""
    with np.load(path) as io:
        arrays = dict(io)
    for size in ("even", "odd", "static", "dynamic"):
        own = {name.removeprefix(f"{size}_"): array for name, array in arrays.items() if name.startswith(f"{size}_")}
        if own:
            mask = own.pop("sampling_mask")[..., 0].astype("float32")
            yield (
                {"kspace": own.pop("masked_kspace"), "mask": mask, "sensitivity_maps": own.pop("sensitivity_map")},
                own,
            )
