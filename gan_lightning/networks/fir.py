"""Resampling by finite impulse response filters, in plain torch: differentiable twice, on any device.

As StyleGAN's (Karras et al. 2019, 2020, arXiv:1812.04948, 1912.04958) `upfirdn`: zeros between the pixels, a filter,
every other pixel. Filters are separable and given by their taps, such as (1, 3, 3, 1); they are normalised, so that a
constant image stays what it is away from its border, outside of which everything is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BILINEAR = (1.0, 3.0, 3.0, 1.0)  # of StyleGAN2 and R3GAN, before they are normalised


def kernel_of(taps: Sequence[float], like: Tensor) -> Tensor:
    """(1, 1, k, k) of sum 1, the outer product of the taps with themselves."""
    line = torch.tensor(list(taps), dtype=torch.float64)
    line = line / line.sum()
    return torch.outer(line, line)[None, None].to(like.device, like.dtype)


def upsample(x: Tensor, taps: Sequence[float] = BILINEAR, factor: int = 2) -> Tensor:
    """(n, c, h, w) -> (n, c, h * factor, w * factor), by at least `factor` taps."""
    k, flat = len(taps), x.reshape(-1, 1, *x.shape[2:])
    first = (k - factor) // 2  # what StyleGAN's padding of (k + factor - 1) // 2 leaves out
    y = F.conv_transpose2d(flat, kernel_of(taps, x) * factor**2, stride=factor)
    h, w = x.shape[2] * factor, x.shape[3] * factor
    return y[..., first : first + h, first : first + w].reshape(*x.shape[:2], h, w)


def downsample(x: Tensor, taps: Sequence[float] = BILINEAR, factor: int = 2) -> Tensor:
    """(n, c, h, w) -> (n, c, h / factor, w / factor), of sides that the factor divides."""
    k, flat = len(taps), x.reshape(-1, 1, *x.shape[2:])
    before, after = (k - factor + 1) // 2, (k - factor) // 2
    y = F.conv2d(F.pad(flat, (before, after, before, after)), kernel_of(taps, x), stride=factor)
    return y.reshape(*x.shape[:2], *y.shape[2:])


def blur(x: Tensor, taps: Sequence[float] = (1.0, 2.0, 1.0)) -> Tensor:
    """(n, c, h, w) -> the same shape; by an odd number of taps."""
    flat = x.reshape(-1, 1, *x.shape[2:])
    return F.conv2d(flat, kernel_of(taps, x), padding=len(taps) // 2).reshape(x.shape)
