"""The datasets that the harness knows by name."""

from mri_zoo.data.demo import HeldOutBrain
from mri_zoo.data.files import find_volumes
from mri_zoo.data.simulate import SimulatedFile


def sources_of(dataset, root=None, num_coils=1):
    """The volumes of a dataset, to be evaluated.

    Args:
        dataset: "fastmri" (HDF5 k-space), "oasis" (NIfTI magnitudes) or "demo" (the embedded brain).
        root: folder or file, not for "demo".
        num_coils: receive coils to simulate for magnitude volumes; one coil of "oasis" is the plain Fourier transform
            of the magnitude, as in the thesis.

    Returns:
        List of paths or `VolumeSource`s.

    Raises:
        ValueError: if coils are to be simulated for k-space.
        DataError: if there are no volumes.
    """
    if dataset == "demo":
        return [HeldOutBrain(num_coils)]
    paths = find_volumes(root, dataset)
    if num_coils == 1:
        return paths
    if dataset == "fastmri":
        raise ValueError("Coils are simulated for magnitude volumes only (--dataset oasis or demo).")
    return [SimulatedFile(path, num_coils) for path in paths]
