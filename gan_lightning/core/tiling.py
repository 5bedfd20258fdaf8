"""How images of any size go through a network: reflected to multiples, resized, or square by square, without seams."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 16  # sides of what a network of any size sees: it may halve them, and reflect what is left, which takes 2


def lengthened(source: Tensor, multiple: int) -> Tensor:
    """(1, C, H, W) continued to the right and below by its reflection, to multiples, of at least `LEAST`.

    Where it is too short to be reflected its edge is repeated.
    """
    for side, room in ((2, (0, 0, 0, 1)), (3, (0, 1, 0, 0))):
        length = source.shape[side]
        more = -(-max(length, LEAST) // multiple) * multiple - length
        source = F.pad(source, [more * r for r in room], "reflect" if more < length else "replicate")
    return source


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, H, W) float at another size, bilinear, antialiased; of its own size untouched."""
    return image if image.shape[2:] == size else F.interpolate(image, size, mode="bilinear", antialias=True)


def resized_alpha(alpha: Tensor | None, sides: tuple[int, int]) -> Tensor | None:
    """An alpha channel (H, W) uint8 at another size; None where there is none."""
    return None if alpha is None else resized(alpha[None, None].float(), sides)[0, 0].round().byte()


def starts(length: int, tile: int, step: int) -> list[int]:
    """Where tiles begin along a side: a step apart, the last one flush with the end."""
    last = max(length - tile, 0)
    return [*range(0, last, step), last]


def ramp(first: bool, last: bool, tile: int, overlap: int) -> Tensor:
    """(tile,) the weight of a tile's pixels along a side: it rises and falls linearly within the overlaps."""
    rise = ((torch.arange(tile) + 0.5) / max(overlap, 1)).clamp(max=1)
    flat = torch.ones(tile)
    return torch.minimum(flat if first else rise, flat if last else rise.flip(0))


def tiled(
    network: Callable[[Tensor], Tensor], source: Tensor, tile: int, overlap: int, multiple: int, scale: int
) -> Tensor:
    """What a network makes of (1, C, H, W), square by square, neighbours blended linearly where they overlap.

    Args:
        network: of images of any size whose sides are multiples of `multiple`; its images are `scale` times as large.
        tile: side of a square, a multiple.
        overlap: of neighbours, at least; less than the side by a multiple.
    """
    height, width = source.shape[2:]
    step = (tile - overlap) // multiple * multiple
    rows, columns = starts(height, tile, step), starts(width, tile, step)
    if len(rows) == len(columns) == 1:
        return network(source)
    total: Tensor | None = None
    weights = source.new_zeros(scale * height, scale * width)
    for top in rows:
        for left in columns:
            part = source[:, :, top : top + tile, left : left + tile]
            down, across = (
                ramp(begin == 0, begin + side == length, scale * side, scale * overlap)
                for begin, side, length in ((top, part.shape[2], height), (left, part.shape[3], width))
            )
            weight = (down[:, None] * across).to(source)
            made = network(part)
            if total is None:
                total = made.new_zeros(*made.shape[:2], *weights.shape)
            down_to, across_to = scale * top + len(down), scale * left + len(across)
            total[:, :, scale * top : down_to, scale * left : across_to] += made * weight
            weights[scale * top : down_to, scale * left : across_to] += weight
    assert total is not None  # there is a tile at least
    return total / weights
