"""Judge models on the NIfTI volumes below a folder.

`python evaluate/oasis.py --root DIR ...` is `mri-zoo evaluate --dataset oasis --root DIR ...`.
"""

import sys

from mri_zoo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["evaluate", "--dataset", "oasis"]
    main()
