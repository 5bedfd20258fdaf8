"""CoGAN's coupled networks (Liu and Tuzel 2016, arXiv:1606.07536): a pair is one image, two domains side by side.

The layers are those of the authors' networks for digits. What is private to a domain is what is near its pixels: the
end of the generator, the front of the discriminator.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import Dropout, glorot_init


def half_of(name: str, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of one domain's images.

    Raises:
        ValueError: a width that is not even.
    """
    channels, height, width = image_shape
    if width % 2:
        raise ValueError(
            f"{name} needs two domains side by side, and a width of {width} has no halves: use paired data"
        )
    return channels, height, width // 2


def require_private(name: str, private: int, most: int) -> None:
    """Refuse to share nothing, or everything.

    Raises:
        ValueError: `private` is not in 1 .. most.
    """
    if not 1 <= private <= most:
        raise ValueError(f"{name}: private must be 1 .. {most} for these images, not {private}")


class CoupledGenerator(nn.Module):
    """One latent -> shared transposed convolutions with batch norm and PReLU -> an end for each domain, tanh.

    The first layer makes the size that halvings, rounded up, lead to until the shorter side is at most 4. At 28 pixels
    these are 4, 7, 14 and 28: four shared layers, as the authors have there (4, 7, 13, 25).

    Deviations from the authors' code: a stage doubles the size exactly, with a kernel of 4, and of 3 for an odd size;
    the last layer is 5x5; batch norm has its gain and bias, so that PReLU's kink may lie anywhere.

    Args:
        image_shape: (channels, height, 2 * width of one domain).
        latent_dim: of the input.
        width: channels of the last shared layer, doubled with each layer before it.
        private: last layers that each domain has for itself; the paper's is 1.

    Raises:
        ValueError: an odd width, or nothing left to share.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, latent_dim: int = 100, width: int = 128, private: int = 1
    ) -> None:
        super().__init__()
        self.latent_dim, name = latent_dim, type(self).__name__
        sides = [half_of(name, image_shape)[1:]]
        while min(sides[0]) > 4:
            sides.insert(0, tuple((side + 1) // 2 for side in sides[0]))
        shared = len(sides)  # layers that are shared at most
        require_private(name, private, shared)

        def layer(i: int) -> list[nn.Module]:
            if i == shared:
                return [nn.Conv2d(width, image_shape[0], 5, padding=2), nn.Tanh()]
            outputs = width * 2 ** (shared - 1 - i)
            kernel = tuple(4 - side % 2 for side in sides[i])
            size = {"kernel_size": kernel, "stride": 2, "padding": 1} if i else {"kernel_size": sides[0]}
            deconv = nn.ConvTranspose2d(2 * outputs if i else latent_dim, outputs, bias=False, **size)
            return [deconv, nn.BatchNorm2d(outputs), nn.PReLU()]

        def layers(first: int, last: int) -> nn.Sequential:
            return nn.Sequential(*(module for i in range(first, last) for module in layer(i)))

        first_private = shared + 1 - private
        self.front = layers(0, first_private)
        self.ends = nn.ModuleList([layers(first_private, shared + 1) for _ in range(2)])
        glorot_init(self)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, *image_shape) in [-1, 1]: the pair of one latent, domain A on the left."""
        h = self.front(z[:, :, None, None])
        return torch.cat([end(h) for end in self.ends], 3)


class CoupledDiscriminator(nn.Module):
    """Two private fronts -> one shared back -> a score for each domain: LeNet with PReLU, as the authors have it.

    Deviation: convolutions are padded by default, for images of any size.

    Args:
        image_shape: (channels, height, 2 * width of one domain).
        width: channels of the first layer; the second has 5/2 of it.
        units: of the hidden linear layer.
        private: first layers that each domain has for itself, 1 or 2; the paper's is 1.
        padding: of the 5x5 convolutions; 0 as the authors have it, for images of at least 16 pixels.
        dropout: before the score; 0.5 in the authors' Caffe networks, none in their PyTorch ones.

    Raises:
        ValueError: an odd width, nothing left to share, or an image too small for the padding.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        width: int = 20,
        units: int = 500,
        private: int = 1,
        padding: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        channels, height, breadth = half_of(name, image_shape)
        require_private(name, private, 2)
        maps = (channels, width, 5 * width // 2)

        def convs(first: int, last: int) -> list[nn.Module]:
            pairs = zip(maps[first:last], maps[first + 1 : last + 1], strict=True)
            return [layer for a, b in pairs for layer in (nn.Conv2d(a, b, 5, padding=padding), nn.MaxPool2d(2))]

        self.fronts = nn.ModuleList([nn.Sequential(*convs(0, private)) for _ in range(2)])
        rows, columns = (((side + 2 * padding - 4) // 2 + 2 * padding - 4) // 2 for side in (height, breadth))
        if min(rows, columns) < 1:
            raise ValueError(f"{name} cannot read {height}x{breadth} images with a padding of {padding}: raise it to 2")
        features = maps[2] * rows * columns
        hidden = [nn.Flatten(), nn.Linear(features, units), nn.PReLU()]
        score = [Dropout(dropout), nn.Linear(units, 1), nn.Flatten(0)]
        self.back = nn.Sequential(*convs(private, 2), *hidden, *score)
        glorot_init(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, *image_shape) -> the scores (n,) of the left halves and (n,) of the right halves."""
        a, b = (self.back(front(half)) for front, half in zip(self.fronts, image.chunk(2, 3), strict=True))
        return a, b
