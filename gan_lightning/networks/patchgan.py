"""The discriminator that judges patches (Isola et al. 2017, arXiv:1611.07004, appendix 6.1.2)."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lightning.networks.layers import instance_norm, normal_init


class PatchDiscriminator(nn.Module):
    """A score for each patch, of 4x4 convolutions with LeakyReLU(0.2); no norm on the first layer.

    Args:
        image_shape: (channels, height, width); other sizes are judged as well.
        layers: with stride 2: 3 see patches of 70 px (the papers' choice), 2 of 34, 1 of 16, 0 single pixels.
        width: channels of the first layer, doubled by each further one up to `8 * width`.
        affine: whether instance norms have gain and bias (Pix2Pix's batch norms have, CycleGAN's norms do not).

    Raises:
        ValueError: images so small that no patch of so many layers fits in: below 3 * 2**layers pixels.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, layers: int = 3, width: int = 64, affine: bool = True
    ) -> None:
        super().__init__()
        least, sides = 3 * 2**layers if layers else 1, image_shape[1:]
        if min(sides) < least:
            raise ValueError(
                f"PatchDiscriminator of {layers} layers judges images of {least} px and more, not "
                f"{sides[0]}x{sides[1]}: take fewer layers or larger images"
            )
        kernel, padding = (4, 1) if layers else (1, 0)
        built: list[nn.Module] = [
            nn.Conv2d(image_shape[0], width, kernel, 2 if layers else 1, padding),
            nn.LeakyReLU(0.2),
        ]
        for level in range(1, max(layers, 1) + 1):
            before, after = (min(width * 2**k, 8 * width) for k in (level - 1, level))
            stride = 2 if level < layers else 1
            built += [nn.Conv2d(before, after, kernel, stride, padding, bias=False), instance_norm(after, affine)]
            built += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*built, nn.Conv2d(after, 1, kernel, 1, padding))
        normal_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, 1, rows, columns), a score of each patch."""
        return self.layers(image)
