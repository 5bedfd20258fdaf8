"""The networks of R3GAN2 (github.com/IFeelBloated/R3GAN2), for any size that doubles from 4 .. 7.

What has variance 1 keeps it (as in EDM2, Karras et al. 2024, arXiv:2312.02696, section 2): each filter has mean 0 and
mean square 1 / fan-in whatever its parameters are, activations are scaled, and a residual sum is divided by what its
summands add up to. Further inputs of a filter are a constant 1, its bias, and in the generator one map of noise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks import fir
from gan_lightning.networks.layers import one_hot, pyramid
from gan_lightning.networks.r3gan import SLOPE, groups_of, widths_of
from gan_lightning.noise import layer_noise

EPSILON = 1e-4  # of a filter's root mean square, so that a filter of zeros stays one
# One over the standard deviation of a leaky ReLU of N(0, 1). Its mean is another than 0: filters of mean 0 drop it.
GAIN = (((1 + SLOPE**2) - (1 - SLOPE) ** 2 / math.pi) / 2) ** -0.5


class Normalized(nn.Module):
    """A layer whose filters have a mean square of 1.

    Args:
        shape: of the weights, filters first.
        centered: whether filters have a mean of 0, too.
    """

    def __init__(self, *shape: int, centered: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape))
        self.centered = centered

    def filters(self) -> Tensor:
        """The weights normalised, at least in float32."""
        dims = tuple(range(1, self.weight.ndim))
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        if self.centered:
            weight = weight - weight.mean(dims, keepdim=True)
        return weight / (EPSILON + weight.square().mean(dims, keepdim=True).sqrt())


@torch.no_grad()
def normalize_weights(network: nn.Module) -> None:
    """Set the parameters of all :class:`Normalized` layers, but of frozen ones, to their filters after a step.

    Filters would grow with each step, since gradients are at right angles to them, and turn ever slower.
    """
    for layer in network.modules():
        if isinstance(layer, Normalized) and layer.weight.requires_grad:
            layer.weight.copy_(layer.filters())


class Convolution(Normalized):
    """A convolution of normalised filters, in its input's precision.

    Args:
        inputs, outputs: channels.
        kernel: its side or (height, width); an odd side keeps the size, (height, width) is not padded.
        groups: of channels.
        bias, noise: whether filters have a weight for a constant 1, and one for a map of noise from N(0, 1).
        centered: see :class:`Normalized`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        *,
        groups: int = 1,
        bias: bool = False,
        noise: bool = False,
        centered: bool = True,
    ) -> None:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(outputs, inputs // groups + bias + noise, *sides, centered=centered)
        self.inputs, self.groups, self.bias, self.noise = inputs // groups, groups, bias, noise
        self.padding = kernel // 2 if isinstance(kernel, int) else 0

    def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w); `gain`, a factor of the filters, broadcasts to (outputs, inputs)."""
        filters = self.filters()
        filters = filters / math.sqrt(filters[0].numel())
        weight = filters[:, : self.inputs] if gain is None else filters[:, : self.inputs] * gain[..., None, None]
        bias = filters[:, -1, 0, 0].to(x.dtype) if self.bias else None
        y = F.conv2d(x, weight.to(x.dtype), bias, padding=self.padding, groups=self.groups)
        if self.noise:
            strength = filters[:, self.inputs]  # (outputs, 1, 1)
            y = y + (strength * layer_noise(y.shape[0], 1, *y.shape[2:])).to(y.dtype)
        return y


def activation(x: Tensor) -> Tensor:
    """A leaky ReLU that keeps variance 1."""
    return GAIN * F.leaky_relu(x, SLOPE)


class Block(nn.Module):
    """An inverted bottleneck: 1x1 to more channels, with bias and noise, 3x3 in groups, 1x1 back."""

    def __init__(self, width: int, expansion: int, group: int, noise: bool) -> None:
        super().__init__()
        wide = width * expansion
        self.expand = Convolution(width, wide, bias=True, noise=noise)
        self.spatial = Convolution(wide, wide, 3, groups=groups_of(wide, group))
        self.project = Convolution(wide, width)

    def forward(self, x: Tensor, before: Tensor, alpha: Tensor) -> Tensor:
        """(n, width, h, w), a factor of each channel before and of each after -> (n, width, h, w)."""
        y = self.spatial(activation(self.expand(x, before)))
        return self.project(activation(y), alpha[:, None])


class Blocks(nn.Module):
    """Residual blocks at one resolution: x + alpha f(x / s), s the standard deviation that x has by then.

    Each channel of each block has its alpha, the tanh of a parameter that is 0 at first.
    """

    def __init__(self, width: int, blocks: int, expansion: int, group: int, noise: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, expansion, group, noise) for _ in range(blocks))
        self.alpha = nn.Parameter(torch.zeros(blocks, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, width, h, w) of variance 1 -> the same shape, and (width,) one over its standard deviation."""
        variance = torch.ones_like(self.alpha[0])
        for block, alpha in zip(self.blocks, self.alpha.tanh(), strict=True):
            x = x + block(x, variance.rsqrt(), alpha)
            variance = variance + alpha.square()
        return x, variance.rsqrt()


def up(x: Tensor, outputs: int) -> Tensor:
    """(n, c, h, w) -> (n, outputs, 2 h, 2 w), without parameters: where c changes, channels are shuffled to places."""
    if x.shape[1] == outputs:
        return fir.upsample(x)
    return fir.blur(F.pixel_shuffle(x.repeat_interleave(4 * outputs // x.shape[1], 1), 2))


def down(x: Tensor, outputs: int) -> Tensor:
    """(n, c, 2 h, 2 w) -> (n, outputs, h, w), without parameters: where c changes, places and channels are averaged."""
    if x.shape[1] == outputs:
        return fir.downsample(x)
    return F.pixel_unshuffle(fir.blur(x), 2).unflatten(1, (outputs, -1)).mean(2)


def checked_widths(name: str, width: int | list[int], stages: int) -> list[int]:
    """The width of each resolution, from the smallest up.

    Raises:
        ValueError: another number of widths, or one that is not an even share of the one before.
    """
    widths = widths_of(name, width, stages)
    for lower, upper in zip(widths, widths[1:], strict=False):
        if (4 * upper) % lower:
            raise ValueError(f"{name}: 4 times the width {upper} must be a multiple of the width before it, {lower}")
    return widths


class GenerativeBasis(Normalized):
    """Groups of channels at one place -> as many channels at height x width places."""

    def __init__(self, channels: int, group: int, height: int, width: int) -> None:
        groups = groups_of(channels, group)
        super().__init__(channels, channels // groups, height, width)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, 1, 1) -> (n, channels, height, width)."""
        filters = self.filters().unflatten(0, (self.groups, -1))  # (g, o, c, h, w)
        grouped = x.flatten(1).unflatten(1, (self.groups, -1)) / math.sqrt(filters.shape[2])
        return torch.einsum("ngc,gochw->ngohw", grouped, filters.to(x.dtype)).flatten(1, 2)


class ClassVectors(Normalized):
    """A vector of mean 0 and mean square 1 for each class, all alike at first."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__(num_classes, dim)
        with torch.no_grad():
            self.weight.copy_(self.filters()[:1].expand(num_classes, -1))

    def forward(self, label: Tensor, like: Tensor) -> Tensor:
        """(n,), or (n, classes) of mixtures -> (n, dim) in the precision of `like`."""
        return one_hot(label, len(self.weight), like) @ self.filters().to(like.dtype)


class R3GAN2Generator(nn.Module):
    """Latent -> learned basis of 4x4 .. 7x7 -> twice the size, residual blocks, again and again -> 1x1 to the image.

    Args:
        image_shape: (channels, height, width); the sides may differ.
        num_classes: of a conditional generator: the label's vector is joined to the latent.
        latent_dim: of the input.
        width: channels, of every resolution above the basis or of each, from the smallest up.
        blocks: at each resolution.
        group: channels of a group of the 3x3 convolutions and the basis; where there are fewer, they are one group.
        expansion: channels within a block, over those outside.
        embedding: of the label.
        bf16_stages: resolutions, from the largest down, that compute in bfloat16.

    Raises:
        ValueError: a size that no doubling reaches; see also :func:`checked_widths` and :func:`groups_of`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 64,
        width: int | list[int] = 512,
        blocks: int = 4,
        group: int = 32,
        expansion: int = 2,
        embedding: int = 64,
        bf16_stages: int = 0,
    ) -> None:
        super().__init__()
        self.latent_dim, self.bf16_stages = latent_dim, bf16_stages
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        self.widths = checked_widths(type(self).__name__, width, doublings)
        wide = 2 * self.widths[0]
        self.linear = Convolution(latent_dim + (embedding if num_classes else 0), wide, bias=True)
        self.basis = GenerativeBasis(wide, group, height, breadth)
        self.narrow = Convolution(wide, self.widths[0])
        self.stages = nn.ModuleList(Blocks(w, blocks, expansion, group, noise=True) for w in self.widths)
        self.to_image = Convolution(self.widths[-1], image_shape[0], centered=False)
        self.gain = nn.Parameter(torch.ones(()))
        if num_classes:
            self.embedding = ClassVectors(num_classes, embedding)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *image_shape), without bounds."""
        x = z if label is None else torch.cat([z, self.embedding(label, z)], 1)
        x = self.basis(activation(self.linear(x[:, :, None, None])))
        x = self.narrow(activation(x))
        left = len(self.stages)
        for stage, width in zip(self.stages, self.widths, strict=True):
            x = up(x.to(torch.bfloat16) if left <= self.bf16_stages else x, width)
            x, scale = stage(x)
            left -= 1
            x = x * scale[:, None, None].to(x.dtype) if left else x
        return self.to_image(x, self.gain * scale).to(z.dtype)


class R3GAN2Discriminator(nn.Module):
    """The generator mirrored: 1x1 from the image, residual blocks, half the size, ..., learned basis -> score.

    Args:
        image_shape, width, blocks, group, expansion, bf16_stages: as of :class:`R3GAN2Generator`; the resolutions
            from the smallest up, too.
        num_classes: of a conditional discriminator, whose score is a dot product with the label's vector.
        embedding: of the label; None for the width of the smallest resolution.

    Raises:
        ValueError: as of :class:`R3GAN2Generator`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int | list[int] = 512,
        blocks: int = 4,
        group: int = 32,
        expansion: int = 2,
        embedding: int | None = None,
        bf16_stages: int = 0,
    ) -> None:
        super().__init__()
        self.bf16_stages = bf16_stages
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        self.widths = checked_widths(type(self).__name__, width, doublings)[::-1]
        last, wide = self.widths[-1], 2 * self.widths[-1]
        self.from_image = Convolution(image_shape[0], self.widths[0], centered=False)
        self.stages = nn.ModuleList(Blocks(w, blocks, expansion, group, noise=False) for w in self.widths)
        self.widen = Convolution(last, wide, bias=True)
        self.basis = Convolution(wide, wide, (height, breadth), groups=groups_of(wide, group))
        self.linear = Convolution(wide, (embedding or last) if num_classes else 1)
        if num_classes:
            self.embedding = ClassVectors(num_classes, embedding or last)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), labels of a conditional discriminator -> (n,) scores."""
        x = self.from_image(image.to(torch.bfloat16) if self.bf16_stages else image)
        for number, (stage, width) in enumerate(zip(self.stages, [*self.widths[1:], None], strict=True)):
            x, scale = stage(x if number < self.bf16_stages else x.to(image.dtype))
            if width is not None:
                x = down(x * scale[:, None, None].to(x.dtype), width)
        x = fir.downsample(x.to(image.dtype))
        x = self.basis(activation(self.widen(x, scale)))
        x = self.linear(activation(x)).flatten(1)
        if label is None:
            return x.squeeze(1)
        return (x * self.embedding(label, x)).sum(1) / math.sqrt(x.shape[1])
