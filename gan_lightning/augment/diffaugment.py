"""Differentiable augmentation of a fixed strength."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lightning.augment.base import Augment
from gan_lightning.noise import Noise


class DiffAugment(Augment):
    """Colour, translation and cutout, in this order (Zhao et al. 2020, arXiv:2006.10738, section 3.3).

    Every sample has draws of its own. What translation uncovers and cutout covers becomes 0, the middle grey of images
    in [-1, 1]. The numbers are those of the authors' code, and like there the result may leave [-1, 1].

    Args:
        color: brightness, + U[-0.5, 0.5); then saturation, the distance to the pixel's mean over channels times
            U[0, 2), which grey images do not have; then contrast, the distance to the image's mean times U[0.5, 1.5).
        translation: by whole pixels, uniform up to an eighth of each side.
        cutout: a rectangle of half of each side, whose centre is uniform over the image, so that it may hang over.

    Raises:
        ValueError: everything is switched off.
    """

    def __init__(self, color: bool = True, translation: bool = True, cutout: bool = True) -> None:
        super().__init__()
        if not (color or translation or cutout):
            raise ValueError("DiffAugment with color, translation and cutout all off does nothing: leave augment out")
        self.color, self.translation, self.cutout = color, translation, cutout

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        if self.color:
            image = _colored(image, noise)
        if self.translation:
            image = _translated(image, noise)
        return _cut_out(image, noise) if self.cutout else image


def _colored(image: Tensor, noise: Noise) -> Tensor:
    brightness, saturation, contrast = noise.uniform(len(image), 3, 1, 1, 1).to(image.dtype).unbind(1)
    image = image + (brightness - 0.5)
    pixel = image.mean(1, keepdim=True)
    image = pixel + 2 * saturation * (image - pixel)
    mean = image.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (image - mean)


def _translated(image: Tensor, noise: Noise) -> Tensor:
    """Pixel i of a side becomes pixel i + shift, one side after the other."""
    for dim in (2, 3):
        side = image.shape[dim]
        shift = noise.integers(2 * (side // 8) + 1, len(image)) - side // 8
        source = _along(torch.arange(side, device=image.device) + shift[:, None], dim)
        moved = image.gather(dim, source.clamp(0, side - 1).expand_as(image))
        image = moved.masked_fill((source < 0) | (source >= side), 0)
    return image


def _cut_out(image: Tensor, noise: Noise) -> Tensor:
    inside = []
    for dim in (2, 3):
        side = image.shape[dim]
        size = side // 2
        first = noise.integers(side + 1 - size % 2, len(image), 1) - size // 2  # the centre of an even size is an edge
        pixel = torch.arange(side, device=image.device)
        inside.append(_along((pixel >= first) & (pixel < first + size), dim))
    return image.masked_fill(inside[0] & inside[1], 0)


def _along(rows: Tensor, dim: int) -> Tensor:
    """(n, side) -> (n, 1, side, 1) or (n, 1, 1, side)."""
    return rows[:, None, :, None] if dim == 2 else rows[:, None, None, :]
