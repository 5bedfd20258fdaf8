"""MNIST and Fashion-MNIST, read from their original files."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision.datasets

from gan_lightning.data.base import ImageData, data_root, download, not_found, resize
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.runtime.sizes import Size, sides_of

STEMS = {"train": "train", "val": "t10k"}
KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not.

    Raises:
        ValueError: the file is no IDX file of bytes, or is cut off.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        kind, dimensions = struct.unpack(">HBB", content[:4])[1:]
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        if kind != 8:  # the format's code for unsigned bytes
            raise ValueError(f"its elements are of kind {kind}, not bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (ValueError, struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, so that it is downloaded again") from None


class MNIST(ImageData):
    """Handwritten digits (LeCun, Bottou, Bengio, Haffner 1998): 60,000 to train, the 10,000 test images as "val".

    The four files may be gzipped or not, in `root` itself or in torchvision's `<root>/MNIST/raw`; a read-only folder
    will do. They are downloaded by torchvision when they are in neither place.

    Args:
        size: of the images, one number for both sides or [height, width]; other than 28 they are resized once, bilinear
            with antialiasing, and stretched where the sides differ.
        root: the folder; by default $GAN_LIGHTNING_DATA/mnist, or ~/.cache/gan_lightning/mnist.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    published = torchvision.datasets.MNIST
    names = tuple("0123456789")
    extractor = "DigitFeatures"

    def __init__(self, size: Size = 28, root: str | None = None, batch_size: int = 64, num_workers: int = 0) -> None:
        super().__init__(type(self).__name__, (1, *sides_of(size)), 10, batch_size, num_workers)
        self.root = data_root(self.name, root)
        self.classes = list(self.names)

    def _file(self, stem: str, kind: str) -> Path | None:
        folders = (self.root / self.published.__name__ / "raw", self.root)
        candidates = (folder / f"{stem}-{kind}{suffix}" for folder in folders for suffix in ("", ".gz"))
        return next((path for path in candidates if path.is_file()), None)

    def prepare_data(self) -> None:
        """Download what is missing.

        Raises:
            FileNotFoundError: it could not be.
        """
        needed = [(stem, kind) for stem in STEMS.values() for kind in KINDS]
        download(
            self.name,
            self.root,
            ", ".join(f"{stem}-{kind}[.gz]" for stem, kind in needed),
            there=lambda: all(self._file(stem, kind) for stem, kind in needed),
            fetch=partial(self.published, self.root, download=True),
        )

    def load(self, split: Split) -> InMemory:
        paths = [path for kind in KINDS if (path := self._file(STEMS[split], kind)) is not None]
        if len(paths) < len(KINDS):
            raise not_found(self.name, self.root, "its four IDX files", "prepare_data() was not called")
        levels, label = map(read_idx, paths)  # (N, 28, 28), (N,)
        image = torch.from_numpy(levels.copy()).unsqueeze(1)  # a copy, because the file's bytes are read-only
        return InMemory(resize(image, self.image_shape[1:]), torch.from_numpy(label.astype(np.int64)))


class FashionMNIST(MNIST):
    """Photographs of clothes in MNIST's format (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747): 60,000 and 10,000.

    Args: as :class:`MNIST`; the folder is `fashionmnist`, torchvision's layout `<root>/FashionMNIST/raw`.
    """

    published = torchvision.datasets.FashionMNIST
    names = tuple(published.classes)
    extractor = "Inception"
