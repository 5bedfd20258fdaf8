"""Resampling by finite impulse response filters, in plain torch: differentiable twice, on any device.

As StyleGAN's (Karras et al. 2019, 2020, arXiv:1812.04948, 1912.04958) `upfirdn`: zeros between the pixels, a filter,
every other pixel. Filters are separable and given by their taps, such as (1, 3, 3, 1); they are normalised, so that a
constant image stays what it is away from its border, outside of which everything is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BILINEAR = (1.0, 3.0, 3.0, 1.0)  # of StyleGAN2 and R3GAN, before they are normalised
# Sides up to which a filter is a product of matrices: on a CPU 2 to 4 times as fast as depthwise convolutions at 28 to
# 128 px, and slower from 256 px on; either is 10 times as fast as a convolution of single channels.
MATRIX = 128


def upsample(x: Tensor, taps: Sequence[float] = BILINEAR, factor: int = 2) -> Tensor:
    """(n, c, h, w) -> (n, c, h * factor, w * factor), by at least `factor` taps."""
    k = len(taps)
    return resample(x, taps, up=factor, before=(k + factor - 1) // 2, after=(k - factor) // 2)


def downsample(x: Tensor, taps: Sequence[float] = BILINEAR, factor: int = 2) -> Tensor:
    """(n, c, h, w) -> (n, c, h / factor, w / factor), of sides that the factor divides."""
    k = len(taps)
    return resample(x, taps, down=factor, before=(k - factor + 1) // 2, after=(k - factor) // 2)


def blur(x: Tensor, taps: Sequence[float] = (1.0, 2.0, 1.0)) -> Tensor:
    """(n, c, h, w) -> the same shape; by an odd number of taps."""
    return resample(x, taps, before=len(taps) // 2, after=len(taps) // 2)


def upsampling_conv2d(x: Tensor, weight: Tensor, taps: Sequence[float] = BILINEAR) -> Tensor:
    """Twice the sides, then a convolution that keeps them, in the authors' cheaper order: the filter comes last.

    Args:
        x: (n, inputs, h, w).
        weight: (outputs, inputs, k, k), k odd; as in their code the kernels are turned by 180 degrees, against what
            torch calls a convolution.

    Returns:
        (n, outputs, 2h, 2w).
    """
    k, half = len(taps), weight.shape[2] // 2
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return resample(x, taps, before=(k + 1) // 2 - half, after=k // 2 - half, gain=2.0)


def downsampling_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, taps: Sequence[float] = BILINEAR
) -> Tensor:
    """A convolution that keeps the sides, then half of them, as the authors do it: the filter, then a stride of 2.

    Args:
        x: (n, inputs, 2h, 2w).
        weight: (outputs, inputs, k, k), k odd; for k = 1 the filter alone has the stride.
        bias: (outputs,).

    Returns:
        (n, outputs, h, w).
    """
    k, half = len(taps), weight.shape[2] // 2
    if half == 0:
        return F.conv2d(downsample(x, taps), weight, bias)
    x = resample(x, taps, before=(k - 1) // 2 + half, after=k // 2 - 1 + half)
    return F.conv2d(x, weight, bias, stride=2)


def resample(
    x: Tensor, taps: Sequence[float], up: int = 1, down: int = 1, before: int = 0, after: int = 0, gain: float = 1.0
) -> Tensor:
    """Zeros between pixels, zeros around them, a convolution with the normalised taps, every `down`-th pixel.

    Args:
        x: (n, c, h, w).
        taps: of the filter, along either side.
        up, down: factors, one of them 1; the values are multiplied by `up` along either side, to keep their size.
        before, after: zeros before the first and after the last pixel of a side; negative numbers cut pixels off.
        gain: further factor of the values, along either side.

    Returns:
        (n, c, (h * up + before + after - len(taps)) // down + 1, ...).
    """
    total = sum(taps)
    line = tuple(tap * up * gain / total for tap in taps)
    if max(x.shape[2:]) <= MATRIX:
        settings = line, up, down, before, after
        rows, columns = (_once(_matrix, side, *settings, x.device, x.dtype) for side in x.shape[2:])
        return rows @ x @ columns.T
    c, k, kernel = x.shape[1], len(line), _once(_kernel, line, x.device, x.dtype)
    if up > 1:
        x = F.conv_transpose2d(x, kernel.expand(c, 1, k, k), stride=up, groups=c)
        first, last = before - k + 1, after - k + up
        return F.pad(x, (first, last, first, last))
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x, kernel.flip(2, 3).expand(c, 1, k, k), stride=down, groups=c)


_MADE: dict[tuple, Tensor] = {}


def _once(make: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """What a function makes of these arguments, made once: on a GPU each copy from the CPU would be waited for."""
    key = make, *arguments
    if key not in _MADE:
        with torch.inference_mode(False), torch.no_grad():
            _MADE[key] = make(*arguments)
    return _MADE[key]


def _kernel(line: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(1, 1, k, k) the outer product of the taps with themselves."""
    taps = torch.tensor(line, dtype=torch.float64, device="cpu")
    return torch.outer(taps, taps)[None, None].to(device, dtype)


def _matrix(
    side: int,
    line: tuple[float, ...],
    up: int,
    down: int,
    before: int,
    after: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """(pixels after, pixels before) what the filter does to one side: its columns are the answers to single pixels."""
    taps = torch.tensor(line, dtype=torch.float64, device="cpu").flip(0)
    pixels = F.pad(torch.eye(side, dtype=torch.float64, device="cpu")[:, :, None], (0, up - 1)).flatten(1)
    answers = F.conv1d(F.pad(pixels, (before, after))[:, None], taps[None, None], stride=down)
    return answers[:, 0].T.contiguous().to(device, dtype)
