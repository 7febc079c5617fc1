"""Judge models on the fastMRI files below a folder.

`python evaluate/fastmri.py --root DIR ...` is `mri-zoo evaluate --dataset fastmri --root DIR ...`.
"""

import sys

from mri_zoo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["evaluate", "--dataset", "fastmri"]
    main()
