"""Trained models by name."""

from mri_zoo.presets.registry import Preset, list_models, load, load_preset, save_preset

__all__ = ["Preset", "list_models", "load", "load_preset", "save_preset"]
