"""Which files below a folder are pictures: each once, however it is reached; what is left out is told in one line."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from PIL import Image
from tqdm import tqdm

from gan_lightning.data.paths import Paths
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import ARRAYS, FIRST, SHEETS

log = logging.getLogger(__name__)
DELAY = 3.0  # seconds before a bar shows itself
# Formats whose files Pillow opens without decoding their pixels by itself, or that are seldom pictures.
NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
# Names that systems and tools leave behind; most of their like begin with a dot, and are hidden.
LEFT_BEHIND = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "desktop.ini",
}
TRAINING = re.compile(r"train(ing)?([AB]|[^A-Za-z].*)?", re.IGNORECASE)
HELD_OUT = re.compile(r"(val(id(ation)?)?|test(ing)?)([AB]|[^A-Za-z].*)?", re.IGNORECASE)
VALIDATION = ("val", "valid", "validation", "test")  # what a split for validation may be called, the best name first


def suffixes() -> set[str]:
    """The suffixes of arrays and of the formats that Pillow reads here, plugins' too; lower case, with their dot."""
    kinds = Image.registered_extensions().items()
    return {ARRAYS} | {suffix for suffix, kind in kinds if kind in Image.OPEN and kind not in NO_PICTURES}


def identity(path: str | Path) -> tuple[int, int | str]:
    """What all names of a file or folder have in common: links, hard links, and paths through linked folders."""
    return _identity(path, os.stat(path))


def _identity(path: str | Path, status: os.stat_result) -> tuple[int, int | str]:
    return (status.st_dev, status.st_ino) if status.st_ino else (0, os.path.realpath(path))


Known = tuple[int, int | str]  # what all names of a file have in common
File = tuple[str, Known | str]  # a path, and the file that it is, or why it is none


def in_order(path: str) -> str:
    """What sorts paths as pathlib does: by their parts."""
    return path.replace(os.sep, "\0")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _file(entry: os.DirEntry[str]) -> Known | str:
    """A file's identity, or why it is left out."""
    try:
        status = entry.stat()
    except OSError:
        return "broken link"
    return _identity(entry.path, status) if stat.S_ISREG(status.st_mode) else "no regular file"


def progress(what: str, total: int | None = None) -> tqdm:
    """A bar on stderr for what goes through files, which shows itself after some seconds, in the first process."""
    other = getattr(rank_zero_only, "rank", 0) != 0
    return tqdm(desc=what, total=total, unit="file", delay=DELAY, mininterval=1.0, leave=False, disable=other)


class Walk:
    """A walk through a folder, at any depth, that enters every folder and takes every picture once.

    Links are followed after everything that is there without them, so that a file keeps the path that it has of its
    own; of several such paths, and of several links, it keeps the first in alphabetical order.

    Args:
        root: the folder.
        names: take a picture under each of its names, where it is the name that counts.

    Attributes:
        paths: of the pictures, sorted.
        left_out: what was not taken, by reason.
        kinds: suffixes of the files that are no pictures.
    """

    def __init__(self, root: Path, names: bool = False) -> None:
        self._names = names
        self.left_out: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._suffixes = suffixes()
        self._folders: set[object] = set()
        self._files: set[object] = set()
        found: list[str] = []
        places = [str(root)]  # the folder, then the linked ones
        with progress(f"looking through {printable(root)}") as self._bar:
            for place in places:
                files, links, linked = self._look_through(place)
                for part in (files, links):
                    part.sort(key=lambda file: in_order(file[0]))
                    found += [path for path, known in part if self._is_new(known)]
                places += sorted(linked, key=in_order)
        found.sort(key=in_order)
        self.paths = Paths(found)

    def _look_through(self, place: str) -> tuple[list[File], list[File], list[str]]:
        """The pictures below a folder, those that are links, and the folders that are, without following any."""
        files: list[File] = []
        links: list[File] = []
        linked: list[str] = []
        folders = [place]
        while folders:
            folder = folders.pop()
            if (known := identity(folder)) in self._folders:
                self.left_out["link to a folder that is here already"] += 1
                continue
            self._folders.add(known)
            try:
                with os.scandir(folder) as scan:
                    entries = list(scan)
            except OSError:
                self.left_out["folder that cannot be opened"] += 1
                continue
            inner = {entry.name for entry in entries if _is_folder(entry)}
            # Of pictures that `sample` wrote the sheets are no further ones.
            sheets = {SHEETS} if any(entry.name in FIRST for entry in entries) else set()
            for entry in entries:
                if entry.name in inner:
                    if entry.name not in sheets and self._is_wanted(entry.name):
                        (linked if entry.is_symlink() else folders).append(entry.path)
                elif self._is_wanted(entry.name) and self._is_picture(entry.name):
                    (links if entry.is_symlink() else files).append((entry.path, _file(entry)))
            self._bar.update(len(entries))
        return files, links, linked

    def _is_wanted(self, name: str) -> bool:
        if name.lower() in LEFT_BEHIND:
            self.left_out[f"left behind by a system ({printable(name)})"] += 1
        elif name.startswith("."):
            self.left_out["hidden"] += 1
        else:
            return True
        return False

    def _is_picture(self, name: str) -> bool:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in self._suffixes:
            return True
        self.kinds[suffix] += 1
        return False

    def _is_new(self, known: Known | str) -> bool:
        if isinstance(known, str):
            self.left_out[known] += 1
        elif known in self._files and not self._names:
            self.left_out["another name of a picture that is here already"] += 1
        else:
            self._files.add(known)
            return True
        return False

    def __str__(self) -> str:
        """How many pictures there are; how many files are left out, and why."""
        count = len(self.paths)
        left_out, kinds = (
            sorted(found.items(), key=lambda row: (-row[1], row[0])) for found in (self.left_out, self.kinds)
        )
        reasons = [f"{number} {reason}" for reason, number in left_out]
        if kinds:
            named = [f"{number} {printable(kind or 'without suffix')}" for kind, number in kinds[:3]]
            named += ["..."] * (len(kinds) > 3)
            reasons.insert(0, f"{self.kinds.total()} of other kinds ({', '.join(named)})")
        return f"{count or 'no'} image{'s' * (count != 1)}" + f"; left out: {', '.join(reasons)}" * bool(reasons)


def image_files(root: Path, names: bool = False) -> Paths:
    """The pictures under a folder, at any depth, sorted, each once (see :class:`Walk`).

    One line tells what is left out, and why.
    """
    walk = Walk(root, names)
    if walk.paths and (walk.left_out or walk.kinds):  # without any there is an error to come, which says the same
        rank_zero_only(log.warning)(f"{printable(root)}: {walk}")
    return walk.paths


def holds(root: Path) -> str:
    """What to say of a folder without pictures, or without enough: what it holds."""
    return f"{printable(root)} holds {Walk(root)}"


def once(rows: Sequence[tuple[Path, ...]], source: Path) -> list[tuple[Path, ...]]:
    """Rows of files without those whose files a row before has; one line tells how many these are."""
    kept: dict[tuple, tuple[Path, ...]] = {}
    for row in rows:
        kept.setdefault(tuple(map(identity, row)), row)
    if len(kept) < len(rows):
        rank_zero_only(log.warning)(
            f"{printable(source)}: {len(rows) - len(kept)} pictures are there under another name too, and count once"
        )
    return list(kept.values())


def refuse_shared(first: Sequence[Path], second: Sequence[Path], what: str) -> None:
    """Refuse two parts of a set that have files in common.

    Raises:
        ValueError: naming one of them.
    """
    known = {identity(path) for path in first}
    shared = [path for path in second if identity(path) in known]
    if shared:
        more = f", and so are {len(shared) - 1} more" if len(shared) > 1 else ""
        raise ValueError(f"{printable(shared[0])} is in {what}{more}: no picture may be in both")


def refuse_splits(root: Path, paths: Paths, flag: str) -> None:
    """Refuse a folder that is one level, or more, too high: what it holds are the splits of a set.

    Args:
        root: the folder.
        paths: its pictures.
        flag: that names another folder.

    Raises:
        ValueError: naming the folder of the training images; or that a split lies in a split.
    """
    above = {name.rpartition("/")[0] for name in paths.below(root)}
    inner = [tuple(name.split("/")) if name else () for name in above]
    folder, depth = root, 0
    while len(names := {parts[depth] if len(parts) > depth else "" for parts in inner}) == 1 and "" not in names:
        folder, depth = folder / names.pop(), depth + 1
    train, val = (sorted(name for name in names if kind.fullmatch(name)) for kind in (TRAINING, HELD_OUT))
    if train and val:
        raise ValueError(
            f"{printable(folder)} holds the splits {', '.join(map(printable, train + val))} of a set: "
            f"give {flag} {printable(folder / train[0])}"
        )
    if val and "" in names and TRAINING.fullmatch(folder.name):
        raise ValueError(f"{printable(folder)} has {printable(val[0])} among its pictures: move it out, beside it")


def tell_loose(folder: Path, splits: Sequence[str]) -> None:
    """One line on pictures that lie beside the folders of splits, and are not read."""
    known = suffixes()
    loose = sum(os.path.splitext(entry.name)[1].lower() in known for entry in os.scandir(folder))
    if loose:
        rank_zero_only(log.warning)(
            f"{printable(folder)}: {loose} pictures beside {' and '.join(splits)} are in none of them, and left out"
        )


def named_images(root: Path, names: Sequence[str], source: Path) -> list[Path]:
    """The images that a list names: below `root`, or below `root/images`.

    A name counts as it is written, else without the spaces around it. An image that is in neither folder may have
    another suffix if it is the only one of its name: CelebA's list says .jpg of its .png files too. One line tells of
    such images.

    Args:
        root: the folder.
        names: paths below it.
        source: the list, for messages.

    Raises:
        FileNotFoundError: naming some that are in neither folder, and how many there are.
    """
    found: list[Path] = []
    missing: list[str] = []
    other: list[str] = []
    beside: dict[Path, dict[str, list[Path]]] = {}  # of a folder, its files by their names without suffixes
    for name in names:
        places = [folder / given for given in (name, name.strip()) for folder in (root, root / "images")]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            for folder in {place.parent for place in places} - beside.keys():
                files = beside[folder] = {}
                for entry in os.scandir(folder) if folder.is_dir() else ():
                    files.setdefault(os.path.splitext(entry.name)[0], []).append(folder / entry.name)
            candidates = [beside[place.parent].get(place.stem, []) for place in places]
            path = next((files[0] for files in candidates if len(files) == 1 and files[0].is_file()), None)
            if path is None:
                missing.append(printable(name))
                continue
            other.append(printable(f"{path.name} for {name}"))
        found.append(path)
    if missing:
        raise FileNotFoundError(
            f"{printable(source)} names {len(missing)} images that are neither in {printable(root)} nor in "
            f"{printable(root / 'images')}: {listed(missing)}; take their lines out, or add them"
        )
    if other:
        rank_zero_warn(
            f"{len(other)} of the images that {printable(source)} names have another suffix: {listed(other)}"
        )
    return found


def listed(messages: list[str]) -> str:
    """The first five of these, and how many more there are."""
    return "; ".join(messages[:5]) + (f"; and {len(messages) - 5} more" if len(messages) > 5 else "")
