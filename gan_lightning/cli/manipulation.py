"""What `translate` does with a model of one picture, such as SinGAN: harmonise, edit, paint, enlarge.

A picture is brought to the size of the one that the model knows, enters at a scale and is drawn anew from there on; the
result has the picture's own size again, and outside of the mask its own pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gan_lightning.cli.parser import ModelParser
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.reading import Reading

if TYPE_CHECKING:  # loaded when the flags are known to be right: it takes seconds
    import numpy as np
    from torch import Tensor

    from gan_lightning.core import Manipulator

DILATION = 7  # pixels, of what was pasted; the authors' code takes 20 for what was edited
BLUR = 5.0  # standard deviation in pixels
REACH = 4  # standard deviations, after which the blur ends
WHITE = 128  # level from which a mask counts


def add_flags(parser: ModelParser) -> None:
    """Let `translate` take the flags of a model of one picture."""
    parser.add_argument("--scale", type=int, metavar="N", help="draw the picture anew from scale N on; 1 changes most")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="white where the picture may change")
    widened = f"pixels by which the mask is widened, then blurred (default {DILATION}; 20 suits edits)"
    parser.add_argument("--dilation", type=int, help=widened)
    parser.add_argument("--factor", type=float, help="in place of --scale: enlarge the picture by this factor")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default %(default)s)")
    parser.least |= {"dilation": 0}


def names() -> set[str]:
    """The names of these flags."""
    before = ModelParser("translate", "", ())
    after = ModelParser("translate", "", ())
    add_flags(after)
    return after._option_string_actions.keys() - before._option_string_actions.keys()


def refuse(module: Manipulator, given: argparse.Namespace) -> None:
    """Refuse flags that do not fit each other, the model or the picture.

    Raises:
        FileNotFoundError: there is no such mask.
        ValueError: naming the flag.
    """
    name = type(module).__name__
    if given.tile is not None:
        raise ValueError(f"{name} sees whole pictures: leave --tile out")
    if (given.scale is None) == (given.factor is None):
        raise ValueError(
            f"give --scale, from 1 to {module.finest}, to draw the picture anew, or --factor to enlarge it"
        )
    if given.scale is not None:
        module.require_scale(given.scale, 1, "--scale")
    if given.factor is not None:
        if given.mask is not None:
            raise ValueError("--mask is of --scale: leave it out, or --factor")
        if not 1 <= given.factor < float("inf"):
            raise ValueError(f"--factor must be at least 1, not {given.factor}")
    if given.dilation is not None and given.mask is None:
        raise ValueError("--dilation is of --mask: give that too")
    if given.mask is not None and given.input.is_dir():
        raise ValueError(
            f"--mask is of one picture, and --input {printable(given.input)} is a folder: name the picture"
        )
    if given.mask is not None and not given.mask.is_file():
        raise FileNotFoundError(f"--mask {printable(given.mask)}: there is no such file")


def made_of(module: Manipulator, image: Tensor, given: argparse.Namespace, reading: Reading) -> Tensor:
    """(C, h, w) uint8 that a picture (C, H, W) uint8 becomes: of its own size, or enlarged by the factor.

    Raises:
        ValueError: the mask cannot be read, has another size than the picture, or no white.
    """
    import torch

    from gan_lightning.core.tiling import resized
    from gan_lightning.data.base import to_unit
    from gan_lightning.metrics import to_uint8

    source = to_unit(image)[None].to(module.device)
    if given.factor is not None:
        return to_uint8(module.enlarge(source, given.factor, given.seed))[0].cpu()
    sides = tuple(image.shape[1:])
    soft = None if given.mask is None else read_mask(given.mask, sides, module.image_shape[1:], given, reading)
    made = resized(module.manipulate(source, given.scale, given.seed), sides)
    if soft is None:
        return to_uint8(made)[0].cpu()
    share = resized(torch.from_numpy(soft)[None, None].to(made), sides)
    changed = to_uint8(source + share * (made - source))[0].cpu()
    return torch.where(share[0].cpu() > 0, changed, image)


def read_mask(
    path: Path, sides: tuple[int, int], trained: tuple[int, int], given: argparse.Namespace, reading: Reading
) -> np.ndarray:
    """(height, width) float32 of the training size, 0 where a picture of `sides` stays: see :func:`softened`.

    Raises:
        ValueError: it cannot be read, has another size than the picture, or no white.
    """
    import cv2
    import numpy as np

    from gan_lightning.data.decoding import read_image
    from gan_lightning.data.levels import as_bytes

    mask = as_bytes(read_image(path, None, 1, reading))[0]
    if mask.shape != sides:
        (height, width), (high, wide) = mask.shape, sides
        raise ValueError(f"--mask {printable(path)} has {width}x{height} pixels, and the picture {wide}x{high}")
    if mask.max() < WHITE:
        raise ValueError(f"--mask {printable(path)} has no white: nothing may change")
    # By area: of a thin line something is left.
    small = cv2.resize((mask >= WHITE).astype(np.float32), trained[::-1], interpolation=cv2.INTER_AREA)
    return softened(small > 0, DILATION if given.dilation is None else given.dilation)


def softened(mask: np.ndarray, dilation: int) -> np.ndarray:
    """(h, w) float32 from 0 to 1: a mask (h, w) bool widened by a disc and blurred, as the authors' code does.

    Args:
        mask: where a picture may change, at least one pixel.
        dilation: radius of the disc in pixels.
    """
    import cv2
    import numpy as np

    across = np.arange(-dilation, dilation + 1)
    disc = (across[:, None] ** 2 + across**2 <= dilation**2).astype(np.uint8)
    wide = cv2.dilate(mask.astype(np.uint8), disc).astype(np.float32)
    if wide.all():
        return wide
    side = 2 * round(REACH * BLUR) + 1
    soft = cv2.GaussianBlur(wide, (side, side), BLUR, borderType=cv2.BORDER_REPLICATE)
    return (soft - soft.min()) / (soft.max() - soft.min())
