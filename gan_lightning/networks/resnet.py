"""SNGAN's residual networks (Miyato et al. 2018, arXiv:1802.05957, table 4), for any size that doubles from 4 .. 7."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import maybe_spectral, pyramid


def _conv(inputs: int, outputs: int, kernel: int, gain: float, spectral_norm: bool = False) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return maybe_spectral(layer, spectral_norm)


class UpBlock(nn.Module):
    """BN, ReLU, nearest upsampling, 3x3; BN, ReLU, 3x3; the shortcut is upsampled and passes a 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = _conv(inputs, outputs, 3, math.sqrt(2))
        self.conv2 = _conv(outputs, outputs, 3, math.sqrt(2))
        self.shortcut = _conv(inputs, outputs, 1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, 2h, 2w)."""
        h = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2))
        h = self.conv2(F.relu(self.norm2(h)))
        return h + self.shortcut(F.interpolate(x, scale_factor=2))


class DownBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, mean pooling; the first block has no ReLU before it and pools its shortcut first.

    ReLU is never in place: in place it would change the shortcut's input too, which costs FID without a word.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool, spectral_norm: bool) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = _conv(inputs, outputs, 3, math.sqrt(2), spectral_norm)
        self.conv2 = _conv(outputs, outputs, 3, math.sqrt(2), spectral_norm)
        plain = inputs == outputs and not down
        self.shortcut = nn.Identity() if plain else _conv(inputs, outputs, 1, 1.0, spectral_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / 2, w / 2), or the same size without `down`."""
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down:
            return h + self.shortcut(x)
        # A 1x1 convolution and pooling commute; pooling first is cheaper and is what the first block is given as.
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class ResNetGenerator(nn.Module):
    """latent -> 4x4 -> one up-block for each doubling, all of `width` channels -> BN, ReLU, 3x3, tanh.

    Raises:
        ValueError: a size that no doubling reaches.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int = 128, width: int = 256) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        self.start = (width, height, breadth)
        self.linear = nn.Linear(latent_dim, math.prod(self.start))
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.blocks = nn.Sequential(*(UpBlock(width, width) for _ in range(doublings)))
        self.norm = nn.BatchNorm2d(width)
        self.conv = _conv(width, image_shape[0], 3, 1.0)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape) in [-1, 1]."""
        h = self.blocks(self.linear(z).unflatten(1, self.start))
        return self.conv(F.relu(self.norm(h))).tanh()


class ResNetDiscriminator(nn.Module):
    """Down-blocks to twice the starting size, two plain blocks, ReLU, sum over places, linear; no batch norm.

    Args:
        image_shape: (channels, height, width); 32 px gives the paper's two down- and two plain blocks.
        width: channels of every block.
        spectral_norm: on every layer; off for a critic with a gradient penalty.
        sum_pool: sum over places, as SNGAN has it; False for the mean of WGAN-GP.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 128,
        spectral_norm: bool = True,
        sum_pool: bool = True,
    ) -> None:
        super().__init__()
        doublings, _, _ = pyramid(type(self).__name__, image_shape)
        down = [True] * (doublings - 1) + [False, False]
        inputs = [image_shape[0]] + [width] * len(down)
        self.blocks = nn.Sequential(
            *(DownBlock(inputs[i], width, d, i == 0, spectral_norm) for i, d in enumerate(down))
        )
        linear = nn.Linear(width, 1)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        self.linear = maybe_spectral(linear, spectral_norm)
        self.sum_pool = sum_pool

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n,) scores."""
        h = F.relu(self.blocks(image))
        return self.linear(h.sum((2, 3)) if self.sum_pool else h.mean((2, 3))).squeeze(1)
