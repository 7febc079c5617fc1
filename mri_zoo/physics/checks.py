"""What the acquisitions check of a batch: shapes always, values of arrays and, outside of graphs, of tensors."""

import numpy as np
from keras import ops

_LEFT_OUT = 0.5  # of the energy, above which a mask without the centre of k-space is no sampling
_RIM = 0.01  # by which a root-sum-of-squares of maps may exceed 1
_SOFT = 0.1  # by which half of it may be less, where maps fade out


class MissingEntry(KeyError, ValueError):
    """A batch has not what an acquisition needs."""

    def __str__(self):
        return self.args[0]


def needed(batch, key):
    """The entry of a batch.

    Raises:
        MissingEntry: if it is missing.
    """
    if key not in batch:
        raise MissingEntry(f"The batch has no `{key}`, which this acquisition needs; it has {', '.join(batch)}.")
    return batch[key]


def values(x):
    """A tensor as a NumPy array, None where only the graph is known."""
    try:
        return ops.convert_to_numpy(x)
    except (NotImplementedError, TypeError):  # what TensorFlow and PyTorch raise, and JAX
        return None


def check_batch(batch, axes, required):
    """Refuse a batch whose shapes do not fit each other, as far as they are known.

    Args:
        batch: dict of arrays or tensors.
        axes: for each key the names of its axes. An axis has the extent of its name in all entries; "1" or "3" is that
            number, "twice the width" double of it, "batch or 1" one or the other.
        required: keys that must be there.

    Returns:
        {key: shape} of the keys that are there.

    Raises:
        KeyError: if a key that is needed is missing.
        ValueError: tells the shape that is wrong, and the one expected.
    """
    for key in required:
        needed(batch, key)
    shapes = {key: shape_of(batch[key]) for key in axes if key in batch}
    shapes = {key: shape for key, shape in shapes.items() if shape is not None}
    extents = {}
    for key, shape in shapes.items():
        if len(shape) != len(axes[key]) or not all(map(_fits, shape, axes[key], [extents] * len(shape))):
            others = ", ".join(f"`{other}` of {shapes[other]}" for other in shapes if other != key)
            raise ValueError(
                f"`{key}` must have the shape ({', '.join(axes[key])}), got {shape}{others and f' with {others}'}."
            )
    return shapes


def shape_of(x):
    """The shape of an array or tensor as a tuple, None where not even the number of axes is known."""
    try:
        return tuple(np.shape(x) if isinstance(x, list | tuple) else x.shape)
    except ValueError:  # TensorFlow's, of an unknown rank
        return None


def _fits(extent, name, extents):
    """Whether an extent is what an axis of this name may have; the first one of a name is kept in `extents`."""
    if extent is None:
        return True
    for option in name.split(" or "):
        known = int(option) if option.isdecimal() else extents.get(option.removeprefix("twice the "))
        if option.startswith("twice the "):
            if extent % 2 == 0 and (known is None or extent == 2 * known):
                return True
        elif known is None:
            extents[option] = extent
            return True
        elif extent == known:
            return True
    return False


def check_finite(batch, keys):
    """Refuse NaN and infinity in these entries, of arrays and of tensors outside of graphs.

    Raises:
        ValueError: names the entry.
    """
    for key in keys:
        if (known := values(batch[key])) is not None and not np.all(np.isfinite(known)):
            raise ValueError(f"`{key}` holds NaN or infinite values.")


def check_mask(mask, kspace, dimensions):
    """Refuse an array that is no mask of a k-space.

    Args:
        mask: (batch or 1, 1, 1 or height, width).
        kspace: (batch, coil, height, width), or None where only the graph knows it. Its samples outside of the mask
            need not be zero.
        dimensions: 2 or 3.

    Raises:
        ValueError: if values differ from 0 and 1, a mask samples nothing, or it looks inverted: the samples are zero
            where the mask is 1 but not where it is 0, or the mask leaves out the centre and most of the energy.
    """
    if mask.dtype.kind not in "fbui" or not np.all((mask == 0) | (mask == 1)):
        found = f"values of {mask.dtype}" if mask.dtype.kind not in "fbui" else f"values up to {mask.max():g}"
        raise ValueError(f"`mask` must be 1 where k-space was sampled and 0 elsewhere, got {found}.")
    space = tuple(range(-dimensions, 0))
    if not mask.any(axis=space).all():
        raise ValueError("`mask` samples nothing: it is zero everywhere in an example of the batch.")
    if kspace is None:
        return
    sampled = np.broadcast_to(mask, (len(kspace), *mask.shape[1:])) != 0
    for number, (coils, here) in enumerate(zip(kspace, sampled, strict=True)):
        here = np.broadcast_to(here[0], coils.shape[1:])
        center = tuple(n // 2 for n in here.shape[-dimensions:])
        if here[(..., *center)].any():
            continue
        energy = np.sum(np.square(np.abs(coils)), axis=0, dtype="float64")
        if not energy.any():  # an empty slice
            continue
        left_out = 1 - energy[here].sum() / energy.sum()
        if left_out > _LEFT_OUT:
            raise ValueError(
                f"`mask` leaves out the centre of k-space and {100 * left_out:.0f} % of the energy of `kspace` in "
                f"example {number} of the batch: is it inverted? It must be 1 where k-space was sampled; and samples "
                "that are left out on purpose must be zero."
            )


def check_unit_maps(maps):
    """Refuse an array of sensitivity maps that would change the brightness of the image.

    Args:
        maps: (batch or 1, coil, *size). Outside of the object they may be zero.

    Raises:
        ValueError: if their root-sum-of-squares exceeds 1, is far below 1 in half of the object, or is zero everywhere.
    """
    norms = np.sqrt(np.sum(np.square(np.abs(maps)), axis=1))
    inside = norms[norms > 1e-3]
    typical, largest = (np.median(inside), inside.max()) if inside.size else (0, 0)
    if largest > 1 + _RIM or typical < 1 - _SOFT:
        raise ValueError(
            "`sensitivity_maps` must have a root-sum-of-squares of 1 over the coils where they are not zero, got "
            f"{typical:.3g} in half of the pixels and up to {largest:.3g}: divide them by it."
        )
