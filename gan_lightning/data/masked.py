"""Images with holes to fill."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from gan_lightning.batches import BatchIndex, Masked, central_hole
from gan_lightning.data.folder import ImageFolder
from gan_lightning.data.sets import Derived, Examples, Split
from gan_lightning.data.shapes import ShapeData, scenes
from gan_lightning.noise import hashes, key, shares
from gan_lightning.runtime.errors import require_one_of
from gan_lightning.runtime.reading import MAX_PIXELS
from gan_lightning.runtime.sizes import Size

Hole = Literal["centre", "random"]
BLOCKS = 4  # at most, of a random hole; each covers a sixteenth of the image at most


def random_holes(keys: np.ndarray, height: int, width: int) -> torch.Tensor:
    """(n, 1, height, width) bool: one to four blocks, each function of its key (n,) uint64 alone.

    A block is from an eighth to a quarter as high and as wide as the image, at a random place within it, so that a
    quarter of the image is hidden at most.
    """
    hole = torch.zeros(len(keys), 1, height, width, dtype=torch.bool)
    for row, seed in enumerate(keys):
        share = shares(int(seed), np.arange(1 + 4 * BLOCKS))
        for across, down, wide, high in share[1:].reshape(BLOCKS, 4)[: 1 + int(BLOCKS * share[0])]:
            tall, broad = (max(int(side * (1 + of) / 8), 1) for side, of in ((height, high), (width, wide)))
            top, left = int(down * (height - tall + 1)), int(across * (width - broad + 1))
            hole[row, :, top : top + tall, left : left + broad] = True
    return hole


class Holes(Derived):
    """Images of a set, each with a hole.

    A random hole depends on the seed, the epoch and the row in training; outside of it on the row alone.

    Args:
        images: the set, whose batches begin with the images.
        hole: "centre" or "random".
        seed: of the holes of training.
    """

    def __init__(self, images: Examples, hole: Hole, seed: int = 0) -> None:
        super().__init__(images, hole)
        self.hole, self.seed = hole, seed

    def _with_holes(self, image: torch.Tensor, keys: np.ndarray) -> Masked:
        n, _, height, width = image.shape
        if self.hole == "centre":
            return Masked(image, central_hole(height, width).repeat(n, 1, 1, 1))
        return Masked(image, random_holes(keys, height, width))

    def __getitems__(self, index: list[int]) -> Masked:
        return self._with_holes(self.images.__getitems__(index)[0], hashes(key(0), index))

    def training_batch(self, which: BatchIndex) -> Masked:
        keys = hashes(key(self.seed, which.epoch, 1), which.index)
        return self._with_holes(self.images.training_batch(which)[0], keys)


def known_hole(hole: Hole) -> Hole:
    """The same, if it is a kind of hole.

    Raises:
        ValueError: it is not.
    """
    require_one_of("hole", hole, "centre", "random")
    return hole


class MaskedImages(ImageFolder):
    """The images under a folder (see ImageFolder), each with a hole to fill: its middle, or random blocks.

    The middle is half as high and half as wide as the image, as in Context Encoders (arXiv:1604.07379); random blocks
    are one to four rectangles, a sixteenth of the image each at most, others in every epoch. Batches are `Masked`.

    Args:
        root: the folder.
        size: of the images, one number for both sides or [height, width]; cropped in the middle and resized.
        hole: "centre" or "random".
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images left to right at random.
        corrupt: "refuse" stops with the names of files that cannot be read; "skip" goes on without them.
        val_fraction: share held out, from 0 up to but not 1.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        size: Size = 128,
        hole: Hole = "centre",
        channels: int = 3,
        flip: bool = True,
        corrupt: Literal["refuse", "skip"] = "refuse",
        val_fraction: float = 0.05,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 64,
        num_workers: int = 2,
    ) -> None:
        super().__init__(root, size, channels, flip, corrupt, val_fraction, white, max_pixels, batch_size, num_workers)
        self.hole = known_hole(hole)

    def _classes(self) -> None:
        return None  # a batch has no labels

    def load(self, split: Split) -> Holes:
        return Holes(super().load(split), self.hole)

    def training_set(self) -> Holes:
        return Holes(self.reference("train").images.in_training(), self.hole, self._seed)


class ShapeHoles(ShapeData):
    """Drawn pictures of many striped shapes, each with a hole to fill: its middle, or random blocks.

    What goes on beyond the hole's edge, stripes and outlines, says much of what is in it. Batches are `Masked`.

    Args:
        n: training images; 500 more validate.
        size: one number for both sides or [height, width].
        hole: "centre" or "random", see :class:`MaskedImages`.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(
        self, n: int = 2000, size: Size = 64, hole: Hole = "centre", batch_size: int = 32, num_workers: int = 0
    ) -> None:
        super().__init__(3, n, size, batch_size, num_workers)
        self.hole = known_hole(hole)

    def load(self, split: Split) -> Holes:
        return Holes(scenes(split, self.count(split), self.sides), self.hole)

    def training_set(self) -> Holes:
        return Holes(self.reference("train").images, self.hole, self._seed)
