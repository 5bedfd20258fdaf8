"""Multi-layer perceptrons: for the first GAN, and small enough for points in the plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import Dropout, one_hot


class MLPGenerator(nn.Module):
    """latent -> `depth` layers of `width` ReLU -> image, tanh; any image shape.

    The defaults are those of Goodfellow et al. 2014 (arXiv:1406.2661): two layers of 1200. With `num_classes` the label
    joins the latent as a one-hot vector.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 100,
        width: int = 1200,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.image_shape, self.num_classes, self.latent_dim = tuple(image_shape), num_classes, latent_dim
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(latent_dim + (num_classes or 0) if i == 0 else width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(image_shape)), nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *image_shape) in [-1, 1]."""
        if label is not None:
            z = torch.cat([z, one_hot(label, self.num_classes, z)], 1)
        return self.layers(z).unflatten(1, self.image_shape)


class MLPDiscriminator(nn.Module):
    """image -> `depth` layers of `width` LeakyReLU(0.2) -> score; any image shape, no normalisation.

    With `num_classes` the label joins the image as a one-hot vector.

    Args:
        dropout: on each hidden layer's output.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int = 512,
        depth: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        inputs = math.prod(image_shape) + (num_classes or 0)
        layers: list[nn.Module] = [nn.Flatten()]
        for i in range(depth):
            layers += [nn.Linear(inputs if i == 0 else width, width), nn.LeakyReLU(0.2)]
            layers += [Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), labels of a conditional discriminator -> (n,) scores."""
        if label is not None:
            image = torch.cat([image.flatten(1), one_hot(label, self.num_classes, image)], 1)
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
        *,
        units: int = 240,
        pieces: int = 5,
        dropout_image: float = 0.2,
        dropout_hidden: float = 0.5,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            Dropout(dropout_image),
            Maxout(math.prod(image_shape), units, pieces),
            Dropout(dropout_hidden),
            Maxout(units, units, pieces),
            Dropout(dropout_hidden),
            nn.Linear(units, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n,) scores."""
        return self.layers(image).squeeze(1)


class ConditionalMLPGenerator(nn.Module):
    """Noise and label -> a ReLU layer each -> a joint ReLU layer -> image, tanh: CGAN's generator (arXiv:1411.1784).

    The defaults are the paper's for MNIST: 200 units see the noise, 1000 the label, 1200 both.

    Args:
        dropout: on the joint layer's output.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        latent_dim: int = 100,
        noise_units: int = 200,
        label_units: int = 1000,
        joint_units: int = 1200,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.image_shape, self.num_classes, self.latent_dim = tuple(image_shape), num_classes, latent_dim
        self.noise = nn.Sequential(nn.Linear(latent_dim, noise_units), nn.ReLU())
        self.label = nn.Sequential(nn.Linear(num_classes, label_units), nn.ReLU())
        self.joint = nn.Sequential(
            nn.Linear(noise_units + label_units, joint_units),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(joint_units, math.prod(image_shape)),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(n, latent_dim), (n,) or (n, num_classes) -> (n, *image_shape) in [-1, 1]."""
        label = self.label(one_hot(label, self.num_classes, z))
        return self.joint(torch.cat([self.noise(z), label], 1)).unflatten(1, self.image_shape)


class ConditionalMaxoutDiscriminator(nn.Module):
    """Image and label -> a maxout layer each -> a joint maxout layer -> score: CGAN's discriminator (arXiv:1411.1784).

    The defaults are the paper's for MNIST: 240 units of 5 pieces see the image, 50 of 5 the label, 240 of 4 both.

    Args:
        dropout: on the outputs of all three.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        image_units: int = 240,
        label_units: int = 50,
        joint_units: int = 240,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image = nn.Sequential(nn.Flatten(), Maxout(math.prod(image_shape), image_units, 5), Dropout(dropout))
        self.label = nn.Sequential(Maxout(num_classes, label_units, 5), Dropout(dropout))
        self.joint = nn.Sequential(
            Maxout(image_units + label_units, joint_units, 4), Dropout(dropout), nn.Linear(joint_units, 1)
        )

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """(n, *image_shape), (n,) or (n, num_classes) -> (n,) scores."""
        label = self.label(one_hot(label, self.num_classes, image))
        return self.joint(torch.cat([self.image(image), label], 1)).squeeze(1)
