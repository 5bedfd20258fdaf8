"""Shards made of a folder of pictures; what :class:`gan_lightning.data.StreamedImages` reads."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from gan_lightning.data.attributes import attributes_in, list_in, once, read_attributes
from gan_lightning.data.caption_files import read_captions
from gan_lightning.data.contents import sha256_of
from gan_lightning.data.decoding import pixels_of
from gan_lightning.data.finding import identity, listed, named_images
from gan_lightning.data.folder import ImageFolder, place_of
from gan_lightning.data.levels import FULL
from gan_lightning.data.pictures import resized
from gan_lightning.data.shards import FORMAT, INDEX, ROWS, TABLE
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS
from gan_lightning.runtime.reading import Reading
from gan_lightning.text import caption_parts

GROUP = 64  # pictures that are read at a time, by several threads
QUALITY = 95  # of JPEG files that are made smaller
PART = f"{INDEX}.part"  # there while a pack writes; tells its shards from those of other programs
SHARD = re.compile(r"(train|val)-\d{6}\.tar")


class Row(NamedTuple):
    """A picture, and what stands beside it."""

    path: Path
    name: str  # below the folder
    label: int
    attributes: list[int] | None
    captions: list[str] | None


class Packed(NamedTuple):
    """A picture as it stands in a shard."""

    suffix: str
    content: bytes
    fault: str | None


def pack(
    root: str,
    out: Path,
    shard_images: int = 1000,
    size: int | None = None,
    channels: int = 3,
    val_fraction: float = 0.05,
    attributes: list[str] | None = None,
    list_path: str | None = None,
    captions: str | None = None,
    reading: Reading = Reading(),
) -> dict[str, Any]:
    """Write shards of the pictures of a folder, and their index last: without it they are no set.

    The same folder gives the same bytes. Pictures are in the order of a hash of their names, so that each shard is
    drawn evenly of all; the hash holds out those for validation that it would hold out in `ImageFolder`. A picture is
    decoded once, to find damaged ones, and stands in the shard as its file is, but where `size` makes it smaller. Its
    levels stay: `white` is applied in training. Arrays, and files whose levels 16 bits do not have, stay as they are.

    Args:
        root: the folder; classes are its sub-folders, as in `ImageFolder`.
        out: the folder of the shards, which must be there; what an earlier pack left in it is removed.
        shard_images: pictures in a shard, at most.
        size: of the shorter side of pictures whose shorter side is longer; None for all as they are.
        channels: that pictures are to be read with, to check that they can be.
        val_fraction: share held out, from 0 up to but not 1.
        attributes: names, or ["all"], of those of a list; pictures that it does not name are left out.
        list_path: of the list, from the folder on; None for one of CelebA's two names.
        captions: file or folder of captions, from the folder on; empty to look for it. Pictures without are left out.
        reading: how pictures are read.

    Returns:
        the index.

    Raises:
        FileNotFoundError: no such folder, list or captions.
        ValueError: no pictures, damaged ones, which are named, or an argument is out of range.
    """
    if shard_images < 1 or (size is not None and size < 1):
        raise ValueError(f"--shard_images ({shard_images}) and --size ({size}) must be at least 1")
    folder = ImageFolder(root, channels=channels, val_fraction=val_fraction, white=reading.white)
    has = _attributes(folder.root, attributes, list_path)
    described = {} if captions is None else read_captions(folder.root, captions or None)
    texts = {identity(path): lines for path, lines in described.items()}
    rows: dict[str, list[Row]] = {}
    left_out = 0
    for split in ("train", "val"):
        examples = folder.reference(split)
        found = []
        for path, label in zip(examples.paths, examples.label.tolist(), strict=True):
            known, name = identity(path), path.relative_to(folder.root).as_posix()
            if (has and known not in has[1]) or (texts and known not in texts):
                left_out += 1
            else:
                found.append(Row(path, name, label, has and has[1][known], texts.get(known)))
        rows[split] = sorted(found, key=lambda row: (place_of(row.name), row.name))
    if not rows["train"]:
        raise ValueError(f"{printable(folder.root)}: no picture is left to train on")
    clear(out)
    part = out / PART
    part.touch()
    index: dict[str, Any] = {
        "format": FORMAT,
        "images": sum(map(len, rows.values())),
        "left_out": left_out,
        "classes": folder.classes,
        "attributes": has and has[0],
        "captions": _counted(rows["train"]) if texts else None,
        "arrays": any(row.path.suffix.lower() == ARRAYS for row in rows["train"]),
    }
    reader = partial(_read, size=size, channels=channels, reading=reading)
    written = {split: _write(rows[split], out, split, shard_images, reader, index) for split in rows}
    if faults := [fault for _, of_split in written.values() for fault in of_split]:
        clear(out)
        raise ValueError(f"{len(faults)} damaged files: {listed(faults)}. Remove them, and pack again")
    index["shards"] = {split: shards for split, (shards, _) in written.items()}
    index["bytes"] = sum(shard["bytes"] for shards in index["shards"].values() for shard in shards)
    with part.open("w", encoding="utf-8") as file:
        json.dump(index, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, out / INDEX)
    return index


def clear(out: Path) -> None:
    """Remove an earlier pack, or what an interrupted one left: the index first, the mark of an interrupted one last."""
    for path in (out / INDEX, *shards_in(out), out / PART):
        with suppress(FileNotFoundError):
            path.unlink()


def shards_in(out: Path) -> list[Path]:
    """The files in a folder that are called as shards are."""
    return [path for path in out.iterdir() if SHARD.fullmatch(path.name)]


def of_pack(out: Path) -> bool:
    """Whether a folder holds nothing but what a pack writes, finished or not."""
    return all(path.name in (INDEX, PART) or SHARD.fullmatch(path.name) for path in out.iterdir())


def interrupted(out: Path) -> bool:
    """Whether a pack that was stopped has written what is in a folder."""
    return (out / PART).exists() and not (out / INDEX).exists()


def _attributes(
    root: Path, names: list[str] | None, list_path: str | None
) -> tuple[list[str], dict[object, list[int]]] | None:
    """The names of the attributes, and which of them each file has."""
    if names is None:
        return None
    source = list_in(root, list_path)
    wanted = attributes_in(source) if names == ["all"] else names
    images, yes = read_attributes(source, wanted)
    paths, kept = once(named_images(root, images, source), yes, source)
    return wanted, {identity(path): row for path, row in zip(paths, kept.int().tolist(), strict=True)}


def _counted(rows: Sequence[Row]) -> dict[str, Any]:
    """How often each word and each character is in the captions, and how many the longest has."""
    counted = {}
    for unit in ("word", "character"):
        counts: Counter[str] = Counter()
        longest = 1
        for row in rows:
            for text in row.captions or []:
                parts = caption_parts(text, unit)
                counts.update(parts)
                longest = max(longest, len(parts))
        counted[unit] = {"counts": dict(sorted(counts.items())), "longest": longest}
    return counted


def _read(row: Row, size: int | None, channels: int, reading: Reading) -> Packed:
    suffix = row.path.suffix.lower()
    try:
        content = row.path.read_bytes()
        pixels = pixels_of(content, row.name, channels, reading)
    except (ValueError, OSError) as error:
        return Packed(suffix, b"", printable(error))
    height, width = pixels.shape[:2]
    if size is None or min(height, width) <= size or suffix == ARRAYS:
        return Packed(suffix, content, None)
    if reading.white is not None:  # is applied in training, once, to all pictures of the set: this one keeps its levels
        if reading.white > FULL:
            return Packed(suffix, content, None)
        try:
            pixels = pixels_of(content, row.name, channels, Reading(None, reading.max_pixels))
        except ValueError:  # floats, of which no file of 16 bits has the levels
            return Packed(suffix, content, None)
    scale = size / min(height, width)
    small = resized(pixels, max(round(height * scale), size), max(round(width * scale), size))
    made = ".jpg" if suffix in (".jpg", ".jpeg") and small.dtype == np.uint8 and channels != 4 else ".png"
    if small.shape[2] > 1:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA)
    _, encoded = cv2.imencode(made, small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if made == ".jpg" else [])
    return Packed(made, encoded.tobytes(), None)


def _write(
    rows: Sequence[Row], out: Path, split: str, shard_images: int, read: Callable[[Row], Packed], index: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write the shards of one split, of nearly equal numbers of pictures.

    Returns:
        what the index says of each, and what is wrong with damaged files.
    """
    shards: list[dict[str, Any]] = []
    faults: list[str] = []
    parts = np.array_split(np.arange(len(rows)), -(-len(rows) // shard_images)) if rows else []
    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,  # the interpreter is released while a file is decoded
        tqdm(total=len(rows), unit="image", desc=f"pack {split}", disable=None) as bar,
    ):
        for number, part in enumerate(parts):
            mine, path = [rows[at] for at in part], out / f"{split}-{number:06}.tar"
            table: dict[str, list] = {field: [] for field in TABLE}
            with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for first in range(0, len(mine), GROUP):
                    group = mine[first : first + GROUP]
                    for at, (row, packed) in enumerate(zip(group, threads.map(read, group), strict=True), first):
                        if packed.fault:
                            faults.append(packed.fault)
                        else:
                            _describe(tar, f"{part[at]:09}", row, packed, index, table)
                    bar.update(len(group))
                text = json.dumps(table).encode()
                rows_at = _add(tar, ROWS, text)
            shard = {"name": path.name, "images": len(mine), "bytes": path.stat().st_size, "sha256": _digest(path)}
            shards.append(shard | {"rows_at": rows_at, "rows_bytes": len(text)})
            if index["classes"]:
                counts = np.bincount([row.label for row in mine], minlength=len(index["classes"]))
                shards[-1]["class_counts"] = counts.tolist()
    return shards, faults


def _digest(path: Path) -> str:
    """SHA-256 of a file, which is on the disk after this."""
    with path.open("r+b") as file:
        digest = sha256_of(file).hex()
        os.fsync(file.fileno())
    return digest


def _describe(
    tar: tarfile.TarFile, stem: str, row: Row, packed: Packed, index: dict[str, Any], table: dict[str, list]
) -> None:
    """Add a picture, a json of what stands beside it, and its line of the table."""
    table["offset"].append(_add(tar, stem + packed.suffix, packed.content))
    table["size"].append(len(packed.content))
    table["name"].append(row.name)
    beside: dict[str, Any] = {"name": row.name}
    if index["classes"]:
        table["label"].append(row.label)
        beside |= {"label": row.label, "class": index["classes"][row.label]}
    if row.attributes is not None:
        table["attributes"].append(row.attributes)
        beside["attributes"] = dict(zip(index["attributes"], row.attributes, strict=True))
    if row.captions is not None:
        table["captions"].append(row.captions)
        beside["captions"] = row.captions
    _add(tar, f"{stem}.json", json.dumps(beside).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Where the content of a file begins in the archive, once it is added; nothing in it depends on the machine."""
    entry = tarfile.TarInfo(name)  # without a time, an owner or a path
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
    return tar.offset - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
