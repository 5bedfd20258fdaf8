"""The networks of Context Encoders (Pathak et al. 2016, arXiv:1604.07379, figure 9 and the authors' code)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import normal_init


class ContextGenerator(nn.Module):
    """4x4 convolutions with stride 2 to a bottleneck that sees everything, and back to the size of the image.

    Sides that differ are halved alike, until the shorter one is 4; the bottleneck's convolutions cover what is left.

    The authors' decoder ends at half the size, the central hole's; this one at the whole image's, for holes anywhere
    (section 3.3, random region). The hole reaches the encoder as a plane of its own, besides being filled.

    Args:
        image_shape: (channels, height, width); the shorter side must be 4 times a power of two, the longer a multiple
            of that power.
        width: channels of the first two layers, doubled by each further one up to `8 * width`.
        bottleneck: channels of the one place in the middle; 4,000 in the paper.

    Raises:
        ValueError: sides that do not halve so.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 64, bottleneck: int = 4000) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        short = min(height, breadth)
        halvings = (short // 4).bit_length() - 1
        if halvings < 1 or short != 4 << halvings or max(height, breadth) % (1 << halvings):
            raise ValueError(
                "ContextGenerator halves images until the shorter side is 4: that must be 8, 16, 32, 64, ..., and the "
                f"longer divide as often, not {height}x{breadth}"
            )
        left = height >> halvings, breadth >> halvings
        widths = [width, *(min(width << level, 8 * width) for level in range(halvings - 1))]
        layers: list[nn.Module] = [nn.Conv2d(channels + 1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(widths[-1], bottleneck, left, bias=False), nn.BatchNorm2d(bottleneck), nn.LeakyReLU(0.2)]
        ups = [bottleneck, *reversed(widths)]
        for level, (before, after) in enumerate(zip(ups, ups[1:], strict=False)):
            kernel, stride, padding = (4, 2, 1) if level else (left, 1, 0)
            layers += [nn.ConvTranspose2d(before, after, kernel, stride, padding, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())
        normal_init(self)

    def forward(self, context: Tensor, hole: Tensor) -> Tensor:
        """(n, *image_shape) with the hole filled by a constant, (n, 1, h, w) bool -> (n, *image_shape) in [-1, 1]."""
        return self.layers(torch.cat([context, hole.to(context.dtype)], 1))
