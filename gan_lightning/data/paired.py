"""Pairs of image files: what is, and what it should become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from gan_lightning.batches import Paired
from gan_lightning.data.folder import SUFFIXES, image_files, read_pixels
from gan_lightning.data.pictures import FileData, Pictures, folder_at
from gan_lightning.data.sets import Split


class PairFiles(Pictures):
    """Pairs of images of one size, two files each or one with both side by side; what is drawn is drawn for both.

    Args:
        pairs: the files of a pair, or the one file.
        shape: (channels, height, width) of each image.
        swap: the second image is the source.
    """

    def __init__(self, pairs: Sequence[tuple[Path, ...]], shape: tuple[int, int, int], swap: bool) -> None:
        super().__init__([pair[0] for pair in pairs], shape, "whole")
        self.pairs, self.swap = list(pairs), swap

    def read(self, row: int) -> list[np.ndarray]:
        """Source and target, (h, w, c) each.

        Raises:
            ValueError: naming a file that cannot be read, or whose halves or partner have another size.
        """
        files = self.pairs[row]
        images = [read_pixels(path, self.shape[0]) for path in files]
        if len(files) == 1:
            width = images[0].shape[1]
            if width % 2:
                raise ValueError(f"{files[0]} is {width} pixels wide, and no pair of images side by side is odd")
            images = [images[0][:, : width // 2], images[0][:, width // 2 :]]
        elif images[0].shape != images[1].shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in images]
            raise ValueError(f"unequal sizes in a pair: {files[0]} has {sizes[0]} pixels, {files[1]} {sizes[1]}")
        return images[::-1] if self.swap else images

    def pack(self, index: list[int], images: list[Tensor]) -> Paired:
        return Paired(*images)

    def files(self) -> Iterator[Path]:
        return (path for pair in self.pairs for path in pair)

    @property
    def about(self) -> str:
        return f"{super().about} {self.swap}"


def by_stem(folder: Path) -> dict[str, Path]:
    """The images under a folder by their paths below it without suffixes.

    Raises:
        ValueError: two images that differ in their suffix only.
    """
    found: dict[str, Path] = {}
    for path in image_files(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise ValueError(f"{found[stem]} and {path} would have the same partner: remove one")
        found[stem] = path
    return found


def matched(a: Path, b: Path) -> list[tuple[Path, ...]]:
    """The pairs of images of one name in two folders.

    Raises:
        ValueError: naming an image without a partner.
    """
    of_a, of_b = by_stem(a), by_stem(b)
    alone = sorted(str(one[stem]) for one, other in ((of_a, of_b), (of_b, of_a)) for stem in one.keys() - other.keys())
    if alone:
        more = f", nor have {len(alone) - 1} more" if len(alone) > 1 else ""
        raise ValueError(f"{alone[0]} has no partner of its name among the images of {a} and {b}{more}")
    return [(of_a[stem], of_b[stem]) for stem in sorted(of_a)]


def side_by_side(folder: Path) -> list[tuple[Path, ...]]:
    return [(path,) for path in image_files(folder)]


class PairedImages(FileData):
    """Pairs of image files, side by side in one (as pix2pix ships them) or of one name in two folders.

    `root` holds `train` and, for validation, `val` or `test`, folders of images with A left and B right; or `trainA`
    and `trainB` with `valA`, `valB` or `testA`, `testB`, whose images are matched by name without suffix; or `root` and
    `second` are the two folders, which may have `train` and `val` or `test` inside. Without `train`, all images of a
    folder are meant. Where nothing is meant for validation, a share of the pairs, chosen by a hash of the name, is held
    out. Images are stretched to a square, as in the paper (arXiv:1611.07004), in training to `jitter`, of which a
    random `size` is taken, and mirrored at random, both images of a pair alike. Batches are `Paired`.

    Args:
        root: the folder.
        second: the folder of the B images, where `root` holds the A images.
        direction: "AtoB" makes B of A.
        size: height and width of the images.
        jitter: what training images are resized to before a crop of `size` is taken.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        flip: mirror training pairs at random.
        val_fraction: share held out, from 0 up to but not 1, where no pairs are meant for validation.
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
        size: int = 256,
        jitter: int | None = 286,
        channels: int = 3,
        flip: bool = True,
        val_fraction: float = 0.05,
        batch_size: int = 1,
        num_workers: int = 2,
    ) -> None:
        self.root = folder_at(root, "--data.root a folder of pairs")
        self.second = None if second is None else folder_at(second, "--data.second the folder of the B images")
        name = f"PairedImages({self.root})"
        super().__init__(name, size, jitter, channels, flip, val_fraction, batch_size, num_workers)
        if direction not in ("AtoB", "BtoA"):
            raise ValueError(f'direction must be "AtoB" or "BtoA", not {direction!r}')
        self.swap = direction == "BtoA"
        self.train, self.val = self._find()
        if not self.train:
            raise ValueError(f"{self.root} holds no pairs for training (files that end in {' '.join(SUFFIXES)})")

    def _find(self) -> tuple[list[tuple[Path, ...]], list[tuple[Path, ...]]]:
        """The pairs of the splits."""
        root, second = self.root, self.second
        if second is None and (root / "trainA").is_dir() and (root / "trainB").is_dir():
            train = matched(root / "trainA", root / "trainB")
            for name in ("val", "test"):
                if (root / f"{name}A").is_dir():
                    return train, matched(root / f"{name}A", folder_at(str(root / f"{name}B"), "the B images"))
            base = root / "trainA"
        else:
            inner = "train" if (root / "train").is_dir() else ""

            def pairs(part: str) -> list[tuple[Path, ...]]:
                if second is None:
                    return side_by_side(root / part)
                return matched(root / part, folder_at(str(second / part), "the B images"))

            train, base = pairs(inner), root / inner
            for name in ("val", "test") if inner else ():
                if (root / name).is_dir():
                    return train, pairs(name)
        val = set(self.apart([pair[0] for pair in train], base, "val"))
        return [pair for pair in train if pair[0] not in val], [pair for pair in train if pair[0] in val]

    def load(self, split: Split) -> PairFiles:
        return PairFiles(self.train if split == "train" else self.val, self.image_shape, self.swap)
