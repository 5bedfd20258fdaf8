"""Images with captions, and which captions are wrong of them."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Hashable, Sequence
from functools import cached_property

import numpy as np
import torch

from gan_lightning.batches import BatchIndex, Captioned
from gan_lightning.data.sets import Examples
from gan_lightning.noise import hashes, key
from gan_lightning.text import tokens_of


class CaptionedExamples(Examples):
    """Images of a set, each with a caption, and with a wrong one: of another image, with another meaning.

    In training both are drawn uniformly, the caption of those of the image, the wrong one of all captions whose
    meaning none of the image's own has. Which ones depends on the seed, the epoch and the row: on no worker and no
    rank, so that a resumed run and several processes see the same. Outside of training the caption is the image's
    first, and the wrong one depends on the row alone.

    Args:
        name: of the set, for messages.
        images: the set, whose batches begin with the images.
        texts: the captions of each image, one or more.
        vocabulary, length: see :func:`gan_lightning.text.tokens`.
        meanings: of each caption, in the same order; None for its tokens, so that wrong captions differ from right
            ones in what a model sees.

    Raises:
        ValueError: all captions have a meaning in common with an image, so that none is wrong of it.
    """

    def __init__(
        self,
        name: str,
        images: Examples,
        texts: Sequence[Sequence[str]],
        vocabulary: list[str],
        length: int,
        meanings: Sequence[Sequence[Hashable]] | None = None,
    ) -> None:
        self.images, self.texts, self.vocabulary, self.seed = images, texts, vocabulary, 0
        every = [text for of_image in texts for text in of_image]
        self.token = tokens_of(every, vocabulary, length)
        self._count = np.array([len(of_image) for of_image in texts], np.int64)
        self._first = self._count.cumsum() - self._count  # where an image's captions begin
        if meanings is None:
            flat: list[Hashable] = [row.tobytes() for row in self.token.numpy()]
        else:
            flat = [meaning for of_image in meanings for meaning in of_image]
        numbers: dict[Hashable, int] = {}
        number = np.array([numbers.setdefault(meaning, len(numbers)) for meaning in flat], np.int64)
        # The captions by meaning: those that are right of an image are a few blocks of them, the others all wrong.
        self._by_meaning = number.argsort(kind="stable")
        size = np.bincount(number)
        begin = size.cumsum() - size
        self._right = []  # of each image its blocks, as begin and size, in their order
        self._wrong = np.empty(len(texts), np.int64)  # how many captions are wrong of it
        for row, (first, count) in enumerate(zip(self._first, self._count, strict=True)):
            own = np.unique(number[first : first + count])
            self._right.append(np.stack([begin[own], size[own]], 1))
            self._wrong[row] = len(flat) - size[own].sum()
        if not self._wrong.all():
            row = int(np.argmin(self._wrong))
            raise ValueError(
                f"{name}: no caption is wrong of the image with the caption {texts[row][0]!r}, as all {len(texts)} "
                "images of its split share it: matching-aware training needs images with other captions"
            )

    def in_training(self, seed: int, images: Examples | None = None) -> CaptionedExamples:
        """The same set with a seed for the draws of training, and with augmented images if they are given."""
        other = copy.copy(self)
        other.seed, other.images = seed, self.images if images is None else images
        return other

    def __len__(self) -> int:
        return len(self.images)

    @property
    def captions(self) -> list[str]:
        """The first caption of each image."""
        return [of_image[0] for of_image in self.texts]

    def _wrong_of(self, row: int, draw: int) -> int:
        """The caption that is the draw-th, beginning again at the end, of those that are wrong of an image."""
        place = draw % int(self._wrong[row])
        for begin, size in self._right[row]:
            if place >= begin:
                place += int(size)
        return int(self._by_meaning[place])

    def _batch(self, index: list[int], image: torch.Tensor, own: np.ndarray, draws: np.ndarray) -> Captioned:
        wrong = [self._wrong_of(row, int(draw)) for row, draw in zip(index, draws, strict=True)]
        return Captioned(image, self.token[torch.from_numpy(self._first[index] + own)], self.token[wrong])

    def __getitems__(self, index: list[int]) -> Captioned:
        own = np.zeros(len(index), np.int64)
        return self._batch(index, self.images.__getitems__(index)[0], own, hashes(key(0), index))

    def training_batch(self, which: BatchIndex) -> Captioned:
        index = which.index
        own, draws = (hashes(key(self.seed, which.epoch, place), index) for place in (2, 3))
        own = (own % self._count[index].astype(np.uint64)).astype(np.int64)
        return self._batch(index, self.images.training_batch(which)[0], own, draws)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images' fingerprint, their captions and the vocabulary."""
        about = [self.images.fingerprint, self.texts, self.vocabulary, self.token.shape[1]]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()
