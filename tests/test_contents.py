"""The hash that a set of files is known by: of contents, read once, whatever happens to names, times and the cache."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gan_lightning.data import contents
from gan_lightning.data.contents import KEPT, fingerprint_of

OLD = 1_600_000_000_123_456_789  # ns; of files as an archive leaves them


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, in any order."""
    seen: list[Path] = []
    plain = contents._read
    monkeypatch.setattr(contents, "_read", lambda path: (seen.append(path), plain(path))[1])
    return seen


def files(folder: Path, *held: bytes, names: Sequence[str] = ()) -> list[Path]:
    """Files of these contents, all with one time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names or [f"{i:03d}.png" for i in range(len(held))]]
    for path, content in zip(paths, held, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(OLD, OLD))
    return paths


def by_hand(about: str, *held: bytes) -> str:
    parts = [about.encode(), *held]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def test_contents_and_their_order_count_and_nothing_else(tmp_path: Path) -> None:
    expected = by_hand("(3, 8, 8)", b"one", b"two", b"")
    assert fingerprint_of(files(tmp_path / "a", b"one", b"two", b""), "(3, 8, 8)") == expected
    strange = ["z\n.png", os.fsdecode(b"caf\xe9.png"), "[0].png"]
    moved = files(tmp_path / os.fsdecode(b"d\xe9j\xe0 vu"), b"one", b"two", b"", names=strange)
    assert fingerprint_of(iter(moved), "(3, 8, 8)") == expected
    os.utime(moved[0])
    assert fingerprint_of(moved, "(3, 8, 8)") == expected
    others = [(b"two", b"one", b""), (b"onetwo", b"", b""), (b"one", b"two"), (b"one", b"twO", b"")]
    found = {fingerprint_of(files(tmp_path / str(i), *held), "(3, 8, 8)") for i, held in enumerate(others)}
    assert len({expected, fingerprint_of(moved, "(1, 8, 8)"), *found}) == 6
    assert fingerprint_of([], "x") == by_hand("x")
    many = [bytes([i]) * i for i in range(100)]  # more than a thread reads in one go
    assert fingerprint_of(files(tmp_path / "many", *many), "") == by_hand("", *many)
    large = os.urandom(contents.CHUNK + 7)
    assert fingerprint_of(files(tmp_path / "large", large), "") == by_hand("", large)


def rewritten(path: Path) -> Path:
    """In place, of the same size, with the old times set back."""
    path.write_bytes(b"new")
    os.utime(path, ns=(OLD, OLD))
    return path


def replaced(path: Path) -> Path:
    """By another file of the same name, size and times, as `mv` of an unpacked archive does."""
    (other,) = files(path.parent / "other", b"new")
    os.replace(other, path)
    return path


def made_anew(path: Path) -> Path:
    """Removed and written again: many file systems give the inode out again."""
    path.unlink()
    return rewritten(path)


def through_another_name(path: Path) -> Path:
    """Through a hard link, which is the same file."""
    os.link(path, path.with_name("link"))
    rewritten(path.with_name("link"))
    return path


@pytest.mark.parametrize("change", [rewritten, replaced, made_anew, through_another_name])
def test_a_file_of_equal_name_size_and_times_is_another(
    change: Callable[[Path], Path], tmp_path: Path, read: list[Path]
) -> None:
    paths = files(tmp_path / "a", b"old", b"kept")
    for _ in range(3):
        assert fingerprint_of(paths, "") == by_hand("", b"old", b"kept")
    assert sorted(read) == paths, "once"
    time.sleep(0.02)  # the clocks of file systems tick in a few milliseconds: see REST
    assert fingerprint_of([change(paths[0]), paths[1]], "") == by_hand("", b"new", b"kept")
    assert sorted(read) == [paths[0], *paths]


def test_a_file_is_read_once_under_all_its_names_and_in_all_sets(tmp_path: Path, read: list[Path]) -> None:
    a, b, c = files(tmp_path / "a", b"1", b"2", b"3")
    link, hard = tmp_path / "link", tmp_path / "hard"
    link.symlink_to(a)
    os.link(b, hard)
    assert fingerprint_of([a, b], "") == by_hand("", b"1", b"2")
    assert fingerprint_of([hard, link, c, c], "") == by_hand("", b"2", b"1", b"3", b"3")
    assert sorted(read) == [a, b, c]


def test_a_file_that_was_changed_a_moment_ago_is_read_again(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its time is past, a change may come that moves no clock."""
    monkeypatch.setattr(contents, "REST", 10**12)
    (path,) = files(tmp_path / "a", b"1")
    for _ in range(2):
        assert fingerprint_of([path], "") == by_hand("", b"1")
    assert len(read) == 2, "although its time of modification is years ago"


def test_a_damaged_cache_or_none_is_only_slower(
    tmp_path: Path, own_cache: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, expected = files(tmp_path / "a", b"1", b"2"), by_hand("", b"1", b"2")
    kept = own_cache / KEPT

    def reads() -> int:
        read.clear()
        assert fingerprint_of(paths, "") == expected
        return len(read)

    assert (reads(), reads()) == (2, 0)
    sound = kept.read_bytes()
    for damaged in (
        b"no database",
        sound[:100] + b"\xff" * 4000,
        sound[: len(sound) // 2],
        sound[:-300],
        os.urandom(5000),
    ):
        kept.write_bytes(damaged)
        reads()
        assert (reads(), reads())[1] == 0, "made anew at the second call at the latest"
    with sqlite3.connect(kept) as database:
        database.execute("UPDATE hashes SET state = CAST(x'ff' AS TEXT)")
    database.close()
    assert (reads(), reads()) == (2, 0)
    for column, value in (
        ("digest", b"x" * 32),
        ("checksum", 7),
        ("digest", b""),
        ("digest", "text"),
        ("checksum", None),
    ):
        with sqlite3.connect(kept) as database:
            database.execute(f"UPDATE hashes SET {column} = ?", [value])
        database.close()
        assert (reads(), reads()) == (2, 0), "a hash that is not the file's is not taken"
    with sqlite3.connect(kept) as database:
        database.execute("DROP TABLE hashes")
        database.execute("CREATE TABLE hashes (file TEXT)")
    database.close()
    assert reads() == reads() == 2
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(paths[0]))
    assert reads() == reads() == 2, "the cache's folder is a file"
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(own_cache))
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    assert reads() == reads() == 2, "a Python without SQLite"


def test_a_writer_that_does_not_end_is_not_waited_for(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "PATIENCE", 0.05)
    paths = files(tmp_path / "a", b"1")
    fingerprint_of(files(tmp_path / "b", b"2"), "")
    other = sqlite3.connect(own_cache / KEPT, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert fingerprint_of(paths, "") == by_hand("", b"1")
    other.execute("COMMIT")
    other.close()


def test_several_that_hash_at_once_find_the_same(tmp_path: Path, own_cache: Path) -> None:
    held = [bytes([i]) * 50 for i in range(200)]
    paths = files(tmp_path / "a", *held)
    with ThreadPoolExecutor(4) as at_once:  # each opens the cache for itself
        found = list(at_once.map(lambda i: fingerprint_of(paths[: 10 * (i % 21)], ""), range(84)))
    assert found == [by_hand("", *held[: 10 * i]) for i in range(21)] * 4
    with sqlite3.connect(own_cache / KEPT) as database:
        assert database.execute("SELECT count(*) FROM hashes").fetchone() == (len(paths),)
    database.close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        fingerprint_of([tmp_path / "none.png"], "")
