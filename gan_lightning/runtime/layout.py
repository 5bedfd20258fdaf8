"""How the commands name the files that they write, for those that read them."""

from __future__ import annotations

import re

SHEETS = "sheets"  # folder beside numbered pictures of what is no sample of its own: grids, walks, reconstructions
RECONSTRUCTIONS = f"{SHEETS}/reconstructions"  # where those are numbered
ARITHMETIC = f"{SHEETS}/arithmetic"  # where the result is, as a picture and as latents
LATENTS = "latents.pt"  # what `project` and `sample --arithmetic` find

PICTURES, ARRAYS = ".png", ".npy"  # suffixes: an array holds what no picture can, 2 channels or more than 4


def numbered(number: int, suffix: str = PICTURES) -> str:
    """The file name of a picture, or of an array."""
    return f"{number:06d}{suffix}"


FIRST = {numbered(0, suffix) for suffix in (PICTURES, ARRAYS)}  # a folder that holds one is one that `sample` wrote


def is_numbered(name: str) -> bool:
    """Whether a file name is one of :func:`numbered`."""
    return re.fullmatch(r"\d{6,}\.(png|npy)", name) is not None


CHECKPOINTS = ("best.ckpt", "last.ckpt")  # of a run's folder, the one to be shown first
