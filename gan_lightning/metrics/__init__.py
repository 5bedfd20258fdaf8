"""Scores over features: the extractors that make features, and the statistics that compare them."""

from gan_lightning.metrics.digits import DigitFeatures
from gan_lightning.metrics.frechet import FrechetDistance, Gaussian, frechet_distance
from gan_lightning.metrics.images import to_uint8, unit_interval

__all__ = ["DigitFeatures", "FrechetDistance", "Gaussian", "frechet_distance", "to_uint8", "unit_interval"]
