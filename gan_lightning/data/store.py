"""Files below a folder or a URL; those of a URL are kept in a folder of bounded size that all processes share."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from gan_lightning.data.contents import CHUNK
from gan_lightning.runtime.cache import cache_folder
from gan_lightning.runtime.errors import DataError, one_line, printable

MEGABYTE = 2**20
LEFT = 3600  # seconds without a byte more, after which a file that was being fetched is no longer
PACKAGES = {  # of kinds of URLs, what fsspec needs for them; a file that is read may name these and no others
    "memory": "fsspec",
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
}
LOCAL = "file://"


def is_url(address: str) -> bool:
    """Whether it names a place that is not a folder of this machine."""
    return "://" in address and not address.startswith(LOCAL)


def located(address: str) -> str:
    """A URL as it is; a path, or a file:// URL, as the whole path."""
    return address.rstrip("/") if is_url(address) else str(Path(address.removeprefix(LOCAL)).expanduser().resolve())


def below(address: str, name: str) -> str:
    """The address of a file in a folder."""
    return f"{address}/{name}" if is_url(address) else str(Path(address, name))


@contextmanager
def reached(address: str) -> Iterator[tuple[Any, str]]:
    """fsspec's file system of a path or URL, and the path in it; what goes wrong within is told in a line.

    Raises:
        ValueError: a URL of an unknown kind, or whose package is not installed.
        FileNotFoundError: there is nothing there.
        OSError: it cannot be read.
    """
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    kind = address.split("://")[0]
    if is_url(address) and (kind not in PACKAGES or "::" in address):
        raise ValueError(f"{printable(address)} is no URL of a kind that is read: {', '.join(PACKAGES)}")
    try:
        yield fsspec.core.url_to_fs(address) if is_url(address) else (LocalFileSystem(), address)
    except ImportError:
        raise ValueError(f"{printable(address)} needs a package: pip install {PACKAGES.get(kind)}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {printable(address)}") from None
    except ValueError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise OSError(f"{printable(address)} cannot be read: {one_line(error, 200)}") from error


class Store:
    """Files by their addresses, which are paths or URLs.

    A file of a URL is fetched whole when it is first opened, by one process of the machine, into a file of its own name
    that becomes visible when it is complete. Where the folder would grow beyond its limit, the files that were not used
    for the longest time are removed.

    The folder is `shards` in the cache.

    Args:
        limit: bytes of the kept files.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.folder = limit, cache_folder() / "shards"

    def open(self, address: str, size: int, digest: str | None = None, version: str = "") -> BinaryIO:
        """A file opened for reading, fetched where that is needed.

        Args:
            address: of the file.
            size: bytes that it must have.
            digest: SHA-256 of a file that is fetched, to compare with.
            version: what the store of a URL says of a file without a known digest; another version is fetched anew.

        Raises:
            OSError, DataError: it cannot be had, or is another.
        """
        while True:
            path = self.fetch(address, size, digest, version)
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:  # another process has made room a moment ago
                if is_url(address):
                    continue
                raise FileNotFoundError(f"there is no {printable(path)}") from None
            if (found := os.fstat(file.fileno()).st_size) != size:
                file.close()
                raise DataError(f"{printable(path)} has {found} bytes, not {size}: it was cut off or changed")
            return file

    def fetch(self, address: str, size: int, digest: str | None = None, version: str = "") -> Path:
        """The kept file of a URL, or the file of this machine; see :meth:`open`."""
        from filelock import FileLock  # torch needs it too

        if not is_url(address):
            return Path(address)
        key = hashlib.sha256(f"{address} {size} {digest} {version}".encode()).hexdigest()[:32]
        path = self.folder / f"{key}.shard"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"{key[:2]}.lock"):  # not one for each file: they stay
                if not path.exists():
                    self._download(address, path, size, digest)
        try:
            os.utime(path)  # used now
        except FileNotFoundError:
            return self.fetch(address, size, digest, version)
        return path

    def _download(self, address: str, path: Path, size: int, digest: str | None) -> None:
        from filelock import FileLock

        part, found, seen = path.with_suffix(".part"), 0, hashlib.sha256()
        try:
            with FileLock(self.folder / "room.lock"):
                self._make_room(size)
                with part.open("wb") as target:
                    target.truncate(size)  # counts from here on
            with part.open("r+b") as target:
                for chunk in _chunks(address):
                    target.write(chunk)
                    seen.update(chunk)
                    found += len(chunk)
            if found == size and digest in (None, seen.hexdigest()):
                os.replace(part, path)
                return
        except OSError as error:
            if error.errno is None:  # of `reached`, which says what is wrong with the address
                raise
            raise OSError(error.errno, error.strerror, str(self.folder)) from None
        finally:
            part.unlink(missing_ok=True)
        what = f"has {found} bytes, not {size}" if found != size else "has other contents than its index says"
        raise OSError(f"{printable(address)} {what}: it was cut off or changed")

    def _make_room(self, size: int) -> None:
        """Remove what was not used for the longest time, so that so many bytes more are within the limit.

        What others are fetching counts, and stays.
        """
        kept = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith((".shard", ".part")):
                with suppress(FileNotFoundError):  # it may have got its name a moment ago
                    status = entry.stat()
                    kept.append((status.st_mtime_ns, status.st_size, entry.path))
        total, fetching = sum(length for _, length, _ in kept), time.time_ns() - LEFT * 10**9
        for time_ns, length, path in sorted(kept):
            if total + size <= self.limit:
                return
            if path.endswith(".part") and time_ns > fetching:
                continue
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= length


def _chunks(address: str) -> Iterator[bytes]:
    """The bytes of a file; what goes wrong where they are used is none of :func:`reached`'s business."""
    with reached(address) as (system, path), system.open(path, "rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


def require_room(name: str, root: str, store: Store, window: int, sizes: Sequence[int]) -> None:
    """Refuse a limit of fetched files that two windows do not fit in: each would be fetched again and again.

    Args:
        name: of the set.
        root: of it; a folder of this machine needs no room.
        store: that fetches files.
        window: megabytes.
        sizes: bytes of each file.

    Raises:
        ValueError: there is too little.
    """
    needed = min(2 * max(window * MEGABYTE, max(sizes, default=0)), sum(sizes))
    if is_url(root) and store.limit < needed:
        raise ValueError(
            f"{name}: two windows of the order of training need {-(-needed // MEGABYTE)} MB, more than "
            f"--data.cache_size {store.limit // MEGABYTE}: give it more, or a smaller --data.window"
        )
