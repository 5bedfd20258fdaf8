"""Handwritten digits that ship with scikit-learn: real images without a download."""

from __future__ import annotations

import numpy as np
import torch

from gan_lightning.data.base import ImageData, resize
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.noise import hashes
from gan_lightning.runtime.sizes import Size, sides_of


class Digits(ImageData):
    """The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin, Kaynak 1998), enlarged.

    1,797 images of 8x8 pixels with 17 grey levels, ten classes; 1,500 of them train, 297 are held out, always the
    same ones. Enlarged by bicubic interpolation, which keeps strokes smooth where bilinear shows the old pixels.

    Args:
        size: of the images, one number for both sides or [height, width], to which they are stretched; 8 for the
            originals.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
        share: of the training images, the first ones of the fixed shuffle; scores compare with all of them still.

    Raises:
        ValueError: a share that is not in (0, 1].
    """

    extractor = "DigitFeatures"

    def __init__(self, size: Size = 32, batch_size: int = 64, num_workers: int = 0, share: float = 1.0) -> None:
        super().__init__("Digits", (1, *sides_of(size)), 10, batch_size, num_workers)
        if not 0 < share <= 1:
            raise ValueError(f"Digits: share must lie in (0, 1], not {share}")
        self.share, self.classes = share, list("0123456789")

    def load(self, split: Split) -> InMemory:
        from sklearn.datasets import load_digits  # here, because it takes a second to import

        digits = load_digits()
        shuffled = np.argsort(hashes(0, np.arange(len(digits.images))))  # a permutation that no library update changes
        rows = shuffled[:1500] if split == "train" else shuffled[1500:]
        image = torch.from_numpy(digits.images[rows] * (255 / 16)).round().byte().unsqueeze(1)  # (N, 1, 8, 8)
        label = torch.from_numpy(digits.target[rows].astype(np.int64))
        return InMemory(resize(image, self.image_shape[1:], "bicubic"), label)

    def training_set(self) -> InMemory:
        every = self.reference("train")
        count = max(round(self.share * len(every)), 1)
        return InMemory(every.image[:count], every.label[:count])
