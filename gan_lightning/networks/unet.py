"""The U-Net of Pix2Pix (Isola et al. 2017, arXiv:1611.07004, appendix 6.1.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import instance_norm, normal_init
from gan_lightning.noise import dropped

DROPPED = (0, 1, 2)  # decoder layers with dropout, from the bottleneck up


class NoisyDropout(nn.Module):
    """Dropout in evaluation too: it is the generator's only noise (arXiv:1611.07004, section 3.3)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p)


class UNetGenerator(nn.Module):
    """Halvings to the bottleneck, doublings back, each joined with the halving of its size -> tanh.

    Kernels are 4x4 with stride 2, LeakyReLU(0.2) on the way down, ReLU on the way up. No norm on the first halving, at
    the bottleneck and on the output; elsewhere instance norm with gain and bias, which is the paper's batch norm at
    its batch of 1, in training and at test time, and stays the same in larger batches and on several processes.

    Args:
        image_shape: (channels, height, width) in and out; sides may be other multiples of 2**halvings.
        halvings: down to the bottleneck; None for as many as both sides take, 8 for 256 px.
        width: channels of the first halving, doubled by each further one up to `8 * width`.
        dropout: share that is dropped in some decoder layers, in training and at test time.
        dropped: which, counted from the bottleneck; None for the paper's first three, 0, 1 and 2. The authors' PyTorch
            code has it in 1, 2 and 3 at 256 px.

    Raises:
        ValueError: less than two halvings, or sides that do not halve so often.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        halvings: int | None = None,
        width: int = 64,
        dropout: float = 0.5,
        dropped: list[int] | None = None,
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        if halvings is None:
            common = math.gcd(height, breadth)
            halvings = (common & -common).bit_length() - 1  # the power of two in both sides
        if halvings < 2:
            raise ValueError(f"UNetGenerator needs at least 2 halvings, not {halvings}, of {height}x{breadth} pixels")
        self.multiple = 2**halvings
        if height % self.multiple or breadth % self.multiple:
            raise ValueError(
                f"UNetGenerator halves {halvings} times, and {height}x{breadth} is no multiple of {self.multiple}: "
                "set the data's size or `halvings`"
            )
        widths = [min(width * 2**level, 8 * width) for level in range(halvings)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, out in enumerate(widths):
            inner = 0 < level < halvings - 1
            layers = [nn.LeakyReLU(0.2)] if level else []
            layers += [nn.Conv2d(widths[level - 1] if level else channels, out, 4, 2, 1, bias=not inner)]
            self.down.append(nn.Sequential(*layers, *[instance_norm(out)] * inner))
        for level in range(halvings - 1, 0, -1):
            joined = widths[level] * (1 if level == halvings - 1 else 2)
            up = nn.ConvTranspose2d(joined, widths[level - 1], 4, 2, 1, bias=False)
            drops = dropout > 0 and halvings - 1 - level in (DROPPED if dropped is None else dropped)
            noise = [NoisyDropout(dropout)] if drops else []
            self.up.append(nn.Sequential(nn.ReLU(), up, instance_norm(widths[level - 1]), *noise))
        self.out = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * width, channels, 4, 2, 1), nn.Tanh())
        normal_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape, in [-1, 1]."""
        skips = []
        for down in self.down:
            image = down(image)
            skips.append(image)
        image = skips.pop()
        for up in self.up:
            image = torch.cat([up(image), skips.pop()], 1)
        return self.out(image)
