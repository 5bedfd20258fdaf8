"""Face swapping's augmentation: a warped face, and the same face straight (deepfakes, 2017; no paper)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.noise import Noise

GRID = 5  # points along a side that are moved
ROTATION, ZOOM, SHIFT, MIRRORED = math.radians(10), 0.05, 0.05, 0.4  # of the whole image, before


def random_warp(image: Tensor, noise: Noise, coverage: float = 0.625, jitter: float = 5 / 256) -> tuple[Tensor, Tensor]:
    """A crop of each face whose points moved at random, and the crop that it should have been.

    A 5x5 grid covers the middle of the image; each of its points is moved in x and, independently, in y. The warped
    crop follows the moved points; the target is the similarity transform (rotation, scale, shift) that fits them best
    (Umeyama 1991), and is therefore not warped. Before, the whole image is rotated by up to 10 degrees, zoomed by up
    to 5%, shifted by up to 5% and, four times in ten, mirrored: in both crops alike. One interpolation does it all.

    Args:
        image: (n, c, h, w).
        noise: a row for each image.
        coverage: side of the grid in sides of the image; 160 of 256 pixels in the original.
        jitter: standard deviation of a point's moves, in sides of the image; 5 of 256 pixels.

    Returns:
        warped and target, (n, c, h, w) each.
    """
    n, dtype = len(image), torch.float32
    line = torch.linspace(-coverage, coverage, GRID, device=image.device, dtype=dtype)
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, y], -1)  # (5, 5, 2), in torch's coordinates: -1 .. 1 along each side
    moved = points + 2 * jitter * noise.normal(n, GRID, GRID, 2).to(dtype)  # (n, 5, 5, 2)
    size = image.shape[2:]
    sides = (max(size[1] - 1, 1), max(size[0] - 1, 1))
    pixels = torch.stack([torch.full((), side, device=image.device, dtype=dtype) for side in sides])  # without a wait
    square = pixels / pixels.min()  # from torch's coordinates to ones whose unit is alike along both sides
    warped = F.interpolate(moved.movedim(3, 1), size, mode="bilinear", align_corners=True).movedim(1, 3)
    straight = F.interpolate(points[None].movedim(3, 1), size, mode="bilinear", align_corners=True).movedim(1, 3)
    warped, straight, points, moved = (places * square for places in (warped, straight, points, moved))
    target = _similarity(points.flatten(0, 1), moved.flatten(1, 2), straight.expand(n, -1, -1, -1))
    turned = _whole_image(noise, n)
    crops = (
        F.grid_sample(image.to(dtype), turned(grid) / square, padding_mode="border", align_corners=True)
        for grid in (warped, target)
    )
    first, second = (crop.to(image.dtype) for crop in crops)
    return first, second


def _similarity(points: Tensor, moved: Tensor, grid: Tensor) -> Tensor:
    """`grid` under the similarity whose inverse best takes the moved points (n, k, 2) to the points (k, 2).

    Plane points are complex numbers, similarities p -> a p + b; least squares gives a and b in closed form.
    """
    p, m, g = (torch.view_as_complex(t.contiguous()) for t in (points, moved, grid))
    centre, middle = p.mean(), m.mean(1, keepdim=True)
    a = ((m - middle).conj() * (p - centre)).sum(1, keepdim=True) / (m - middle).abs().square().sum(1, keepdim=True)
    return torch.view_as_real((g - centre) / a[:, :, None] + middle[:, :, None])


def _whole_image(noise: Noise, n: int) -> Callable[[Tensor], Tensor]:
    """A random rotation, zoom, shift and mirror image, as a map of sampling grids (n, h, w, 2)."""
    draws = noise.uniform(n, 5).float()
    angle, zoom, shift_x, shift_y = (2 * draws[:, :4] - 1).unbind(1)
    mirror = 1 - 2 * (draws[:, 4] < MIRRORED).float()
    turn = torch.polar(1 + ZOOM * zoom, ROTATION * angle)[:, None, None]
    shift = 2 * SHIFT * torch.complex(shift_x, shift_y)[:, None, None]

    def turned(grid: Tensor) -> Tensor:
        moved = turn * torch.view_as_complex(grid.contiguous()) + shift
        return torch.stack([moved.real * mirror[:, None, None], moved.imag], -1)

    return turned
