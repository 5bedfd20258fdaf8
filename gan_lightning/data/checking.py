"""Whether image files can be read to their ends: Pillow decodes each once in its life, and the verdict is kept."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning.data.base import ImageData
from gan_lightning.data.contents import (
    AT_A_TIME,
    fingerprint_of,
    keep,
    key_of,
    quick_fingerprint_of,
    recalled,
    spread,
)
from gan_lightning.data.finding import log, progress
from gan_lightning.data.paths import Paths
from gan_lightning.data.sets import Examples
from gan_lightning.runtime.reading import Reading

LARGE = 50_000  # rows; of a set of more not every file is read before training
DARK, BRIGHT = 64, 191  # levels that a set is nearly black below, nearly white above: 14 bits in 16 reach 63


class ImageFiles(Examples):
    """Examples that are read from image files, a row of one or more files for each.

    Training reads by OpenCV, which is faster than Pillow, but takes files that Pillow refuses. So Pillow decodes every
    row once: before training, or, in a large set, when a worker first comes to it. The verdict is kept in the cache.

    Attributes:
        sound: (N,) bool, which rows Pillow is known to have read, for training; None where Pillow reads every time.
    """

    paths: Paths
    shape: tuple
    reading: Reading
    sound: np.ndarray | None = None
    _keeps = True  # until the cache turns out to be closed

    @abstractmethod
    def read(self, row: int) -> list[np.ndarray]:
        """The whole picture, or pictures, of a row, (h, w, c) each.

        Raises:
            ValueError: naming the file that cannot be read.
        """

    @property
    @abstractmethod
    def about(self) -> str:
        """What the examples depend on beside the files' contents."""

    def files(self, row: int) -> Sequence[Path]:
        """Those of a row."""
        return (self.paths[row],)

    def every_file(self) -> Paths:
        """Those of all rows."""
        return self.paths

    @property
    def how(self) -> str:
        """What the verdict on a row depends on beside its files."""
        return f"{self.shape[0]} {self.reading}"

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def fingerprint(self) -> str:
        """See :func:`fingerprint_of`."""
        return fingerprint_of(self.every_file(), self.about)

    @property
    def quick_fingerprint(self) -> str:
        if len(self) <= LARGE:
            return self.fingerprint
        every = self.every_file()
        return quick_fingerprint_of(every, every.names(), self.about)

    def look(self, row: int) -> bytes:
        """Read a row by Pillow: the darkest and the brightest level, of 255, of each of its pictures.

        Raises:
            ValueError: see :meth:`read`.
        """
        plain = copy.copy(self)
        plain.sound = None
        found = []
        for image in plain.read(row):
            colours, step = image[..., :3], int(np.iinfo(image.dtype).max) // 255
            found += [round(int(colours.min()) / step), round(int(colours.max()) / step)]
        return bytes(found)

    def check(self, rows: Sequence[int]) -> None:
        """See to it that Pillow has read these rows, before OpenCV does.

        Raises:
            ValueError: naming the first file that cannot be read.
        """
        if self.sound is None or not (new := [row for row in rows if not self.sound[row]]):
            return
        keys = {row: self._key(row) for row in new} if self._keeps else {}
        known = recalled(list(keys.values()))
        if known is None:
            self._keeps, keys, known = False, {}, {}
        found = {}
        for row in new:
            key = keys.get(row, b"")
            if key not in known:
                levels = self.look(row)
                if key and key == self._key(row):
                    found[key] = levels
            self.sound[row] = True
        if found:
            keep(found)

    def _key(self, row: int) -> bytes:
        """See :func:`key_of`; empty too where a file is not there, as its reader will say."""
        try:
            return key_of(self.files(row), self.how)
        except OSError:
            return b""


class Verdict(NamedTuple):
    """What a check before training says."""

    faults: dict[int, str]  # of the rows that cannot be read, why
    whole: bool  # whether all rows were looked at


def check(data: ImageData, images: ImageFiles, every: bool = False, warn: bool = True) -> Verdict:
    """Whether the rows of a set can be read: the first process looks, all hear.

    Rows whose verdict is kept are not read again. Of a set of more than LARGE rows only a sample is looked at here, the
    rest when it is first read.

    Args:
        data: whose files they are.
        images: the set.
        every: look at all rows of a large set too.
        warn: whether a line tells of pictures that are nearly black or nearly white.
    """
    whole = every or len(images) <= LARGE
    rows: Sequence[int] = range(len(images)) if whole else spread(len(images))
    if not whole:
        rank_zero_only(print)(
            f"{data.name}: {len(rows):,} of {len(images):,} files are checked before training, the others when they "
            "are first read"
        )
    verdict = Verdict({}, whole)
    if data.trainer is None or data.trainer.global_rank == 0:
        levels: list[bytes] = []
        with progress(f"checking {data.name}", len(rows)) as bar, ThreadPoolExecutor(os.cpu_count()) as threads:
            for first in range(0, len(rows), AT_A_TIME):
                _check_part(images, rows[first : first + AT_A_TIME], threads, bar, verdict.faults, levels)
        if warn:
            warn_of_levels(data.name, levels)
    return verdict if data.trainer is None else data.trainer.strategy.broadcast(verdict)


def _check_part(images, rows, threads, bar, faults, levels) -> None:
    def look(row: int) -> tuple[bytes, str | None]:  # the interpreter is released while a file is decoded
        try:
            return images.look(row), None
        except ValueError as error:
            return b"", str(error)

    keys = [images._key(row) for row in rows]
    known = recalled(keys) or {}
    new = [(row, key) for row, key in zip(rows, keys, strict=True) if key not in known]
    levels += known.values()
    bar.update(len(rows) - len(new))
    found = {}
    for (row, key), (seen, fault) in zip(new, threads.map(look, [row for row, _ in new]), strict=True):
        bar.update()
        if fault is not None:
            faults[row] = fault
            continue
        levels.append(seen)
        if key and key == images._key(row):  # not one that was changed while it was read
            found[key] = seen
    keep(found)


def warn_of_levels(name: str, levels: Sequence[bytes]) -> None:
    """One line if most pictures are nearly black or nearly white, as those whose white is not their type's are.

    Args:
        name: of the set.
        levels: of each row the darkest and the brightest level of each of its pictures, of 255.
    """
    if not levels:
        return
    of_rows = np.array([list(row) for row in levels]).reshape(len(levels), -1, 2)
    for darkest, brightest in np.median(of_rows, 0).astype(int).tolist():
        if brightest < DARK or darkest > BRIGHT:
            tone, reach = ("black", f"above {brightest}") if brightest < DARK else ("white", f"below {darkest}")
            log.warning(
                f"{name} is nearly {tone}: half of the pictures have nothing {reach} of 255. If their white is not "
                "the greatest level of their type, give it: --data.white 4095 for 12 bits in files of 16"
            )
