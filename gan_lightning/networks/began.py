"""BEGAN's decoder and auto-encoder (Berthelot et al. 2017, arXiv:1703.10717, section 3.5 and figure 1).

For any size that doubles from 8 .. 14, the paper's 8x8 among them. Without its optional skip connections.
"""

from __future__ import annotations

from torch import Tensor, nn

from gan_lightning.networks.layers import glorot_init, pyramid


def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ELU()]


class BEGANGenerator(nn.Module):
    """latent -> linear -> at each scale two 3x3 convolutions with ELU, then nearest upsampling -> image.

    The last convolution is linear: what the discriminator sees in training may leave [-1, 1].

    Args:
        image_shape: (channels, height, width).
        latent_dim: of the input.
        width: channels n of every convolution.

    Raises:
        ValueError: a size that no doubling reaches.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, latent_dim: int = 64, width: int = 64) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        height, breadth = 2 * height, 2 * breadth
        layers = [nn.Linear(latent_dim, width * height * breadth), nn.Unflatten(1, (width, height, breadth))]
        for scale in range(doublings):
            layers += [nn.Upsample(scale_factor=2)] if scale else []
            layers += conv(width, width) + conv(width, width)
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, image_shape[0], 3, padding=1))
        glorot_init(self)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape), about [-1, 1] but not clamped."""
        return self.layers(z)


class BEGANDiscriminator(nn.Module):
    """An auto-encoder: image -> encoder -> h -> decoder, the decoder being the generator's architecture.

    At each scale of the encoder two 3x3 convolutions with ELU, then one with stride 2; channels n, 2n, 3n, ... from
    scale to scale. The maps to and from h are linear. Deviation: the strided convolution is a third one at each scale;
    the paper names two. The best-known code (carpedm20's) has three too, of which the one after the stride widens.

    Args:
        image_shape: (channels, height, width).
        hidden: size of h.
        width: channels n.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, hidden: int = 64, width: int = 64) -> None:
        super().__init__()
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        layers = conv(image_shape[0], width)
        for scale in range(1, doublings + 1):
            channels = scale * width
            layers += conv(channels, channels) + conv(channels, channels)
            layers += conv(channels, channels + width, stride=2) if scale < doublings else []
        layers += [nn.Flatten(), nn.Linear(channels * 2 * height * 2 * breadth, hidden)]
        self.encoder = nn.Sequential(*layers)
        glorot_init(self.encoder)
        self.decoder = BEGANGenerator(image_shape, latent_dim=hidden, width=width)

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> its reconstruction, (n, *image_shape)."""
        return self.decoder(self.encoder(image))
