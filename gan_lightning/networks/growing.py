"""ProGAN's networks, which grow while they are trained (Karras et al. 2018, arXiv:1710.10196)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks import fir
from gan_lightning.networks.equalized import ROOT_TWO, EqualizedConv2d, EqualizedLinear, MinibatchDeviation, pixel_norm
from gan_lightning.networks.layers import channels, one_hot, pyramid
from gan_lightning.runtime.mirror import Mirror

SLOPE = 0.2  # of leaky ReLUs


class Growing(nn.Module):
    """A network of several levels, each with twice the sides of the one before, of which the first ones are in use.

    The buffer `level` says which: 0 is the first level, 1 the second, 1.3 the second and 30% of the way into the third,
    whose images are a blend of both. Averages copy it and checkpoints hold it. A new network is whole.

    Args:
        image_shape: (channels, height, width) of the last level.
        name: in messages; the class's own where None.

    Raises:
        ValueError: sides that no doubling reaches.
    """

    level: Tensor

    def __init__(self, image_shape: tuple[int, int, int], name: str | None = None) -> None:
        super().__init__()
        doublings, height, width = pyramid(name or type(self).__name__, image_shape)
        self.sizes = [(height * 2**i, width * 2**i) for i in range(doublings + 1)]  # (height, width) by level
        self.register_buffer("level", torch.zeros(()))
        self._level = Mirror()
        self.grow(doublings)

    @property
    def sides(self) -> list[int]:
        """The shorter side of each level's images."""
        return [min(size) for size in self.sizes]

    def grow(self, level: float) -> None:
        """Use so many levels, at least 0 (the first one) and at most the last one's number."""
        level = torch.tensor(level, dtype=torch.float32, device="cpu").item()  # as the buffer will hold it
        self._level.set(self.level, level)

    @property
    def reached(self) -> float:
        """The level as a number."""
        return self._level.value(self.level)

    @torch.compiler.disable  # a forward pass asks first: what follows is compiled for each level, not for each number
    def in_use(self) -> tuple[int, bool]:
        """The highest level in use, which images are of, and whether it is still being blended in."""
        top = math.ceil(self.reached)
        return top, self.reached != top

    @property
    def reduction(self) -> int:
        """How many times as long the whole image's sides are as those of the images in use."""
        return 2 ** (len(self.sizes) - 1 - self.in_use()[0])

    def blend(self, below: Tensor, above: Tensor) -> Tensor:
        """What the two highest levels make, the upper one by its share: all of it when it has faded in."""
        share = (1 + self.level - self.level.ceil()).to(above.dtype)
        return torch.lerp(below.to(above.dtype), above, share)  # autocast may give two types

    def shrink(self, image: Tensor) -> Tensor:
        """Whole images (n, c, h, w) as the ones in use: averaged over squares of pixels, and faded as fakes are."""
        image = F.avg_pool2d(image, self.reduction)
        _, fading = self.in_use()
        return self.blend(double(F.avg_pool2d(image, 2)), image) if fading else image


def enlarge(image: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Images of a lower level in the size of the last one, each pixel repeated, limited to [-1, 1].

    Args:
        image: (n, c, h, w), without bounds.
        image_shape: (c, height, width), a multiple of the image's.
    """
    return F.interpolate(image, size=tuple(image_shape[1:]), mode="nearest").clamp(-1.0, 1.0)


def double(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, 2 h, 2 w), each pixel repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def require_growing(model: str, *networks: nn.Module) -> None:
    """Refuse networks that cannot grow.

    Raises:
        ValueError: naming one.
    """
    for network in networks:
        if not isinstance(network, Growing):
            raise ValueError(f"{model} needs networks that grow, as its own do, and {type(network).__name__} cannot")


class ProGANGenerator(Growing):
    """Images from latents on a sphere: pixel norm after each layer, linear outputs at each level.

    Args:
        image_shape: (channels, height, width).
        latent_dim: of the input.
        base, widest: a level has base / resolution maps, at most `widest`; see :func:`layers.channels`. The authors'
            `fmap_base` is half of the base.

    Raises:
        ValueError: sides that no doubling reaches, or too small a `base` for them.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        latent_dim: int = 512,
        base: int = 16384,
        widest: int = 512,
    ) -> None:
        super().__init__(image_shape)
        self.latent_dim = latent_dim
        counts = channels(len(self.sizes), base, widest)
        height, width = self.sizes[0]
        # The gain is that of a 4x4 convolution of a single pixel, as in the authors' first implementation.
        self.linear = EqualizedLinear(latent_dim, counts[0] * height * width, bias=None, gain=ROOT_TWO / 4)
        self.bias = nn.Parameter(torch.zeros(counts[0], 1, 1))
        self.conv = _conv(counts[0], counts[0])
        self.blocks = nn.ModuleList(
            nn.ModuleList([_conv(inputs, outputs), _conv(outputs, outputs)]) for inputs, outputs in pairwise(counts)
        )
        self.to_image = nn.ModuleList(EqualizedConv2d(c, image_shape[0], 1) for c in counts)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, c, h, w) of the level in use, without bounds."""
        top, fading = self.in_use()
        h = self.linear(pixel_norm(z)).unflatten(1, (-1, *self.sizes[0])) + self.bias
        h = _normed(self.conv(_normed(h)))
        for first, second in self.blocks[:top]:
            below, h = h, double(h)
            h = _normed(second(_normed(first(h))))
        image = self.to_image[top](h)
        return self.blend(double(self.to_image[top - 1](below)), image) if fading else image


class ProGANDiscriminator(Growing):
    """Scores of images, without normalisation; the deviation within groups of samples joins the last features.

    Also StyleGAN's discriminator (Karras et al. 2019, arXiv:1812.04948), which blurs before it reduces and, with
    classes, has a score for each of which the label picks one.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional discriminator.
        base, widest: see :class:`ProGANGenerator`.
        group: samples of a group, see :class:`MinibatchDeviation`.
        blur: filter with [1, 2, 1] before each reduction.

    Raises:
        ValueError: sides that no halving reaches, or too small a `base` for them.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        base: int = 16384,
        widest: int = 512,
        group: int = 4,
        blur: bool = False,
    ) -> None:
        super().__init__(image_shape)
        self.blur = blur
        counts = channels(len(self.sizes), base, widest)
        self.from_image = nn.ModuleList(EqualizedConv2d(image_shape[0], c, 1, gain=ROOT_TWO) for c in counts)
        self.blocks = nn.ModuleList(
            nn.ModuleList([_conv(inputs, inputs), _conv(inputs, outputs)]) for outputs, inputs in pairwise(counts)
        )
        units = min(base // 2, widest)
        self.deviation = MinibatchDeviation(group)
        self.conv = _conv(counts[0] + 1, counts[0])
        self.linear = EqualizedLinear(counts[0] * math.prod(self.sizes[0]), units, gain=ROOT_TWO)
        self.score = EqualizedLinear(units, num_classes or 1)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, c, h, w) of the level in use, labels of a conditional discriminator -> (n,) scores."""
        top, fading = self.in_use()
        h = _active(self.from_image[top](image))
        for level in range(top, 0, -1):
            first, second = self.blocks[level - 1]
            h = _active(first(h))
            h = _active(F.avg_pool2d(second(fir.blur(h) if self.blur else h), 2))
            if level == top and fading:
                h = self.blend(_active(self.from_image[level - 1](F.avg_pool2d(image, 2))), h)
        h = _active(self.conv(self.deviation(h)))
        score = self.score(_active(self.linear(h.flatten(1))))
        return score.squeeze(1) if label is None else (score * one_hot(label, score.shape[1], score)).sum(1)


def _conv(inputs: int, outputs: int) -> EqualizedConv2d:
    return EqualizedConv2d(inputs, outputs, gain=ROOT_TWO)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def _normed(x: Tensor) -> Tensor:
    return pixel_norm(_active(x))
