"""Small squares cut out of handwritten digits: what local features are learned from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.handwritten import Source, handwritten
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.sizes import Sides, Size, sides_of, size_of


def cut(image: Tensor, n: int, size: Size | Sides, seed: int) -> tuple[Tensor, Tensor]:
    """Patches at places that depend on the seed and on their number alone.

    Args:
        image: (N, C, H, W).
        n: how many.
        size: of a patch, at most H and W.

    Returns:
        (n, C, *size), and (n,) int64, the image that each is from.
    """
    height, width = sides_of(size)
    places = np.array([len(image), image.shape[2] - height + 1, image.shape[3] - width + 1], dtype=np.uint64)
    drawn = (hashes(key(seed), np.arange(3 * n)).reshape(n, 3) % places).astype(np.int64)
    row, top, left = torch.from_numpy(drawn).unbind(1)
    down, across = top[:, None] + torch.arange(height), left[:, None] + torch.arange(width)
    return image[row[:, None, None], :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2).contiguous(), row


class DigitPatches(ImageData):
    """Patches of handwritten digits, each with the class of its digit; of MNIST's with `source: mnist`.

    Args:
        source: "digits" (scikit-learn's, no download) or "mnist".
        size: of a patch, one number for both sides or [height, width].
        image_size: the same of the digits that patches are cut from; None for 16, and for MNIST's own 28.
        n: training patches; "val" has a tenth as many, of held-out digits.
        root: MNIST's folder, as for :class:`MNIST`.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Raises:
        ValueError: no patches, or patches greater than the digits.
    """

    def __init__(
        self,
        source: Source = "digits",
        size: Size = 8,
        image_size: Size | None = None,
        n: int = 50_000,
        root: str | None = None,
        batch_size: int = 256,
        num_workers: int = 0,
    ) -> None:
        self.digits, self.n = handwritten(source, root, image_size, enlarged=16), n
        name, sides, most = f"{self.digits.name}Patches", sides_of(size), self.digits.image_shape[1:]
        if n < 1 or any(side > whole for side, whole in zip(sides, most, strict=True)):
            raise ValueError(f"{name} needs n ({n}) above 0 and a size ({size}) from 1 to the digits' {size_of(most)}")
        super().__init__(name, (1, *sides), 10, batch_size, num_workers)

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def load(self, split: Split) -> InMemory:
        n = self.n if split == "train" else max(1, self.n // 10)
        whole = self.digits.load(split)
        patch, row = cut(whole.image, n, self.image_shape[1:], seed=("train", "val").index(split))
        return InMemory(patch, whole.label[row])
