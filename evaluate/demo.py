"""Judge the demo models on the held-out brain that comes with the package, with tables, figures and a report.

Example: python evaluate/demo.py -o results
"""

import argparse

from mri_zoo.evaluation.demo import evaluate_demo

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("-o", "--output", required=True, help="folder for volumes.csv, table.md, report.html and figures")
arguments = parser.parse_args()

evaluate_demo(arguments.output, progress=lambda done, total, text: print(f"{done}/{total} {text}"))
