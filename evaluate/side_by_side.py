"""Put finished evaluations side by side, as the thesis' tables have radial and spiral trajectories.

The n-th models of all share a line.
Example: python evaluate/side_by_side.py Radial=table-5.2-radial Spiral=table-5.2-spiral
"""

import argparse
from pathlib import Path

from mri_zoo.data import DataError
from mri_zoo.evaluation.harness import read_rows
from mri_zoo.evaluation.tables import markdown_table, side_by_side

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("columns", nargs="+", help="heading=folder, the output folder of an evaluation")
arguments = parser.parse_args()

columns = (column.rpartition("=") for column in arguments.columns)
try:
    evaluations = {heading or folder: read_rows(Path(folder) / "volumes.csv") for heading, _, folder in columns}
    table = side_by_side(evaluations)
except (DataError, ValueError, OSError) as error:
    parser.error(str(error))
print("\n".join(markdown_table(*table)))
