"""CIFAR-10, from the official batches or from npz files that can be carried to a machine without a network."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision.datasets
from PIL import Image
from torch import Tensor

from gan_lightning.data.base import ImageData, cropped, data_root, download, resize
from gan_lightning.data.sets import InMemory, Split
from gan_lightning.runtime.sizes import Size, sides_of

JPEG_FILES = {"train": "cifar10_jpeg_train.npz", "val": "cifar10_jpeg_test.npz"}
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LOSSLESS_FILE = "cifar10_lossless_train4000.npz"


def decode_all(data: np.ndarray, offset: np.ndarray) -> Tensor:
    """(N, 3, H, W) uint8 of JPEG files that lie one after another: image i is `data[offset[i]:offset[i + 1]]`.

    50,000 images of 32x32 take four seconds; most of that is Python's, so threads would not help.
    """
    files = (data[a:b].tobytes() for a, b in zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True))
    images = [np.asarray(Image.open(io.BytesIO(file), formats=["JPEG"]).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


class CIFAR10(ImageData):
    """Small photographs of ten classes (Krizhevsky 2009): 50,000 to train, the 10,000 test images as "val".

    Where it comes from (`source`):

    - "official": the batches in `<root>/cifar-10-batches-py`, downloaded by torchvision when absent.
    - "jpeg": `cifar10_jpeg_train.npz` and `cifar10_jpeg_test.npz`, all images recompressed as JPEG (`jpeg`: the files'
      bytes one after another, `offset`, `label`). **Scores on them are not comparable with published ones**, nor with
      scores on the official images; the set is therefore named "CIFAR10-jpeg".
    - "lossless4000": `cifar10_lossless_train4000.npz`, the first 4,000 training images (`image` (N, 32, 32, 3),
      `label`), every tenth of which is "val"; named "CIFAR10-lossless4000".
    - "auto": the official batches if they are in `root`, else the JPEG files if those are, else a download.

    Args:
        source: see above.
        size: of the images, one number for both sides or [height, width]; other than 32 they are cropped in the middle
            to its proportions and resized once, bilinear with antialiasing.
        flip: mirror training images left to right at random.
        root: the folder; by default $GAN_LIGHTNING_DATA/cifar10, or ~/.cache/gan_lightning/cifar10.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.
    """

    def __init__(
        self,
        source: Literal["auto", "official", "jpeg", "lossless4000"] = "auto",
        size: Size = 32,
        flip: bool = False,
        root: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        self.root = data_root("CIFAR10", root)
        if source == "auto":
            carried = all((self.root / file).is_file() for file in JPEG_FILES.values())
            source = "jpeg" if carried and not self._has_official() else "official"
        self.source = source
        name = "CIFAR10" if source == "official" else f"CIFAR10-{source}"
        super().__init__(name, (3, *sides_of(size)), len(NAMES), batch_size, num_workers, flip)
        self.classes = NAMES

    def _has_official(self) -> bool:
        published = torchvision.datasets.CIFAR10
        return any((self.root / place).exists() for place in (published.base_folder, published.filename))

    def prepare_data(self) -> None:
        """Download the official batches, or unpack their archive, where they are asked for and absent.

        Raises:
            FileNotFoundError: the source's files are not there.
        """
        if self.source == "official":
            files = f"{torchvision.datasets.CIFAR10.filename} (or {' and '.join(JPEG_FILES.values())})"
            fetch = partial(torchvision.datasets.CIFAR10, self.root, download=True)
            download("CIFAR10", self.root, files, lambda: False, fetch)  # torchvision looks itself, by hashes
            return
        for file in JPEG_FILES.values() if self.source == "jpeg" else (LOSSLESS_FILE,):
            if not (self.root / file).is_file():
                raise FileNotFoundError(
                    f"{self.root / file} does not exist: put it there, choose another --data.source, or set "
                    "GAN_LIGHTNING_DATA to the folder that holds cifar10/"
                )

    def load(self, split: Split) -> InMemory:
        if self.source == "official":
            published = torchvision.datasets.CIFAR10(self.root, train=split == "train")
            image, label = torch.from_numpy(published.data).permute(0, 3, 1, 2), torch.tensor(published.targets)
        elif self.source == "jpeg":
            file = _read(self.root / JPEG_FILES[split], "jpeg", "offset", "label")
            image, label = decode_all(file["jpeg"], file["offset"]), torch.from_numpy(file["label"]).long()
        else:
            file = _read(self.root / LOSSLESS_FILE, "image", "label")
            rows = (np.arange(len(file["label"])) % 10 == 9) == (split == "val")
            image = torch.from_numpy(file["image"][rows]).permute(0, 3, 1, 2)
            label = torch.from_numpy(file["label"][rows]).long()
        sides = self.image_shape[1:]
        return InMemory(resize(cropped(image, sides).contiguous(), sides), label)


def _read(path: Path, *names: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{path} is not the npz file it should be ({error}): copy it again") from None
