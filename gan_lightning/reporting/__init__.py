"""A page on runs, of the files in their folders: what `report` shows, and what `fit` ends with."""

from gan_lightning.reporting.page import html, keep

__all__ = ["html", "keep"]
