"""How image files are read: which level is white, how many pixels are too many, and what is safe to open."""

from __future__ import annotations

import argparse
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_PIXELS = 10**8  # of a picture: 300 MB in colour
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Args:
        white: the level that is white, 4095 for 12 bits in a file of 16; None for the greatest of the file's type.
            A white above 255 says nothing about pictures of 8 bits, which stay as they are.
        max_pixels: a picture of more is refused before it is decoded.

    Raises:
        ValueError: one of them is not positive.
    """

    white: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, value in (("white", self.white), ("max_pixels", self.max_pixels)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


def opened(source: Path | BinaryIO) -> Image:
    """A picture of any kind that Pillow knows, of which only the header is read; but never PostScript.

    That is a program: Pillow would have Ghostscript run it, whatever the file is called.

    Raises:
        OSError: it is no picture, or cannot be read.
        ValueError: it is PostScript.
    """
    from PIL import Image  # here: the flags of a command do without

    image = Image.open(source)
    if image.format == "EPS":
        image.close()
        raise ValueError("it is PostScript, a program, which is not run: save the picture as PNG")
    return image


def opened_array(source: Path | BinaryIO) -> np.ndarray:
    """The array of a .npy file; of a path it stays on the disk until it is used.

    One thread at a time: numpy parses an array's header as a Python literal, and Python before 3.11.8 and 3.12.2 counts
    the depth of that for all threads together (python/cpython#106905): a whole file then fails, now and then.

    Raises:
        Exception: any, of a file that is damaged or holds objects.
    """
    import numpy as np  # here: the flags of a command do without

    with _ONE_AT_A_TIME:
        return np.load(source, mmap_mode="r" if isinstance(source, Path) else None, allow_pickle=False)


def add_flags(parser: argparse._ActionsContainer) -> None:
    """Let a command take `--white` and `--max_pixels`; :func:`reading_of` what it has parsed."""
    parser.add_argument("--white", type=int, help="the pictures' level that is white, 4095 for 12 bits in 16")
    parser.add_argument(
        "--max_pixels", type=int, default=MAX_PIXELS, help="a picture of more is refused (default %(default)s)"
    )


def reading_of(given: argparse.Namespace) -> Reading:
    """What the flags say.

    Raises:
        ValueError: see :class:`Reading`.
    """
    return Reading(given.white, given.max_pixels)
