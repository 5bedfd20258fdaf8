"""Levels of pixels: 8 and 16 bits, floats, which of them is white, grey of colours."""

from __future__ import annotations

import numpy as np
from PIL import Image

FULL = 65535  # the greatest level of 16 bits
LUMA = np.array([0.299, 0.587, 0.114])  # the grey of a colour (ITU-R BT.601), as in Pillow


def with_channels(levels: np.ndarray, channels: int) -> np.ndarray:
    """(h, w, channels) uint16 of (h, w, 1, 3 or 4) uint16, converted as Pillow converts 8 bits."""
    colours, alpha = levels[..., :3].astype(np.float64), levels[..., 3:] / FULL
    if channels < 4 and alpha.size:
        colours = FULL - alpha * (FULL - colours)
    if channels == 1 and colours.shape[2] == 3:
        colours = (colours @ LUMA)[..., None]
    if channels > 1:
        colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    if channels == 4:
        colours = np.concatenate([colours, FULL * alpha if alpha.size else np.full_like(colours[..., :1], FULL)], 2)
    return colours.round().astype(np.uint16)


def scaled(levels: np.ndarray, white: int) -> np.ndarray:
    """uint16 of levels from 0 to white, what is above it clipped.

    Raises:
        ValueError: they are not finite.
    """
    if not np.isfinite(levels).all():
        raise ValueError("it holds numbers that are not finite")
    return (levels.astype(np.float64).clip(0, white) * FULL / white).round().astype(np.uint16)


def greatest(file: Image.Image) -> int:
    """The level that is white in a file of grey levels, where none is given.

    Raises:
        ValueError: it holds floats, and nothing says it.
    """
    if file.mode == "F":
        raise ValueError("32-bit float pixels: give the level that is white by the argument white")
    return FULL


def as_levels(array: np.ndarray, white: int | None) -> np.ndarray:
    """An array of any kind of numbers as levels: uint8 of bytes, uint16 of all others.

    Raises:
        ValueError: they are no numbers, or of more than 16 bits without a white.
    """
    if array.dtype.kind not in "uif":
        raise ValueError(f"its elements are of the type {array.dtype}, not numbers")
    if array.dtype == np.uint8:
        return array if white is None or white >= 255 else _bytes_scaled(array, white)
    if white is None and (array.dtype.kind == "f" or array.dtype.itemsize > 2):
        raise ValueError(f"numbers of the type {array.dtype}: give the level that is white by the argument white")
    return scaled(array, white or np.iinfo(array.dtype).max)


def _bytes_scaled(levels: np.ndarray, white: int) -> np.ndarray:
    """uint8 of levels from 0 to white, less than 255."""
    return (levels.astype(np.float64).clip(0, white) * 255 / white).round().astype(np.uint8)


def with_white(image: Image.Image, white: int | None) -> Image.Image:
    """An image of 8 bits with its white at 255; a greater white says nothing about it."""
    if white is not None and white < 255 and image.mode in ("L", "LA", "RGB", "RGBA"):
        colours = len(image.getbands()) - image.mode.endswith("A")
        alpha = list(range(256)) * (len(image.getbands()) - colours)
        return image.point(_bytes_scaled(np.arange(256), white).tolist() * colours + alpha)
    return image


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 levels, rounded to uint8."""
    return pixels if pixels.dtype == np.uint8 else (pixels / (FULL / 255)).round().astype(np.uint8)
