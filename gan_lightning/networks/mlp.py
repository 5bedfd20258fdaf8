"""Multi-layer perceptrons: for the first GAN, and small enough for points in the plane."""

from __future__ import annotations

import math

from torch import Tensor, nn


class MLPGenerator(nn.Module):
    """latent -> `depth` layers of `width` ReLU -> image, tanh; any image shape.

    The defaults are those of Goodfellow et al. 2014 (arXiv:1406.2661): two layers of 1200.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], latent_dim: int = 100, width: int = 1200, depth: int = 2
    ) -> None:
        super().__init__()
        self.image_shape, self.latent_dim = tuple(image_shape), latent_dim
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(latent_dim if i == 0 else width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(image_shape)), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape) in [-1, 1]."""
        return self.layers(z).unflatten(1, self.image_shape)


class MLPDiscriminator(nn.Module):
    """image -> `depth` layers of `width` LeakyReLU(0.2) -> score; any image shape, no normalisation."""

    def __init__(self, image_shape: tuple[int, int, int], width: int = 512, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for i in range(depth):
            layers += [nn.Linear(math.prod(image_shape) if i == 0 else width, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n,) scores."""
        return self.layers(image).squeeze(1)


class Maxout(nn.Module):
    """The greatest of `pieces` linear maps, unit by unit (Goodfellow et al. 2013, arXiv:1302.4389)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, units * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, units)."""
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class MaxoutDiscriminator(nn.Module):
    """image -> two maxout layers with dropout -> score: the discriminator of arXiv:1406.2661.

    240 units of 5 pieces, dropout 0.2 on the image and 0.5 on the hidden layers, as in the authors' MNIST set-up.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        units: int = 240,
        pieces: int = 5,
        dropout_image: float = 0.2,
        dropout_hidden: float = 0.5,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout_image),
            Maxout(math.prod(image_shape), units, pieces),
            nn.Dropout(dropout_hidden),
            Maxout(units, units, pieces),
            nn.Dropout(dropout_hidden),
            nn.Linear(units, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n,) scores."""
        return self.layers(image).squeeze(1)
