"""SRGAN's networks (Ledig et al. 2017, arXiv:1609.04802, figure 4), and remedies against the grids that they draw."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import resize_conv
from gan_lightning.networks.residual import ResidualBlock
from gan_lightning.runtime.errors import require_one_of


@torch.no_grad()
def icnr_init(conv: nn.Conv2d, factor: int = 2) -> None:
    """Make the filters equal whose outputs `nn.PixelShuffle(factor)` lays side by side (Aitken et al. 2017,
    arXiv:1707.02937): convolution and shuffle are then a convolution and nearest-neighbour upsampling.

    The first filter of each group stands for all.
    """
    for parameter in (conv.weight, conv.bias):
        if parameter is not None:
            parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, 0))


class SRResNet(nn.Module):
    """SRGAN's generator (Ledig et al. 2017, arXiv:1609.04802, figure 4): residual blocks, then pixel shuffles.

    k9n64s1, blocks of k3n64s1 with batch norm and PReLU, a skip around all of them, k3n256s1 with a shuffle for each
    doubling, k9n3s1. The output is clamped when an image is made; in training it is linear, as in the paper.

    The four pixels of a shuffle come from filters of their own, so that an untrained network draws a chequerboard.
    Three remedies, which the paper does not have: `icnr` begins with four equal filters, `upsampling` "nearest" and
    "bilinear" have one filter for the four pixels, and with `bicubic` the network begins as the bicubic enlargement of
    its input.

    Args:
        image_shape: (channels, height, width) of what is made; images of other sizes are enlarged as well.
        scale: sides of the output in sides of the input, a power of two.
        blocks: residual ones.
        width: channels inside.
        upsampling: "shuffle" is the paper's; "nearest" and "bilinear" double the map so, then convolve it (k3n64s1;
            :func:`networks.layers.resize_conv`).
        icnr: initial filters of the shuffles that do what nearest neighbours do (Aitken et al. 2017,
            arXiv:1707.02937). Its biases are equal too.
        bicubic: what is learned is the difference from the bicubic enlargement (as in Kim et al. 2016,
            arXiv:1511.04587); the last convolution begins at 0.

    Raises:
        ValueError: a scale that is no power of two, another upsampling, or `icnr` without a shuffle.
    """

    multiple = 1

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        scale: int = 4,
        blocks: int = 16,
        width: int = 64,
        upsampling: Literal["shuffle", "nearest", "bilinear"] = "shuffle",
        icnr: bool = False,
        bicubic: bool = False,
    ) -> None:
        super().__init__()
        channels = image_shape[0]
        doublings = int(math.log2(scale))
        require_one_of("SRResNet: upsampling", upsampling, "shuffle", "nearest", "bilinear")
        if icnr and upsampling != "shuffle":
            raise ValueError(
                f"SRResNet: icnr initialises the filters of shuffles, and upsampling {upsampling!r} has none"
            )
        if scale < 2 or 2**doublings != scale:
            raise ValueError(f"SRResNet enlarges by a power of two, not {scale}")
        self.scale, self.bicubic = scale, bicubic
        self.head = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *[ResidualBlock(width, nn.BatchNorm2d, activation=nn.PReLU()) for _ in range(blocks)],
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.tail = nn.Sequential()
        for _ in range(doublings):
            if upsampling == "shuffle":
                shuffled = nn.Conv2d(width, 4 * width, 3, padding=1)
                if icnr:
                    icnr_init(shuffled)
                self.tail.extend([shuffled, nn.PixelShuffle(2), nn.PReLU()])
            else:
                self.tail.extend([*resize_conv(width, width, upsampling), nn.PReLU()])
        last = nn.Conv2d(width, channels, 9, padding=4)
        if bicubic:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.tail.append(last)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, channels, scale * h, scale * w), about [-1, 1]."""
        h = self.head(image)
        made = self.tail(h + self.body(h))
        return made + F.interpolate(image, scale_factor=float(self.scale), mode="bicubic") if self.bicubic else made


class SRDiscriminator(nn.Module):
    """SRGAN's (arXiv:1609.04802, figure 4): eight 3x3 convolutions, strides 1 and 2 in turn, two linear layers.

    Args:
        image_shape: (channels, height, width); sides must be multiples of 16.
        width: channels of the first two layers, twice, four and eight times as many in the next pairs.
        units: of the linear layer.
        downsampling: "stride" is the paper's; its 3x3 filters overlap unevenly, so that the gradient of an image is
            greater at some places of a grid than at others (Odena et al. 2016, doi:10.23915/distill.00003). "pool",
            which the paper does not have, takes the mean of 2x2 places after a convolution without a stride.

    Raises:
        ValueError: a side that is no multiple of 16, or another downsampling.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        width: int = 64,
        units: int = 1024,
        downsampling: Literal["stride", "pool"] = "stride",
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        require_one_of("SRDiscriminator: downsampling", downsampling, "stride", "pool")
        if height % 16 or breadth % 16:
            raise ValueError(f"SRDiscriminator halves four times: sides must be multiples of 16, not {image_shape[1:]}")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        before = width
        for level in range(1, 8):
            after = width * 2 ** (level // 2)
            halves = level % 2 == 1
            stride = 2 if halves and downsampling == "stride" else 1
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
            layers += [nn.AvgPool2d(2)] if halves and downsampling == "pool" else []
            before = after
        flat = before * (height // 16) * (breadth // 16)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(flat, units), nn.LeakyReLU(0.2), nn.Linear(units, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n,) scores."""
        return self.layers(image).squeeze(1)
