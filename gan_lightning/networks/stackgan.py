"""StackGAN's networks (Zhang et al. 2017, arXiv:1612.03242): a generator and a discriminator a stage."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gan_lightning.networks.growing import enlarge
from gan_lightning.networks.layers import normal_init, pyramid
from gan_lightning.networks.residual import ResidualBlock

Activation = Literal["none", "leaky_relu", "relu"]
ACTIVATIONS = {"none": nn.Identity, "leaky_relu": lambda: nn.LeakyReLU(0.2), "relu": nn.ReLU}


class ConditioningAugmentation(nn.Module):
    """Conditions drawn around a text: c = mu(text) + sigma(text) epsilon (section 3.2, equation 2).

    Nothing bounds the log-variance but its divergence from N(0, I), which a clamp would switch off beyond its bounds.

    Args:
        text_dim: numbers of a text.
        dim: numbers of a condition.
        activation: after the linear layer: none, as in the paper; "leaky_relu" as in the authors' TensorFlow code;
            "relu" as in their PyTorch code, where neither mu nor the log-variance is ever negative.
    """

    def __init__(self, text_dim: int, dim: int, activation: Activation = "none") -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.Sequential(nn.Linear(text_dim, 2 * dim), ACTIVATIONS[activation]())

    def moments(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2, (n, dim) each, of texts (n, text_dim)."""
        mean, log_variance = self.layers(text).chunk(2, 1)
        return mean, log_variance

    def forward(self, text: Tensor, epsilon: Tensor) -> Tensor:
        """Conditions (n, dim) of texts (n, text_dim) and standard normal numbers (n, dim)."""
        mean, log_variance = self.moments(text)
        return mean + (0.5 * log_variance).exp() * epsilon


def convolved(before: int, after: int) -> list[nn.Module]:
    """3x3, batch norm, ReLU."""
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def doubled(before: int, doublings: int) -> tuple[list[nn.Module], int]:
    """Layers that double the sides so many times, each pixel repeated, and halve the channels; how many are left."""
    layers: list[nn.Module] = []
    for _ in range(doublings):
        after = max(before // 2, 1)
        layers += [nn.Upsample(scale_factor=2.0, mode="nearest"), *convolved(before, after)]
        before = after
    return layers, before


class Stage1Generator(nn.Module):
    """Noise and a condition -> a small image: from 4 px up, each pixel repeated, then a 3x3 convolution.

    Args:
        image_shape: (channels, height, width) of the small image.
        text_dim: numbers of a text.
        noise_dim: numbers of noise.
        condition_dim: numbers of a condition.
        width: an eighth of the channels at the coarsest level, from which each doubling leaves half.
        activation: see :class:`ConditioningAugmentation`.

    Attributes:
        latent_dim: noise, and the epsilon of the condition.

    Raises:
        ValueError: a size that no doubling reaches.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        text_dim: int,
        *,
        noise_dim: int = 100,
        condition_dim: int = 128,
        width: int = 128,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        doublings, *start = pyramid(type(self).__name__, image_shape)
        self.noise_dim, self.latent_dim = noise_dim, noise_dim + condition_dim
        self.augmentation = ConditioningAugmentation(text_dim, condition_dim, activation)
        units = 8 * width * start[0] * start[1]
        self.first = nn.Sequential(
            nn.Linear(self.latent_dim, units, bias=False),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Unflatten(1, (8 * width, *start)),
        )
        layers, left = doubled(8 * width, doublings)
        self.layers = nn.Sequential(*layers, nn.Conv2d(left, image_shape[0], 3, padding=1, bias=False), nn.Tanh())
        normal_init(self)

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        """(n, latent_dim), (n, text_dim) -> (n, *image_shape) in [-1, 1]."""
        noise, epsilon = z[:, : self.noise_dim], z[:, self.noise_dim :]
        return self.layers(self.first(torch.cat([noise, self.augmentation(text, epsilon)], 1)))


class Stage2Generator(nn.Module):
    """A small image and a condition of its own -> a large image: down to a quarter, residual blocks, then up.

    Args:
        image_shape: (channels, height, width) of the large image.
        text_dim: numbers of a text.
        side: the shorter side of the small image.
        condition_dim: numbers of a condition, which stand at every place of the quarter.
        width: channels at the small image's size.
        blocks: residual ones.
        activation: see :class:`ConditioningAugmentation`.

    Attributes:
        latent_dim: the epsilon of the condition.

    Raises:
        ValueError: the large image's side is not the small one's times a power of two, or that no multiple of 4.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        text_dim: int,
        side: int,
        *,
        condition_dim: int = 128,
        width: int = 128,
        blocks: int = 4,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        factor, rest = divmod(min(image_shape[1:]), side)
        if rest or factor < 2 or factor & (factor - 1) or side % 4:
            raise ValueError(
                f"Stage II cannot make {image_shape[1]}x{image_shape[2]} images of {side} px: stage_1_side must be a "
                "multiple of 4, and the shorter side 2, 4, 8, ... times as long; set the data's size or stage_1_side"
            )
        self.latent_dim = condition_dim
        self.augmentation = ConditioningAugmentation(text_dim, condition_dim, activation)
        self.down = nn.Sequential(
            nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False),
            nn.ReLU(),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()),
            *(nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU()),
        )
        self.joint = nn.Sequential(*convolved(4 * width + condition_dim, 4 * width))
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width, nn.BatchNorm2d, last=nn.ReLU()) for _ in range(blocks)))
        layers, left = doubled(4 * width, 2 + factor.bit_length() - 1)
        self.up = nn.Sequential(*layers, nn.Conv2d(left, image_shape[0], 3, padding=1, bias=False), nn.Tanh())
        normal_init(self)

    def forward(self, epsilon: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """(n, latent_dim), small images, (n, text_dim) -> (n, *image_shape) in [-1, 1]."""
        h = self.down(image)
        condition = self.augmentation(text, epsilon)[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return self.up(self.blocks(self.joint(torch.cat([h, condition], 1))))


class StackedGenerator(nn.Module):
    """Both stages. The buffer `stage` says which are in use; averages copy it and checkpoints hold it.

    Args:
        image_shape: (channels, height, width) of the large image.
        first, second: the stages' generators.

    Attributes:
        latent_dim: the first stage's, and behind it the second's.
    """

    def __init__(self, image_shape: tuple[int, int, int], first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.first, self.second = first, second
        self.latent_dim = first.latent_dim + second.latent_dim
        self.register_buffer("stage", torch.ones((), dtype=torch.int64))

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The latents of both stages."""
        return z[:, : self.first.latent_dim], z[:, self.first.latent_dim :]

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        """(n, latent_dim), (n, text_dim) -> (n, *image_shape); of the first stage alone each pixel is repeated."""
        mine, rest = self.parts(z)
        image = self.first(mine, text)
        return enlarge(image, self.image_shape) if self.stage == 1 else self.second(rest, image, text)


class StackGANDiscriminator(nn.Module):
    """Strided convolutions down to 4 px, the text at every place beside them, a 1x1 convolution, and a score.

    Args:
        image_shape: (channels, height, width).
        text_dim: numbers of a text, which a linear layer maps to `condition_dim`.
        condition_dim: numbers of a text beside the image.
        width: channels of the first layer, doubled with each layer after it; what is more than eight times as many at
            4 px is halved by 1x1 convolutions.
        unconditional: a score of the image alone too, as in the second stage of the authors' PyTorch code.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        text_dim: int,
        *,
        condition_dim: int = 128,
        width: int = 64,
        unconditional: bool = False,
    ) -> None:
        super().__init__()
        doublings, *least = pyramid(type(self).__name__, image_shape)
        layers = [nn.Conv2d(image_shape[0], width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        channels = width
        for _ in range(doublings - 1):
            layers += [nn.Conv2d(channels, 2 * channels, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * channels)]
            layers.append(nn.LeakyReLU(0.2))
            channels *= 2
        while channels > 8 * width:
            layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.BatchNorm2d(channels // 2)]
            layers.append(nn.LeakyReLU(0.2))
            channels //= 2
        self.features = nn.Sequential(*layers)
        self.text = nn.Sequential(nn.Linear(text_dim, condition_dim), nn.LeakyReLU(0.2))
        self.joint = nn.Sequential(
            nn.Conv2d(channels + condition_dim, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)
        )
        self.score = nn.Conv2d(channels, 1, tuple(least))
        self.alone = nn.Conv2d(channels, 1, tuple(least)) if unconditional else None
        normal_init(self)

    def compile(self) -> None:
        """Compile its parts, since in training they are called one by one."""
        for part in (self.features, self.text, self.joint):
            part.compile()

    def judge(self, features: Tensor, text: Tensor) -> Tensor:
        """(n,) scores of features (n, channels, h, w) with texts (n, text_dim): whether real, and of this text."""
        told = self.text(text)[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.score(self.joint(torch.cat([features, told], 1))).flatten()

    def judge_alone(self, features: Tensor) -> Tensor:
        """(n,) scores of features (n, channels, h, w): whether real."""
        return self.alone(features).flatten()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """(n, *image_shape), (n, text_dim) -> (n,) scores."""
        return self.judge(self.features(image), text)


class ImageEncoder(nn.Module):
    """Image features that captions are matched with: strided convolutions down to 4 px, then a linear layer.

    A small stand-in, which is trained too, for the pretrained GoogLeNet of Reed et al. 2016 (arXiv:1605.05395).

    Args:
        image_shape: (channels, height, width).
        dim: numbers of an image, as many as of a text.
        width: channels of the first layer, doubled with each layer after it.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(self, image_shape: tuple[int, int, int], dim: int, *, width: int = 32) -> None:
        super().__init__()
        doublings, *least = pyramid(type(self).__name__, image_shape)
        layers: list[nn.Module] = []
        before, after = image_shape[0], width
        for _ in range(doublings):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            before, after = after, 2 * after
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * least[0] * least[1], dim))

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, dim)."""
        return self.layers(image)
