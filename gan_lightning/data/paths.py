"""The paths of many files, without an object for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

SEPARATOR = os.fsencode(os.sep)


class Paths(Sequence[Path]):
    """Paths in one string, without the folder that they share; each becomes a Path when it is asked for.

    A list of Path objects takes 300 bytes for each file, and counts of references copy it into every worker process.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        names = [os.fsencode(path) for path in paths]
        prefix = os.fsencode(os.path.commonprefix(names or [b""]))
        self._root = prefix[: prefix.rfind(SEPARATOR) + 1]
        self._names = b"".join(name[len(self._root) :] for name in names)
        lengths = np.fromiter(map(len, names), np.int64, len(names)) - len(self._root)
        self._ends = np.concatenate([[0], lengths.cumsum()])  # where each name begins, and the last one ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _name(self, row: int) -> bytes:
        return self._names[self._ends[row] : self._ends[row + 1]]

    def _path(self, row: int) -> Path:
        return Path(os.fsdecode(self._root + self._name(row)))

    @overload
    def __getitem__(self, row: int) -> Path: ...
    @overload
    def __getitem__(self, row: slice) -> Paths: ...
    def __getitem__(self, row: int | slice) -> Path | Paths:
        if isinstance(row, slice):
            return self.take(range(*row.indices(len(self))))
        return self._path(range(len(self))[row])

    def __iter__(self) -> Iterator[Path]:
        return map(self._path, range(len(self)))

    def take(self, rows: Iterable[int]) -> Paths:
        """Those of these rows."""
        return Paths(os.fsdecode(self._root + self._name(row)) for row in rows)

    def names(self) -> Iterator[str]:
        """Each file's path from the folder on that all share."""
        return (os.fsdecode(self._name(row)) for row in range(len(self)))

    def below(self, folder: Path) -> Iterator[str]:
        """Each file's path from a folder on that holds them all, with / between its parts."""
        start = len(os.fsencode(folder).rstrip(SEPARATOR)) + 1
        for row in range(len(self)):
            name = os.fsdecode((self._root + self._name(row))[start:])
            yield name if os.sep == "/" else name.replace(os.sep, "/")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Path.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # as a list's

    def __repr__(self) -> str:
        return f"Paths of {len(self)} files"
