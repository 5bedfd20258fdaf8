"""Two domains side by side: grey digits on the left, other digits transformed on the right, no two of them a pair."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.digits import Digits
from gan_lightning.data.mnist import MNIST
from gan_lightning.data.sets import InMemory, Split


def edges(image: Tensor) -> Tensor:
    """What a dilation by 3x3 pixels adds to images (n, c, h, w), uint8.

    The edge images of CoGAN (Liu and Tuzel 2016, arXiv:1606.07536, section 4), as its authors' code makes them.
    """
    return (F.max_pool2d(image.float(), 3, stride=1, padding=1) - image).to(torch.uint8)


def negative(image: Tensor) -> Tensor:
    """Black for white in images (n, c, h, w), uint8: CoGAN's other pair of domains."""
    return 255 - image


def stretched(image: Tensor, contrast: float) -> Tensor:
    """Grey levels of images, uint8, moved away from half grey by a factor, clamped."""
    return ((image.float() - 127.5) * contrast + 127.5).clamp(0, 255).round().to(torch.uint8)


TRANSFORMS = {"edges": edges, "negative": negative}


class DomainData(ImageData):
    """Base of the two below: images (c, h, 2 w), domain A on the left, B on the right, without labels.

    Every other image of the set goes to domain A, the rest, transformed, to B: no digit is in both.

    Args:
        digits: where the images come from.
        transform: what makes domain B, a name in `TRANSFORMS`.
        contrast: of the images, before they are transformed; 1 leaves them as they are.

    Raises:
        ValueError: there is no such transform, or a contrast that is not positive.
    """

    def __init__(self, digits: ImageData, transform: str, contrast: float, batch_size: int, num_workers: int) -> None:
        if transform not in TRANSFORMS:
            raise ValueError(f"domain B is made by one of {', '.join(TRANSFORMS)}, not {transform!r}")
        if not contrast > 0:
            raise ValueError(f"the contrast must be positive, not {contrast}; 1 leaves the images as they are")
        channels, height, width = digits.image_shape
        super().__init__(type(self).__name__, (channels, height, 2 * width), None, batch_size, num_workers)
        self.digits, self.transform, self.contrast = digits, TRANSFORMS[transform], contrast

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def load(self, split: Split) -> InMemory:
        image = stretched(self.digits.load(split).image, self.contrast)
        n = len(image) // 2
        pairs = torch.cat([image[: 2 * n : 2], self.transform(image[1 : 2 * n : 2])], 3)
        return InMemory(pairs, torch.zeros(n, dtype=torch.int64))


class DigitDomains(DomainData):
    """scikit-learn's handwritten digits, and the edges or negatives of others: 750 of each, no download.

    Args:
        transform: what makes domain B.
        size: of one domain's images.
        contrast: of the images, before they are transformed. Enlarged strokes are soft, and their edges faint; 3 at
            16 pixels makes both as sharp as MNIST's. 1 leaves the images as they are.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(
        self,
        transform: Literal["edges", "negative"] = "edges",
        size: int = 16,
        contrast: float = 3.0,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(Digits(size), transform, contrast, batch_size, num_workers)


class MNISTDomains(DomainData):
    """MNIST's digits, and the edges or negatives of others: 30,000 of each, as in the paper.

    Args:
        transform: what makes domain B.
        size: of one domain's images; 28 are the originals.
        root: MNIST's folder, as for :class:`MNIST`.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(
        self,
        transform: Literal["edges", "negative"] = "edges",
        size: int = 28,
        root: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(MNIST(size, root), transform, 1.0, batch_size, num_workers)
