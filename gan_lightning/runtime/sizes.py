"""The size of images as a user gives it, and how pictures of other proportions come to it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

Size = int | list[int]  # one number for both sides, or [height, width]
Sides = tuple[int, int]  # height and width, in pixels


def sides_of(size: int | Sequence[int], name: str = "size") -> Sides:
    """(height, width) of `64` or `[64, 128]`.

    Args:
        size: as the user gave it.
        name: of the argument, for the message.

    Raises:
        ValueError: it is neither a positive whole number nor two of them.
    """
    sides = [size, size] if isinstance(size, int) else size
    whole = isinstance(sides, (list, tuple)) and all(type(side) is int and side > 0 for side in sides)
    if not whole or len(sides) != 2:
        raise ValueError(f"{name} must be a positive whole number, or two: [height, width], not {size!r}")
    height, width = sides
    return height, width


def size_of(sides: Sides) -> Size:
    """The shortest way to say it: one number where both sides are alike."""
    return sides[0] if sides[0] == sides[1] else list(sides)


def size_flag(text: str) -> Size:
    """What a command's flag says: `64`, `64,128` or `[64,128]`.

    Raises:
        argparse.ArgumentTypeError: see :func:`sides_of`.
    """
    words = text.strip("[] ").split(",")
    try:
        return size_of(sides_of([int(word) for word in words] if len(words) > 1 else int(text)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, or two: height,width, not {text}") from None


def middle(sides: Sequence[int], crop: Sides) -> tuple[slice, slice]:
    """The rows and columns of the middle of a picture (height, width); all of a side that is not longer than `crop`."""
    top, left = (max(have - want, 0) // 2 for have, want in zip(sides, crop, strict=True))
    return slice(top, top + crop[0]), slice(left, left + crop[1])


def largest_crop(height: int, width: int, sides: Sides, short: int | None = None) -> Sides:
    """(height, width) of the largest rectangle in a picture that has the proportions of `sides`.

    Args:
        height, width: of the picture.
        sides: whose proportions count.
        short: the most that the shorter side may have; None for no limit.
    """
    scale = min(height / sides[0], width / sides[1], *([] if short is None else [short / min(sides)]))
    tall, wide = (max(1, min(round(side * scale), most)) for side, most in zip(sides, (height, width), strict=True))
    return tall, wide
