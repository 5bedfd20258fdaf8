"""What the page of a translator computes: a picture before and after, and pictures with holes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gan_lightning.cli import translation
from gan_lightning.cli.pictures import picture as drawn
from gan_lightning.cli.translation import Picture
from gan_lightning.core import Manipulator, Translator
from gan_lightning.core.tiling import resized, resized_alpha
from gan_lightning.runtime.reading import Reading

BEFORE_AND_AFTER = tuple[Image.Image, Image.Image]
MOST = 2**22  # pixels of a picture that is made
AS_READ = 0  # a longest side that leaves a picture as it is


def changed(
    module: Translator | Manipulator, path: str | Path, longest: int, how: dict[str, Any], **flags: Any
) -> BEFORE_AND_AFTER:
    """An uploaded picture, and what the model makes of it.

    Args:
        module: in float32.
        path: the file, of any kind that `translate` reads: upright by its EXIF, with its alpha channel.
        longest: a picture whose longer side has more pixels is made smaller first; `AS_READ` leaves it.
        how: arguments of the model's `translate`.
        flags: `scale`, `factor` and `seed` of a model of one picture; see :mod:`cli.manipulation`.

    Raises:
        ValueError: the file cannot be read, or the model makes no pictures of it.
    """
    try:
        picture = translation.read(Path(path), module.image_shape[0], Reading())
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), Path(path).name)) from None
    picture = smaller(picture, longest)
    grown = flags.get("factor") or getattr(module, "scale", 1)
    refuse_large(*(round(grown * side) for side in picture.image.shape[1:]))
    return beside(module, picture, how, **flags)


def refuse_large(height: int, width: int) -> None:
    """Refuse what a page would have to make, since others may wait for its answer.

    Raises:
        ValueError: it has more than `MOST` pixels.
    """
    if height * width > MOST:
        raise ValueError(f"{width}x{height} has more than {MOST:,} pixels: ask for less, or use a command")


def beside(module: Translator | Manipulator, picture: Picture, how: dict[str, Any], **flags: Any) -> BEFORE_AND_AFTER:
    """A picture at the size of what the model makes of it, and that."""
    reading = Reading()
    given = argparse.Namespace(tile=None, mask=None, white=reading.white, max_pixels=reading.max_pixels, **flags)
    with translation.exact(module.device.type):
        made = translation.translated(module, picture, given, how)
    before, after = drawn(*picture), drawn(*made)
    return before if before.size == after.size else before.resize(after.size, Image.Resampling.BICUBIC), after


def smaller(picture: Picture, longest: int) -> Picture:
    """A picture whose longer side has so many pixels at the most; `AS_READ` for any number."""
    sides = picture.image.shape[1:]
    if not longest or max(sides) <= longest:
        return picture
    height, width = (max(1, round(side * longest / max(sides))) for side in sides)
    image = resized(picture.image[None].float(), (height, width))[0].round().byte()
    return Picture(image, resized_alpha(picture.alpha, (height, width)))


def holed(background: Image.Image, layers: Sequence[Image.Image], channels: int) -> Picture:
    """A picture that is transparent where a brush has painted on one of its layers, of the same size.

    Raises:
        ValueError: nothing was painted.
    """
    pixels = np.array(background.convert("RGBA"))
    painted = np.zeros(pixels.shape[:2], bool)
    for layer in layers:
        painted |= np.asarray(layer.convert("RGBA"))[..., 3] > 0
    if not painted.any():
        raise ValueError("there is no hole to fill: paint one with the brush")
    colours = background.convert("L" if channels == 1 else "RGB")
    image = torch.from_numpy(np.array(colours)).reshape(*painted.shape, channels).movedim(2, 0)
    alpha = np.where(painted, 0, pixels[..., 3])
    return Picture(image.contiguous(), torch.from_numpy(alpha))
