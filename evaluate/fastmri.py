"""Judge models on the fastMRI files below a folder, with tables, figures and a report.

Example: python evaluate/fastmri.py multicoil_val --model zero-filled --model pdnet-brain-demo-af4 -o results
"""

import argparse
import sys
from pathlib import Path

from mri_zoo.data.files import find_volumes
from mri_zoo.data.sampling import MASKS, get_mask
from mri_zoo.evaluation.harness import evaluate
from mri_zoo.evaluation.report import write_figures, write_report
from mri_zoo.presets.registry import load_preset

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("root", help="folder of HDF5 files, or one file")
parser.add_argument("--model", action="append", required=True, help="name or folder of a preset; give it several times")
parser.add_argument("--mask", choices=MASKS, default="random", help="with --acceleration, instead of the models' own")
parser.add_argument("--acceleration", type=float)
parser.add_argument(
    "-o", "--output", type=Path, required=True, help="folder for volumes.csv, table.md, report.html and figures"
)
arguments = parser.parse_args()

result = evaluate(
    [load_preset(name) for name in arguments.model],
    find_volumes(arguments.root, "fastmri"),
    arguments.output,
    mask=get_mask(arguments.mask, arguments.acceleration) if arguments.acceleration else None,
    crop=(320, 320),
    dataset="fastMRI volumes",
    progress=lambda done, total, text: print(f"{done}/{total} {text}", file=sys.stderr),
)
write_report(arguments.output / "report.html", [result], write_figures(arguments.output, result))
sys.exit("\n".join(failure.reason for failure in result.failures) or 0)
