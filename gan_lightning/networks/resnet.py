"""Residual networks for any size that doubles from 4 .. 7: SNGAN's (arXiv:1802.05957), SAGAN's (arXiv:1805.08318) and
BigGAN's (arXiv:1809.11096), which have their blocks in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import (
    ClassEmbedding,
    ConditionalBatchNorm2d,
    SelfAttention,
    attention_stage,
    class_batch_norm,
    normed,
    orthogonal_init,
    pyramid,
    spectral_normalise,
    widths,
)


def _conv(inputs: int, outputs: int, kernel: int, gain: float) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class UpBlock(nn.Module):
    """BN, ReLU, upsampling, 3x3; BN, ReLU, 3x3; the shortcut is upsampled and passes a 1x1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        upsampling: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = _conv(inputs, outputs, 3, math.sqrt(2))
        self.conv2 = _conv(outputs, outputs, 3, math.sqrt(2))
        self.shortcut = _conv(inputs, outputs, 1, 1.0)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, 2h, 2w)."""
        h = F.relu(normed(self.norm1, x, condition))
        h = self.conv1(F.interpolate(h, scale_factor=2, mode=self.upsampling))
        h = self.conv2(F.relu(normed(self.norm2, h, condition)))
        # A 1x1 convolution and upsampling commute; the small map is cheaper.
        return h + F.interpolate(self.shortcut(x), scale_factor=2, mode=self.upsampling)


class DownBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, mean pooling; the first block has no ReLU before it and pools its shortcut first.

    ReLU is never in place: in place it would change the shortcut's input too, which costs FID without a word.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool, wide: bool = True) -> None:
        super().__init__()
        self.down, self.first = down, first
        hidden = outputs if wide or first else inputs
        self.conv1 = _conv(inputs, hidden, 3, math.sqrt(2))
        self.conv2 = _conv(hidden, outputs, 3, math.sqrt(2))
        plain = inputs == outputs and not down
        self.shortcut = nn.Identity() if plain else _conv(inputs, outputs, 1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / 2, w / 2), or the same size without `down`."""
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down:
            return h + self.shortcut(x)
        # A 1x1 convolution and pooling commute; pooling first is cheaper and is what the first block is given as.
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class ResNetGenerator(nn.Module):
    """latent -> 4x4 -> one up-block for each doubling -> BN, ReLU, 3x3, tanh; SNGAN's table 4 by default.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional generator, whose batch norms have a gain and a bias for each class.
        latent_dim: of the input.
        width: channels of the last block.
        widest: channels are doubled with each block before it, up to so many; None: all blocks have `width`.
        attention: self-attention follows the greatest map of at most this size (the shorter side); None for none.
        spectral_norm: on every convolution and linear layer, as SAGAN has it in the generator too.
        upsampling: "nearest", the authors'; "bilinear", that of the public code whose FIDs of SNGAN are often quoted.
        initialise: sets the initial weights; None: SNGAN's, of Glorot and Bengio 2010.

    Raises:
        ValueError: a size that no doubling reaches, no map as small as `attention`, or another upsampling.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 128,
        width: int = 256,
        widest: int | None = None,
        attention: int | None = None,
        spectral_norm: bool = False,
        upsampling: Literal["nearest", "bilinear"] = "nearest",
        initialise: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__()
        if upsampling not in ("nearest", "bilinear"):
            raise ValueError(f'upsampling is "nearest" or "bilinear", not {upsampling!r}')
        self.latent_dim = latent_dim
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        channels = widths(doublings + 1, width, widest)[::-1]
        sizes = [min(height, breadth) * 2 ** (i + 1) for i in range(doublings)]

        def norm(features: int) -> nn.Module:
            return class_batch_norm(features, num_classes) if num_classes else nn.BatchNorm2d(features)

        self.start = (channels[0], height, breadth)
        self.linear = _linear(latent_dim, math.prod(self.start))
        self.blocks = nn.ModuleList(UpBlock(channels[i], channels[i + 1], norm, upsampling) for i in range(doublings))
        self.attention_after = attention_stage(type(self).__name__, attention, sizes)
        if attention is not None:
            self.attention = SelfAttention(channels[self.attention_after + 1])
        self.norm = nn.BatchNorm2d(channels[-1])
        self.conv = _conv(channels[-1], image_shape[0], 3, 1.0)
        if initialise is not None:
            initialise(self)
        if spectral_norm:
            spectral_normalise(self, embeddings=False)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *image_shape) in [-1, 1]."""
        h = self.linear(z).unflatten(1, self.start)
        for i, block in enumerate(self.blocks):
            h = block(h, label)
            if i == self.attention_after:
                h = self.attention(h)
        return self.conv(F.relu(self.norm(h))).tanh()


class BigGANGenerator(nn.Module):
    """BigGAN's generator: every block sees a piece of the latent and the class (arXiv:1809.11096, appendix B).

    The latent is cut into as many pieces as there are blocks and one for the start; a block's batch norms get their
    gains and biases from its piece and from one class embedding that all share, by linear maps without a bias.
    Without classes the shared embedding is a single vector, as in BigBiGAN (arXiv:1907.02544). Spectral norm on every
    convolution and linear layer, not on the embedding.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional generator.
        latent_dim: of the input; the paper at 128 px: 120, in pieces of 20. Pieces differ by at most 1 where it does
            not divide.
        width, widest, attention: as for :class:`ResNetGenerator`; the paper at 128 px: 96, 1536, 64.
        embedding: numbers that describe a class.
        spectral_norm: see above.
        initialise: sets the initial weights; the paper's are orthogonal.

    Raises:
        ValueError: a size that no doubling reaches, or no map as small as `attention`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 128,
        width: int = 256,
        widest: int | None = None,
        attention: int | None = None,
        embedding: int = 128,
        spectral_norm: bool = True,
        initialise: Callable[[nn.Module], None] = orthogonal_init,
    ) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        pieces = [len(piece) for piece in torch.arange(latent_dim, device="cpu").tensor_split(doublings + 1)]
        channels = widths(doublings + 1, width, widest)[::-1]
        sizes = [min(height, breadth) * 2 ** (i + 1) for i in range(doublings)]

        def block(i: int) -> UpBlock:
            def norm(features: int) -> nn.Module:
                gain, bias = (nn.Linear(pieces[i + 1] + embedding, features, bias=False) for _ in range(2))
                return ConditionalBatchNorm2d(features, gain, bias)

            return UpBlock(channels[i], channels[i + 1], norm)

        self.embedding = ClassEmbedding(num_classes or 1, embedding)
        self.start = (channels[0], height, breadth)
        self.linear = _linear(pieces[0], math.prod(self.start))
        self.blocks = nn.ModuleList(block(i) for i in range(doublings))
        self.attention_after = attention_stage(type(self).__name__, attention, sizes)
        if attention is not None:
            self.attention = SelfAttention(channels[self.attention_after + 1])
        self.norm = nn.BatchNorm2d(channels[-1])
        self.conv = _conv(channels[-1], image_shape[0], 3, 1.0)
        initialise(self)
        if spectral_norm:
            spectral_normalise(self, embeddings=False)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *image_shape) in [-1, 1]."""
        if label is None:
            label = torch.zeros(z.shape[0], dtype=torch.int64, device=z.device)
        first, *pieces = z.tensor_split(len(self.blocks) + 1, 1)
        shared = self.embedding(label)
        h = self.linear(first).unflatten(1, self.start)
        for i, (block, piece) in enumerate(zip(self.blocks, pieces, strict=True)):
            h = block(h, torch.cat([shared, piece], 1))
            if i == self.attention_after:
                h = self.attention(h)
        return self.conv(F.relu(self.norm(h))).tanh()


class ResNetDiscriminator(nn.Module):
    """Down-blocks, plain blocks, ReLU, sum over places, linear; no batch norm.

    With classes the score has a second part, the inner product of the pooled features with a vector for each class
    (Miyato and Koyama 2018, arXiv:1802.05637, equation 3).

    Args:
        image_shape: (channels, height, width); 32 px gives SNGAN's two down- and two plain blocks.
        num_classes: of a conditional discriminator.
        width: channels of the first block.
        widest: channels are doubled with each block after it, up to so many; None: all blocks have `width`.
        plain_blocks: at the end, which do not halve the map: 2 stop at 8x8, 1 at 4x4, as for 64 px and more, 0 at 2x2.
        attention: self-attention follows the greatest map of at most this size (the shorter side); None for none.
        wide: a block's first convolution has the channels of its output, as in BigGAN; False: those of its input, as
            in the code of SNGAN's authors. The first block is wide in both.
        spectral_norm: on every layer and embedding; off for a critic with a gradient penalty.
        sum_pool: sum over places, as SNGAN has it; False for the mean of WGAN-GP.
        initialise: sets the initial weights; None: SNGAN's, of Glorot and Bengio 2010.

    Raises:
        ValueError: a size that no halving reaches, or no map as small as `attention`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int = 128,
        widest: int | None = None,
        plain_blocks: int = 2,
        attention: int | None = None,
        wide: bool = True,
        spectral_norm: bool = True,
        sum_pool: bool = True,
        initialise: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__()
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        if not 0 <= plain_blocks <= doublings + 1:
            raise ValueError(f"plain_blocks must lie in 0 .. {doublings + 1} for this size, not {plain_blocks}")
        down = [True] * (doublings + 1 - plain_blocks) + [False] * plain_blocks
        channels = [image_shape[0], *widths(len(down), width, widest)]
        sizes = [min(height, breadth) * 2**doublings // 2 ** sum(down[: i + 1]) for i in range(len(down))]
        self.blocks = nn.ModuleList(
            DownBlock(channels[i], channels[i + 1], d, first=i == 0, wide=wide) for i, d in enumerate(down)
        )
        self.attention_after = attention_stage(type(self).__name__, attention, sizes)
        if attention is not None:
            self.attention = SelfAttention(channels[self.attention_after + 1])
        self.feature_dim = channels[-1]
        self.linear = _linear(self.feature_dim, 1)
        if num_classes:
            self.projection = ClassEmbedding(num_classes, self.feature_dim)
            nn.init.xavier_uniform_(self.projection.weight)
        if initialise is not None:
            initialise(self)
        if spectral_norm:
            spectral_normalise(self)
        self.sum_pool = sum_pool

    def maps(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, feature_dim, h, w), after the last ReLU."""
        h = image
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i == self.attention_after:
                h = self.attention(h)
        return F.relu(h)

    def pool(self, maps: Tensor) -> Tensor:
        """(n, feature_dim, h, w) -> (n, feature_dim), the sums or the means over places."""
        return maps.sum((2, 3)) if self.sum_pool else maps.mean((2, 3))

    def features(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, feature_dim), pooled over places."""
        return self.pool(self.maps(image))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), labels of a conditional discriminator -> (n,) scores."""
        h = self.features(image)
        score = self.linear(h).squeeze(1)
        return score if label is None else score + (self.projection(label) * h).sum(1)


class BigGANDiscriminator(ResNetDiscriminator):
    """BigGAN's discriminator: the blocks of :class:`ResNetDiscriminator`, orthogonal at first.

    The arguments are those of :class:`ResNetDiscriminator`; the paper at 128 px: width 96, widest 1536, 1 plain block,
    attention 64.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int = 256,
        widest: int | None = None,
        plain_blocks: int = 2,
        attention: int | None = None,
        initialise: Callable[[nn.Module], None] = orthogonal_init,
    ) -> None:
        super().__init__(
            image_shape,
            num_classes,
            width=width,
            widest=widest,
            plain_blocks=plain_blocks,
            attention=attention,
            initialise=initialise,
        )
