"""Train recipes with several seeds, judge them on the volumes of their split "test", and print the table.

What was trained is kept in the output folder, and an interrupted run goes on.
Example: python train/compare_seeds.py train/recipes/low_field_{sl,ssl,jssl}.py --set root=data --seeds 3 -o runs/jssl
"""

import argparse

from mri_zoo.cli import errors_in_one_line
from mri_zoo.training.recipes import load_recipe
from mri_zoo.training.seeds import HEADINGS, seeds_table, train_with_seeds

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help="recipe files, whose `sources` know a split test")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override an entry of them all")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each recipe (default: %(default)s)")
    parser.add_argument("--devices", help="share each batch of a training: all, a number of GPUs, or cpu:2")
    parser.add_argument("-o", "--output", required=True, help="folder of the trainings and of the results")
    options = parser.parse_args()
    with errors_in_one_line(parser.prog):
        recipes = [load_recipe(path, options.set) for path in options.recipes]
        results = train_with_seeds(recipes, options.output, range(options.seeds), devices=options.devices)
    for cells in [HEADINGS, ["---"] * len(HEADINGS), *seeds_table(results)]:
        print(f"| {' | '.join(cells)} |")
