"""What is kept of image files, so that each is read and checked once in its life: hashes of contents, and verdicts.

The hash of a set is that of its contents: equal contents are one set, wherever it lies and however files are named.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from gan_lightning.data.finding import progress
from gan_lightning.runtime.cache import cache_folder

if TYPE_CHECKING:
    import sqlite3

KEPT = "file_hashes.sqlite3"  # in the cache
TABLE = "CREATE TABLE IF NOT EXISTS hashes (file TEXT PRIMARY KEY, state TEXT, digest BLOB, checksum INTEGER)"
CHECKED = "CREATE TABLE IF NOT EXISTS checked (row BLOB PRIMARY KEY, found BLOB) WITHOUT ROWID"
PATIENCE = 10.0  # seconds to wait for another process that writes
CHUNK = 1 << 20  # bytes read at a time
GROUP = 16  # files that a thread reads in one go: to hand over each small file by itself takes longer than to read it
REST = 2 * 10**9  # ns since a file was last changed: clocks of file systems tick in up to two seconds
AT_A_TIME = 10_000  # files that are looked up together
SAMPLE = 1000  # files that stand for a large set
Answer = TypeVar("Answer")


class Version(NamedTuple):
    """One version of one file, as far as the file system tells without reading it.

    The time of change (ctime; on Windows that of creation) tells of a file that was rewritten in place and given its
    old time of modification back, and of another file that took over the number of a removed one.
    """

    file: str  # device and inode
    state: str  # size and times in ns

    @classmethod
    def of(cls, stat: os.stat_result) -> Version:
        return cls(f"{stat.st_dev} {stat.st_ino}", f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}")

    def checksum(self, digest: bytes) -> int:
        return zlib.crc32(f"{self.file} {self.state} ".encode() + digest)


def fingerprint_of(paths: Iterable[Path], about: str) -> str:
    """SHA-256 of the files' contents in their order, and of how they are read; names and folders do not matter.

    A file is read once: its hash is kept in the cache for as long as its inode, size and times stay. Files are read
    by several threads, since hashing frees the interpreter.

    Args:
        paths: of the files.
        about: what the images depend on beside the files.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(hashlib.sha256(about.encode()).digest())
    every = paths if isinstance(paths, Sequence) else list(paths)
    for of_file in hashed(every, AT_A_TIME):
        digest.update(of_file)
    return digest.hexdigest()


def hashed(paths: Sequence[Path], at_a_time: int) -> Iterator[bytes]:
    """What :func:`digests_of` gives of many files, or large ones, with a bar that moves after so many of them."""
    with progress("hashing files", len(paths)) as bar:
        for first in range(0, len(paths), at_a_time):
            part = paths[first : first + at_a_time]
            yield from digests_of(part)
            bar.update(len(part))


def quick_fingerprint_of(paths: Sequence[Path], names: Iterable[str], about: str) -> str:
    """SHA-256 of the names of many files, of the contents of some, evenly spread, and of how they are read.

    Args:
        paths: of the files.
        names: of the files, which the folder that they lie in does not change.
        about: what the images depend on beside the files.
    """
    digest = hashlib.sha256(f"names {about}".encode())
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    digest.update(b"".join(digests_of([paths[row] for row in spread(len(paths))])))
    return digest.hexdigest()


def spread(count: int) -> list[int]:
    """So many rows as are looked at of a large set, SAMPLE, evenly spread over it."""
    return np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(int).tolist()


def key_of(files: Sequence[Path], how: str) -> bytes:
    """What a verdict on the present versions of files is kept under; empty where the next change may leave no trace.

    Args:
        files: that were looked at together.
        how: what the verdict depends on beside them.
    """
    now, stats = time.time_ns(), [os.stat(path) for path in files]
    if not all(_at_rest(stat, now) for stat in stats):
        return b""
    return hashlib.blake2b(repr([how, *map(Version.of, stats)]).encode(), digest_size=16).digest()


def recalled(keys: Sequence[bytes]) -> dict[bytes, bytes] | None:
    """Of verdicts that are kept, what was found; None where there is no place to keep any."""
    select = "SELECT found FROM checked WHERE row = ?"

    def look(database: sqlite3.Connection) -> dict[bytes, bytes]:
        rows = {key: database.execute(select, [key]).fetchone() for key in keys if key}
        return {key: row[0] for key, row in rows.items() if row is not None and isinstance(row[0], bytes)}

    return _with_database(look)


def keep(found: dict[bytes, bytes]) -> None:
    """Keep what was found under each key."""
    if rows := [(key, value) for key, value in found.items() if key]:
        _with_database(lambda database: database.executemany("INSERT OR REPLACE INTO checked VALUES (?, ?)", rows))


def digests_of(paths: Sequence[Path]) -> list[bytes]:
    """The SHA-256, 32 bytes, of each file's content, from the cache where it is known."""
    versions = [Version.of(os.stat(path)) for path in paths]
    known = _with_database(lambda database: _recalled(database, versions)) or {}
    missing = {version: path for version, path in zip(versions, paths, strict=True) if version not in known}
    found = dict(zip(missing, threaded(_read, list(missing.values())), strict=True))
    if kept := [(version, digest) for digest, version in found.values() if version is not None]:
        _with_database(lambda database: _keep(database, kept))
    return [known[version] if version in known else found[version][0] for version in versions]


def threaded(act: Callable[[Path], Answer], paths: Sequence[Path]) -> list[Answer]:
    """What is found of each file, by as many threads as files keep busy."""
    size = max(1, min(GROUP, len(paths) // (os.cpu_count() or 1)))  # few files, each to a thread
    groups = [paths[i : i + size] for i in range(0, len(paths), size)]
    with ThreadPoolExecutor() as threads:
        return list(chain.from_iterable(threads.map(lambda group: [act(path) for path in group], groups)))


def _read(path: Path) -> tuple[bytes, Version | None]:
    """A file's digest, and the version that it belongs to; None where the next change may leave no trace in the times,
    because the file was changed a moment ago, or while it was read."""
    now = time.time_ns()
    with open(path, "rb", buffering=0) as file:
        stat = os.fstat(file.fileno())
        digest = sha256_of(file)
        version = Version.of(stat)
        unchanged = version == Version.of(os.fstat(file.fileno()))
    return digest, version if unchanged and _at_rest(stat, now) else None


def sha256_of(file: IO[bytes]) -> bytes:
    """SHA-256, 32 bytes, of the rest of an open file."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.digest()


def _at_rest(stat: os.stat_result, now: int) -> bool:
    return now - max(stat.st_mtime_ns, stat.st_ctime_ns) >= REST


def _with_database(act: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
    """The answer of what is done with the database, in one transaction; None where it cannot be had: only slower.

    SQLite's plain journal, since its write-ahead log knows no network file systems. A damaged file is removed.
    """
    path = cache_folder() / KEPT
    try:
        import sqlite3
    except ImportError:  # some builds of Python are without
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as database, database:
            database.text_factory = bytes  # what is damaged need not be UTF-8
            database.execute("PRAGMA synchronous = OFF")  # what a power cut damages is made anew
            database.execute(TABLE)
            database.execute(CHECKED)
            return act(database)
    except (sqlite3.OperationalError, OSError):  # no place to write to, no locks, or locked for too long
        return None
    except sqlite3.DatabaseError:
        for damaged in (path, path.with_name(f"{KEPT}-journal")):
            with suppress(OSError):
                damaged.unlink()
        return None


def _recalled(database: sqlite3.Connection, versions: Iterable[Version]) -> dict[Version, bytes]:
    """The hashes of those versions that are kept undamaged."""
    found = {}
    for version in versions:
        row = database.execute("SELECT digest, checksum FROM hashes WHERE file = ? AND state = ?", version).fetchone()
        if row is not None and isinstance(row[0], bytes) and version.checksum(row[0]) == row[1]:
            found[version] = row[0]
    return found


def _keep(database: sqlite3.Connection, hashes: Iterable[tuple[Version, bytes]]) -> None:
    rows = [(*version, digest, version.checksum(digest)) for version, digest in hashes]
    database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)
