"""Two sets of images side by side, no two of them a pair."""

from __future__ import annotations

import codecs
import hashlib
import os
from functools import cached_property
from pathlib import Path

import numpy as np

from gan_lightning.batches import BatchIndex, Unpaired
from gan_lightning.data.finding import VALIDATION, holds, image_files, named_images, once, refuse_shared, refuse_splits
from gan_lightning.data.paths import Paths
from gan_lightning.data.pictures import FileData, Pictures, folder_at
from gan_lightning.data.sets import Examples, Split
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.reading import MAX_PIXELS
from gan_lightning.runtime.sizes import Size


class Domains(Examples):
    """Images of two domains. There are as many rows as the larger domain has images; the smaller begins again.

    In training each image of domain A stands beside one of domain B that is drawn at random. Which one depends on the
    seed, the epoch and the row: on no worker, no rank, and not on the batch, so that a resumed run and several
    processes see the same.

    Args:
        a, b: the images, the first field of what these sets answer.
        seed: of the draws.
    """

    def __init__(self, a: Examples, b: Examples, seed: int = 0) -> None:
        self.a, self.b, self.seed = a, b, seed

    def __len__(self) -> int:
        return max(len(self.a), len(self.b)) if len(self.a) and len(self.b) else 0

    def __getitems__(self, index: list[int]) -> Unpaired:
        of_a, of_b = ([i % len(domain) for i in index] for domain in (self.a, self.b))
        return Unpaired(self.a.__getitems__(of_a)[0], self.b.__getitems__(of_b)[0])

    def training_batch(self, which: BatchIndex) -> Unpaired:
        of_a = [i % len(self.a) for i in which.index]
        coins = [hashes(key(self.seed, which.epoch, place), which.index) for place in range(3)]
        of_b = (coins[0] % np.uint64(len(self.b))).tolist()
        return Unpaired(self.a.augmented(of_a, coins[1])[0], self.b.augmented(of_b, coins[2])[0])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of both domains' fingerprints."""
        return hashlib.sha256(f"{self.a.fingerprint} {self.b.fingerprint}".encode()).hexdigest()

    @property
    def quick_fingerprint(self) -> str:
        both = f"{self.a.quick_fingerprint} {self.b.quick_fingerprint}"
        return hashlib.sha256(both.encode()).hexdigest()


class UnpairedImages(FileData):
    """Two folders, or lists, of image files: no image of one is the other's pair.

    As CycleGAN's sets are laid out (arXiv:1703.10593), `root` holds the folders `trainA` and `trainB`, and for
    validation `valA` and `valB` or `testA` and `testB`. `a` and `b` name others below `root` (or anywhere, by a whole
    path): folders, or text files that list images, one on a line, by paths below `root` or `root/images`. Where the
    last part of a name says "train", the one that says "val" or "test" instead is for validation; where there is none,
    a share of the images, chosen by a hash of the name, is held out. From each image the middle is taken, in the
    proportions of `size`, and resized, in training to `jitter`, of which a random `size` is taken, and mirrored at
    random. Batches are `Unpaired`.

    Args:
        root: the folder.
        a, b: folder or list of the domain; None for `trainA` and `trainB`, or `A` and `B`.
        size: of the images, one number for both sides or [height, width].
        jitter: what the shorter side of training images is resized to before a crop of `size` is taken; the other side
            in proportion.
        crop: shorter side of the middle in the images' own pixels, 178 for the whole faces of CelebA; None for as much
            as there is.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images at random, each by a coin of its own.
        val_fraction: share held out, from 0 up to but not 1, of a domain of which nothing is meant for validation.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        FileNotFoundError: there is no such folder, list or listed image.
        ValueError: a domain is empty, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        a: str | None = None,
        b: str | None = None,
        size: Size = 256,
        jitter: int | None = 286,
        crop: int | None = None,
        channels: int = 3,
        flip: bool = True,
        val_fraction: float = 0.05,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 1,
        num_workers: int = 2,
    ) -> None:
        self.root = folder_at(root, "--data.root a folder of two domains")
        name = f"UnpairedImages({printable(self.root)})"
        super().__init__(name, size, jitter, channels, flip, val_fraction, batch_size, num_workers, white, max_pixels)
        if crop is not None and crop < 1:
            raise ValueError(f"crop must be positive, not {crop}; leave it out for the whole short side")
        self.crop = crop
        self.paths = {letter: self._domain(letter, given) for letter, given in (("A", a), ("B", b))}
        every = {letter: [*splits["train"], *splits["val"]] for letter, splits in self.paths.items()}
        refuse_shared(every["A"], every["B"], "domain A and in domain B")

    def _domain(self, letter: str, given: str | None) -> dict[Split, Paths]:
        """The images of the splits of a domain."""
        names = [f"train{letter}", letter] if given is None else [given]
        found = [path for name in names if (path := self.root / Path(name).expanduser()).exists()]
        if not found:
            raise FileNotFoundError(
                f"there is no {' or '.join(map(printable, names))} in {printable(self.root)}: name the folder, or list "
                f"of files, of domain {letter} with --data.{letter.lower()}"
            )
        source, flag = found[0], f"--data.{letter.lower()}"
        paths = self._listed(source, flag)
        if not paths:
            why = holds(source) if source.is_dir() else f"{printable(source)} has no images"
            raise ValueError(f"domain {letter} is empty: {why}")
        for word in VALIDATION:
            other = source.with_name(source.name.replace("train", word))
            if other != source and other.exists():
                val = self._listed(other, flag)
                refuse_shared(paths, val, f"{printable(source)} and in {printable(other)}")
                return {"train": paths, "val": val}
        base = source if source.is_dir() else self.root
        splits: dict[Split, Paths] = {split: self.apart(paths, base, split) for split in ("train", "val")}
        if not splits["train"]:
            raise ValueError(f"domain {letter} is empty: all {len(paths)} images of {printable(source)} are held out")
        return splits

    def _listed(self, source: Path, flag: str) -> Paths:
        """The images of a folder, or of a text file, each once."""
        if source.is_dir():
            paths = image_files(source)
            refuse_splits(source, paths, flag)
            return paths
        content = source.read_bytes().removeprefix(codecs.BOM_UTF8)
        if b"\0" in content:
            raise ValueError(f"{printable(source)} is neither a folder nor a text file that lists images")
        lines = (os.fsdecode(line).removesuffix("\r") for line in content.split(b"\n"))  # names may be of any bytes
        named = named_images(self.root, [line for line in lines if line.strip()], source)
        return Paths(path for (path,) in once([(path,) for path in named], source))

    def load(self, split: Split) -> Domains:
        a, b = (
            Pictures(self.paths[letter][split], self.image_shape, "middle", self.crop, reading=self.reading)
            for letter in ("A", "B")
        )
        return Domains(a, b)

    def sets(self, split: Split) -> list[Pictures]:
        both = self.reference(split)
        return [both.a, both.b]

    def training_set(self) -> Domains:
        a, b = (part.with_augmentation(self.jitter, self.mirror, self._seed) for part in self.sets("train"))
        return Domains(a, b, self._seed)
