"""What every data module shares: whole-batch sets, the order of training, and the loaders that Lightning runs.

Nothing about the order is stored. Batch number `iteration` of a run is a function of the seed and of that number, so a
run that stops anywhere, in the middle of an epoch too, goes on with the very batch it would have seen.
"""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gan_lightning.batches import Draw, Labeled, PartlyLabeled, Unpaired
from gan_lightning.cache import cache_folder
from gan_lightning.noise import global_seed, key

Split = Literal["train", "val"]


class ImageSet(Dataset, ABC):
    """Images, and what a set knows of them, un-augmented, that answer a whole batch at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, index: list[int]) -> tuple:
        """One of the batches of `gan_lightning.batches`, of these indices: images are uint8 (float for points)."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all images: the same for the same pixels in the same order, whatever the set is called."""
        digest = hashlib.sha256()
        for first in range(0, len(self), 1000):
            for image in pictures(self.__getitems__(list(range(first, min(first + 1000, len(self)))))).values():
                digest.update(f"{image.dtype} {tuple(image.shape)}".encode())
                digest.update(image.contiguous().numpy())
        return digest.hexdigest()

    def varied(self, index: list[int], keys: np.ndarray) -> tuple:
        """The same images, each augmented as its key (n,) uint64 says; as they are where a set has nothing to vary."""
        return self.__getitems__(index)

    def drawn(self, draw: Draw) -> tuple:
        """A training batch: the images of a draw, and what a subclass puts beside them."""
        return self.__getitems__(draw.index)

    def __getitem__(self, index: int) -> tuple:
        """One image (C, H, W) and its label (), or whatever a row of this set's batches is."""
        batch = self.__getitems__([index])
        return type(batch)(*(field[0] for field in batch))


def pictures(batch: tuple) -> dict[str, Tensor]:
    """The fields of a batch that have a place in the plane, (B, C, H, W): its images and masks."""
    return {name: field for name, field in zip(batch._fields, batch, strict=True) if field.ndim == 4}


class Rows(ImageSet):
    """One batch that holds the whole set: to take a few rows of it is one indexing operation.

    Args:
        every: a batch of `gan_lightning.batches`, all of whose fields have N rows.
    """

    def __init__(self, every: tuple) -> None:
        self.every = every

    def __len__(self) -> int:
        return len(self.every[0])

    def __getitems__(self, index: list[int]) -> tuple:
        # By numpy, in one thread: as fast as torch's, whose threads wait for each other when the machine is busy.
        rows = np.asarray(index, dtype=np.int64)
        return type(self.every)(*(torch.from_numpy(field.numpy().take(rows, axis=0)) for field in self.every))


class InMemory(Rows):
    """Tensors that hold a whole set of images with labels.

    Args:
        image: (N, C, H, W), uint8 for images; float in [-1, 1] passes to the model as it is.
        label: (N,) int64.
    """

    def __init__(self, image: Tensor, label: Tensor) -> None:
        super().__init__(Labeled(image, label))
        self.image, self.label = image, label


class TrainingOrder(Sampler[Draw]):
    """The batches of one process, from the model's position on; a function of (seed, iteration) alone.

    Batch `iteration` (from 0) is number `iteration % n` of epoch `iteration // n`, n = count // batch_size, in that
    epoch's own permutation. Rank r of W takes rows [r * b, (r + 1) * b) of each, b = batch_size / W, so W processes
    together train on the batches that one process would.

    Iterating gives n batches, across the end of the epoch if it begins within one: Lightning counts its epochs itself
    and stops in time, and never runs dry when it counts differently (`limit_train_batches`).

    Args:
        count: images in the set, at least `batch_size`.
        batch_size: over all processes; a multiple of `world_size`.
        seed: of the permutations.
        position: the number of batches done, asked when iteration begins.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, position: Callable[[], int], rank: int = 0, world_size: int = 1
    ) -> None:
        self.count, self.batch_size, self.seed, self.position = count, batch_size, seed, position
        self.rank, self.share = rank, batch_size // world_size

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        return self._from(self.position())  # asked now, not when the first batch is taken

    def _from(self, start: int) -> Iterator[Draw]:
        permuted = -1
        for iteration in range(start, start + len(self)):
            epoch, batch = divmod(iteration, len(self))
            if epoch != permuted:
                generator = torch.Generator().manual_seed(key(self.seed, epoch))
                order, permuted = torch.randperm(self.count, generator=generator), epoch
            first = batch * self.batch_size + self.rank * self.share
            yield Draw(epoch, order[first : first + self.share].tolist())


class WholeOrder(Sampler[Draw]):
    """Every image once over all processes, none twice, in an equal number of batches on each.

    Rank r of W takes images r, r + W, ...; equal numbers matter because a process with one batch more would wait for
    the others in the first collective operation.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.count, self.batch_size, self.rank, self.world_size = count, batch_size, rank, world_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        for rows in np.array_split(np.arange(self.rank, self.count, self.world_size), len(self)):
            yield Draw(0, rows.tolist())


def hashes(seed: int, index: list[int] | np.ndarray) -> np.ndarray:
    """(n,) uint64: the index-th number of the SplitMix64 sequence (Steele et al. 2014) that starts at a seed."""
    state = np.uint64(seed) + np.asarray(index, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def shares(seed: int, index: np.ndarray) -> np.ndarray:
    """(n,) float64 from U[0, 1), of :func:`hashes`: their upper 53 bits."""
    return (hashes(seed, index) >> np.uint64(11)) * 2.0**-53


class Drawn(Dataset):
    """Answers draws: the images of one batch, mirrored left to right at random where `flip_seed` is given.

    Whether an image is mirrored depends on the seed, the epoch and its index in the set: on no worker, no rank, and
    not on the batch that it is in. What belongs together (a pair, an image and its mask) is mirrored together, images
    that merely share a batch each by a coin of its own.
    """

    def __init__(self, images: ImageSet, flip_seed: int | None) -> None:
        self.images, self.flip_seed = images, flip_seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> tuple:
        batch = self.images.drawn(draw)
        if self.flip_seed is not None:
            apart = isinstance(batch, (Unpaired, PartlyLabeled))
            for place, image in enumerate(pictures(batch).values()):
                seed = key(self.flip_seed, draw.epoch, place) if apart and place else key(self.flip_seed, draw.epoch)
                coins = hashes(seed, draw.index) >> np.uint64(63)  # the top bit of each
                mirrored = torch.from_numpy(coins.astype(bool))
                image[mirrored] = image[mirrored].flip(3)
        return batch


MESSAGE = 2**19  # bytes that a worker sends at a time, where one batch is not more; measured as about the best


def to_pipe(batches: list[tuple]) -> list[tuple]:
    """What a worker sends: a short message as arrays, in the pipe itself.

    A tensor travels through shared memory under a file descriptor of its own, which costs a batch of 64 MNIST images
    1.2 ms against 0.2 ms; long messages still do.
    """
    if sum(field.nbytes for batch in batches for field in batch) > MESSAGE:
        return batches
    return [type(batch)(*(field.numpy() for field in batch)) for batch in batches]


def unchanged(batches: list[tuple]) -> list[tuple]:
    return batches


class Loader:
    """Runs a set in an order, in this process or in workers.

    A plain iterable around torch's DataLoader, because Lightning leaves those alone: of a DataLoader it replaces the
    sampler when there are several processes, and advises workers, which only slow down sets that are in memory. It
    calls itself resumable (`state_dict`), with nothing to keep: the order reads its position from the model.

    Args:
        images: the set.
        order: what to draw from it.
        num_workers: processes that do it; 0 for this one.
        flip_seed: mirrors images at random, see :class:`Drawn`.
        group: batches that a worker sends at a time: waking a process costs more than a small batch of images.
    """

    def __init__(
        self, images: ImageSet, order: Sampler[Draw], num_workers: int, flip_seed: int | None = None, group: int = 1
    ) -> None:
        self.order = order
        self._make = partial(
            DataLoader,
            Drawn(images, flip_seed),
            sampler=order,
            batch_size=group if num_workers else 1,  # counted in draws: the set answers each with a whole batch
            num_workers=num_workers,
            collate_fn=to_pipe if num_workers else unchanged,
            persistent_workers=num_workers > 0,
        )
        self._loader: DataLoader | None = None

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple]:
        if self._loader is None:
            # Its own generator: a DataLoader draws a seed for its workers, by default from the global stream.
            self._loader = self._make(generator=torch.Generator())
        for batches in self._loader:
            for batch in batches:
                yield type(batch)(*map(torch.as_tensor, batch))

    def close(self) -> None:
        """End the workers; iterating again starts new ones."""
        self._loader = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class ImageData(LightningDataModule, ABC):
    """Base of every data module. A subclass says how a split is loaded, and, where it can, how it is downloaded.

    Attributes:
        extractor: class in `gan_lightning.metrics` that sees these images best, for scores that name none.

    Args:
        name: what messages and score cards call the set.
        image_shape: (channels, height, width), known before the data is read, so that a model can be built for it.
        num_classes: None for a set without labels.
        batch_size: images in one training batch, over all processes and micro-batches.
        num_workers: loader processes; 0 loads in the training process, the fastest for sets in memory.
        flip: mirror training images left to right at random.
    """

    extractor = "Inception"
    attributes: ClassVar[list[str]] = []  # names of what images have or have not, where the set says

    def __init__(
        self,
        name: str,
        image_shape: tuple[int, int, int],
        num_classes: int | None,
        batch_size: int,
        num_workers: int,
        flip: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0 or min(image_shape) < 1:
            raise ValueError(
                f"{name}: batch_size ({batch_size}) and the image's shape {image_shape} must be positive, "
                f"num_workers ({num_workers}) not negative"
            )
        self.name, self.image_shape, self.num_classes = name, image_shape, num_classes
        self.batch_size, self.num_workers, self.flip = batch_size, num_workers, flip
        self._sets: dict[Split, ImageSet] = {}
        self._loaders: list[Loader] = []

    def __str__(self) -> str:
        return self.name  # Lightning's own asks for every loader, and takes a batch's fields for loaders

    @abstractmethod
    def load(self, split: Split) -> ImageSet:
        """Read one split; called once for each."""

    def reference(self, split: Split) -> ImageSet:
        """The un-augmented images of a split, that scores compare with; works without a trainer too.

        Raises:
            ValueError: there is no such split.
            FileNotFoundError: the data is not there and cannot be downloaded.
        """
        if split not in ("train", "val"):
            raise ValueError(f'{self.name} has the splits "train" and "val", not "{split}"')
        if split not in self._sets:
            if self.trainer is None:  # else Lightning has called it, on one process of each machine
                self.prepare_data()
            self._sets[split] = self.load(split)
        return self._sets[split]

    def training_set(self) -> ImageSet:
        """What training draws from: the whole split, unless a subclass holds some back."""
        return self.reference("train")

    def setup(self, stage: str) -> None:
        """Read the data, and refuse what Lightning would pass over in silence.

        Raises:
            ValueError: no images, fewer than one batch, or a batch that the processes cannot share equally.
        """
        count = len(self.training_set())
        if stage != "fit":
            return
        if count < self.batch_size:
            raise ValueError(
                f"{self.name} has {count} training images, fewer than one batch of {self.batch_size}: "
                "give it more images or a smaller --data.batch_size"
            )
        if self.batch_size % self._processes[1]:
            raise ValueError(
                f"--data.batch_size {self.batch_size} is the whole batch, and {self._processes[1]} processes cannot "
                f"share it equally: use a multiple of {self._processes[1]}"
            )

    def teardown(self, stage: str) -> None:
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()

    @property
    def _seed(self) -> int:
        """The run's: that of the model in training, which takes a checkpoint's up again."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return getattr(module, "seed", global_seed())

    @property
    def _processes(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def train_dataloader(self) -> Loader:
        """Shuffled whole batches, from the batch that follows the model's `iteration`; the last part is dropped."""
        images, seed = self.training_set(), self._seed
        module = None if self.trainer is None else self.trainer.lightning_module
        order = TrainingOrder(
            len(images), self.batch_size, seed, lambda: int(getattr(module, "iteration", 0)), *self._processes
        )
        return self._loader(images, order, seed if self.flip else None)

    def val_dataloader(self) -> Iterable[tuple]:
        """Every validation image once over all processes, in order.

        Where there are none, an iterator over nothing: validation's hooks run, and Lightning does not warn, as it does
        of a loader whose length is 0.
        """
        images = self.reference("val")
        order = WholeOrder(len(images), self.batch_size, *self._processes)
        return self._loader(images, order) if len(images) else iter(())

    def _loader(self, images: ImageSet, order: Sampler[Draw], flip_seed: int | None = None) -> Loader:
        group = MESSAGE // (self.batch_size * math.prod(self.image_shape))
        self._loaders.append(Loader(images, order, self.num_workers, flip_seed, min(max(group, 1), 16)))
        return self._loaders[-1]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scale bytes to [-1, 1] on the device, in the model's own precision; 0 and 255 give -1 and 1 exactly."""
        dtype = getattr(self.trainer and self.trainer.lightning_module, "dtype", torch.float32)
        return type(batch)(*(to_unit(field).to(dtype) if field.dtype == torch.uint8 else field for field in batch))


def to_unit(image: Tensor) -> Tensor:
    """float32 in [-1, 1] of uint8."""
    return image.to(torch.float32).div_(127.5).sub_(1.0)


def resize(image: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """uint8 images (N, C, H, W) at (N, C, size, size), antialiased, rounded and clamped."""
    if image.shape[2:] == (size, size):
        return image
    return torch.cat(
        [
            F.interpolate(part.float(), (size, size), mode=mode, antialias=True).round_().clamp_(0, 255).byte()
            for part in image.split(2048)  # floats of the whole set would take four times its memory
        ]
    )


def data_root(name: str, root: str | None) -> Path:
    """Where a set's files are: `root`, else $GAN_LIGHTNING_DATA/<name>, else <the cache>/<name>."""
    if root is not None:
        return Path(root).expanduser()
    home = os.environ.get("GAN_LIGHTNING_DATA")
    return (Path(home).expanduser() if home else cache_folder()) / name.lower()


def not_found(name: str, folder: Path, files: str, cause: object) -> FileNotFoundError:
    """The one line for data that is not there: what is missing, where it is expected, and why it did not come."""
    reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__).rstrip(":")
    return FileNotFoundError(
        f"{name} is not in {folder} and could not be downloaded ({reason}): put {files} there, or set "
        f"GAN_LIGHTNING_DATA to the folder that holds {name.lower()}/"
    )
