"""Compare the models of finished evaluations with a baseline, volume by volume.

The evaluations must have judged the same volumes with the same sampling.
Example: python evaluate/compare.py results-of-monday results-of-tuesday --baseline unet-brain-demo-af4
"""

import argparse
from pathlib import Path

from mri_zoo.data import DataError
from mri_zoo.evaluation.harness import read_rows
from mri_zoo.evaluation.tables import COMPARISON_HEADINGS, compare, markdown_table

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folders", nargs="+", type=Path, help="output folders of evaluations")
parser.add_argument("--baseline", default="zero-filled", help="model to compare with (default: %(default)s)")
arguments = parser.parse_args()

try:
    rows = [row for folder in arguments.folders for row in read_rows(folder / "volumes.csv")]
    table = compare(rows, arguments.baseline)
except (DataError, ValueError, OSError) as error:
    parser.error(str(error))
print("\n".join(markdown_table(COMPARISON_HEADINGS, table)))
