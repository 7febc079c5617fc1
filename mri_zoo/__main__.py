"""`python -m mri_zoo`, the same as `mri-zoo`."""

from mri_zoo.cli import main

main()
