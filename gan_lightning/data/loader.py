"""The order of training, and the loaders that Lightning runs.

The next batch is a function of the seed and of the images seen so far, so a run that stops anywhere, in the middle of
an epoch too, goes on with the very batch it would have seen.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset, Sampler

from gan_lightning.batches import BatchIndex, PartlyLabeled, Unpaired, pictures
from gan_lightning.data.sets import Examples, uniform
from gan_lightning.noise import hashes, key
from gan_lightning.runtime import signals
from gan_lightning.runtime.errors import DataError, LoadingError, one_line, words_of


class Position(NamedTuple):
    """A place in the order of training: between two batches."""

    images_seen: int  # by the run so far
    epoch: int
    row: int  # in the epoch's permutation, of the first image that has not been shown in it


START = Position(0, 0, 0)


class TrainingOrder(Sampler[BatchIndex]):
    """The batches of one process, from the model's position on; a function of (seed, images seen, origin, batch size).

    An epoch is a permutation of the set, cut into batches from its first image on. The batch size may be a function of
    the images seen: a growing network trains each resolution with its own. Where it changes within an epoch, the rest
    of the epoch is cut by the new size. A rest that is shorter than the next batch is dropped. Each batch is cut into k
    micro-batches, and rank r of W takes the rows [r * b, (r + 1) * b) of each of them, b = batch size / (W * k): W
    processes together train on the batches, and micro-batches, that one would.

    Lightning counts epochs by `len`, which must not change while it trains: count // (size of the first batch).
    Iterating gives so many batches, across the end of an epoch of the set if it is met, and so never runs dry. If the
    batch size changes, Lightning's epochs are no passes over the set: `max_steps` limits such a run, not `max_epochs`.

    Args:
        count: images in the set.
        batch_size: over all processes; or the function that gives it for a number of images seen, and depends on
            nothing else. A multiple of `world_size`, at most `count`.
        seed: of the permutations.
        images_seen: by the run so far; asked when iteration begins.
        rank, world_size: of the processes.
        origin: where the order begins; elsewhere than at the first image in a run that was resumed.
        permutation: of the set, by a seed: what gives the rows (n,) at a slice of places; None for a uniform one.
        micro_batches: that each process will cut its rows into.
    """

    def __init__(
        self,
        count: int,
        batch_size: int | Callable[[int], int],
        seed: int,
        images_seen: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        origin: Position = START,
        permutation: Callable[[int], Any] | None = None,
        micro_batches: int = 1,
    ) -> None:
        self.permutation = permutation or partial(uniform, count)
        self.micro_batches = micro_batches
        self.count, self.seed, self.images_seen, self.rank, self.world_size = count, seed, images_seen, rank, world_size
        self.batch_size = batch_size if callable(batch_size) else lambda images_seen: batch_size
        self.origin = self._reached = origin  # the last position that was asked for: a later one is few steps away

    def __len__(self) -> int:
        return self.count // self._size(0)

    def position(self) -> Position:
        """Of the next batch. If the images seen end within a batch, that batch is the next."""
        seen = self.images_seen()
        known = max(at for at in (self._reached, self.origin, START) if at.images_seen <= seen)
        self._reached = next(at for at, size in self._walk(known) if at.images_seen + size > seen)
        return self._reached

    def _size(self, images_seen: int) -> int:
        """The batch size after so many images.

        Raises:
            ValueError: the set has fewer images, or the processes cannot share the batch equally.
        """
        size = self.batch_size(images_seen)
        if not 0 < size <= self.count or size % self.world_size:
            raise ValueError(
                f"the batch after {images_seen} images cannot be of {size}: it must be of {self.count} at most, all "
                f"training images, and a multiple of the number of processes, {self.world_size}"
            )
        return size

    def _walk(self, at: Position) -> Iterator[tuple[Position, int]]:
        """Where each batch begins from a position on, and its size; without end."""
        while True:
            size = self._size(at.images_seen)
            if at.row + size > self.count:
                at = Position(at.images_seen, at.epoch + 1, 0)
            yield at, size
            at = Position(at.images_seen + size, at.epoch, at.row + size)

    def __iter__(self) -> Iterator[BatchIndex]:
        return self._from(self.position())  # asked now, not when the first batch is taken

    def _from(self, start: Position) -> Iterator[BatchIndex]:
        permuted = -1
        for at, size in islice(self._walk(start), len(self)):
            if at.epoch != permuted:
                order, permuted = self.permutation(key(self.seed, at.epoch)), at.epoch
            rows, places = order[at.row : at.row + size], list(range(at.row, at.row + size))
            if self.world_size > 1:
                # A batch that does not divide is refused when it is cut.
                pieces = 1 if size // self.world_size % self.micro_batches else self.micro_batches
                own = torch.arange(size).unflatten(0, (pieces, self.world_size, -1))[:, self.rank].flatten()
                rows, places = rows[own], (at.row + own).tolist()
            yield BatchIndex(at.epoch, rows.tolist(), places)


class WholeOrder(Sampler[BatchIndex]):
    """Every image once over all processes, none twice, in an equal number of batches on each, none of them empty.

    Rank r of W takes images r, r + W, ...; equal numbers matter because a process with one batch more would wait for
    the others in the first collective operation. There are count / batch size batches, rounded up, or as many as the
    rank with the fewest images can fill. A batch has one image more than its share of the batch size at most.

    Raises:
        ValueError: there are fewer images than processes.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if count < world_size:
            raise ValueError(f"{count} images cannot be shared by {world_size} processes: each needs at least one")
        self.count, self.batch_size, self.rank, self.world_size = count, batch_size, rank, world_size

    def __len__(self) -> int:
        return min(-(-self.count // self.batch_size), self.count // self.world_size)

    def __iter__(self) -> Iterator[BatchIndex]:
        for rows in np.array_split(np.arange(self.rank, self.count, self.world_size), len(self)):
            yield BatchIndex(0, rows.tolist())


class BatchDataset(Dataset):
    """Answers a `BatchIndex` with its batch, mirrored left to right at random if a `flip_seed` is given.

    Whether an image is mirrored depends on the seed, the epoch and its index in the set: on no worker, no rank, and
    not on the batch that it is in. What belongs together (a pair, an image and its mask) is mirrored together, images
    that merely share a batch each by a coin of its own.
    """

    def __init__(self, images: Examples, flip_seed: int | None) -> None:
        self.images, self.flip_seed = images, flip_seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: BatchIndex) -> tuple:
        batch = self.images.training_batch(which)
        if self.flip_seed is not None:
            apart = isinstance(batch, (Unpaired, PartlyLabeled))
            for place, image in enumerate(pictures(batch).values()):
                seed = key(self.flip_seed, which.epoch, place) if apart and place else key(self.flip_seed, which.epoch)
                coins = hashes(seed, which.index) >> np.uint64(63)  # the top bit of each
                mirrored = torch.from_numpy(coins.astype(bool))
                image[mirrored] = image[mirrored].flip(3)
        return batch


class Failure(NamedTuple):
    """What a worker sends instead of a batch that it could not load."""

    words: str
    bad_input: bool  # whether it is something that a user can put right


class Answering(Dataset):
    """A set in a worker: an exception is an answer, since torch raises a copy that has a traceback as its words."""

    def __init__(self, batches: BatchDataset) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, which: BatchIndex) -> tuple:
        try:
            return self.batches[which]
        except Exception as error:
            if os.environ.get("GAN_LIGHTNING_TRACEBACK"):
                raise
            if isinstance(error, (DataError, OSError)):
                return Failure(words_of(error), True)
            words = f"{type(error).__name__}: {one_line(error, 1000)}"
            return Failure(f"a loader's worker failed: {words} (--data.num_workers 0 shows where)", False)


MESSAGE = 2**19  # bytes that a worker sends at a time, where one batch is not more; measured as about the best


def to_pipe(batches: list[tuple]) -> list[tuple]:
    """What a worker sends: a short message as arrays, in the pipe itself.

    A tensor travels through shared memory under a file descriptor of its own, which costs a batch of 64 MNIST images
    1.2 ms against 0.2 ms; long messages still do, as long as there is room in that memory.
    """
    failed: list[tuple] = [batch for batch in batches if isinstance(batch, Failure)]
    if failed or (size_of(batches) > MESSAGE and _shared(batches)):
        return failed or batches
    return [type(batch)(*(field.numpy() for field in batch)) for batch in batches]


def size_of(batches: Iterable[tuple]) -> int:
    """Bytes of batches of tensors or arrays."""
    return sum(field.nbytes for batch in batches for field in batch)


def _shared(batches: list[tuple]) -> bool:
    """Put batches into shared memory; whether they fit. Torch does it in a thread, whose error nobody hears of."""
    try:
        for batch in batches:
            for field in batch:
                field.share_memory_()
    except RuntimeError:  # "No space left on device"; a container's /dev/shm has 64 MB where nobody gives it more
        return False
    return True


_started: weakref.WeakSet[Loader] = weakref.WeakSet()
_workers: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


@atexit.register
def _end_workers() -> None:
    """Before multiprocessing would end workers by SIGTERM, which they ignore, and wait for them."""
    for loader in list(_started):
        loader.close()
    _kill(_workers)  # of loaders that nobody has closed


def _kill(workers: Iterable[BaseProcess]) -> None:
    for worker in list(workers):
        if worker.is_alive():
            worker.kill()


class Loader:
    """Runs a set in an order, in this process or in workers.

    A plain iterable around torch's DataLoader, because Lightning leaves those alone: of a DataLoader it replaces the
    sampler when there are several processes, and advises workers, which only slow down sets that are in memory. It
    calls itself resumable (`state_dict`), with nothing to keep: the order reads its position from the model.

    Args:
        images: the set.
        order: which batches, one after the other.
        num_workers: processes that do it; 0 for this one.
        flip_seed: mirrors images at random, see :class:`BatchDataset`.
        group: batches that a worker sends at a time: waking a process costs more than a small batch of images.
    """

    def __init__(
        self,
        images: Examples,
        order: Sampler[BatchIndex],
        num_workers: int,
        flip_seed: int | None = None,
        group: int = 1,
    ) -> None:
        self.order, self.num_workers = order, num_workers
        self.batches = BatchDataset(images, flip_seed)
        self._make = partial(
            DataLoader,
            Answering(self.batches),
            sampler=order,
            batch_size=group,  # counted in BatchIndex: the set answers each with a whole batch
            num_workers=num_workers,
            collate_fn=to_pipe,
            persistent_workers=True,
            worker_init_fn=signals.left_to_parent,
        )
        self._loader: DataLoader | None = None
        self._iterator: Any = None  # torch's, which owns the workers
        self._told = False  # that there is too little shared memory

    def __len__(self) -> int:
        return len(self.order)  # type: ignore[arg-type]  # our orders have a length, torch's Sampler declares none

    def __iter__(self) -> Iterator[tuple]:
        """The batches, as tensors.

        Raises:
            LoadingError: a worker could not load a batch, or none can be started. Without workers the error itself.
        """
        if not self.num_workers:
            yield from map(self.batches.__getitem__, self.order)
            return
        if self._loader is None:
            # Its own generator: a DataLoader draws a seed for its workers, by default from the global stream.
            self._loader = self._make(generator=torch.Generator())
            _started.add(self)
        try:
            with signals.held_back():
                iterator = self._iterator = iter(self._loader)
        except OSError as error:  # no memory, no room for a semaphore, too many processes or files
            raise LoadingError(f"no loader's worker can be started ({error}): use --data.num_workers 0") from error
        _workers.update(self._iterator._workers)
        for batches in iterator:
            self._look_at(batches)
            for batch in batches:
                yield type(batch)(*map(torch.as_tensor, batch))

    def _look_at(self, batches: list[tuple]) -> None:
        """Raise a worker's error; tell once that batches come through pipes since shared memory is full."""
        if failure := next((batch for batch in batches if isinstance(batch, Failure)), None):
            raise LoadingError(failure.words, failure.bad_input)
        if not self._told and isinstance(batches[0][0], np.ndarray) and (size := size_of(batches)) > MESSAGE:
            self._told = True
            rank_zero_warn(
                f"/dev/shm has no room for a worker's {size / 2**20:.1f} MB: they come through pipes, which is slower; "
                "give the container more (docker run --shm-size 1g) or use fewer --data.num_workers"
            )

    def close(self) -> None:
        """End the workers, by force where one does not answer; iterating again starts new ones."""
        iterator, self._loader, self._iterator = self._iterator, None, None
        if workers := getattr(iterator, "_workers", None):
            iterator._shutdown_workers()
            _kill(workers)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
