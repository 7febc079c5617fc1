"""NC-PDNet: volumes of OASIS-3, stacked radial planes, acceleration 4, as in the thesis."""

from noncartesian_thesis import oasis_recipe

recipe = oasis_recipe("ncpdnet", {"num_iterations": 6, "num_primal": 2, "num_filters": 16})
