"""Pairs of image files: what is, and what it should become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from gan_lightning.batches import Paired
from gan_lightning.data.finding import (
    VALIDATION,
    holds,
    image_files,
    once,
    refuse_shared,
    refuse_splits,
    tell_loose,
)
from gan_lightning.data.paths import Paths
from gan_lightning.data.pictures import FileData, Pictures, folder_at
from gan_lightning.data.sets import Split
from gan_lightning.runtime.errors import printable, require_one_of
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Size

Pair = tuple[Path, ...]  # the files of the two images, or the one with both


class PairFiles(Pictures):
    """Pairs of images of one size, two files each or one with both side by side; what is drawn is drawn for both.

    Args:
        pairs: the files of a pair, or the one file.
        shape: (channels, height, width) of each image.
        swap: the second image is the source.
        reading: see :func:`read_pixels`.
    """

    _reducible = False  # the halves of a picture need not end between the decoder's blocks

    def __init__(
        self, pairs: Sequence[Pair], shape: tuple[int, int, int], swap: bool, reading: Reading = Reading()
    ) -> None:
        super().__init__((pair[0] for pair in pairs), shape, "whole", reading=reading)
        self.of_b = Paths(pair[1] for pair in pairs) if pairs and len(pairs[0]) == 2 else None
        self.swap = swap

    def files(self, row: int) -> Sequence[Path]:
        return (self.paths[row],) if self.of_b is None else (self.paths[row], self.of_b[row])

    def every_file(self) -> Paths:
        return self.paths if self.of_b is None else Paths(path for row in range(len(self)) for path in self.files(row))

    @property
    def how(self) -> str:
        return f"a pair, {super().how}"

    def read(self, row: int) -> list[np.ndarray]:
        """Source and target, (h, w, c) each.

        Raises:
            ValueError: naming a file that cannot be read, or whose halves or partner have another size.
        """
        files = self.files(row)
        images = [self.pixels(path) for path in files]
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in images]
        if len(files) == 1:
            height, width = images[0].shape[:2]
            if width <= height:
                raise ValueError(
                    f"{printable(files[0])} has {sizes[0]} pixels, and a pair side by side is wider than high: "
                    "where its images are in two folders, call these A and B, or give --data.second that of B"
                )
            if width % 2:
                raise ValueError(
                    f"{printable(files[0])} is {width} pixels wide, and no pair of images side by side is odd"
                )
            images = [images[0][:, : width // 2], images[0][:, width // 2 :]]
        elif images[0].shape != images[1].shape:
            a, b = map(printable, files)
            raise ValueError(f"unequal sizes in a pair: {a} has {sizes[0]} pixels, {b} {sizes[1]}")
        return images[::-1] if self.swap else images

    def pack(self, index: list[int], images: list[Tensor]) -> Paired:
        return Paired(*images)

    @property
    def about(self) -> str:
        return f"{super().about} {self.swap}"


def by_stem(folder: Path) -> dict[str, Path]:
    """The images under a folder by their paths below it without suffixes.

    Raises:
        ValueError: two images that differ in their suffix only.
    """
    found: dict[str, Path] = {}
    paths = image_files(folder, names=True)  # of two names of one picture each has a partner of its own
    refuse_splits(folder, paths, "--data.root")
    for path in paths:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            pair = f"{printable(found[stem])} and {printable(path)}"
            raise ValueError(f"{pair} would have the same partner: remove one")
        found[stem] = path
    return found


def matched(a: Path, b: Path) -> list[Pair]:
    """The pairs of images of one name in two folders.

    Raises:
        ValueError: naming an image without a partner, or that is in both folders.
    """
    of_a, of_b = by_stem(a), by_stem(b)
    refuse_shared(list(of_a.values()), list(of_b.values()), "A and in B")
    alone = sorted(
        printable(one[stem]) for one, other in ((of_a, of_b), (of_b, of_a)) for stem in one.keys() - other.keys()
    )
    if alone:
        more = f", nor have {len(alone) - 1} more" if len(alone) > 1 else ""
        raise ValueError(
            f"{alone[0]} has no partner of its name among the images of {printable(a)} and {printable(b)}{more}"
        )
    return once([(of_a[stem], of_b[stem]) for stem in sorted(of_a)], a)


def side_by_side(folder: Path) -> list[Pair]:
    paths = image_files(folder)
    refuse_splits(folder, paths, "--data.root")
    return [(path,) for path in paths]


class Layout:
    """Where the pairs of each split are: a folder of pictures of both, or one of A and one of B.

    Args:
        root: the folder that is given.
        second: the folder of B, where `root` is that of A.
    """

    def __init__(self, root: Path, second: Path | None) -> None:
        self.a, self.b, self.lettered = root, second, False
        if second is None and not (root / "train").is_dir():
            self.lettered = any((root / f"train{letter}").is_dir() for letter in "AB")
            if not self.lettered and all((root / letter).is_dir() for letter in "AB"):
                self.a, self.b = root / "A", root / "B"
        self.roots = [self.a] if self.b is None else [self.a, self.b]

    def folders(self, split: str) -> list[Path]:
        """Those of a split, whether they are there or not; of all splits, "" ."""
        if self.lettered:
            return [self.a / f"{split}{letter}" for letter in "AB"]
        return [folder / split for folder in self.roots]

    def has(self, split: str) -> bool:
        return any(folder.is_dir() for folder in self.folders(split))

    def pairs(self, split: str) -> list[Pair]:
        """Those of a split.

        Raises:
            FileNotFoundError: the folder of one of the two is not there.
            ValueError: images that make no pairs.
        """
        folders = self.folders(split)
        for folder in folders:
            if not folder.is_dir():
                other = next(printable(other) for other in folders if other is not folder)
                raise FileNotFoundError(f"there is no folder {printable(folder)}, to make pairs with {other}")
        return matched(*folders) if len(folders) == 2 else side_by_side(*folders)


class PairedImages(FileData):
    """Pairs of image files, side by side in one (as pix2pix ships them) or of one name in two folders.

    `root` holds `train` and, for validation, `val` or `test`, folders of images with A left and B right; or `trainA`
    and `trainB` with `valA`, `valB` or `testA`, `testB`, whose images are matched by name without suffix; or the
    folders `A` and `B`, as pix2pix's are before they are combined; or `root` and `second` are these two. `A` and `B`
    may have `train` and `val` or `test` inside. Without `train`, all images of a folder are meant. Where nothing is
    meant for validation, a share of the pairs, chosen by a hash of the name, is held out. Images are stretched to
    `size`, as in the paper (arXiv:1611.07004), in training to `jitter`, of which a random `size` is taken, and mirrored
    at random, both images of a pair alike. Batches are `Paired`.

    Args:
        root: the folder.
        second: the folder of the B images, where `root` holds the A images.
        direction: "AtoB" makes B of A.
        size: of the images, one number for both sides or [height, width].
        jitter: what the shorter side of training images is resized to before a crop of `size` is taken; the other side
            in proportion.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training pairs at random.
        val_fraction: share held out, from 0 up to but not 1, where no pairs are meant for validation.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no images, an image has no partner, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        second: str | None = None,
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        size: Size = 256,
        jitter: int | None = 286,
        channels: int = 3,
        flip: bool = True,
        val_fraction: float = 0.05,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 1,
        num_workers: int = 2,
    ) -> None:
        self.root = folder_at(root, "--data.root a folder of pairs")
        self.second = None if second is None else folder_at(second, "--data.second the folder of the B images")
        name = f"PairedImages({printable(self.root)})"
        super().__init__(name, size, jitter, channels, flip, val_fraction, batch_size, num_workers, white, max_pixels)
        require_one_of("direction", direction, "AtoB", "BtoA")
        self.swap = direction == "BtoA"
        self.train, self.val = self._find()
        if not self.train:
            raise ValueError(f"no pairs for training: {holds(self.root)}")

    def _find(self) -> tuple[list[Pair], list[Pair]]:
        """The pairs of the splits.

        Raises:
            FileNotFoundError, ValueError: see :meth:`Layout.pairs`; a split without training, or with its pictures.
        """
        layout = Layout(self.root, self.second)
        held = next((name for name in VALIDATION if layout.has(name)), None)
        inner = "train" if layout.has("train") else ""
        if held and not inner:
            raise ValueError(f"{printable(layout.a)} has the folder {held}, but no train: give the training images")
        train = layout.pairs(inner)
        for folder in layout.roots if inner else ():
            tell_loose(folder, ["train", held] if held else ["train"])
        if held:
            val = layout.pairs(held)
            files = [[path for pair in pairs for path in pair] for pairs in (train, val)]
            refuse_shared(files[0], files[1], f"train and in {held}")
            return train, val
        base = layout.folders(inner)[0] if inner else layout.a
        apart = set(self.apart([pair[0] for pair in train], base, "val"))
        return [pair for pair in train if pair[0] not in apart], [pair for pair in train if pair[0] in apart]

    def load(self, split: Split) -> PairFiles:
        return PairFiles(self.train if split == "train" else self.val, self.image_shape, self.swap, self.reading)
