"""Trained models by name, and those of other codebases."""

from mri_zoo.presets.download import download_preset
from mri_zoo.presets.importers import import_checkpoint
from mri_zoo.presets.registry import Preset, list_models, load, load_preset, save_preset

__all__ = ["Preset", "download_preset", "import_checkpoint", "list_models", "load", "load_preset", "save_preset"]
