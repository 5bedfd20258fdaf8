"""Layers of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958): modulated convolutions, and blocks in half precision."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import noise as keyed
from gan_lightning.networks.equalized import ROOT_TWO, EqualizedLinear
from gan_lightning.networks.fir import upsampling_conv2d
from gan_lightning.networks.style import LayerNoise


def in_half(x: Tensor, half: torch.dtype | None) -> Tensor:
    """A block's input in its half precision, if it has one and no exact gradients are asked for."""
    if half is None or torch.get_autocast_dtype(x.device.type) == torch.float32:  # see losses.exact_gradients
        return x
    return x.to(half)


def modulate(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    """A convolution whose input channels a style scales, and whose output then has unit variance (sec. 2.2, eq. 1, 3).

    The maps are scaled before and after one convolution, which equals scaling the weights of each sample, and on a CPU
    is up to nine times as fast as convolutions in groups. Weights and styles of half precision are brought to
    magnitudes that cannot overflow first (arXiv:2006.06676, appendix C): demodulation cancels them.

    Args:
        x: (n, inputs, h, w).
        weight: (outputs, inputs, k, k).
        style: (n, inputs).
        demodulate: whether the output shall have unit variance.

    Returns:
        x and weight, to be convolved, and (n, outputs, 1, 1) what to multiply the outcome by; None without
        demodulation.
    """
    if demodulate and x.element_size() == 2:
        fan_in = weight[0].numel()
        weight = weight / (math.sqrt(fan_in) * weight.detach().abs().amax((1, 2, 3), keepdim=True))
        style = style / style.detach().abs().amax(1, keepdim=True)
    coefficient = None
    if demodulate:
        variance = F.linear(style.square(), weight.square().sum((2, 3)))
        coefficient = (variance + 1e-8).rsqrt()[:, :, None, None].to(x.dtype)
    return x * style[:, :, None, None].to(x.dtype), weight.to(x.dtype), coefficient


class StyledConv2d(nn.Module):
    """A 3x3 convolution modulated by a style, noise, bias, leaky ReLU.

    Args:
        inputs, outputs: channels.
        style_dim: of w.
        sides: (height, width) of the output.
        up: whether they are twice the input's.
        clamp: bound of the output's magnitude; None for none.
    """

    def __init__(
        self, inputs: int, outputs: int, style_dim: int, sides: tuple[int, int], up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.noise: Tensor
        self.register_buffer("noise", torch.randn(sides))  # what noise="const" adds

    def forward(self, x: Tensor, w: Tensor, noise: LayerNoise) -> Tensor:
        """(n, inputs, h, w), (n, style_dim) -> (n, outputs, *sides)."""
        x, weight, coefficient = modulate(x, self.weight, self.affine(w))
        y = upsampling_conv2d(x, weight) if self.up else F.conv2d(x, weight, padding=1)
        # The gain of the activation is given to all that it is applied to, which are smaller than the map.
        bias = ROOT_TWO * self.bias[:, None, None]
        y = torch.addcmul(bias.to(y.dtype), y, (ROOT_TWO * coefficient).to(y.dtype))
        if noise != "none":
            drawn = self.noise if noise == "const" else keyed.layer_noise(y.shape[0], 1, *self.noise.shape)
            y = y + (ROOT_TWO * self.strength * drawn).to(y.dtype)
        return clamped(F.leaky_relu(y, 0.2), self.clamp)


class ToImage(nn.Module):
    """A 1x1 convolution modulated by a style, without demodulation, and a bias.

    Args:
        inputs, outputs: channels.
        style_dim: of w.
        clamp: see :class:`StyledConv2d`.
    """

    def __init__(self, inputs: int, outputs: int, style_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(n, inputs, h, w), (n, style_dim) -> (n, outputs, h, w)."""
        style = self.affine(w) / math.sqrt(x.shape[1])
        x, weight, _ = modulate(x, self.weight, style, demodulate=False)
        return clamped(F.conv2d(x, weight, self.bias.to(x.dtype)), self.clamp)


def clamped(x: Tensor, limit: float | None) -> Tensor:
    """x within +-limit."""
    return x if limit is None else x.clamp(-limit, limit)
