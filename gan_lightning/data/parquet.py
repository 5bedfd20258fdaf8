"""Pictures in Parquet files, as the Hugging Face Hub has them."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.batches import BatchIndex, Labeled
from gan_lightning.data.base import ImageData
from gan_lightning.data.blocks import Blocks
from gan_lightning.data.contents import hashed
from gan_lightning.data.decoding import batch_of, image_of, pixels_of, reduced_image, require_channels
from gan_lightning.data.finding import VALIDATION
from gan_lightning.data.parquet_files import Group, ParquetFiles, parquet_files, pyarrow_parquet
from gan_lightning.data.sets import Examples, Split
from gan_lightning.data.store import MEGABYTE, Store, is_url, reached, require_room
from gan_lightning.runtime.errors import DataError, one_line, printable
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Size, sides_of

LARGE = 4 * 2**30  # bytes of files; of more not every byte is read before training


class ParquetRows(Blocks):
    """Pictures in row groups, of which a process holds those of one window in memory.

    A quarter of the store holds the files whose row groups are mixed, another one those that come next. The rest is for
    processes that are behind, and for other sets.

    Args:
        files: that they are in.
        groups: the rows of each group of the files that are of this set.
        store: that fetches files of URLs.
        shape: (channels, height, width) that pictures are brought to.
        window: see :class:`Blocks`.
        reading: see :func:`read_pixels`.
    """

    def __init__(
        self,
        files: ParquetFiles,
        groups: list[Group],
        store: Store,
        shape: tuple[int, int, int],
        window: int,
        reading: Reading,
    ) -> None:
        kept = [(group, size) for group, size in zip(groups, files.bytes, strict=True) if group.rows]
        self.groups = [group for group, _ in kept]
        super().__init__(
            [group.rows for group in self.groups],
            [size for _, size in kept],
            window,
            [group.file for group in self.groups],
            near=max(1, store.limit // (4 * max(files.sizes))),
        )
        self.files, self.store, self.shape, self.reading = files, store, shape, reading

    def fetch(self, block: int) -> None:
        file = self.groups[block].file
        self.store.fetch(self.files.names[file], self.files.sizes[file], version=self.files.versions[file])

    def open_block(self, block: int) -> tuple[Any, Any, Group]:
        """The bytes and the labels of a row group, as Arrow's arrays; and which group it is."""
        group, columns = self.groups[block], self.files.columns
        name = self.files.names[group.file]
        wanted = [columns.content, *([] if columns.label is None else [columns.label])]
        size, version = self.files.sizes[group.file], self.files.versions[group.file]
        with self.store.open(name, size, version=version) as file:
            table = _read(file, group.number, wanted, name)
        content = table.column(columns.image).combine_chunks()
        if columns.content != columns.image:
            content = content.field("bytes")
        return content, None if columns.label is None else table.column(columns.label), group

    def __getitems__(self, index: list[int]) -> Labeled:
        return self._batch(index, None)

    def training_batch(self, which: BatchIndex) -> Labeled:
        if is_url(self.files.names[0]):
            self.fetch_ahead(which)
        return self._batch(which.index, which.epoch)

    def _batch(self, index: list[int], epoch: int | None) -> Labeled:
        """All epochs train on the same pixels, those of :func:`reduced_image`; None: by Pillow, at the whole size."""
        images, labels = [], []
        channels, height, width = self.shape
        for (content, label, group), row in map(self.place, index):
            at = group.first + row
            name = f"{self.files.names[group.file]}, row group {group.number}, row {at},"
            if not content[at].is_valid:
                raise DataError(f"{printable(name)} has no picture in it, but its path at most")
            read = partial(pixels_of, content[at].as_py(), name, channels, self.reading)
            if epoch == 0:
                read()  # Pillow refuses damaged pictures that OpenCV reads
            if epoch is None:
                images.append(image_of(read(), (height, width)))
            else:
                images.append(reduced_image(partial(read, True), (height, width)))
            labels.append(0 if label is None else self._number(label[at].as_py(), name))
        return Labeled(batch_of(images), torch.tensor(labels, dtype=torch.int64))

    def _number(self, label: Any, name: str) -> int:
        count = len(self.files.columns.classes or [])
        if not isinstance(label, int) or not 0 <= label < count:
            raise DataError(f"{printable(name)} has the label {label}, and there are the classes 0 to {count - 1}")
        return label

    @cached_property
    def class_counts(self) -> list[int] | None:
        """Read from the column of labels alone."""
        columns, files = self.files.columns, self.files
        if columns.label is None or columns.classes is None:
            return None
        counts = np.zeros(len(columns.classes), np.int64)
        for file, groups in groupby(self.groups, key=lambda group: group.file):
            with reached(files.names[file]) as (system, path), system.open(path, "rb") as content:
                for group in groups:
                    label = _read(content, group.number, [columns.label], files.names[file]).column(columns.label)
                    numbers = label.slice(group.first, group.rows).to_numpy()
                    good = (numbers >= 0) & (numbers < len(counts))  # others are told where they are drawn
                    counts += np.bincount(numbers[good].astype(np.int64), minlength=len(counts))
        return counts.tolist()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the files, of which rows these are, and of the pictures' shape; of URLs, of what their store says
        of the files: their sizes, and their hashes or times where it has them."""
        if is_url(self.files.names[0]):
            return self._known_by(self.files.versions)
        cores = os.cpu_count() or 1
        return self._known_by([digest.hex() for digest in hashed([*map(Path, self.files.names)], cores)])

    @property
    def quick_fingerprint(self) -> str:
        """Of more than `LARGE` bytes in files of this machine SHA-256 of what their footers say, in place of all bytes:
        names, sizes, and the rows and bytes of each row group."""
        files = self.files
        if is_url(files.names[0]) or sum(files.sizes) <= LARGE:
            return self.fingerprint
        return self._known_by([[Path(name).name for name in files.names], files.sizes, files.rows, files.bytes])

    def _known_by(self, content: list) -> str:
        about = [content, self.groups, self.shape, self.reading.white, self.files.columns]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _read(file: Any, number: int, columns: list[str], name: str) -> Any:
    """These columns of a row group, as Arrow's table."""
    try:
        return pyarrow_parquet().ParquetFile(file).read_row_group(number, columns=columns, use_threads=False)
    except Exception as error:
        raise DataError(f"{printable(name)}, row group {number}, cannot be read: {one_line(error, 200)}") from None


class ParquetImages(ImageData):
    """Pictures in Parquet files, in the layout of the Hugging Face Hub: a column of pictures, one of labels.

    The column of pictures is found by its type, an `Image` of `datasets`, a struct with the field `bytes`, or bytes;
    the labels are a `ClassLabel`, whose names are the classes. Files whose names or folders begin with `train` train;
    of others `validation` (or `valid`, `val`), else `test`, validates; where there are none, the last rows of each row
    group are held out. Files are data: nothing in them is run, and no code of a data set on the Hub.

    The order of training is a function of the seed and the epoch: files in random order, the row groups of so many of
    them mixed as a quarter of `cache_size` holds, and the rows of `window` megabytes of these; on any number of
    processes and workers, and from any batch on. Each worker has the row groups of one window in memory, one at least.
    Files of URLs are fetched whole, once an epoch, the next ones while some train, into a folder of at most
    `cache_size` megabytes that the processes of a machine share.

    Args:
        root: a .parquet file, a folder of them, a URL of either (hf://datasets/USER/NAME, s3://, https:// and others of
            fsspec), or a name on the Hub, USER/NAME.
        config: of a set on the Hub that has several.
        size: of the images, one number for both sides or [height, width]; the middle is taken in its proportions.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        flip: mirror training images left to right at random.
        image_column, label_column: their names, where there are several.
        val_fraction: share held out where no files are meant for validation, from 0 up to but not 1.
        window: megabytes of row groups that are mixed.
        cache_size: megabytes of fetched files that each machine keeps, of all sets together, in
            $GAN_LIGHTNING_CACHE/shards; the order depends on it for files of this machine too.
        batch_size: over all processes.
        num_workers: loader processes.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.

    Raises:
        FileNotFoundError: there are no such files.
        OSError: a URL cannot be read.
        ValueError: a package is missing, a file is damaged or has other columns, or an argument is out of range.
    """

    def __init__(
        self,
        root: str,
        config: str | None = None,
        size: Size = 64,
        channels: int = 3,
        flip: bool = False,
        image_column: str | None = None,
        label_column: str | None = None,
        val_fraction: float = 0.05,
        window: int = 256,
        cache_size: int = 50_000,
        batch_size: int = 64,
        num_workers: int = 2,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        sides = sides_of(size)
        if window < 1 or not 0 <= val_fraction < 1:
            raise ValueError(f"window ({window}) must be at least 1, val_fraction ({val_fraction}) from 0 to below 1")
        require_channels(channels)
        pyarrow_parquet()
        self.store, self.window, self.reading = Store(cache_size * MEGABYTE), window, Reading(white, max_pixels)
        splits = parquet_files(root, config)
        name = f"ParquetImages({printable(root)})"
        if not splits.get("train"):
            raise ValueError(f"{name} has the splits {', '.join(splits)}, and none is called train")
        held = next((split for split in VALIDATION if split in splits), None)
        if unused := [split or "of no split" for split in splits if split not in ("train", held)]:
            rank_zero_warn(f"{name}: files that neither train nor validate are left out: {', '.join(unused)}")
        self.files = {"train": ParquetFiles(splits["train"], image_column, label_column)}
        columns = self.files["train"].columns
        self.groups = dict(zip(("train", "val"), self.files["train"].parted(0 if held else val_fraction), strict=True))
        if held:
            self.files["val"] = ParquetFiles(splits[held], columns.image, columns.label)
            self.groups["val"] = self.files["val"].parted(0)[0]
            if self.files["val"].columns != columns:
                raise ValueError(f"{name}: the split {held} has other classes than the split train")
        classes = columns.classes
        super().__init__(name, (channels, *sides), len(classes) if classes else None, batch_size, num_workers, flip)
        self.classes = classes
        require_room(name, splits["train"][0], self.store, window, self.files["train"].sizes)

    def load(self, split: Split) -> ParquetRows:
        files = self.files.get(split, self.files["train"])
        return ParquetRows(files, self.groups[split], self.store, self.image_shape, self.window, self.reading)

    def training_set(self) -> Examples:
        return self.reference("train").in_training(self._seed)
