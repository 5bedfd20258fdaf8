"""A Laplacian pyramid, and LAPGAN's networks that draw and judge its levels (Denton et al. 2015, arXiv:1506.05751).

Levels are numbered from the coarsest on. All that makes a picture smaller or larger is :func:`downsample` and
:func:`upsample`: the means of 2x2 pixels, and bilinear. The paper writes d and u, the authors' code resizes bilinearly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import Dropout, one_hot


def downsample(image: Tensor) -> Tensor:
    """(n, C, 2 h, 2 w) -> (n, C, h, w): the paper's d."""
    return F.avg_pool2d(image, 2)


def upsample(image: Tensor) -> Tensor:
    """(n, C, h, w) -> (n, C, 2 h, 2 w): the paper's u."""
    return F.interpolate(image, scale_factor=2, mode="bilinear")


def gaussian_pyramid(image: Tensor, count: int) -> list[Tensor]:
    """`count` levels of images (n, C, h, w), the coarsest first; the last one is the images themselves."""
    levels = [image]
    for _ in range(count - 1):
        levels.append(downsample(levels[-1]))
    return levels[::-1]


def level_shapes(image_shape: tuple[int, int, int], coarsest: int) -> list[tuple[int, int, int]]:
    """The shapes of a pyramid's levels, the coarsest first: sides are halved while the shorter is >= `coarsest`.

    Raises:
        ValueError: no half is as large as that, or a side that would be halved is odd.
    """
    channels, height, width = image_shape
    halvings = (min(height, width) // coarsest).bit_length() - 1 if coarsest >= 1 else 0
    if halvings < 1:
        raise ValueError(
            f"LAPGAN: images of {height}x{width} have no half with sides of at least coarsest={coarsest}: choose "
            "larger images, or a coarsest from 1 to half of the shorter side"
        )
    step = 2**halvings
    for side in (height, width):
        if side % step:
            raise ValueError(
                f"LAPGAN halves images of {height}x{width} {halvings} times, and {side} is not a multiple of {step} "
                f"(nearest: {side // step * step}, {side // step * step + step}); set the data's size or a larger "
                "coarsest"
            )
    return [(channels, height // 2**k, width // 2**k) for k in range(halvings, -1, -1)]


class LabelPlane(nn.Module):
    """A class -> one plane of an image's size, by a linear layer and ReLU, which joins the image's channels."""

    def __init__(self, num_classes: int, height: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.Sequential(
            nn.Linear(num_classes, height * width), nn.ReLU(), nn.Unflatten(1, (1, height, width))
        )

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(n, C, h, w), labels (n,) or (n, num_classes) -> (n, C + 1, h, w)."""
        return torch.cat([x, self.layers(one_hot(label, self.num_classes, x))], 1)


class LAPGANGenerator(nn.Module):
    """Low-pass image, a plane of noise, and a plane of the class -> residual: convolutions 7x7, 7x7, 5x5, with ReLU.

    A residual is a difference of images: nothing bounds the output. Layers and initial weights are those of the
    authors' code for CIFAR-10.

    Args:
        image_shape: (channels, height, width) of the level.
        num_classes: of a conditional generator.
        width: channels of the two hidden layers.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int | None = None, *, width: int = 64) -> None:
        super().__init__()
        channels, *size = image_shape
        self.plane = LabelPlane(num_classes, *size) if num_classes else None
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1 + bool(num_classes), width, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(width, width, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(width, channels, 5, padding=2),
        )

    def forward(self, low: Tensor, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), (n, 1, height, width), labels of a conditional generator -> (n, *image_shape)."""
        x = torch.cat([low, z], 1)
        return self.layers(x if label is None else self.plane(x, label))


class LAPGANDiscriminator(nn.Module):
    """Low-pass image plus residual, and a plane of the class -> score: 5x5, 5x5 with stride 2, dropout, linear.

    It sees the sum l + h alone, which is an image of its level. Layers, without padding, and initial weights are those
    of the authors' code for CIFAR-10.

    Args:
        image_shape: (channels, height, width) of the level.
        num_classes: of a conditional discriminator.
        width: channels of both convolutions.
        dropout: before the linear layer.

    Raises:
        ValueError: a side of less than 9 pixels.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels, *size = image_shape
        if min(size) < 9:
            raise ValueError(
                f"{type(self).__name__} has two convolutions of 5x5 without padding, which take sides of at least 9, "
                f"not {size[0]}x{size[1]}: set coarsest to at least 5"
            )
        self.plane = LabelPlane(num_classes, *size) if num_classes else None
        left = math.prod((side - 9) // 2 + 1 for side in size)
        self.layers = nn.Sequential(
            nn.Conv2d(channels + bool(num_classes), width, 5),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(width * left, 1),
            nn.Flatten(0),
        )

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), labels of a conditional discriminator -> (n,) scores."""
        return self.layers(image if label is None else self.plane(image, label))


class PyramidGenerator(nn.Module):
    """A generator for each level: the coarsest draws a picture, each finer one adds a residual to it, enlarged.

    The latent is the coarsest generator's, and a number for each pixel of each finer level.

    Args:
        shapes: of the levels' images, the coarsest first.
        coarsest: network from (n, latent_dim), and labels, to (n, *shapes[0]), with a `latent_dim`.
        finer: networks such as :class:`LAPGANGenerator`, of each other level.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int]], coarsest: nn.Module, finer: Sequence[nn.Module]) -> None:
        super().__init__()
        self.sizes = [shape[1:] for shape in shapes]
        self.parts = [coarsest.latent_dim, *(math.prod(size) for size in self.sizes[1:])]
        self.latent_dim = sum(self.parts)
        self.coarsest, self.finer = coarsest, nn.ModuleList(finer)

    def split(self, z: Tensor) -> list[Tensor]:
        """What each level is given of latents (n, latent_dim): (n, coarsest.latent_dim), then (n, 1, h, w)."""
        first, *planes = z.split(self.parts, 1)
        return [first, *(p.unflatten(1, (1, *size)) for p, size in zip(planes, self.sizes[1:], strict=True))]

    def picture(self, level: int, z: Tensor, below: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        """Images (n, C, h, w) of a level.

        Args:
            level: its number.
            z: its part of the latent; see :meth:`split`.
            below: images (n, C, h / 2, w / 2) of the level before, generated or real; the coarsest has none.
            label: (n,), of a model with classes.
        """
        condition = () if label is None else (label,)
        if level == 0:
            return self.coarsest(z, *condition)
        low = upsample(below)
        return low + self.finer[level - 1](low, z, *condition)

    def levels(self, z: Tensor, label: Tensor | None = None) -> list[Tensor]:
        """The images of every level, (n, C, h, w) each, the coarsest first: the chain of sampling."""
        pictures: list[Tensor | None] = [None]
        for level, part in enumerate(self.split(z)):
            pictures.append(self.picture(level, part, pictures[-1], label))
        return pictures[1:]

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *shapes[-1]), without bounds."""
        return self.levels(z, label)[-1]

    def compile(self) -> None:
        """Compile each level's network, since in training they are called one by one."""
        for network in (self.coarsest, *self.finer):
            network.compile()
