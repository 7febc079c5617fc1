"""Measure a trained preset and store it among `weights/` and in README's table: `python train/publish.py --help`."""

import argparse
import re
from pathlib import Path

from mri_zoo.presets.registry import presets_table
from mri_zoo.training.publish import publish

README = Path(__file__).parent.parent / "README.md"
TABLE = re.compile(r"(<!-- presets:begin -->\n).*?(\n<!-- presets:end -->)", re.DOTALL)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", help="folder that a training made: RUN/preset/NAME; none: the table alone")
    parser.add_argument("--volumes", help="folder of NIfTI volumes that were not trained on")
    parser.add_argument("--kspace", help="folder of raw k-space in fastMRI's layout that was not trained on")
    parser.add_argument("--coils", type=int, default=1, help="receive coils to simulate")
    parser.add_argument("-o", "--output", default="weights")
    options = parser.parse_args()
    if options.preset:
        folder = publish(options.preset, options.output, options.volumes, options.kspace, options.coils)
        print(folder / "README.md")
    text = TABLE.sub(lambda found: found[1] + presets_table() + found[2], README.read_text())
    README.write_text(text)
