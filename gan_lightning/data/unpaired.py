"""Two sets of images side by side, no two of them a pair."""

from __future__ import annotations

import numpy as np

from gan_lightning.batches import Draw, Unpaired
from gan_lightning.data.base import ImageSet, hashes
from gan_lightning.noise import key


class Domains(ImageSet):
    """Images of two domains. There are as many rows as the larger domain has images; the smaller begins again.

    In training each image of domain A stands beside one of domain B that is drawn at random. Which one depends on the
    seed, the epoch and the row: on no worker, no rank, and not on the batch, so that a resumed run and several
    processes see the same.

    Args:
        a, b: the images, the first field of what these sets answer; neither is empty.
        seed: of the draws.
    """

    def __init__(self, a: ImageSet, b: ImageSet, seed: int = 0) -> None:
        self.a, self.b, self.seed = a, b, seed

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def __getitems__(self, index: list[int]) -> Unpaired:
        of_a, of_b = ([i % len(domain) for i in index] for domain in (self.a, self.b))
        return Unpaired(self.a.__getitems__(of_a)[0], self.b.__getitems__(of_b)[0])

    def drawn(self, draw: Draw) -> Unpaired:
        of_b = hashes(key(self.seed, draw.epoch), draw.index) % np.uint64(len(self.b))
        of_a = [i % len(self.a) for i in draw.index]
        return Unpaired(self.a.__getitems__(of_a)[0], self.b.__getitems__(of_b.tolist())[0])
