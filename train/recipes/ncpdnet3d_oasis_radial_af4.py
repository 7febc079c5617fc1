"""NC-PDNet: volumes of OASIS-3, stacked radial planes, acceleration 4, as in the thesis."""

from noncartesian_thesis import oasis_recipe

from mri_zoo.models import NCPDNet

recipe = oasis_recipe(NCPDNet, {"num_iterations": 6, "num_primal": 2, "num_filters": 16})
