"""Sets of which a few images only have labels: for semi-supervised learning."""

from __future__ import annotations

import numpy as np

from gan_lightning.batches import BatchIndex, Labeled, PartlyLabeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.digits import Digits
from gan_lightning.data.mnist import MNIST
from gan_lightning.data.sets import Examples, InMemory, Split
from gan_lightning.noise import hashes, key

CHOICE = 0  # seed of which images keep their labels, unless another is given


class PartlyLabeledSet(Examples):
    """A set that draws a labelled image of a few beside each of its own, whose label it keeps to itself.

    Which one depends on the seed, the epoch and the index of the image that it stands beside: on no worker, no rank,
    and not on the batch, so that a resumed run and several processes see the same.

    Args:
        images: all of them.
        rows: indices of those with labels.
        seed: of the draws.
    """

    def __init__(self, images: InMemory, rows: np.ndarray, seed: int) -> None:
        self.images, self.rows, self.seed = images, rows, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, index: list[int]) -> Labeled:
        return self.images.__getitems__(index)

    def training_batch(self, which: BatchIndex) -> PartlyLabeled:
        chosen = hashes(key(self.seed, which.epoch), which.index) % np.uint64(len(self.rows))
        labeled = self.images.__getitems__(self.rows[chosen.astype(np.int64)].tolist())
        return PartlyLabeled(self.images.__getitems__(which.index).image, *labeled)


class PartlyLabeledData(ImageData):
    """Base of the two below: a training batch is of all images, and of as many labelled ones.

    Args:
        images: where they come from.
        labels: how many training images keep their labels, equally many of each class.
        choice: seed of which.

    Raises:
        ValueError: labels that cannot be shared out equally.
    """

    def __init__(self, images: ImageData, labels: int, choice: int, batch_size: int, num_workers: int) -> None:
        super().__init__(type(self).__name__, images.image_shape, images.num_classes, batch_size, num_workers)
        if labels < 1 or labels % images.num_classes:
            raise ValueError(f"{self.name}: labels ({labels}) must be a multiple of the {images.num_classes} classes")
        self.images, self.labels, self.choice, self.classes = images, labels, choice, images.classes

    def prepare_data(self) -> None:
        self.images.prepare_data()

    def load(self, split: Split) -> InMemory:
        return self.images.load(split)

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
        share = self.labels // self.num_classes
        rows = [shuffled[label == k][:share] for k in range(self.num_classes)]
        if any(len(chosen) < share for chosen in rows):
            raise ValueError(f"{self.name}: a class has fewer than {share} images; ask for fewer labels")
        return np.concatenate(rows)


class PartlyLabeledDigits(PartlyLabeledData):
    """scikit-learn's digits, a few of them labelled.

    Args:
        size: of the images.
        labels: how many, equally many of each class.
        choice: seed of which.
        batch_size: over all processes; a batch has as many labelled images besides.
        num_workers: loader processes; 0 is the fastest.
    """

    extractor = "DigitFeatures"

    def __init__(
        self, size: int = 32, labels: int = 100, choice: int = CHOICE, batch_size: int = 64, num_workers: int = 0
    ) -> None:
        super().__init__(Digits(size), labels, choice, batch_size, num_workers)


class PartlyLabeledMNIST(PartlyLabeledData):
    """MNIST, a few of its images labelled: 100 in Salimans et al. 2016, arXiv:1606.03498.

    Args:
        size: of the images; 28 are the originals.
        root: MNIST's folder, as for :class:`MNIST`.
        labels: how many, equally many of each class.
        choice: seed of which.
        batch_size: over all processes; a batch has as many labelled images besides.
        num_workers: loader processes; 0 is the fastest.
    """

    extractor = "DigitFeatures"

    def __init__(
        self,
        size: int = 28,
        root: str | None = None,
        labels: int = 100,
        choice: int = CHOICE,
        batch_size: int = 100,
        num_workers: int = 0,
    ) -> None:
        super().__init__(MNIST(size, root), labels, choice, batch_size, num_workers)
