"""Where the pixels of an image lie in the scanner, in millimetres."""

import numpy as np


def scanner_affine(positions, directions, spacing, size):
    """From the indices of an image (height, width, slice or depth) to the patient's coordinates of NIfTI.

    ISMRMRD's coordinates are those of DICOM, left and posterior positive (LPS); NIfTI's right and anterior (RAS). The
    position is that of the pixel at index ``n // 2``, as it is for the Fourier transform.

    Args:
        positions: (slice, 3) of the slices' centres; (1, 3) for a volume.
        directions: three unit vectors, those along which height, width and slice or depth count.
        spacing: of the pixels along these, mm.
        size: of the image along these.

    Returns:
        (4, 4), and None where all is told; else None and what is missing.
    """
    positions, directions = np.asarray(positions, float), np.asarray(directions, float)
    if not np.isfinite(positions).all() or not np.isfinite(directions).all():
        return None, "positions or directions are not finite"
    if not np.allclose(directions @ directions.T, np.eye(3), atol=1e-3):
        return None, "no orientation is told"
    columns = directions * np.asarray(spacing, float)[:, None]
    first = positions[0]
    if len(positions) > 1:
        steps = np.diff(positions, axis=0)
        length = np.linalg.norm(steps[0])
        if length < 1e-3 or np.abs(steps - steps[0]).max() > 0.01 * length:
            return None, "slices are not told to be equally spaced"
        columns[2] = steps[0]
    elif size[2] > 1:
        first = first - columns[2] * (size[2] // 2)
    first = first - columns[0] * (size[0] // 2) - columns[1] * (size[1] // 2)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns.T, first
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, None


def crop_affine(affine, size, kept):
    """The affine of the centre (height, width) that `center_crop` takes of an image of some size."""
    shift = np.eye(4)
    shift[:2, 3] = [(have - want) // 2 for have, want in zip(size, kept, strict=True)]
    return affine @ shift
