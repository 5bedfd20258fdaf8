"""Where things are kept that can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$GAN_LIGHTNING_CACHE, else ~/.cache/gan_lightning."""
    return Path(os.environ.get("GAN_LIGHTNING_CACHE", "~/.cache/gan_lightning")).expanduser()
