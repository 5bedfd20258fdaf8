"""The list of packages, which setup.cfg cannot have: those that are found, and the configs, which lie beside them."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["gan_lightning", "gan_lightning.*"]), "gan_lightning.configs"])
