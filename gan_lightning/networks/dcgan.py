"""The convolutional networks of DCGAN (Radford et al. 2016, arXiv:1511.06434), for any size that doubles from 4 .. 7.

Kernels are 4x4 with stride 2 where the paper has 5x5: the usual port, without checkerboards from uneven overlap. With
classes the label joins the noise as a one-hot vector and the image as one-hot planes, in CGAN's way (arXiv:1411.1784).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import maybe_spectral, normal_init, one_hot, pyramid


class DCGANGenerator(nn.Module):
    """latent -> transposed convolutions with batch norm and ReLU -> tanh.

    Args:
        image_shape: (channels, height, width); 32 px is the paper's 64 px network less one stage.
        num_classes: of a conditional generator.
        latent_dim: of the input.
        width: channels of the last hidden layer, doubled with each layer before it; 128 gives 1024 at 64 px.

    Raises:
        ValueError: a size that no doubling reaches.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        latent_dim: int = 100,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        channels = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim + (num_classes or 0), channels, (height, breadth), bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(),
            ]
            channels //= 2
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(channels, image_shape[0], 4, 2, 1), nn.Tanh())
        normal_init(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), labels of a conditional generator -> (n, *image_shape) in [-1, 1]."""
        if label is not None:
            z = torch.cat([z, one_hot(label, self.num_classes, z)], 1)
        return self.layers(z[:, :, None, None])


class DCGANDiscriminator(nn.Module):
    """Strided convolutions with LeakyReLU(0.2) -> score: the generator mirrored.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional discriminator.
        width: channels of the first layer, doubled with each layer after it.
        batch_norm: on every hidden layer but the first; off for a critic with a gradient penalty.
        spectral_norm: on every layer.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int | None = None,
        *,
        width: int = 128,
        batch_norm: bool = True,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        self.num_classes = num_classes
        channels, layers = image_shape[0] + (num_classes or 0), []
        for i in range(doublings):
            normed = batch_norm and i > 0
            conv = nn.Conv2d(channels, width * 2**i, 4, stride=2, padding=1, bias=not normed)
            layers += [conv, nn.BatchNorm2d(width * 2**i), nn.LeakyReLU(0.2)] if normed else [conv, nn.LeakyReLU(0.2)]
            channels = width * 2**i
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, (height, breadth)), nn.Flatten(0))
        normal_init(self)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                maybe_spectral(layer, spectral_norm)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, *image_shape), labels of a conditional discriminator -> (n,) scores."""
        if label is not None:
            planes = one_hot(label, self.num_classes, image)[:, :, None, None].expand(-1, -1, *image.shape[2:])
            image = torch.cat([image, planes], 1)
        return self.layers(image)
