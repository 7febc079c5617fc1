"""Compare models on a scan that was measured along a trajectory: they see every n-th shot, the reference all shots.

There is no ground truth; the reference is conjugate-gradient SENSE. Written are tables and a figure.
Example: python evaluate/measured.py spiral.h5 --model ncpdnet-brain-demo-radial-af4 -o results
"""

import argparse

from mri_zoo.data import DataError
from mri_zoo.evaluation.measured import evaluate_measured
from mri_zoo.evaluation.report import write_figures
from mri_zoo.evaluation.tables import markdown_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("scan", help="HDF5 with `kspace` and `trajectory`, see docs/data.md")
parser.add_argument("--model", action="append", default=[], help="name of `mri-zoo models`, or a preset's folder")
parser.add_argument("--every", type=int, default=2, help="take every n-th shot (default: %(default)s)")
parser.add_argument("-o", "--output", required=True, help="folder for table.md, volumes.csv and figure-1.png")
arguments = parser.parse_args()

try:
    result = evaluate_measured(
        *(arguments.scan, arguments.output, arguments.model, arguments.every),
        finish=lambda result: write_figures(arguments.output, result),
    )
except (DataError, ValueError, OSError) as error:
    parser.error(str(error))
print(markdown_report(result))
