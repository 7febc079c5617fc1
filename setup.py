"""Places the demo presets of `weights/` inside the installed package, and its JSON; the rest is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mri_zoo", "mri_zoo.*"]), "mri_zoo.weights"],
    package_dir={"mri_zoo.weights": "weights"},
    package_data={"mri_zoo.weights": ["*/*"], "mri_zoo.presets": ["published.json"]},
)
