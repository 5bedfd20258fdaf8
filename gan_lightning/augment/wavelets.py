"""Images moved and filtered by orthogonal wavelets, as ADA does it, in plain torch: differentiable any number of times.

Filters along a side are matrices: exact at the borders, and on a CPU faster than convolutions of one channel, up to 512
pixels a side at least.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Low-pass filters of Daubechies' least asymmetric wavelets with 2 and 6 vanishing moments (Ten Lectures on Wavelets,
# 1992, section 8.1), each of norm 1 and sum sqrt(2).
SYM2 = [-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025]
SYM6 = [
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
]
CENTRE = 5  # the tap of SYM6 that lies on a pixel
EDGE = 5  # half pixels beyond each border that the filter reads around the result


def transformed(image: Tensor, source: Tensor) -> Tensor:
    """Images whose pixels are read elsewhere: upsampled to twice the size, read bilinearly, and downsampled.

    Both filters are SYM6, so that a shift by whole pixels is exact to rounding (to that of
    TF32, where products of matrices may use it). What lies outside is mirrored at the
    border pixels, again and again.

    Args:
        image: (n, c, h, w), float32 or float64.
        source: (n, 3, 3), from where a pixel is, (x, y, 1) from the centre of the image, to where it is read from.

    Returns:
        (n, c, h, w).
    """
    sides = image.shape[2:]
    like = (image.device, image.dtype)
    y, x = (torch.arange(-EDGE, 2 * side + EDGE, device=like[0], dtype=like[1]) / 2 - (side - 1) / 2 for side in sides)
    places = (
        row[:, 0, None, None] * x + row[:, 1, None, None] * y[:, None] + row[:, 2, None, None]
        for row in source.unbind(1)[:2]
    )  # (n, 2h + 10, 2w + 10) each
    grid = []
    for place, side in zip(places, sides[::-1], strict=True):
        period = _period(side)
        grid.append((2 * place + (side - 1)) % period * (2 / period) - 1)  # of the upsampled image, to [-1, 1]
    up, down = ([matrix(side, *like) for side in sides] for matrix in (_upsampling, _downsampling))
    large = up[0] @ image @ up[1].T
    read: Any = _Read.apply(large, torch.stack(grid, 3))
    return down[0] @ read @ down[1].T


def amplified(image: Tensor, gain: Tensor) -> Tensor:
    """Images whose four octaves of frequencies are amplified, along each side.

    Args:
        image: (n, c, h, w), float32 or float64; mirrored at the border pixels.
        gain: (n, 4), from the lowest octave to the highest.

    Returns:
        (n, c, h, w).
    """
    rows, columns = (
        (gain[:, :, None, None] * _bands(side, image.device, image.dtype)).sum(1)[:, None] for side in image.shape[2:]
    )
    return rows @ image @ columns.mT


def bands() -> Tensor:
    """(4, 43) float64 filters of SYM2's octaves, from the lowest to the highest, that sum to the identity."""
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1, -1, 1, -1])
    low, high = (_convolved(f[None], f.flip(0)) / 2 for f in (low, high))  # (1, 7): without phase, low + high = 1
    bank = torch.eye(4, 1, dtype=torch.float64)
    for octave in range(1, 4):
        wide = bank.new_zeros(4, 2 * bank.shape[1] - 1)
        wide[:, ::2] = bank  # one octave down
        bank = _convolved(wide, low[0])
        side = (bank.shape[1] - high.shape[1]) // 2
        bank[octave] += F.pad(high[0], (side, side))
    return bank


def _convolved(signal: Tensor, taps: Tensor) -> Tensor:
    """(m, a), (b,) -> (m, a + b - 1)."""
    return F.conv1d(signal[:, None], taps.flip(0)[None, None], padding=len(taps) - 1)[:, 0]


def _mirrored(place: Tensor, side: int) -> Tensor:
    """Pixels 0 .. side - 1 that stand at whole places, mirrored at both borders."""
    last = side - 1
    return last - (place % max(2 * last, 1) - last).abs()


def _period(side: int) -> int:
    """Half pixels after which a mirrored side repeats."""
    return max(4 * (side - 1), 1)


def _matrix(weight: Tensor, column: Tensor, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(m, columns) from weights and columns, which broadcast to (m, k); what falls on one place is summed."""
    weight, column = torch.broadcast_tensors(weight, column)
    return weight.new_zeros(len(column), columns).scatter_add_(1, column, weight).to(device, dtype)


# Made outside of inference mode, since training uses them later.


@lru_cache(8)
@torch.inference_mode(False)
def _upsampling(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(m, side), one period of the mirrored and upsampled side, its first place once more at its end."""
    place = torch.arange(_period(side) + 1)[:, None] + CENTRE - torch.arange(len(SYM6))
    weight = torch.tensor(SYM6, dtype=torch.float64) * (place % 2 == 0)
    return _matrix(weight, _mirrored(place // 2, side), side, device, dtype)


@lru_cache(8)
@torch.inference_mode(False)
def _downsampling(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(side, 2 side + 10), the transpose of upsampling, for places from EDGE before the first pixel on."""
    column = 2 * torch.arange(side)[:, None] + torch.arange(len(SYM6))
    return _matrix(torch.tensor(SYM6, dtype=torch.float64), column, 2 * (side + EDGE), device, dtype)


@lru_cache(8)
@torch.inference_mode(False)
def _bands(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(4, side, side), the filters of :func:`bands` on a mirrored side."""
    bank = bands()
    column = _mirrored(torch.arange(side)[:, None] + torch.arange(bank.shape[1]) - bank.shape[1] // 2, side)
    return torch.stack([_matrix(band, column, side, device, dtype) for band in bank])


class _Read(torch.autograd.Function):
    """`grid_sample`, bilinear with aligned corners, of which torch has no second derivative.

    It is linear in the image: the derivative is its transpose, `_Spread`, and that one's derivative is `_Read` again.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = image.shape
        return F.grid_sample(image, grid, align_corners=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, None]:
        return _Spread.apply(gradient, *ctx.saved_tensors, ctx.shape), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        anything = gradient.new_zeros(()).expand(shape)  # whose values only the grid's derivative would need
        of_image_alone = [True, False]
        return torch.ops.aten.grid_sampler_2d_backward(gradient, anything, grid, 0, 0, True, of_image_alone)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, None, None]:
        return _Read.apply(gradient, *ctx.saved_tensors), None, None
