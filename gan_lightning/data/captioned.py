"""Images with captions, and which captions are wrong of them."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from gan_lightning.batches import BatchIndex, Captioned
from gan_lightning.data.boxes import Boxed, read_boxes
from gan_lightning.data.caption_files import read_captions
from gan_lightning.data.paths import Paths
from gan_lightning.data.pictures import FileData, Pictures, folder_at
from gan_lightning.data.sets import Derived, Examples, Split
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.errors import printable, require_one_of
from gan_lightning.runtime.reading import MAX_PIXELS
from gan_lightning.runtime.sizes import Size
from gan_lightning.text import SPECIAL, Unit, caption_parts, tokens_of, vocabulary_of


class CaptionedExamples(Derived):
    """Images of a set, each with a caption, and with a wrong one: of another image, with another meaning.

    In training both are drawn uniformly, the caption of those of the image, the wrong one of all captions whose
    meaning none of the image's own has. Which ones depends on the seed, the epoch and the row: on no worker and no
    rank, so that a resumed run and several processes see the same. Outside of training the caption is the image's
    first, and the wrong one depends on the row alone.

    Args:
        name: of the set, for messages.
        images: the set, whose batches begin with the images.
        texts: the captions of each image, one or more.
        vocabulary, length: see :func:`gan_lightning.text.tokens_of`.
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
        super().__init__(images, "captions")
        self.texts, self.vocabulary, self.seed = texts, vocabulary, 0
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
                f"{name}: no caption is wrong of the image with the caption {texts[row][0]!r}: all captions of the "
                f"split, of {len(texts)} image{'s' * (len(texts) > 1)}, have the tokens of one of its own. Add images "
                "with other captions, hold out more of them or none (--data.val_fraction), or give more of a caption "
                "(--data.length, --data.min_count)"
            )

    def in_training(self, seed: int, images: Examples | None = None) -> CaptionedExamples:
        """The same set with a seed for the draws of training, and with augmented images if they are given."""
        other = copy.copy(self)
        other.seed, other.images = seed, self.images if images is None else images
        return other

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

    def _made_of(self, fingerprint: str) -> str:
        """SHA-256 of the images' fingerprint, their captions and the vocabulary."""
        about = [fingerprint, self.texts, self.vocabulary, self.token.shape[1]]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()


class CaptionedImages(FileData):
    """Image files with captions, any number of them for each picture.

    `root` has the pictures, or a folder `images` with them, and their captions in one of these forms:

    - a table, `captions.csv`, `.tsv` or `.txt` as Flickr8k's, with a header and a line for each caption: columns
      `image` (or `image_id`, `file_name` or the like) and `caption` (or `text`, `comment`, `sentence`, `description`),
      others are not read; commas, tabs, semicolons or bars between them, captions that have such in quotes;
    - `captions.json`, COCO's `images` and `annotations`, or an object of file names with a caption or a list of them;
    - a folder `text`, `text_c10` or `captions` with a .txt file for each picture, a caption on each line, in the
      sub-folders of the pictures, as CUB's: `text_c10/001.Albatross/one.txt` of `images/001.Albatross/one.jpg`;
    - such a .txt file beside each picture.

    `captions` names another file or folder: of COCO, root is `train2014` and captions
    `../annotations/captions_train2014.json`. All text is UTF-8.

    A share of the pictures, chosen by a hash of the name, is held out, each with all its captions. From each picture
    the middle is taken, in the proportions of `size`, and resized, in training to `jitter`, of which a random `size` is
    taken, and mirrored at random. Words are in lower case without punctuation. The vocabulary is that of the training
    captions: "<pad>", "<unk>", then the words that occur at least `min_count` times in them, the most frequent first;
    of characters as in :class:`gan_lightning.data.TextLines`. A wrong caption is one of another picture of the split,
    drawn evenly of all whose tokens no caption of this picture has. Batches are `Captioned`.

    Args:
        root: the folder.
        captions: file or folder of the captions, from the folder on; None to look for it.
        size: of the images, one number for both sides or [height, width].
        length: tokens of a caption, longer ones are cut; None for the longest of the training captions.
        unit: what a token is, a "word" or a "character".
        min_count: occurrences in the training captions that a word of the vocabulary has.
        jitter: what the shorter side of training images is resized to, the other in proportion, before a crop of `size`
            is taken at random, 76 for 64 in StackGAN's code (arXiv:1612.03242); None for that of `size`.
        crop: shorter side of the middle in the images' own pixels; None for as much as there is.
        boxes: CUB's `bounding_boxes.txt`, from the folder on, with `images.txt` and `images` beside it: a picture's
            window around its box takes the place of the picture.
        box_ratio: of a box to its window, along the longer side: 0.75 in the paper, 0.667 in StackGAN's code. A window
            that would reach beyond the picture is moved into it, not cut off, so that no part of the box is lost.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images at random, as StackGAN's code does; not where captions tell left from right.
        val_fraction: share held out, from 0 up to but not 1.
        batch_size: over all processes.
        num_workers: loader processes.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.

    Raises:
        FileNotFoundError: there is no such folder, no such file of captions, or a picture is missing.
        ValueError: captions that cannot be used, with their line; no word is frequent enough; a picture of which no
            caption is wrong; or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        captions: str | None = None,
        size: Size = 64,
        length: int | None = None,
        unit: Unit = "word",
        min_count: int = 1,
        jitter: int | None = None,
        crop: int | None = None,
        boxes: str | None = None,
        box_ratio: float = 0.75,
        channels: int = 3,
        flip: bool = True,
        val_fraction: float = 0.05,
        batch_size: int = 64,
        num_workers: int = 2,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.root = folder_at(root, "--data.root a folder of images with captions")
        name = f"CaptionedImages({printable(self.root)})"
        super().__init__(name, size, jitter, channels, flip, val_fraction, batch_size, num_workers, white, max_pixels)
        if min_count < 1 or (length is not None and length < 1):
            raise ValueError(f"length ({length}) and min_count ({min_count}) must be at least 1")
        require_one_of("unit", unit, "word", "character")
        if crop is not None and crop < 1:
            raise ValueError(f"crop must be positive, not {crop}; leave it out for the whole short side")
        if not 0 < box_ratio <= 1:
            raise ValueError(f"box_ratio must be above 0 and at most 1, not {box_ratio}")
        self.crop, self.boxes, self.box_ratio = crop, boxes, box_ratio
        self.texts = read_captions(self.root, captions)
        training = [caption_parts(text, unit) for path in self._paths("train") for text in self.texts[path]]
        if not training:
            raise ValueError(f"all {len(self.texts)} images of {name} are held out: use a smaller --data.val_fraction")
        self.vocabulary: list[str] = vocabulary_of(training, unit, min_count)
        if not {word for words in training for word in words} & set(self.vocabulary[len(SPECIAL) :]) - {" "}:
            raise ValueError(f"no {unit} of the captions occurs {min_count} times: use a smaller --data.min_count")
        self.length: int = max(map(len, training)) if length is None else length

    def _paths(self, split: Split) -> Paths:
        return self.apart(sorted(self.texts), self.root, split)

    def load(self, split: Split) -> CaptionedExamples:
        paths = self._paths(split)
        kind = Pictures if self.boxes is None else Boxed
        images = kind(paths, self.image_shape, "middle", self.crop, reading=self.reading)
        if self.boxes is not None and isinstance(images, Boxed):
            images.boxes, images.ratio = read_boxes(self.root / self.boxes, paths), self.box_ratio
        name = f"{self.name}, split {split}"
        return CaptionedExamples(name, images, [self.texts[path] for path in paths], self.vocabulary, self.length)

    def sets(self, split: Split) -> list[Pictures]:
        return [self.reference(split).images]

    def training_set(self) -> CaptionedExamples:
        examples = self.reference("train")
        return examples.in_training(self._seed, examples.images.with_augmentation(self.jitter, self.mirror, self._seed))
