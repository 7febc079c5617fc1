"""Measure a trained preset and store it among `weights/`: `python train/publish.py --help`."""

import argparse

from mri_zoo.training.publish import publish

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", help="folder that a training made: RUN/preset/NAME")
    parser.add_argument("--volumes", help="folder of NIfTI volumes that were not trained on")
    parser.add_argument("--coils", type=int, default=1, help="receive coils to simulate")
    parser.add_argument("-o", "--output", default="weights")
    options = parser.parse_args()
    print(publish(options.preset, options.output, options.volumes, options.coils) / "README.md")
