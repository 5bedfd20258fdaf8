"""How the commands name the pictures that they write, for those that read them."""

from __future__ import annotations

import re

SHEETS = "sheets"  # folder beside numbered pictures of what is no sample of its own: grids, walks, reconstructions
RECONSTRUCTIONS = f"{SHEETS}/reconstructions"  # where those are numbered


def numbered(number: int) -> str:
    """The file name of a picture."""
    return f"{number:06d}.png"


FIRST = numbered(0)  # a folder that holds it is one that `sample` wrote


def is_numbered(name: str) -> bool:
    """Whether a file name is one of :func:`numbered`."""
    return re.fullmatch(r"\d{6,}\.png", name) is not None
