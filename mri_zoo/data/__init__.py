"""From files to batches. Names are imported when they are first used: the NumPy parts need no TensorFlow."""

import importlib

_HOMES = {
    "volume": ("DataError", "Volume", "VolumeInfo", "VolumeSource"),
    "files": ("FastMRIFile", "ImageFile", "NIfTIFile", "find_volumes", "open_volume"),
    "raw": ("TrajectoryFile",),
    "ismrmrd": ("ISMRMRDFile",),
    "bart": ("BARTFile",),
    "masks": (
        "BenchmarkEquidistantMask",
        "BenchmarkRandomMask",
        "EquispacedFractionMask",
        "EquispacedMask",
        "MagicFractionMask",
        "MagicMask",
        "RandomMask",
    ),
    "masks_2d": ("CIRCUSMask", "GaussianMask", "PoissonDiscMask", "VariableDensityPoissonMask"),
    "masks_kt": ("KtGaussianMask", "KtRadialMask", "KtUniformMask"),
    "sampling": ("get_sampling",),
    "trajectories": (
        "Radial3DTrajectory",
        "RadialStackTrajectory",
        "RadialTrajectory",
        "SpiralStackTrajectory",
        "SpiralTrajectory",
        "as_trajectory",
    ),
    "splits": ("FullTarget", "GaussianSplit", "HalfSplit", "ShotSplit", "UniformSplit"),
    "noncartesian": ("CenteredEcho",),
    "preparation": ("ConstantScaling", "KSpacePercentileScaling", "PercentileScaling"),
    "simulate": ("SimulatedAcquisition", "SimulatedFile"),
    "demo": ("DrawnContrastBrain", "DrawnContrastVolume", "HeldOutBrain"),
    "prepared": ("PreparedBatches", "write_batches"),
    "pipeline": ("batch_by_shape", "fastmri", "joint_batches", "oasis", "slices_of"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return __all__
