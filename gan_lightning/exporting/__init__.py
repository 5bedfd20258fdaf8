"""Models to take away: what `export` writes."""

from gan_lightning.exporting.files import DifferentError, export

__all__ = ["DifferentError", "export"]
