"""Sets that lie in blocks, such as the shards of a folder or the row groups of a file, and are read block by block."""

from __future__ import annotations

import copy
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import BatchIndex
from gan_lightning.data.sets import Examples, uniform
from gan_lightning.data.store import MEGABYTE
from gan_lightning.noise import key

OPENING = threading.Lock()  # threads that read images for scores come to the same block together, and open it once


class WindowedOrder:
    """A permutation of the rows of blocks: the blocks in random order, rows shuffled within windows of several blocks.

    A part of it is computed when it is asked for, so memory does not grow with the number of rows. Every part of the
    permutation is a function of the seed.

    Files of several blocks come in random order, `near` of them at a time, and blocks are shuffled within these alone.
    So an epoch needs each file once, even where not all of them can be kept near.

    Args:
        counts: (blocks,) int64, rows in each.
        window: blocks that are mixed.
        seed: of the permutation.
        files: (blocks,) int64, the file of each block; None where each block is a file.
        near: files whose blocks are shuffled together.
    """

    def __init__(
        self, counts: np.ndarray, window: int, seed: int, files: np.ndarray | None = None, near: int = 1
    ) -> None:
        self.seed, self.window = seed, window
        self.blocks = uniform(len(counts), seed).numpy()
        self._stages = np.arange(len(counts)) // window  # of each block of the permutation: which files are near
        if files is not None:
            place = uniform(int(files.max()) + 1, key(seed, -1)).numpy()  # the windows' own keys are not negative
            stages = place[files[self.blocks]] // near
            order = stages.argsort(kind="stable")
            self.blocks, self._stages = self.blocks[order], stages[order]
        self._counts, self._begins = counts, counts.cumsum() - counts
        sizes = np.add.reduceat(counts[self.blocks], np.arange(0, len(counts), window))
        self._ends = sizes.cumsum()  # of the windows, in the permutation
        self._known: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def window_at(self, place: int) -> int:
        """The number of the window that a place of the permutation is in."""
        return int(np.searchsorted(self._ends, place, side="right"))

    def stage_at(self, place: int) -> int:
        """The number of the group of files from which the window of a place begins to read."""
        return int(self._stages[self.window_at(place) * self.window])

    def blocks_from(self, place: int, stages: int) -> np.ndarray:
        """(n,) int64, the blocks from the window of a place on, of so many groups of files, and windows, at least."""
        first = self.window_at(place) * self.window
        stop = int(np.searchsorted(self._stages, self._stages[first] + stages))
        return self.blocks[first : max(stop, first + stages * self.window)]

    def _rows(self, window: int) -> Tensor:
        if self._known[0] != window:
            blocks = self.blocks[window * self.window : (window + 1) * self.window]
            rows = np.concatenate([np.arange(self._counts[block]) + self._begins[block] for block in blocks])
            drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(key(self.seed, window)))
            self._known = window, torch.from_numpy(rows)[drawn]
        return self._known[1]

    def __getitem__(self, places: slice) -> Tensor:
        """(n,) int64, the rows at consecutive places."""
        parts, (at, stop) = [torch.empty(0, dtype=torch.int64)], (places.start, min(places.stop, int(self._ends[-1])))
        while at < stop:
            window = self.window_at(at)
            end = int(self._ends[window])
            rows = self._rows(window)
            first = end - len(rows)
            parts.append(rows[at - first : min(stop, end) - first])
            at = min(stop, end)
        return torch.cat(parts)


class Blocks(Examples):
    """Examples in blocks, of which a process holds the few that it reads from open.

    Args:
        counts: rows in each block.
        sizes: bytes of each.
        window: megabytes of blocks that the order of training mixes, and that are held open; one block at least.
        files, near: see :class:`WindowedOrder`.
    """

    def __init__(
        self,
        counts: Sequence[int],
        sizes: Sequence[int],
        window: int,
        files: Sequence[int] | None = None,
        near: int = 1,
    ) -> None:
        self.counts = np.array(counts, np.int64)
        self._ends = self.counts.cumsum()
        self.window = max(1, window * MEGABYTE // max(sizes, default=1))
        self.near = near
        self.seed = 0
        self._file_of = None if files is None else np.array(files, np.int64)
        self._opened: OrderedDict[int, Any] = OrderedDict()
        self._order: WindowedOrder | None = None  # the newest: with thousands of blocks it takes milliseconds
        self._ahead: tuple[int, int] | None = None  # epoch and group of files after which the next is fetched

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": OrderedDict(), "_order": None, "_ahead": None}

    def in_training(self, seed: int) -> Any:
        """The same set with the seed of training."""
        other = copy.copy(self)
        other.seed, other._opened = seed, OrderedDict()
        return other

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def permutation(self, seed: int) -> WindowedOrder:
        if self._order is None or self._order.seed != seed:
            self._order = WindowedOrder(self.counts, self.window, seed, self._file_of, self.near)
        return self._order

    @abstractmethod
    def open_block(self, block: int) -> Any:
        """What the rows of a block are read from."""

    def fetch(self, block: int) -> None:
        """Bring a block near, ahead of its use; nothing to do for files of this machine."""

    def place(self, row: int) -> tuple[Any, int]:
        """The opened block of a row, and the row's number in it."""
        block = int(np.searchsorted(self._ends, row, side="right"))
        with OPENING:
            if block not in self._opened:
                opened = self.open_block(block)
                if len(self._opened) >= self.window:
                    self._opened.popitem(last=False)
                self._opened[block] = opened
            self._opened.move_to_end(block)
            return self._opened[block], row - int(self._ends[block] - self.counts[block])

    def fetch_ahead(self, which: BatchIndex) -> None:
        """Let a thread fetch what the windows from a training batch on read, and the files that come after it."""
        order, place = self.permutation(key(self.seed, which.epoch)), which.rows[0] if which.rows else 0
        here = which.epoch, order.stage_at(place)
        if self._ahead == here:
            return
        self._ahead = here
        blocks = order.blocks_from(place, 2).tolist()
        if here[1] == order.stage_at(len(self) - 1):
            blocks += self.permutation(key(self.seed, which.epoch + 1)).blocks_from(0, 1).tolist()
        threading.Thread(target=self._fetch_all, args=(blocks, here), daemon=True).start()

    def _fetch_all(self, blocks: list[int], since: tuple[int, int]) -> None:
        for block in blocks:
            if self._ahead != since:  # training has moved on, and another thread fetches the rest
                return
            try:
                self.fetch(block)
            except OSError:  # told where the block is read
                return
