"""Two domains side by side: grey digits on the left, other digits transformed on the right, no two of them a pair."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.handwritten import Source, handwritten
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.runtime.sizes import Size


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


class DigitDomains(ImageData):
    """Handwritten digits, and the edges or negatives of others, side by side; of MNIST with `source: mnist`.

    Images (1, h, 2 w), domain A on the left, B on the right, without labels. Every other digit goes to domain A, the
    rest, transformed, to B: no digit is in both. They are 750 of each, 30,000 of MNIST as in the paper.

    Args:
        source: "digits" (scikit-learn's, no download) or "mnist".
        transform: what makes domain B, a name in `TRANSFORMS`.
        size: of one domain's images, one number for both sides or [height, width]; None for 16, and for MNIST's own 28.
        contrast: of the images, before they are transformed; 1 leaves them as they are. None for 1 of MNIST, and for 3
            of scikit-learn's digits, whose enlarged strokes are soft and their edges faint: 3 at 16 pixels makes both
            as sharp as MNIST's.
        root: MNIST's folder, as for :class:`MNIST`.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Raises:
        ValueError: there is no such transform, or a contrast that is not positive.
    """

    abreast = 2

    def __init__(
        self,
        source: Source = "digits",
        transform: Literal["edges", "negative"] = "edges",
        size: Size | None = None,
        contrast: float | None = None,
        root: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        if transform not in TRANSFORMS:
            raise ValueError(f"domain B is made by one of {', '.join(TRANSFORMS)}, not {transform!r}")
        if contrast is None:
            contrast = 3.0 if source == "digits" else 1.0
        if not contrast > 0:
            raise ValueError(f"the contrast must be positive, not {contrast}; 1 leaves the images as they are")
        self.digits = handwritten(source, root, size, enlarged=16)
        self.transform, self.contrast = TRANSFORMS[transform], contrast
        _, height, width = self.digits.image_shape
        super().__init__(f"{self.digits.name}Domains", (1, height, 2 * width), None, batch_size, num_workers)

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def load(self, split: Split) -> InMemory:
        image = stretched(self.digits.load(split).image, self.contrast)
        n = len(image) // 2
        pairs = torch.cat([image[: 2 * n : 2], self.transform(image[1 : 2 * n : 2])], 3)
        return InMemory(pairs, torch.zeros(n, dtype=torch.int64))
