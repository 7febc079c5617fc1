"""Train a model by a recipe: `python train/train.py RECIPE -o DIR` is `mri-zoo train RECIPE -o DIR`."""

import sys

from mri_zoo.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
