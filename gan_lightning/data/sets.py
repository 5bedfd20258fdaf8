"""Sets of examples that answer a whole batch at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gan_lightning.batches import BatchIndex, Labeled

Split = Literal["train", "val"]


def labels_hash(labels: Tensor) -> str:
    """SHA-256 of labels or attributes (N, ...); empty if all are 0, as those of a set without classes."""
    return hashlib.sha256(labels.numpy().tobytes()).hexdigest() if labels.any() else ""


def uniform(count: int, seed: int) -> Tensor:
    """A uniform permutation (count,) int64."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


class Examples(Dataset, ABC):
    """What a set holds, un-augmented, images or other things, that answers a whole batch at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, index: list[int]) -> tuple:
        """One of the batches of `gan_lightning.batches`, of these indices: images are uint8 (float for points)."""

    def parts(self, size: int) -> Iterator[tuple]:
        """All examples in their order, in batches of so many at most."""
        for first in range(0, len(self), size):
            yield self.__getitems__(list(range(first, min(first + size, len(self)))))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the set holds, without its name and without labels that are all 0 (a set without classes)."""
        digest = hashlib.sha256()
        for batch in self.parts(1000):
            for field in [field for field in batch if field.ndim == 4 or field.any()] or batch:
                digest.update(f"{field.dtype} {tuple(field.shape)}".encode())
                digest.update(field.contiguous().numpy())
        return digest.hexdigest()

    @property
    def quick_fingerprint(self) -> str:
        """What a run knows its data by: the fingerprint, or, of so many files that to read them all takes too long,
        SHA-256 of their names and of the contents of some."""
        return self.fingerprint

    @property
    def class_counts(self) -> list[int] | None:
        """The number of examples of each class; None for a set without classes."""
        return None

    def permutation(self, seed: int) -> Any:
        """The order of a training epoch: what gives the rows (n,) at a slice of its places."""
        return uniform(len(self), seed)

    def augmented(self, index: list[int], keys: np.ndarray) -> tuple:
        """The same examples, each augmented as its key (n,) uint64 says; unchanged in a set without augmentation."""
        return self.__getitems__(index)

    def training_batch(self, which: BatchIndex) -> tuple:
        """A training batch: these examples, augmented, and what a subclass puts beside them."""
        return self.__getitems__(which.index)

    def __getitem__(self, index: int) -> tuple:
        """One image (C, H, W) and its label (), or whatever a row of this set's batches is."""
        batch = self.__getitems__([index])
        return type(batch)(*(field[0] for field in batch))


class Rows(Examples):
    """One batch that holds the whole set: to take a few rows of it is one indexing operation.

    Args:
        every: a batch of `gan_lightning.batches`, all of whose fields have N rows.
    """

    def __init__(self, every: Any) -> None:
        self.every = every

    def __len__(self) -> int:
        return len(self.every[0])

    def __getitems__(self, index: list[int]) -> tuple:
        # By numpy, in one thread: as fast as torch's, whose threads wait for each other when the machine is busy.
        rows = np.asarray(index, dtype=np.int64)
        return type(self.every)(*(torch.from_numpy(field.numpy().take(rows, axis=0)) for field in self.every))


class Derived(Examples):
    """Examples that are made of another set's.

    Args:
        images: that set, whose batches begin with the images.
        how: what they are made by, in words; the fingerprints are SHA-256 of the other set's and of these.
    """

    def __init__(self, images: Examples, how: str) -> None:
        self.images, self._how = images, how

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        return self._made_of(self.images.fingerprint)

    @property
    def quick_fingerprint(self) -> str:
        return self._made_of(self.images.quick_fingerprint)

    def _made_of(self, fingerprint: str) -> str:
        return hashlib.sha256(f"{fingerprint} {self._how}".encode()).hexdigest()


class InMemory(Rows):
    """Tensors that hold a whole set of images with labels.

    Args:
        image: (N, C, H, W), uint8 for images; float in [-1, 1] passes to the model as it is.
        label: (N,) int64.
    """

    def __init__(self, image: Tensor, label: Tensor) -> None:
        super().__init__(Labeled(image, label))
        self.image, self.label = image, label

    @property
    def class_counts(self) -> list[int] | None:
        return self.label.bincount().tolist()
