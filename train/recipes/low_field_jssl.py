"""Joint training: self-supervised on the low-field scans, supervised on the other heads."""

from low_field_data import PROXY, SELF_SUPERVISED, setup, target

# A pass has the 36 slices of the scans and 40 of the proxies, so about half of the batches are of each.
recipe = setup("jssl", {"target": target(SELF_SUPERVISED), "proxy": {**PROXY, "repeats": 4}})
