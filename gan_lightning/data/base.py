"""What every data module shares: splits that are read once, and what training asks of them."""

from __future__ import annotations

import math
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import Sampler

from gan_lightning.batches import BatchIndex
from gan_lightning.data.loader import MESSAGE, START, Loader, Position, TrainingOrder, WholeOrder
from gan_lightning.data.sets import Examples, Split
from gan_lightning.noise import global_seed
from gan_lightning.runtime.cache import cache_folder
from gan_lightning.runtime.sizes import Sides, Size, largest_crop, middle, sides_of


class Data(LightningDataModule, ABC):
    """Base of every data module. A subclass says how a split is loaded, and, where it can, how it is downloaded.

    Args:
        name: what messages and score cards call the set.
        batch_size: examples in one training batch, over all processes and micro-batches. A model may say another for
            its phases, see :meth:`train_dataloader`.
        num_workers: loader processes; 0 loads in the training process, the fastest for sets in memory.
    """

    image_shape: tuple[int, int, int] | None = None  # (channels, height, width), of images
    num_classes: int | None = None  # of a set with labels
    classes: list[str] | None = None  # their names, in the order of the labels
    attributes: list[str] = []  # names of what images have or have not
    vocabulary: list[str] | None = None  # the word of each token, of sequences
    length: int | None = None  # tokens in a sequence
    users: list[str] | None = None  # their names, of a set of choices
    items: list[str] | None = None  # names of what they choose from
    num_features: int | None = None  # numbers that describe a document, of ranked ones
    example_bytes = 1024  # about; workers send several short batches at a time

    def __init__(self, name: str, batch_size: int, num_workers: int) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ValueError(
                f"{name}: batch_size ({batch_size}) must be positive, num_workers ({num_workers}) not negative"
            )
        self.name: str = name
        self.batch_size, self.num_workers = batch_size, num_workers
        self._sets: dict[Split, Any] = {}
        self._origin = START  # of the order of training
        self._order: TrainingOrder | None = None  # of the training in hand
        self._loaders: weakref.WeakSet[Loader] = weakref.WeakSet()  # of one that is dropped, the workers end

    def __str__(self) -> str:
        return self.name  # Lightning's own asks for every loader, and takes a batch's fields for loaders

    @abstractmethod
    def load(self, split: Split) -> Examples:
        """Read one split; called once for each."""

    def reference(self, split: Split) -> Any:
        """The un-augmented examples of a split, what :meth:`load` returns; works without a trainer too.

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

    def training_set(self) -> Examples:
        """What training draws from: the whole split, unless a subclass holds some back."""
        return self.reference("train")

    def setup(self, stage: str) -> None:
        """Read the data, and refuse what Lightning would pass over in silence.

        Raises:
            ValueError: no examples, fewer than one batch, or a batch that the processes cannot share equally.
        """
        count = len(self.training_set())
        if stage != "fit":
            return
        if count < self.batch_size:
            raise ValueError(
                f"{self.name} has {count} training examples, fewer than one batch of {self.batch_size}: "
                "give it more or a smaller --data.batch_size"
            )
        if self.batch_size % self._processes[1]:
            raise ValueError(
                f"--data.batch_size {self.batch_size} is the whole batch, and {self._processes[1]} processes cannot "
                f"share it equally: use a multiple of {self._processes[1]}"
            )

    def teardown(self, stage: str) -> None:
        for loader in list(self._loaders):
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
        """Shuffled whole batches, from what follows the model's `images_seen`; see :class:`TrainingOrder`.

        A model with a method `batch_size(images_seen)` says the size of each batch, unless it answers None.
        """
        examples, module = self.training_set(), None if self.trainer is None else self.trainer.lightning_module
        asked = getattr(module, "batch_size", None)

        def batch_size(images_seen: int) -> int:
            of_phase = asked(images_seen) if callable(asked) else None
            return self.batch_size if of_phase is None else of_phase

        def images_seen() -> int:
            return int(getattr(module, "images_seen", 0))

        pieces = getattr(getattr(module, "step", None), "micro_batches", 1)
        how = self._seed, images_seen, *self._processes, self._origin, examples.permutation, pieces
        self._order = TrainingOrder(len(examples), batch_size, *how)
        return self._loader(examples, self._order, self._flip_seed)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: where the order of training goes on, with whatever batch size."""
        return {"origin": list(self._origin if self._order is None else self._order.position())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there; with another batch size than before the rest of the epoch is cut anew."""
        self._origin = Position(*state_dict["origin"])

    def val_dataloader(self) -> Iterable[tuple]:
        """Every validation example once over all processes, in order.

        Where there are none, or fewer than processes, an iterator over nothing: validation's hooks run, and Lightning
        does not warn, as it does of a loader whose length is 0.
        """
        examples, (rank, world_size) = self.reference("val"), self._processes
        if len(examples) >= max(world_size, 1):
            return self._loader(examples, WholeOrder(len(examples), self.batch_size, rank, world_size))
        if len(examples):
            rank_zero_warn(
                f"{self.name}: its {len(examples)} validation examples are fewer than the {world_size} processes, so "
                "the model's validation sees none of them: use more examples or fewer processes"
            )
        return iter(())

    @property
    def _flip_seed(self) -> int | None:
        """Of the coins that mirror training images; None for none."""
        return None

    def _loader(self, examples: Examples, order: Sampler[BatchIndex], flip_seed: int | None = None) -> Loader:
        group = min(max(MESSAGE // (self.batch_size * self.example_bytes), 1), 16)
        loader = Loader(examples, order, self.num_workers, flip_seed, group)
        self._loaders.add(loader)
        return loader


class ImageData(Data):
    """Base of the data modules of images.

    Attributes:
        extractor: class in `gan_lightning.metrics` that sees these images best, for scores that name none.
        abreast: pictures of the argument `size` that stand side by side in one image.

    Args:
        name, batch_size, num_workers: see :class:`Data`.
        image_shape: (channels, height, width), known before the data is read, so that a model can be built for it.
        num_classes: None for a set without labels.
        flip: mirror training images left to right at random.
    """

    image_shape: tuple[int, int, int]
    extractor = "Inception"
    abreast = 1

    def __init__(
        self,
        name: str,
        image_shape: tuple[int, int, int],
        num_classes: int | None,
        batch_size: int,
        num_workers: int,
        flip: bool = False,
    ) -> None:
        super().__init__(name, batch_size, num_workers)
        if min(image_shape) < 1:
            raise ValueError(f"{name}: the image's shape {image_shape} must be positive")
        self.image_shape, self.num_classes, self.flip = image_shape, num_classes, flip
        self.example_bytes = math.prod(image_shape)

    @property
    def _flip_seed(self) -> int | None:
        return self._seed if self.flip else None

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scale bytes to [-1, 1] on the device, in the model's own precision; 0 and 255 give -1 and 1 exactly."""
        dtype = getattr(self.trainer and self.trainer.lightning_module, "dtype", torch.float32)

        def scaled(field: Tensor) -> Tensor:
            if field.dtype == torch.uint8:
                return to_unit(field).to(dtype)
            return field.to(dtype) if field.ndim == 4 and field.is_floating_point() else field

        return type(batch)(*map(scaled, batch))


def to_unit(image: Tensor) -> Tensor:
    """float32 in [-1, 1] of uint8; images of more levels, which are so already, as they are."""
    return image if image.is_floating_point() else image.to(torch.float32).div_(127.5).sub_(1.0)


def resize(image: Tensor, size: Size | Sides, mode: str = "bilinear") -> Tensor:
    """Images (N, C, H, W) at another size, antialiased and clamped; stretched where its proportions are others.

    Args:
        image: uint8, and rounded again; or float in [-1, 1].
        size: of both sides, or (height, width).
        mode: of :func:`torch.nn.functional.interpolate`.
    """
    sides = sides_of(size)
    if image.shape[2:] == sides:
        return image

    def resized(part: Tensor) -> Tensor:
        return F.interpolate(part.float(), sides, mode=mode, antialias=True)

    if image.is_floating_point():
        return resized(image).clamp_(-1, 1)
    # Floats of the whole set would take four times its memory.
    return torch.cat([resized(part).round_().clamp_(0, 255).byte() for part in image.split(2048)])


def cropped(image: Tensor, sides: Sides) -> Tensor:
    """The middle of images (N, C, H, W) in the proportions of `sides`, as large as it can be."""
    own = image.shape[2:]
    rows, columns = middle(own, largest_crop(own[0], own[1], sides))
    return image[..., rows, columns]


def data_root(name: str, root: str | None) -> Path:
    """Where a set's files are: `root`, else $GAN_LIGHTNING_DATA/<name>, else <the cache>/<name>."""
    if root is not None:
        return Path(root).expanduser()
    home = os.environ.get("GAN_LIGHTNING_DATA")
    return (Path(home).expanduser() if home else cache_folder()) / name.lower()


def download(name: str, folder: Path, files: str, there: Callable[[], bool], fetch: Callable[[], Any]) -> None:
    """Fetch files that are not there: one process at a time, on all machines that share the folder.

    Torchvision writes each file in its place, so who does not wait may find half of it. The lock is a file in the
    folder, made before the first of them, which stays. Where it cannot be had (a folder that cannot be written, a file
    system without locks), the files are looked for and fetched without it.

    Args:
        name, folder, files: see :func:`not_found`.
        there: whether all files are; asked again by those that have waited.
        fetch: does it.

    Raises:
        FileNotFoundError: there is no network, or the folder cannot be written.
    """
    from filelock import FileLock  # torch needs it too

    lock = folder / ".download.lock"
    if there() and not lock.exists():  # nobody is fetching them
        return
    with ExitStack() as held:
        with suppress(OSError, RuntimeError):  # the latter where older filelocks know that nothing can be locked
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(lock))
        try:
            if not there():
                fetch()
        except (RuntimeError, OSError) as error:
            raise not_found(name, folder, files, error) from None


def not_found(name: str, folder: Path, files: str, cause: object) -> FileNotFoundError:
    """The one line for data that is not there: what is missing, where it is expected, and why it did not come."""
    reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__).rstrip(":")
    return FileNotFoundError(
        f"{name} is not in {folder} and could not be downloaded ({reason}): put {files} there, or set "
        f"GAN_LIGHTNING_DATA to the folder that holds {name.lower()}/"
    )
