"""Self-supervised training on the low-field scans; the output keeps the samples, as the authors' does."""

from low_field_data import SELF_SUPERVISED, setup, target

recipe = setup("ssl", {"target": target(SELF_SUPERVISED)}, data_consistent=True)
