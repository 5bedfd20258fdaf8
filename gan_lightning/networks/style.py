"""What StyleGAN's generators have in common: a mapping network, one style for each layer, truncation.

StyleGAN: Karras et al. 2019, arXiv:1812.04948; StyleGAN2: Karras et al. 2020, arXiv:1912.04958.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.batches import gather_batch
from gan_lightning.networks.equalized import ROOT_TWO, EqualizedLinear, pixel_norm
from gan_lightning.networks.layers import one_hot
from gan_lightning.noise import Noise

LayerNoise = Literal["random", "const", "none"]


class MappingNetwork(nn.Module):
    """f: Z -> W, linear layers with leaky ReLU, whose weights learn at a hundredth of the rate.

    The latent is scaled to a mean square of 1, and so is an embedding of the class, which joins it, as in StyleGAN2
    (arXiv:1912.04958). Without a latent it maps classes alone, for a discriminator's projection.

    Attributes:
        w_average: (width,) the mean of w, which truncation leads to; kept up to date by what trains the network.

    Args:
        latent_dim: of z; 0 for none.
        num_classes: of the labels; None for none.
        width: of w, and of the layers and the class embedding.
        layers: how many.
        rate: multiplier of the learning rate.
    """

    def __init__(
        self, latent_dim: int, num_classes: int | None = None, *, width: int = 512, layers: int = 8, rate: float = 0.01
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding = EqualizedLinear(num_classes, width) if num_classes else None
        sizes = [latent_dim + (width if num_classes else 0)] + [width] * layers
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(EqualizedLinear(*pair, rate=rate) for pair in pairs)
        if latent_dim:
            self.w_average: Tensor
            self.register_buffer("w_average", torch.zeros(width))

    def forward(self, z: Tensor | None, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), and labels (n,) or mixtures of classes (n, num_classes) -> (n, width)."""
        parts = [] if z is None else [pixel_norm(z)]
        if self.embedding is not None:
            classes = one_hot(label, self.num_classes, self.embedding.weight)
            parts.append(pixel_norm(self.embedding(classes)))
        x = torch.cat(parts, 1)
        for layer in self.layers:
            x = leaky_relu(layer(x))
        return x


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 and a gain of sqrt(2), which keeps the mean square of normal numbers nearly."""
    return F.leaky_relu(ROOT_TWO * x, 0.2)


def mix(first: Tensor, second: Tensor, crossover: Tensor, styles: int) -> Tensor:
    """Style mixing: the first latent's w before a crossover, the second's from there on (arXiv:1812.04948, sec. 3.1).

    Args:
        first, second: (n, width).
        crossover: (n,) int64, how many styles come from `first`.
        styles: how many there are.

    Returns:
        (n, styles, width).
    """
    before = torch.arange(styles, device=first.device) < crossover[:, None]
    return torch.where(before[:, :, None], first[:, None], second[:, None])


def crossovers(noise: Noise, n: int, styles: int, share: float) -> Tensor:
    """(n,) int64, how many styles of an image come from its first latent: all, but of a share of the images 1 or more.

    Args:
        noise: draws a number and a coin for each image.
        n: images.
        styles: that an image has, at least 2.
        share: of the images that are mixed, each from a layer on that is uniform.
    """
    drawn = 1 + noise.integers(styles - 1, n)
    return torch.where(noise.uniform(n) < share, drawn, styles)


class StyleGenerator(nn.Module):
    """Images from latents by way of W: a mapping network, and a synthesis network with a style for each layer.

    Args:
        latent_dim: of the input.
        mapping: network from latents, and labels, to w (n, width), such as :class:`MappingNetwork`, with its
            `w_average`.
        synthesis: network from styles (n, num_styles, width), and a kind of noise in its layers, to images.
        num_styles: of the synthesis network.
        truncation_layers: how many styles, from the first on, truncation changes; None for all.
    """

    def __init__(
        self,
        latent_dim: int,
        mapping: nn.Module,
        synthesis: nn.Module,
        num_styles: int,
        truncation_layers: int | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.num_styles, self.truncation_layers = latent_dim, num_styles, truncation_layers
        self.mapping, self.synthesis = mapping, synthesis

    def compile(self) -> None:
        """Compile both parts in place: training calls them apart."""
        self.mapping.compile()
        self.synthesis.compile()

    def styles(self, w: Tensor, truncation: float | None = None) -> Tensor:
        """One style for each layer: w, or the point on its way from the mean that `truncation` says.

        The truncation trick in W, arXiv:1812.04948, appendix B.

        Args:
            w: (n, width), or (n, num_styles, width) styles that are there.
            truncation: psi, near 0 for the mean, 1 or None for w itself.

        Returns:
            (n, num_styles, width).
        """
        ws = w[:, None].expand(-1, self.num_styles, -1) if w.ndim == 2 else w
        if truncation is None:
            return ws
        first = self.num_styles if self.truncation_layers is None else self.truncation_layers
        nearer = torch.lerp(self.mapping.w_average.to(w.dtype), ws[:, :first], truncation)
        return torch.cat([nearer, ws[:, first:]], 1)

    def track(self, w: Tensor, before: Tensor, decay: float) -> None:
        """Move the mean of w from what it was before a turn: once for all processes and micro-batches of the turn.

        Args:
            w: (n, width) of this part of the batch.
            before: (width,) the mean before the turn.
            decay: share of it that stays.
        """
        mean = gather_batch(w.detach()).mean(0).to(before)
        self.mapping.w_average.copy_(mean.lerp(before, decay))

    def forward(
        self, z: Tensor, label: Tensor | None = None, truncation: float | None = None, noise: LayerNoise = "random"
    ) -> Tensor:
        """(n, latent_dim), and labels of a conditional generator -> (n, *image_shape); nothing bounds them.

        Args:
            z, label: see :class:`MappingNetwork`.
            truncation: see :meth:`styles`.
            noise: what the layers add: drawn for each image by `noise.layer_noise`, the same for all, or none.
        """
        return self.synthesis(self.styles(self.mapping(z, label), truncation), noise)
