"""Shards of pictures: tar files in the layout of webdataset, read by the index that is in each."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property, partial
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import Attributed, BatchIndex, Captioned, Labeled
from gan_lightning.data.blocks import Blocks
from gan_lightning.data.decoding import Reduction, batch_of, image_of, pixels_of, reduced_image
from gan_lightning.data.sets import Split
from gan_lightning.data.store import Store, below, is_url, reached
from gan_lightning.noise import hashes, key
from gan_lightning.runtime.errors import DataError, one_line, printable
from gan_lightning.runtime.reading import Reading
from gan_lightning.text import Unit, tokens_of

INDEX = "index.json"  # beside the shards, written last
ROWS = "__rows__"  # the last file in each shard; readers of webdataset leave such names out
TABLE = ("offset", "size", "name", "label", "attributes", "captions")  # its columns, a list each
FORMAT = 1  # of both
Beside = Literal["classes", "attributes", "captions"]


def index_of(root: str) -> dict[str, Any]:
    """What is said of a set of shards, in `index.json` of a folder or URL.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of another format.
    """
    address = below(root, INDEX)
    where = printable(address)
    try:
        with reached(address) as (system, path):
            content = system.cat_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no {where}: give --data.root what `python -m gan_lightning.pack FOLDER --out SHARDS` has "
            "written, to its end"
        ) from None
    try:
        index = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged: {printable(str(error))}") from None
    try:
        if index["format"] != FORMAT:
            raise ValueError(f"{where} has the format {index['format']!r}, and this version reads {FORMAT}")
        for shards in (index["shards"]["train"], index["shards"]["val"]):
            for shard in shards:
                name, numbers = shard["name"], [shard[field] for field in ("images", "bytes", "rows_at", "rows_bytes")]
                if not isinstance(name, str) or os.path.basename(name) != name or "\\" in name or name in ("", ".."):
                    raise TypeError(f"a shard is called {name!r}")
                if not all(_is_count(value) and value for value in numbers):
                    raise TypeError(f"{name}: {numbers}")
                if shard["rows_at"] + shard["rows_bytes"] > shard["bytes"]:
                    raise TypeError(f"{name}: its table ends behind its end")
                if not isinstance(shard["sha256"], str):
                    raise TypeError(f"{name}: sha256")
                if index["classes"] and not (
                    len(shard["class_counts"]) == len(index["classes"]) and all(map(_is_count, shard["class_counts"]))
                ):
                    raise TypeError(f"{name}: class_counts")
        for names in (index["classes"], index["attributes"]):
            if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise TypeError(f"names {names!r}")
        for counted in () if index["captions"] is None else map(index["captions"].get, get_args(Unit)):
            if not (_is_count(counted["longest"]) and all(map(_is_count, counted["counts"].values()))):
                raise TypeError("captions")
        if not isinstance(index["arrays"], bool):
            raise TypeError("arrays")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is damaged: {printable(repr(error))[:200]}") from None
    return index


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


class Shard:
    """One open shard, and the table of its rows.

    Args:
        file: the tar file.
        name: of the shard, for messages.
        at, size: of its table, within the file.
        count: rows that it must have.
        index: see :func:`index_of`; each row has what that says.

    Raises:
        DataError: the table is damaged.
    """

    def __init__(self, file: BinaryIO, name: str, at: int, size: int, count: int, index: dict[str, Any]) -> None:
        self.file, self.name = file, name
        try:
            rows = json.loads(self._bytes(at, size))
            self.offset, self.size = (np.array(rows[field], np.int64) for field in ("offset", "size"))
            self.names: list[str] = [str(one) for one in rows["name"]]
            self.label = np.array(rows["label"] or [0] * count, np.int64)
            self.attributes = np.array(rows["attributes"] or [[]] * count, np.float32)
            self.captions: list[list[str]] = rows["captions"] or []
            lengths = {len(self.offset), len(self.size), len(self.names), len(self.label), len(self.attributes)}
            if lengths | {len(self.captions) or count} != {count}:
                raise ValueError(f"its table has {sorted(lengths)} rows, not {count}")
            if ((self.offset < 0) | (self.size < 0) | (self.size > at - self.offset)).any():
                raise ValueError("a row ends behind the shard's last")
            if (wrong := (self.label < 0) | (self.label >= max(1, len(index["classes"] or [])))).any():
                row = int(wrong.argmax())
                raise ValueError(f"{self.names[row]} has the label {self.label[row]}, which is no class of the index")
            if self.attributes.shape[1:] != (len(index["attributes"] or []),):
                raise ValueError("its rows have other attributes than the index says")
            if not all(isinstance(text, str) for of_row in self.captions for text in of_row):
                raise ValueError("a caption is no text")
            if index["captions"] and not all(self.captions or [[]]):
                raise ValueError("a row has no captions")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DataError(f"the shard {printable(name)} is damaged: {one_line(error, 200)}") from None
        self._first = np.cumsum([0, *map(len, self.captions)])

    def _bytes(self, at: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # processes that were forked share the file's position
            found = os.pread(self.file.fileno(), size, at)
        else:
            self.file.seek(at)
            found = self.file.read(size)
        if len(found) != size:
            raise DataError(f"the shard {printable(self.name)} ends at {at + len(found)}, within a row")
        return found

    def pixels(self, row: int, channels: int, reading: Reading, reduction: Reduction | None = None) -> np.ndarray:
        """A picture, (h, w, channels); `pack` has read it by Pillow, so the faster decoder may serve.

        Raises:
            DataError: naming the picture and the shard.
        """
        content = self._bytes(int(self.offset[row]), int(self.size[row]))
        return pixels_of(content, f"{self.name}/{self.names[row]}", channels, reading, True, reduction)

    def tokens(self, vocabulary: list[str], length: int) -> Tensor:
        """(captions, length) int64, of all rows one after the other."""
        if not hasattr(self, "_tokens"):
            self._tokens = tokens_of((text for of_row in self.captions for text in of_row), vocabulary, length)
        return self._tokens

    def own(self, row: int) -> tuple[int, int]:
        """Where the captions of a row begin and end."""
        return int(self._first[row]), int(self._first[row + 1])


class Shards(Blocks):
    """The pictures of one split's shards, with what stands beside them.

    Args:
        root: folder or URL of the shards.
        store: that fetches those of a URL.
        index: see :func:`index_of`.
        split: of it.
        shape: (channels, height, width) that pictures are brought to.
        window: see :class:`Blocks`.
        beside: what stands beside the pictures.
        columns: of the attributes that are asked for, in the order of the index.
        vocabulary, length: of captions.
        reading: see :func:`read_pixels`.
    """

    def __init__(
        self,
        root: str,
        store: Store,
        index: dict[str, Any],
        split: Split,
        shape: tuple[int, int, int],
        window: int,
        beside: Beside,
        columns: list[int],
        vocabulary: list[str],
        length: int,
        reading: Reading,
    ) -> None:
        self.shards = index["shards"][split]
        super().__init__([one["images"] for one in self.shards], [one["bytes"] for one in self.shards], window)
        self.root, self.store, self.shape, self.reading = root, store, shape, reading
        self.beside, self.columns = beside, columns
        self.vocabulary, self.length = vocabulary, length
        self.index, self._classes = index, len(index["classes"] or [])

    def check(self) -> None:
        """Look whether the shards of a folder are there, whole.

        Raises:
            OSError, ValueError: naming one that is not.
        """
        if not is_url(self.root):
            for block in range(len(self.shards)):
                self.store.open(*self._where(block)).close()

    def _where(self, block: int) -> tuple[str, int, str]:
        """A shard's address, size and SHA-256."""
        shard = self.shards[block]
        return below(self.root, shard["name"]), shard["bytes"], shard["sha256"]

    def fetch(self, block: int) -> None:
        self.store.fetch(*self._where(block))

    def open_block(self, block: int) -> Shard:
        shard, file = self.shards[block], self.store.open(*self._where(block))
        return Shard(file, shard["name"], shard["rows_at"], shard["rows_bytes"], shard["images"], self.index)

    def __getitems__(self, index: list[int]) -> tuple:
        return self._batch(index, None)

    def training_batch(self, which: BatchIndex) -> tuple:
        if is_url(self.root):
            self.fetch_ahead(which)
        return self._batch(which.index, which.epoch)

    def _batch(self, index: list[int], epoch: int | None) -> tuple:
        rows = [self.place(row) for row in index]
        channels, height, width = self.shape
        reads = (partial(shard.pixels, row, channels, self.reading) for shard, row in rows)
        if epoch is None:
            image = batch_of([image_of(read(), (height, width)) for read in reads])
        else:
            image = batch_of([reduced_image(read, (height, width)) for read in reads])
        if self.beside == "captions":
            return Captioned(image, *self._captions(rows, index, epoch))
        if self.beside == "attributes":
            has = np.stack([shard.attributes[row, self.columns] for shard, row in rows])
            return Attributed(image, torch.from_numpy(has))
        return Labeled(image, torch.tensor([int(shard.label[row]) if self._classes else 0 for shard, row in rows]))

    def _captions(self, rows: list[tuple[Shard, int]], index: list[int], epoch: int | None) -> tuple[Tensor, Tensor]:
        """(n, length) int64 each: a caption of each picture, and one of another picture of its shard.

        In training both are drawn; else the first caption, and a wrong one by the row alone.
        """
        draws = hashes(key(0) if epoch is None else key(self.seed, epoch, 3), index)
        choice = np.zeros(len(index), np.uint64) if epoch is None else hashes(key(self.seed, epoch, 2), index)
        right, wrong = [], []
        for (shard, row), draw, chosen in zip(rows, draws.tolist(), choice.tolist(), strict=True):
            token = shard.tokens(self.vocabulary, self.length)
            begin, end = shard.own(row)
            right.append(token[begin + chosen % (end - begin)])
            wrong.append(token[_other(token, begin, end, draw, shard)])
        return torch.stack(right), torch.stack(wrong)

    @property
    def captions(self) -> list[str]:
        """The first captions of the first shard's pictures."""
        return [of_row[0] for of_row in self.place(0)[0].captions]

    @property
    def class_counts(self) -> list[int] | None:
        if not self._classes:
            return None
        return np.sum([one["class_counts"] for one in self.shards], 0).tolist() if self.shards else [0] * self._classes

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the shards' own, of the pictures' shape, and of what stands beside them."""
        white = self.reading.white
        about = [[one["sha256"] for one in self.shards], self.shape, white, self.beside, self.columns]
        if self.beside == "captions":
            about += [self.vocabulary, self.length]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _other(token: Tensor, begin: int, end: int, draw: int, shard: Shard) -> int:
    """The first caption from the draw-th on, beginning again at the end, whose tokens no caption of its own has.

    Raises:
        DataError: there is none in the shard.
    """
    own, count = token[begin:end], len(token)
    for step in range(count):
        place = (draw + step) % count
        if not (token[place] == own).all(1).any():
            return place
    raise DataError(
        f"the shard {printable(shard.name)}: no caption is wrong of the picture with the caption "
        f"{shard.captions[0][0]!r}: all have the same tokens. Pack more pictures in a shard, or use a greater "
        "--data.length or a smaller --data.min_count"
    )
