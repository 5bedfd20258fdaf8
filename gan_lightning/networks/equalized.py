"""Layers of ProGAN and the StyleGANs: weights scaled at run time, pixel norm, minibatch deviation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import batches

ROOT_TWO = math.sqrt(2.0)  # He's gain of a ReLU, and nearly that of a leaky one


class EqualizedLinear(nn.Linear):
    """A linear layer whose weights are N(0, 1) and scaled at run time (Karras et al. 2018, arXiv:1710.10196, sec. 4.1).

    All weights have one dynamic range, so Adam moves all at one speed.

    Args:
        inputs, outputs: features.
        bias: what the biases begin with; None for no biases.
        gain: of the weights, over the square root of the inputs; sqrt(2) before a ReLU.
        rate: multiplier of the learning rate of weights and biases; StyleGAN's mapping network has 0.01.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: float | None = 0.0, gain: float = 1.0, rate: float = 1.0
    ) -> None:
        super().__init__(inputs, outputs, bias is not None)
        _equalize(self, bias, rate)
        self.scale, self.rate = gain * rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        bias = None if self.bias is None else (self.bias * self.rate).to(x.dtype)
        return F.linear(x, (self.weight * self.scale).to(x.dtype), bias)


class EqualizedConv2d(nn.Conv2d):
    """A convolution of an odd kernel that keeps the size; see :class:`EqualizedLinear`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, bias: float | None = 0.0, gain: float = 1.0
    ) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias is not None)
        _equalize(self, bias)
        self.scale = gain / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.conv2d(x, (self.weight * self.scale).to(x.dtype), bias, padding=self.padding)


def _equalize(layer: nn.Linear | nn.Conv2d, bias: float | None, rate: float = 1.0) -> None:
    nn.init.normal_(layer.weight, std=1.0 / rate)
    if bias is not None:
        nn.init.constant_(layer.bias, bias / rate)


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Each sample's, or each pixel's, features (n, c, ...) scaled to a mean square of 1; arXiv:1710.10196, sec. 4.2."""
    return x * (x.square().mean(1, keepdim=True) + eps).rsqrt()


class MinibatchDeviation(nn.Module):
    """Adds a feature map: how much the samples of a group differ (arXiv:1710.10196, section 3).

    The standard deviation of each feature at each place over a group, averaged over features and places: one number a
    group, which each of its samples is given everywhere. A group is consecutive samples of the whole batch, so that
    it is the same on any number of processes and micro-batches. The authors' groups are strided samples of one GPU's
    batch: the same for samples in random order.

    Args:
        group: samples in each; a smaller batch is one group.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c + 1, h, w).

        Raises:
            ValueError: the samples, or those of a process or micro-batch, are not whole groups.
        """
        n, _, h, w = x.shape
        group = self.group if batches.parts() > 1 else min(self.group, n)
        if n % group:
            raise ValueError(
                f"minibatch deviation is of groups of {group} images, and a process's share of a batch, or a "
                f"micro-batch, has {n}: choose a multiple, or another `group` of the discriminator"
            )
        grouped = x.unflatten(0, (-1, group)).to(torch.promote_types(x.dtype, torch.float32))
        deviation = (grouped.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        deviation = deviation.repeat_interleave(group).to(x.dtype)
        return torch.cat([x, deviation.view(n, 1, 1, 1).expand(n, 1, h, w)], 1)
