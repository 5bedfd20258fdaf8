"""BigBiGAN's encoder and joint discriminator (Donahue and Simonyan 2019, arXiv:1907.02544), for sizes that double from
4 .. 7; the generator is BigGAN's."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import orthogonal_init, pyramid, spectral_normalise, widths
from gan_lightning.networks.resnet import BigGANDiscriminator

SCORES = ("image", "latent", "joint")  # the discriminator's, in this order


class ResidualMLP(nn.Module):
    """A linear layer, then blocks of ReLU, linear, ReLU, linear and a skip connection, ReLU.

    Args:
        inputs: numbers that come in.
        units: numbers in between and that go out.
        blocks: of two layers each.
    """

    def __init__(self, inputs: int, units: int, blocks: int) -> None:
        super().__init__()
        self.start = nn.Linear(inputs, units)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, units)) for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, units), not negative."""
        h = self.start(x)
        for block in self.blocks:
            h = h + block(h)
        return F.relu(h)


class NormedDownBlock(nn.Module):
    """BN, ReLU, 3x3, BN, ReLU, 3x3, mean pooling; the shortcut is pooled and passes a 1x1 (He et al. 2016,
    arXiv:1603.05027). ReLU is never in place: it would change the shortcut's input too."""

    def __init__(self, inputs: int, outputs: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        plain = inputs == outputs and not down
        self.shortcut = nn.Identity() if plain else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / 2, w / 2), or the same size without `down`."""
        h = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2)) if self.down else h + self.shortcut(x)


def require_cells(network: nn.Module, pooled: int, places: list[int]) -> None:
    """Refuse to pool a network's smallest map, of (height, width) `places`, to so many cells a side.

    Raises:
        ValueError: more than the map has places, or none.
    """
    if not 1 <= pooled <= min(places):
        raise ValueError(f"{type(network).__name__}: pooled must be 1 .. {min(places)} for these images, not {pooled}")


class BigBiGANEncoder(nn.Module):
    """Image -> a normal distribution of its latent: a pre-activation residual network with batch norm, and an MLP.

    A 3x3 convolution, for each halving a block that halves and a plain one, BN, ReLU, mean over places; these are the
    features. Then a residual MLP and a linear layer for mean and deviation, the latter through a softplus. Deviations:
    the paper, at 128 px and more, has a ResNet-50 or a RevNet; a mean over all places forgets where strokes are, so
    that features may be means over some places each (`pooled`).

    Args:
        image_shape: (channels, height, width).
        latent_dim: of the generator.
        width: channels of the first convolution.
        widest: channels are doubled with each halving, up to so many; None: all have `width`.
        pooled: cells a side that the last map is averaged to, 1 .. 4; the paper's is 1.
        units, blocks: of the MLP.

    Raises:
        ValueError: a size that no halving reaches, or more cells than the smallest map has places.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        width: int = 64,
        widest: int | None = 512,
        pooled: int = 1,
        units: int = 1024,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        halvings, *places = pyramid(type(self).__name__, image_shape)
        require_cells(self, pooled, places)
        channels = widths(halvings + 1, width, widest)
        self.start = nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential()
        for inputs, outputs in pairwise(channels):
            self.blocks.extend([NormedDownBlock(inputs, outputs, True), NormedDownBlock(outputs, outputs, False)])
        self.norm = nn.BatchNorm2d(channels[-1])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(pooled), nn.Flatten())
        self.feature_dim = channels[-1] * pooled**2
        self.mlp = ResidualMLP(self.feature_dim, units, blocks)
        self.linear = nn.Linear(units, 2 * latent_dim)
        orthogonal_init(self)

    def maps(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, channels, h, w): the last map after its batch norm, before the ReLU."""
        return self.norm(self.blocks(self.start(image)))

    def features(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, feature_dim), what the MLP is given."""
        return self.pool(F.relu(self.maps(image)))

    def represent(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, 2 feature_dim), what a linear probe reads: CReLU, then the mean over places.

        CReLU (Shang et al. 2016, arXiv:1603.05201) is ReLU of the map and of its negative. Deviation: the paper's
        "BN+CReLU" comes after the mean, with a batch norm that belongs to the probe; here it is the encoder's own.
        """
        maps = self.maps(image)
        return torch.cat([self.pool(F.relu(maps)), self.pool(F.relu(-maps))], 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, *image_shape) -> mean and deviation, both (n, latent_dim), the deviation positive."""
        mean, deviation = self.linear(self.mlp(self.features(image))).chunk(2, 1)
        return mean, F.softplus(deviation)


class BigBiGANDiscriminator(nn.Module):
    """Scores of an image, of a latent, and of both together (section 2 and figure 1).

    F, the blocks of BigGAN's discriminator, sees the image alone; H, a residual MLP, the latent alone; J, another, what
    both found. Each has a linear layer to its score. Spectral norm on every layer, no batch norm. Deviation: the sums
    of F's last map that J is given may be over some places each (`pooled`); over all, they forget where strokes are.

    Args:
        image_shape: (channels, height, width).
        latent_dim: of the generator.
        width, widest, plain_blocks, attention: of F, as for
            :class:`~gan_lightning.networks.resnet.ResNetDiscriminator`.
        pooled: cells a side that J is given the sums of, 1 .. 4; the paper's is 1.
        units, blocks: of H and of J; the paper's have 2048 and 4.

    Raises:
        ValueError: a size that no halving reaches, no map as small as `attention`, or more cells than the smallest map
            has places.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        width: int = 256,
        widest: int | None = None,
        plain_blocks: int = 2,
        attention: int | None = None,
        pooled: int = 1,
        units: int = 2048,
        blocks: int = 4,
    ) -> None:
        super().__init__()
        _, *places = pyramid(type(self).__name__, image_shape)
        require_cells(self, pooled, places)
        self.pooled = pooled
        sizes = {"width": width, "widest": widest, "plain_blocks": plain_blocks, "attention": attention}
        self.image = BigGANDiscriminator(image_shape, **sizes)  # F and its score
        self.latent = ResidualMLP(latent_dim, units, blocks)  # H
        self.joint = ResidualMLP(self.image.feature_dim * pooled**2 + units, units, blocks)  # J
        self.latent_score, self.joint_score = nn.Linear(units, 1), nn.Linear(units, 1)
        for part in (self.latent, self.joint, self.latent_score, self.joint_score):
            orthogonal_init(part)
            spectral_normalise(part)

    def forward(self, image: Tensor, z: Tensor) -> Tensor:
        """(n, *image_shape), (n, latent_dim) -> (n, 3): the scores in the order of `SCORES`."""
        maps, h = self.image.maps(image), self.latent(z)
        x = sums = self.image.pool(maps)
        if self.pooled > 1:
            share = maps[0, 0].numel() / self.pooled**2
            sums = share * F.adaptive_avg_pool2d(maps, self.pooled).flatten(1)
        j = self.joint(torch.cat([sums, h], 1))
        return torch.cat([self.image.linear(x), self.latent_score(h), self.joint_score(j)], 1)
