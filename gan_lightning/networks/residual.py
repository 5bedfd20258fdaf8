"""Image to image by residual blocks: the networks of CycleGAN, StarGAN and SimGAN."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gan_lightning.networks.improved import GaussianNoise
from gan_lightning.networks.layers import instance_norm, normal_init, require_multiples_of_four, resize_conv
from gan_lightning.runtime.errors import require_one_of

Norm = Callable[[int], nn.Module]
Upsampling = Literal["transposed", "nearest", "bilinear"]


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), each convolution 3x3 with a norm after it where there is one.

    Args:
        width: channels.
        norm: builds the norm; None for none.
        padding_mode: of the convolutions, as torch has it.
        activation: between the two.
        last: after the sum; None for nothing.
    """

    def __init__(
        self,
        width: int,
        norm: Norm | None,
        padding_mode: str = "zeros",
        activation: nn.Module | None = None,
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()

        def convolved() -> list[nn.Module]:
            conv = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding_mode, bias=norm is None)
            return [conv] if norm is None else [conv, norm(width)]

        self.layers = nn.Sequential(*convolved(), activation or nn.ReLU(), *convolved())
        self.last = last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) -> the same shape."""
        return self.last(x + self.layers(x))


def _doubled(before: int, after: int, upsampling: Upsampling, kernel: int, padding_mode: str = "zeros") -> nn.Module:
    """What doubles a map: a transposed convolution of that kernel, or an enlargement and a 3x3 convolution.

    Raises:
        ValueError: another upsampling.
    """
    require_one_of("upsampling", upsampling, "transposed", "nearest", "bilinear")
    if upsampling == "transposed":
        return nn.ConvTranspose2d(before, after, kernel, 2, 1, kernel % 2, bias=False)
    return resize_conv(before, after, upsampling, padding_mode=padding_mode, bias=False)


class ResNetTranslator(nn.Module):
    """c7s1-64, d128, d256, residual blocks, u128, u64, c7s1-3, tanh (Zhu et al. 2017, arXiv:1703.10593, appendix 7.2).

    Instance norm without gain and bias, reflection padding.

    Args:
        image_shape: (channels, height, width) in and out; sides must be multiples of 4, and may be others.
        blocks: residual ones; None for the paper's 9 for 256 px and more, 6 below.
        width: channels of the first layer, four times as many in the blocks.
        upsampling: "transposed" convolutions are the paper's; they overlap unevenly and may draw a grid. "nearest" and
            "bilinear" enlarge the map so, then convolve it (:func:`networks.layers.resize_conv`).

    Raises:
        ValueError: sides that are no multiples of 4, or below 8, or another upsampling.
    """

    multiple = 4

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        blocks: int | None = None,
        width: int = 64,
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        require_multiples_of_four(type(self).__name__, image_shape)
        channels, *sides = image_shape
        if blocks is None:
            blocks = 9 if min(sides) >= 256 else 6

        def normed(layer: nn.Module, out: int) -> list[nn.Module]:
            return [layer, instance_norm(out, affine=False), nn.ReLU()]

        def wide(before: int, after: int, bias: bool) -> nn.Conv2d:
            return nn.Conv2d(before, after, 7, padding=3, padding_mode="reflect", bias=bias)

        def block() -> ResidualBlock:
            return ResidualBlock(4 * width, lambda out: instance_norm(out, affine=False), "reflect")

        doubled = partial(_doubled, upsampling=upsampling, kernel=3, padding_mode="reflect")
        self.layers = nn.Sequential(
            *normed(wide(channels, width, False), width),
            *normed(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), 2 * width),
            *normed(nn.Conv2d(2 * width, 4 * width, 3, 2, 1, bias=False), 4 * width),
            *[block() for _ in range(blocks)],
            *normed(doubled(4 * width, 2 * width), 2 * width),
            *normed(doubled(2 * width, width), width),
            wide(width, channels, True),
            nn.Tanh(),
        )
        normal_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape, in [-1, 1]."""
        return self.layers(image)


class AttributeTranslator(nn.Module):
    """One generator for all attributes (Choi et al. 2018, arXiv:1711.09020, table 4): they join the image as planes.

    Padding is with zeros on purpose: instance norm takes constant planes away, and only at a border of zeros does a
    convolution make of them something that is not constant.

    Args:
        image_shape: (channels, height, width) in and out; sides must be multiples of 4, and may be others.
        attributes: how many.
        blocks: residual ones.
        width: channels of the first layer, four times as many in the blocks.
        upsampling: "transposed" convolutions are the paper's; they overlap unevenly and may draw a grid. "nearest" and
            "bilinear" enlarge the map so, then convolve it (:func:`networks.layers.resize_conv`).

    Raises:
        ValueError: sides that are no multiples of 4, or below 8, or another upsampling.
    """

    multiple = 4

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        attributes: int,
        *,
        blocks: int = 6,
        width: int = 64,
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        require_multiples_of_four(type(self).__name__, image_shape)
        channels = image_shape[0]

        def normed(layer: nn.Module, out: int) -> list[nn.Module]:
            return [layer, instance_norm(out), nn.ReLU()]

        doubled = partial(_doubled, upsampling=upsampling, kernel=4)
        self.layers = nn.Sequential(
            *normed(nn.Conv2d(channels + attributes, width, 7, 1, 3, bias=False), width),
            *normed(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), 2 * width),
            *normed(nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False), 4 * width),
            *[ResidualBlock(4 * width, instance_norm) for _ in range(blocks)],
            *normed(doubled(4 * width, 2 * width), 2 * width),
            *normed(doubled(2 * width, width), width),
            nn.Conv2d(width, channels, 7, 1, 3, bias=False),
            nn.Tanh(),
        )

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        """(n, channels, h, w) and (n, attributes) in {0, 1} -> (n, channels, h, w) in [-1, 1]."""
        planes = attributes.to(image.dtype)[:, :, None, None].expand(-1, -1, *image.shape[2:])
        return self.layers(torch.cat([image, planes], 1))


class AttributeDiscriminator(nn.Module):
    """Scores of patches and the attributes of the whole image, by one trunk (arXiv:1711.09020, table 5); no norm.

    Args:
        image_shape: (channels, height, width); its sides halve `halvings` times.
        attributes: how many.
        width: channels of the first layer, doubled by each further one.
        halvings: 4x4 convolutions with stride 2; 6 in the paper, at 128 px.

    Raises:
        ValueError: a side that does not halve so often.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], attributes: int, *, width: int = 64, halvings: int = 6
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        if height % 2**halvings or breadth % 2**halvings:
            raise ValueError(f"AttributeDiscriminator halves {halvings} times: {height}x{breadth} is no multiple")
        sizes = [channels, *(width * 2**level for level in range(halvings))]
        layers = []
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.01)]
        self.trunk = nn.Sequential(*layers)
        self.score = nn.Conv2d(sizes[-1], 1, 3, 1, 1, bias=False)
        self.attributes = nn.Conv2d(sizes[-1], attributes, (height >> halvings, breadth >> halvings), bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, *image_shape) -> scores (n, 1, rows, columns), logits (n, attributes)."""
        h = self.trunk(image)
        return self.score(h), self.attributes(h).flatten(1)


class Refiner(nn.Module):
    """SimGAN's (Shrivastava et al. 2017, arXiv:1612.07828, appendix): 3x3, residual blocks, 1x1, tanh; no norm.

    Args:
        image_shape: (channels, height, width) in and out; other sizes are refined as well.
        blocks: residual ones of two 3x3 convolutions.
        width: channels inside.
        coordinates: give each pixel's place beside its colour, from -1 to 1 down and to the right (CoordConv, Liu et
            al. 2018, arXiv:1807.03247); not in the paper. Without, what is far from the image's edge cannot depend on
            its place, as light from one side does.
    """

    multiple = 1

    def __init__(
        self, image_shape: tuple[int, int, int], *, blocks: int = 4, width: int = 64, coordinates: bool = False
    ) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.layers = nn.Sequential(
            nn.Conv2d(image_shape[0] + 2 * coordinates, width, 3, padding=1),
            nn.ReLU(),
            *[ResidualBlock(width, None, last=nn.ReLU()) for _ in range(blocks)],
            nn.Conv2d(width, image_shape[0], 1),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape, in [-1, 1]."""
        if self.coordinates:
            number = torch.ones_like(image[:, :1])  # sums, not ranges: the exported graph takes any size
            place = [(2 * number.cumsum(dim) - 1) / image.shape[dim] - 1 for dim in (2, 3)]  # of the pixel's middle
            image = torch.cat([image, *place], 1)
        return self.layers(image)


class LocalDiscriminator(nn.Module):
    """SimGAN's (arXiv:1612.07828, appendix): a score for each patch, a quarter of the image's sides.

    One logit stands for the paper's two; the softmax of two is the sigmoid of their difference.

    Args:
        image_shape: (channels, height, width); other sizes are judged as well.
        width: channels of the second layer; 96, 64, 32 and 32 in the paper.
        downsampling: "stride" is the paper's, "pool" takes means: see :class:`networks.SRDiscriminator`.
        noise: deviation of Gaussian noise on real and refined images in training, of images in [-1, 1] (instance
            noise, Sønderby et al. 2016, arXiv:1610.04490); the paper has none. It hides what is as fine as noise.

    Raises:
        ValueError: another downsampling.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        width: int = 64,
        downsampling: Literal["stride", "pool"] = "stride",
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        require_one_of("LocalDiscriminator: downsampling", downsampling, "stride", "pool")
        wide, half = width * 3 // 2, width // 2

        def halved(before: int, after: int) -> list[nn.Module]:
            if downsampling == "stride":
                return [nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()]
            return [nn.Conv2d(before, after, 3, 1, 1), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)]

        self.noise = GaussianNoise(noise)
        self.layers = nn.Sequential(
            *halved(image_shape[0], wide),
            *halved(wide, width),
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(width, half, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(half, half, 1),
            nn.ReLU(),
            nn.Conv2d(half, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, 1, h / 4, w / 4)."""
        return self.layers(self.noise(image))
