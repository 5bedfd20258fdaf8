"""InfoGAN's networks (Chen et al. 2016, arXiv:1606.03657, appendix C.1), for sizes that halve twice."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gan_lightning.networks.layers import normal_init, pyramid


def _quarter(name: str, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the map after two halvings.

    Raises:
        ValueError: a size that no halving reaches, or that halves only once.
    """
    doublings, *_ = pyramid(name, image_shape)
    if doublings < 2:
        raise ValueError(f"{name} halves images twice: they must be at least 16 px, not {image_shape[1:]}")
    return image_shape[1] // 4, image_shape[2] // 4


class InfoGANGenerator(nn.Module):
    """latent -> FC -> FC to a quarter of the size -> two transposed convolutions -> tanh; batch norm, ReLU.

    Args:
        image_shape: (channels, height, width).
        latent_dim: noise and codes.
        width: channels of the last hidden layer; the map before it has twice as many, the first layer 16 times.
        unit_range: the last layer gives brightness in [0, 1] by a sigmoid, as in the authors' code, which becomes
            [-1, 1] after it: a tanh of half the number.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], latent_dim: int, *, width: int = 64, unit_range: bool = False
    ) -> None:
        super().__init__()
        self.latent_dim, self.unit_range = latent_dim, unit_range
        start = (2 * width, *_quarter(type(self).__name__, image_shape))
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, 16 * width, bias=False),
            nn.BatchNorm1d(16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, math.prod(start), bias=False),
            nn.BatchNorm1d(math.prod(start)),
            nn.ReLU(),
            nn.Unflatten(1, start),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, image_shape[0], 4, 2, 1),
            nn.Sigmoid() if unit_range else nn.Tanh(),
        )
        normal_init(self)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape) in [-1, 1]."""
        image = self.layers(z)
        return 2 * image - 1 if self.unit_range else image


class InfoGANDiscriminator(nn.Module):
    """One trunk of two convolutions and an FC layer -> a score; an FC layer more -> the codes (Q).

    Args:
        image_shape: (channels, height, width).
        categories: values of the categorical code.
        continuous: continuous codes.
        width: channels of the first layer; the second has twice as many, the FC layer 16 times, Q's twice as many.
        leak: slope of the activations below 0: the paper's; the authors' code has 0.01.
        unit_range: it sees brightness in [0, 1], as in the authors' code.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        categories: int,
        continuous: int,
        *,
        width: int = 64,
        leak: float = 0.1,
        unit_range: bool = False,
    ) -> None:
        super().__init__()
        self.categories, self.unit_range = categories, unit_range
        height, breadth = _quarter(type(self).__name__, image_shape)
        self.trunk = nn.Sequential(
            nn.Conv2d(image_shape[0], width, 4, 2, 1),
            nn.LeakyReLU(leak),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(leak),
            nn.Flatten(),
            nn.Linear(2 * width * height * breadth, 16 * width, bias=False),
            nn.BatchNorm1d(16 * width),
            nn.LeakyReLU(leak),
        )
        self.score = nn.Linear(16 * width, 1)
        self.codes = nn.Sequential(
            nn.Linear(16 * width, 2 * width, bias=False),
            nn.BatchNorm1d(2 * width),
            nn.LeakyReLU(leak),
            nn.Linear(2 * width, categories + continuous),
        )
        normal_init(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, *image_shape) -> scores (n,), category logits (n, categories), means (n, continuous)."""
        h = self.trunk((image + 1) / 2 if self.unit_range else image)
        codes = self.codes(h)
        return self.score(h).squeeze(1), codes[:, : self.categories], codes[:, self.categories :]
