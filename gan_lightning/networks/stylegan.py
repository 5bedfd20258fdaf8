"""StyleGAN's generator, a mapping network and a synthesis (Karras et al. 2019, arXiv:1812.04948)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks import fir
from gan_lightning.networks.equalized import ROOT_TWO, EqualizedConv2d, EqualizedLinear, pixel_norm
from gan_lightning.networks.growing import SLOPE, Growing, double
from gan_lightning.networks.layers import ClassEmbedding, channels
from gan_lightning.networks.style import LayerNoise, StyleGenerator
from gan_lightning.noise import layer_noise


class StyleGANMapping(nn.Module):
    """From latents, and labels, to the space W: linear layers with a hundredth of the learning rate.

    As in the authors' code latents and class embedding are normalised together, and biases are not scaled as weights
    are: in both it differs from StyleGAN2's :class:`MappingNetwork`.

    Args:
        latent_dim, style_dim: of z and of w.
        num_classes: of a conditional generator.
        layers: 8 of the paper.
        rate: multiplier of the learning rate.
    """

    w_average: Tensor  # (style_dim,), which the model tracks

    def __init__(
        self, latent_dim: int, style_dim: int, num_classes: int | None = None, *, layers: int = 8, rate: float = 0.01
    ) -> None:
        super().__init__()
        if num_classes:
            self.embedding = ClassEmbedding(num_classes, latent_dim)
        widths = [latent_dim * (2 if num_classes else 1), *[style_dim] * layers]
        self.layers = nn.ModuleList(
            EqualizedLinear(inputs, outputs, gain=ROOT_TWO, rate=rate) for inputs, outputs in pairwise(widths)
        )
        self.register_buffer("w_average", torch.zeros(style_dim))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, style_dim)."""
        h = pixel_norm(z if label is None else torch.cat([z, self.embedding(label)], 1))
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
        return h


class _Styled(nn.Module):
    """What follows each layer: noise, bias, leaky ReLU, instance norm, and a style that w gives.

    Args:
        channels: of the features.
        size: (height, width) of the features.
        style_dim: of w.
    """

    noise: Tensor  # (1, 1, height, width), of images that shall not differ by their noise

    def __init__(self, channels: int, size: tuple[int, int], style_dim: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.style = EqualizedLinear(style_dim, 2 * channels)
        self.register_buffer("noise", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, w: Tensor, noise: LayerNoise) -> Tensor:
        """(n, channels, height, width), (n, style_dim) -> (n, channels, height, width)."""
        if noise != "none":
            drawn = layer_noise(x.shape[0], *self.noise.shape[1:]) if noise == "random" else self.noise
            x = x + drawn.to(x.dtype) * self.strength.to(x.dtype)
        x = F.leaky_relu(x + self.bias.to(x.dtype), SLOPE)
        x = F.instance_norm(x.to(torch.promote_types(x.dtype, torch.float32)), eps=1e-8).to(x.dtype)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        return x * (scale + 1) + shift


class StyleGANSynthesis(Growing):
    """Images from a learned constant, by a style and noise at each of two layers a level.

    Args:
        image_shape: (channels, height, width).
        style_dim: of w.
        base, widest: see :class:`ProGANGenerator`.

    Raises:
        ValueError: sides that no doubling reaches, or too small a `base` for them.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, style_dim: int, base: int, widest: int) -> None:
        super().__init__(image_shape, "StyleGANGenerator")
        counts, layers = channels(len(self.sizes), base, widest), 2 * len(self.sizes)
        self.constant = nn.Parameter(torch.ones(counts[0], *self.sizes[0]))
        inputs = [counts[0], *(counts[i // 2] for i in range(layers - 1))]
        self.convs = nn.ModuleList(
            EqualizedConv2d(inputs[i], counts[i // 2], bias=None, gain=ROOT_TWO) for i in range(1, layers)
        )
        self.styled = nn.ModuleList(_Styled(counts[i // 2], self.sizes[i // 2], style_dim) for i in range(layers))
        self.to_image = nn.ModuleList(EqualizedConv2d(c, image_shape[0], 1) for c in counts)

    @property
    def styles_in_use(self) -> int:
        """How many of the styles the level in use has: two for each level."""
        return 2 * (self.in_use()[0] + 1)

    def forward(self, ws: Tensor, noise: LayerNoise = "random") -> Tensor:
        """(n, num_styles, style_dim) -> (n, c, h, w) of the level in use, without bounds."""
        top, fading = self.in_use()
        h = self.styled[0](self.constant.expand(ws.shape[0], -1, -1, -1), ws[:, 0], noise)
        for i in range(1, 2 * (top + 1)):
            if i % 2 == 0:
                below, h = h, double(h)
            h = self.convs[i - 1](h)
            h = self.styled[i](fir.blur(h) if i % 2 == 0 else h, ws[:, i], noise)
        image = self.to_image[top](h)
        return self.blend(double(self.to_image[top - 1](below)), image) if fading else image


class StyleGANGenerator(StyleGenerator):
    """A mapping network and a synthesis that grows.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional generator.
        latent_dim, style_dim: of z and of w.
        base, widest: see :class:`ProGANGenerator`.
        mapping_layers: of the mapping network.
        truncation_layers: see :class:`StyleGenerator`.

    Raises:
        ValueError: sides that no doubling reaches, or too small a `base` for them.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 512,
        style_dim: int = 512,
        base: int = 16384,
        widest: int = 512,
        mapping_layers: int = 8,
        truncation_layers: int | None = 8,
    ) -> None:
        mapping = StyleGANMapping(latent_dim, style_dim, num_classes, layers=mapping_layers)
        synthesis = StyleGANSynthesis(image_shape, style_dim=style_dim, base=base, widest=widest)
        super().__init__(latent_dim, mapping, synthesis, 2 * len(synthesis.sizes), truncation_layers)
