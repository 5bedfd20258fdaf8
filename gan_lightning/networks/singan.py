"""SinGAN's networks (Shaham et al. 2019, arXiv:1905.01164): a fully convolutional pair at each scale of one picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import normal_init
from gan_lightning.noise import Noise

LAYERS = 5  # convolutions of 3x3 in each network
RECEPTIVE_FIELD = 2 * LAYERS + 1  # 11 pixels
SCALES_A_WIDTH = 4  # after which the width doubles

Sides = tuple[int, int]  # height and width, in pixels


def pyramid_sizes(height: int, width: int, min_size: int = 25, factor: float = 0.75) -> list[Sides]:
    """(height, width) of every scale of a picture, the coarsest first; the last one is the picture's own.

    The rule of the authors' code: as many scales as the wanted factor asks for, and one more; then the factor is
    fitted again, so that the coarsest scale's shorter side is `min_size`. Sides are rounded up. The code counts the
    scales of the file's own size, and takes those away that exceed its greatest size, which may be one fewer.

    Args:
        height, width: of the picture.
        min_size: shorter side of the coarsest scale.
        factor: wanted from one scale to the next coarser one, between 0 and 1.

    Raises:
        ValueError: the picture is smaller than `min_size`, `min_size` smaller than the receptive field, or the factor
            out of its range.
    """
    if not 0 < factor < 1:
        raise ValueError(f"the factor between two scales must be above 0 and below 1, not {factor}")
    if min_size < RECEPTIVE_FIELD:
        raise ValueError(f"min_size must be at least {RECEPTIVE_FIELD}, what a discriminator sees, not {min_size}")
    short = min(height, width)
    if short < min_size:
        raise ValueError(
            f"the picture has {width}x{height} pixels, and the coarsest scale {min_size} on its shorter side: take a "
            "larger picture or a smaller min_size"
        )
    last = math.ceil(math.log(min_size / short, factor) - 1e-9) + 1
    fitted = (min_size / short) ** (1 / last)

    def sides(scale: int) -> Sides:
        share = fitted ** (last - scale)
        return math.ceil(height * share - 1e-6), math.ceil(width * share - 1e-6)  # not a pixel more by rounding

    return [sides(scale) for scale in range(last + 1)]


def resized(image: Tensor, sides: Sides) -> Tensor:
    """Images (n, C, H, W) at another size, bicubic (a = -1/2), antialiased, within [-1, 1]; of their own untouched.

    The authors' code rounds to bytes here too, and reflects at the border.
    """
    if image.shape[2:] == tuple(sides):
        return image
    exact = image if image.dtype == torch.float64 else image.float()  # there is no half precision of it
    return F.interpolate(exact, tuple(sides), mode="bicubic", antialias=True).clamp(-1, 1)


def convolutions(inputs: int, width: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    """Five convolutions of 3x3 without padding, all but the last with batch norm and leaky ReLU."""
    layers: list[nn.Module] = []
    for number in range(LAYERS - 1):
        layers += [nn.Conv2d(inputs if number == 0 else width, width, 3)]
        layers += [nn.BatchNorm2d(width)] if batch_norm else []
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width, outputs, 3))


def width_of(scale: int, width: int, widest: int) -> int:
    """Channels of a scale's networks: doubled every four scales."""
    return min(width * 2 ** (scale // SCALES_A_WIDTH), widest)


class SinGANGenerator(nn.Module):
    """The generators of all scales, G_n(z_n, up(x_{n-1})) = up(x_{n-1}) + psi_n(amplitude_n z_n + up(x_{n-1})).

    psi_n ends in tanh. Its input is padded with 5 zeros on each side, so that nothing is padded within. The latent is
    the noise maps of all scales, flattened, the coarsest first: one channel at the coarsest, where all channels of the
    image get the same noise, and at the others as many as the image has. Any size can be drawn, since all is
    convolutions.

    What the reconstruction needs is kept in buffers: `amplitude` (scales,), of the noise; `anchor` (1, 1, h, w), z* of
    the coarsest scale (that of all others is 0); and `reached`, the finest scale that has begun to train: images of
    scales beyond it are enlarged.

    Args:
        image_shape: (channels, height, width) of the finest scale.
        sizes: (height, width) of all scales; see :func:`pyramid_sizes`.
        width: channels of the four coarsest scales, doubled every four scales.
        widest: the most channels.
        batch_norm: whether there is any.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        sizes: Sequence[Sides],
        *,
        width: int = 32,
        widest: int = 128,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.sizes = image_shape[0], [tuple(sides) for sides in sizes]
        self.scales = nn.ModuleList(
            convolutions(self.channels, width_of(scale, width, widest), self.channels, batch_norm)
            for scale in range(len(sizes))
        )
        if batch_norm:  # which this needs: without it signals would die out
            normal_init(self)
        self.latent_dim = sum(math.prod(shape) for shape in self.shapes())
        self.register_buffer("amplitude", torch.tensor([1.0] + [0.0] * (len(sizes) - 1)))
        self.register_buffer("anchor", torch.randn(1, 1, *self.sizes[0]))
        self.register_buffer("reached", torch.tensor(0))

    def sizes_of(self, size: str | None) -> list[Sides]:
        """(height, width) of all scales of images of a size, such as "300x800" or "300"; None for those of training.

        Raises:
            ValueError: it is no size.
        """
        if size is None:
            return self.sizes
        if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)?", size):
            raise ValueError(f"size must be HEIGHTxWIDTH in pixels, such as 300x800, or one number, not {size!r}")
        height, _, width = size.partition("x")
        shares = int(height) / self.sizes[-1][0], int(width or height) / self.sizes[-1][1]
        return [
            tuple(max(1, round(side * share)) for side, share in zip(own, shares, strict=True)) for own in self.sizes
        ]

    def shapes(self, sizes: Sequence[Sides] | None = None) -> list[tuple[int, int, int]]:
        """(channels, height, width) of the noise map of each scale, of images of the training size or of others."""
        return [(1 if scale == 0 else self.channels, *sides) for scale, sides in enumerate(sizes or self.sizes)]

    def maps(self, z: Tensor, sizes: Sequence[Sides] | None = None) -> list[Tensor]:
        """The noise maps (n, channels, height, width) of all scales, of latents (n, latent_dim)."""
        shapes = self.shapes(sizes)
        parts = z.split([math.prod(shape) for shape in shapes], 1)
        return [part.view(z.shape[0], *shape) for part, shape in zip(parts, shapes, strict=True)]

    def anchors(self, sizes: Sequence[Sides] | None = None) -> list[Tensor]:
        """z*, the noise maps (1, channels, height, width) that give the picture itself."""
        first, *others = self.shapes(sizes)
        anchor = self.anchor
        if anchor.shape[2:] != first[1:]:
            anchor = F.interpolate(anchor, first[1:], mode="bicubic")
        return [anchor, *(anchor.new_zeros(1, *shape) for shape in others)]

    def draw(self, maps: Sequence[Tensor], image: Tensor | None = None, first: int = 0) -> list[Tensor]:
        """The image of every scale from `first` on, for which there is a noise map.

        Args:
            maps: (n, channels, height, width) each.
            image: (n, C, h, w) of the scale below, of any size; None for nothing, 0.
            first: number of the scale of the first map.
        """
        images = []
        for scale, z in enumerate(maps, first):
            shape = z.shape[0], self.channels, *z.shape[2:]
            below = z.new_zeros(shape) if image is None else resized(image, z.shape[2:])
            seen = F.pad(below + self.amplitude[scale] * z, [LAYERS] * 4)
            image = below + self.scales[scale](seen).tanh()
            images.append(image)
        return images

    def compile(self) -> None:
        """Compile each scale's network, since in training they are called one by one."""
        for network in self.scales:
            network.compile()

    def begin(self, scale: int) -> None:
        """Make a scale the one that trains; it starts with the weights of the one below, where their widths agree."""
        self.reached.fill_(scale)
        follow(self.scales, scale)

    def forward(self, z: Tensor, sizes: Sequence[Sides] | None = None, from_scale: int = 0) -> Tensor:
        """Images (n, C, H, W) of latents (n, latent_dim).

        Args:
            z: as long as `shapes(sizes)` say.
            sizes: of all scales; None for those of training.
            from_scale: scales below it take z* in place of the latents.
        """
        maps, anchors = self.maps(z, sizes), self.anchors(sizes)
        maps = [anchors[n].expand_as(z) if n < from_scale else z for n, z in enumerate(maps)]
        image = self.draw(maps[: int(self.reached) + 1])[-1]
        return resized(image, maps[-1].shape[2:])

    # What is made of a picture, or of z*, in evaluation mode.

    def walk(
        self, noise: Noise, frames: int, alpha: float, beta: float, sizes: Sequence[Sides] | None = None
    ) -> Iterator[Tensor]:
        """Latents (1, latent_dim) of a random walk around z*: z' = a z* + (1 - a) (z + b (z - z_before) + (1 - b) u).

        That of the paper's animations and of its code: u is normal, the beginning a twentieth of the way from z* to u.

        Args:
            noise: for one sample.
            frames: how many.
            alpha: a, how much each is drawn back to z*.
            beta: b, how much of the last step goes on: 1 for smooth motion, 0 for fast changes.
            sizes: see :meth:`forward`.
        """
        anchor = torch.cat([z.flatten(1) for z in self.anchors(sizes)], 1)

        def u() -> Tensor:
            return noise.normal(*anchor.shape).to(anchor.dtype)

        before, z = anchor, 0.95 * anchor + 0.05 * u()
        for _ in range(frames):
            before, z = z, alpha * anchor + (1 - alpha) * (z + beta * (z - before) + (1 - beta) * u())
            yield z

    def manipulated(self, image: Tensor, scale: int, noise: Noise) -> Tensor:
        """(1, C, H, W) of the training size: an image (1, C, h, w) that enters at a scale, the ones from it on drawn.

        It is brought to the size of the scale below, as what that scale would draw.
        """
        reached = int(self.reached)
        maps = [noise.normal(1, *shape).to(image.dtype) for shape in self.shapes()[scale : reached + 1]]
        return resized(self.draw(maps, resized(image, self.sizes[scale - 1]), scale)[-1], self.sizes[-1])

    def enlarged(self, image: Tensor, factor: float, noise: Noise) -> Tensor:
        """(1, C, factor * h, factor * w): the finest scale applied to an image (1, C, h, w) again and again.

        Each time it is enlarged by the same root of the factor, the one nearest to the factor between two scales.

        Raises:
            ValueError: a factor below 1.
        """
        if not 1 <= factor < math.inf:
            raise ValueError(f"factor must be at least 1, not {factor}")
        between = (min(self.sizes[-1]) / min(self.sizes[0])) ** (1 / (len(self.sizes) - 1))
        times = max(1, round(math.log(factor) / math.log(between))) if between > 1 else 1
        height, width = image.shape[2:]
        for time in range(1, times + 1):
            sides = (round(side * factor ** (time / times)) for side in (height, width))
            z = noise.normal(1, self.channels, *sides).to(image.dtype)
            image = self.draw([z], image, int(self.reached))[-1]
        return image

    def reconstruction_errors(self, image: Tensor) -> list[float]:
        """The root mean squared error of what z* gives of the picture (1, C, H, W), at each scale that has trained."""
        made = self.draw(self.anchors()[: int(self.reached) + 1])
        return [float(F.mse_loss(one.double(), resized(image, one.shape[2:]).double()).sqrt()) for one in made]


class SinGANDiscriminators(nn.ModuleList):
    """The discriminators of all scales: (n, C, h, w) -> (n, 1, h - 10, w - 10), a score of each patch of 11 pixels.

    Args:
        image_shape, sizes, width, widest, batch_norm: see :class:`SinGANGenerator`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        sizes: Sequence[Sides],
        *,
        width: int = 32,
        widest: int = 128,
        batch_norm: bool = True,
    ) -> None:
        widths = [width_of(scale, width, widest) for scale in range(len(sizes))]
        super().__init__(convolutions(image_shape[0], channels, 1, batch_norm) for channels in widths)
        if batch_norm:
            normal_init(self)

    def begin(self, scale: int) -> None:
        """Let a scale start with the weights of the one below, where their widths agree."""
        follow(self, scale)


@torch.no_grad()
def follow(scales: nn.ModuleList, scale: int) -> None:
    """Give a scale's network the weights and statistics of the one below, if they are of one width."""
    if scale == 0:
        return
    own, below = scales[scale].state_dict(), scales[scale - 1].state_dict()
    if all(own[name].shape == below[name].shape for name in own):
        scales[scale].load_state_dict(below)
