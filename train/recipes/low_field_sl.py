"""Supervised training on the low-field scans."""

from low_field_data import SUPERVISED, setup, target

recipe = setup("sl", {"target": target(SUPERVISED)})
