"""What several test files share: random data, an acquisition in plain NumPy, and the recorded networks."""

import numpy as np


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
