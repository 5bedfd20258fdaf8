"""AC-GAN's discriminator (Odena et al. 2017, arXiv:1610.09585, appendix A), for any size that doubles from 4 .. 7."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lightning.networks.layers import Dropout, normal_init, pyramid

MOST = 512  # channels, of the paper's last layer


class AuxiliaryDiscriminator(nn.Module):
    """3x3 convolutions, in turn with stride 2 and 1, LeakyReLU(0.2) and dropout -> a score and a class.

    Args:
        image_shape: (channels, height, width); 32 px gives the paper's six layers for CIFAR-10.
        num_classes: of the second head.
        width: channels of the first layer, doubled with each layer up to 512.
        dropout: after each layer.

    Raises:
        ValueError: a size that no halving reaches.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int, *, width: int = 16, dropout: float = 0.5
    ) -> None:
        super().__init__()
        doublings, height, breadth = pyramid(type(self).__name__, image_shape)
        channels, layers = image_shape[0], []
        for i in range(2 * doublings):
            outputs = min(width * 2**i, max(MOST, width))
            layers.append(nn.Conv2d(channels, outputs, 3, stride=1 + (i + 1) % 2, padding=1, bias=i == 0))
            if i > 0:
                layers.append(nn.BatchNorm2d(outputs))
            layers += [nn.LeakyReLU(0.2), Dropout(dropout)]
            channels = outputs
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.score = nn.Linear(channels * height * breadth, 1)
        self.classes = nn.Linear(channels * height * breadth, num_classes)
        normal_init(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, *image_shape) -> scores (n,) and class logits (n, num_classes)."""
        h = self.layers(image)
        return self.score(h).squeeze(1), self.classes(h)
