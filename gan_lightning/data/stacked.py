"""Three digits in one colour image: a set whose 1,000 modes can be counted."""

from __future__ import annotations

import numpy as np

from gan_lightning.batches import Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.handwritten import Source, handwritten
from gan_lightning.data.sets import Examples, InMemory, Split
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.sizes import Size


class Stacked(Examples):
    """Colour images made, when they are asked for, of three grey ones of ten classes.

    Args:
        images: the grey ones.
        n: colour images.
        seed: of the choice of digits: image i is made of three that depend on the seed and on i alone.
    """

    def __init__(self, images: InMemory, n: int, seed: int) -> None:
        self.images = images
        drawn = hashes(key(seed), np.arange(3 * n)) % np.uint64(len(images))
        self.rows = drawn.astype(np.int64).reshape(n, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, index: list[int]) -> Labeled:
        image, label = self.images.__getitems__(self.rows[index].reshape(-1).tolist())
        hundreds, tens, ones = label.view(-1, 3).unbind(1)
        return Labeled(image.view(-1, 3, *image.shape[2:]), 100 * hundreds + 10 * tens + ones)


class StackedDigits(ImageData):
    """Three handwritten digits in red, green and blue: 1,000 modes; Stacked MNIST with `source: mnist`.

    Of Metz et al. 2017, arXiv:1611.02163. An image's class is the number that its digits make.

    Args:
        source: "digits" (scikit-learn's, no download) or "mnist".
        size: of the images, one number for both sides or [height, width]; None for 32, and for MNIST's own 28.
        n: training images; "val" has a tenth as many, made of held-out digits.
        root: MNIST's folder, as for :class:`MNIST`.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Raises:
        ValueError: an argument is out of range.
    """

    extractor = "StackedDigitFeatures"

    def __init__(
        self,
        source: Source = "digits",
        size: Size | None = None,
        n: int = 50_000,
        root: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        if n < 1:
            raise ValueError(f"stacked digits need n of at least 1, not {n}")
        self.digits, self.n = handwritten(source, root, size), n
        _, height, width = self.digits.image_shape
        super().__init__(f"Stacked{self.digits.name}", (3, height, width), 1000, batch_size, num_workers)

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def load(self, split: Split) -> Stacked:
        n = self.n if split == "train" else max(1, self.n // 10)
        return Stacked(self.digits.load(split), n, seed=("train", "val").index(split))
