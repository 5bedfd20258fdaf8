"""Sets of which a few images only have labels: for semi-supervised learning."""

from __future__ import annotations

from typing import Any

import numpy as np

from gan_lightning.batches import BatchIndex, PartlyLabeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.handwritten import Source, handwritten
from gan_lightning.data.sets import Examples, InMemory, Split
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.sizes import Size


class PartlyLabeledSet(Examples):
    """A set that draws a labelled image of a few beside each of its own, whose label it keeps to itself.

    Beside an epoch's order stand permutations of the few, one after the other, as in the authors' code: a batch of as
    many has each of them once. They depend on the seed, the epoch and the place in its order: on no worker and no rank,
    so that a resumed run and several processes see the same.

    Args:
        images: all of them.
        rows: indices of those with labels.
        seed: of the draws.
    """

    def __init__(self, images: InMemory, rows: np.ndarray, seed: int) -> None:
        self.images, self.rows, self.seed = images, rows, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, index: list[int]) -> Any:
        return self.images.__getitems__(index)

    def training_batch(self, which: BatchIndex) -> PartlyLabeled:
        count, places = len(self.rows), range(len(which.index)) if which.rows is None else which.rows
        rounds, within = np.divmod(places, count)
        orders = {n: np.argsort(hashes(key(self.seed, which.epoch, n), np.arange(count))) for n in set(rounds.tolist())}
        chosen = [orders[n][place] for n, place in zip(rounds.tolist(), within, strict=True)]
        labeled = self.images.__getitems__(self.rows[chosen].tolist())
        return PartlyLabeled(self.__getitems__(which.index).image, *labeled)


class PartlyLabeledDigits(ImageData):
    """Handwritten digits, a few of them labelled; of MNIST with `source: mnist`.

    A training batch is of all images, and of as many labelled ones: `PartlyLabeled`. The task of Salimans et al. 2016,
    arXiv:1606.03498, on MNIST with 100 labels.

    Args:
        source: "digits" (scikit-learn's, no download) or "mnist".
        size: of the images, one number for both sides or [height, width]; None for 32, and for MNIST's own 28.
        labels: how many training images keep their labels, equally many of each class.
        choice: seed of which.
        root: MNIST's folder, as for :class:`MNIST`.
        batch_size: over all processes; a batch has as many labelled images besides.
        num_workers: loader processes; 0 is the fastest.

    Raises:
        ValueError: labels that cannot be shared out equally, or an argument is out of range.
    """

    extractor = "DigitFeatures"

    def __init__(
        self,
        source: Source = "digits",
        size: Size | None = None,
        labels: int = 100,
        choice: int = 0,
        root: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        self.digits, self.labels, self.choice = handwritten(source, root, size), labels, choice
        name = f"PartlyLabeled{self.digits.name}"
        super().__init__(name, self.digits.image_shape, self.digits.num_classes, batch_size, num_workers)
        classes = self.digits.num_classes or 0
        if labels < 1 or labels % classes:
            raise ValueError(f"{name}: labels ({labels}) must be a multiple of the {classes} classes")
        self.classes = self.digits.classes

    def prepare_data(self) -> None:
        self.digits.prepare_data()

    def load(self, split: Split) -> InMemory:
        return self.digits.load(split)

    def training_set(self) -> PartlyLabeledSet:
        return PartlyLabeledSet(self.reference("train"), self.labeled_rows(), self._seed)

    def labeled_rows(self) -> np.ndarray:
        """(labels,) int64: indices of the training images that keep their labels, in the classes' order.

        Raises:
            ValueError: a class has too few images.
        """
        every = self.reference("train")
        shuffled = np.argsort(hashes(key(self.choice), np.arange(len(every))))
        label = every.label.numpy()[shuffled]
        classes = self.num_classes or 0
        share = self.labels // classes
        rows = [shuffled[label == k][:share] for k in range(classes)]
        if any(len(chosen) < share for chosen in rows):
            raise ValueError(f"{self.name}: a class has fewer than {share} images; ask for fewer labels")
        return np.concatenate(rows)
