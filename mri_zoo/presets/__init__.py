"""Trained models by name, and those of other codebases."""

from mri_zoo.presets.importers import import_checkpoint
from mri_zoo.presets.registry import Preset, list_models, load, load_preset, save_preset

__all__ = ["Preset", "import_checkpoint", "list_models", "load", "load_preset", "save_preset"]
