"""Whether the two halves of generated pairs belong together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.metrics.images import to_uint8

HALF_GREY = 127  # of bytes: above it a pixel is white


def black_and_white(pairs: Tensor, transform: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Where the transform of domain A's image is white, and where domain B's image is: bool, (n, pixels) each.

    Raises:
        ValueError: an odd width.
    """
    if pairs.shape[3] % 2:
        raise ValueError(f"pairs have two halves side by side, and a width of {pairs.shape[3]} has none")
    a, b = to_uint8(pairs).chunk(2, 3)
    return (transform(a) > HALF_GREY).flatten(1), (b > HALF_GREY).flatten(1)


def pixel_agreement(pairs: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """The share of pixels in which domain B's image is the transform of domain A's.

    CoGAN's rule (Liu and Tuzel 2016, arXiv:1606.07536, section 4), both images in black and white first. Where domain
    B is almost all black, as edges are, two images that have nothing to do with each other agree in most pixels:
    see :func:`pair_iou`.

    Args:
        pairs: (n, c, h, 2 w), in [-1, 1] or uint8: domain A on the left, B on the right.
        transform: from domain A to B, of uint8 images (n, c, h, w).

    Returns:
        (n,) in [0, 1].

    Raises:
        ValueError: an odd width.
    """
    expected, found = black_and_white(pairs, transform)
    return (expected == found).float().mean(1)


def pair_iou(pairs: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """Intersection over union of the white pixels of domain B's image and of the transform of domain A's.

    Black pixels do not count, so that pairs of edges that have nothing to do with each other are near 0.

    Args: as :func:`pixel_agreement`.

    Returns:
        (n,) in [0, 1]; 1 where neither image has any white.

    Raises:
        ValueError: an odd width.
    """
    expected, found = black_and_white(pairs, transform)
    both, either = (expected & found).sum(1), (expected | found).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
