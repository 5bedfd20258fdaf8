"""Image files of large sets: checked once in their life, named when broken, held in little memory, read fast."""

from __future__ import annotations

import gc
import io
import os
import pickle
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import run_in_copies
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from gan_lightning import data
from gan_lightning.data import checking, contents
from gan_lightning.data.checking import ImageFiles
from gan_lightning.data.contents import KEPT, keep, recalled
from gan_lightning.data.decoding import pixels_of, read_pixels, reduction_of
from gan_lightning.data.folder import Files
from gan_lightning.data.paths import Paths
from gan_lightning.data.pictures import Pictures
from gan_lightning.data.scored import images_to_score
from gan_lightning.runtime.errors import LoadingError

OLD = 1_600_000_000_123_456_789  # ns


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that Pillow is asked about."""
    seen: list[str] = []
    plain = ImageFiles.look
    monkeypatch.setattr(
        ImageFiles, "look", lambda self, row: (seen.append(self.files(row)[0].name), plain(self, row))[1]
    )
    return seen


def jpeg(seed: int, height: int = 16, width: int = 16) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def fill(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(number))
        os.utime(path, ns=(OLD, OLD))
    return paths


def folder_of(root: Path, **given: object) -> data.ImageFolder:
    return data.ImageFolder(str(root), 8, val_fraction=0, batch_size=2, num_workers=0, **given)


# Verdicts.


def test_a_file_is_decoded_once_in_its_life(tmp_path: Path, looked: list[str]) -> None:
    paths = fill(tmp_path / "a" / "trainA", 4)
    fill(tmp_path / "a" / "trainB", 3)
    for path in (tmp_path / "a" / "trainB").iterdir():
        path.write_bytes(path.read_bytes() + b"more")
    root = tmp_path / "a"
    folder_of(root / "trainA").setup("fit")
    assert sorted(looked) == [path.name for path in paths]
    folder_of(root / "trainA").setup("fit")
    (root / "trainA").rename(root / "moved")
    folder_of(root / "moved").setup("fit")
    assert len(looked) == 4, "a move changes no file"
    (root / "moved").rename(root / "trainA")
    data.UnpairedImages(str(root), size=8, jitter=None, val_fraction=0.0).setup("fit")
    assert len(looked) == 7, "those of domain A are known"
    data.ImageFolder(str(root / "trainA"), 8, channels=1, batch_size=2).setup("fit")
    assert len(looked) == 11, "read in another way"


def rewritten(path: Path) -> None:
    """By bytes that are no picture, of the same size, with the old time set back."""
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, ns=(OLD, OLD))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    rewritten(other)
    os.replace(other, path)


def through_another_name(path: Path) -> None:
    os.link(path, path.with_name("link"))
    rewritten(path.with_name("link"))


@pytest.mark.parametrize("change", [rewritten, replaced, through_another_name])
def test_a_file_of_equal_name_size_and_times_is_checked_again(
    change: Callable[[Path], None], tmp_path: Path, looked: list[str]
) -> None:
    paths = fill(tmp_path / "a", 3)
    folder_of(tmp_path / "a").setup("fit")
    time.sleep(0.02)  # the clocks of file systems tick in a few milliseconds
    before = paths[1].stat()
    change(paths[1])
    after = paths[1].stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    with pytest.raises(ValueError, match="^1 damaged files: .*001.jpg cannot be read"):
        folder_of(tmp_path / "a").setup("fit")
    assert looked[3:] == ["001.jpg"]


def test_a_damaged_store_or_none_is_only_slower(tmp_path: Path, own_cache: Path, looked: list[str]) -> None:
    fill(tmp_path / "a", 3)

    def looks() -> int:
        looked.clear()
        folder_of(tmp_path / "a").setup("fit")
        return len(looked)

    assert (looks(), looks()) == (3, 0)
    sound = (own_cache / KEPT).read_bytes()
    for damaged in (b"no database", sound[:100] + b"\xff" * 4000, sound[: len(sound) // 2]):
        (own_cache / KEPT).write_bytes(damaged)
        looks()
        assert (looks(), looks())[1] == 0, "made anew at the second start at the latest"
    with sqlite3.connect(own_cache / KEPT) as database:
        database.execute("UPDATE checked SET found = 7")
    database.close()
    assert (looks(), looks()) == (3, 0)


def _keeps(start: int) -> None:
    for number in range(start, start + 40):
        keep({bytes([number] * 16): bytes([number, 255])})


def test_several_processes_keep_verdicts_at_once() -> None:
    run_in_copies(_keeps, [(0,), (40,), (80,)])
    keys = [bytes([number] * 16) for number in range(130)]
    assert recalled(keys) == {key: bytes([key[0], 255]) for key in keys[:120]}


def broken(path: Path) -> None:
    """A JPEG of which half of the pixels are missing, behind a proper end: OpenCV reads it without a word."""
    whole = jpeg(7, 64, 64)
    path.write_bytes(whole[: len(whole) // 2].rstrip(b"\xff") + b"\xff\xd9")
    assert cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR) is not None


def test_a_large_set_is_checked_while_it_is_read(
    tmp_path: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checking, "LARGE", 10)
    monkeypatch.setattr(contents, "SAMPLE", 3)
    paths = fill(tmp_path / "a", 21)
    broken(paths[5])
    folder = folder_of(tmp_path / "a")
    folder.setup("fit")
    assert looked == ["000.jpg", "010.jpg", "020.jpg"]
    assert "3 of 21 files are checked before training, the others when they are first read" in capsys.readouterr().out
    images = folder.training_set()
    first = images.__getitems__([0, 1, 2]).image
    assert looked[3:] == ["001.jpg", "002.jpg"], "000.jpg is known"
    assert torch.equal(first, images.__getitems__([0, 1, 2]).image) and len(looked) == 5
    with pytest.raises(ValueError, match="^[^\n]*005.jpg cannot be read: [^\n]*$"):
        images.__getitems__([4, 5])
    other = folder_of(tmp_path / "a")  # as another worker, or another run
    other.setup("fit")
    assert torch.equal(other.training_set().__getitems__([0, 1, 2]).image, first)
    assert looked[5:] == ["004.jpg", "005.jpg"]
    skipping = folder_of(tmp_path / "a", corrupt="skip")
    skipping.setup("fit")
    assert len(skipping.reference("train")) == 20 and skipping.reference("train").sound.all()


def test_a_worker_names_the_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "LARGE", 1)
    monkeypatch.setattr(contents, "SAMPLE", 1)
    paths = fill(tmp_path / "a", 4)
    broken(paths[2])
    folder = data.ImageFolder(str(tmp_path / "a"), 8, val_fraction=0, batch_size=4, num_workers=1)
    folder.setup("fit")
    with pytest.raises(LoadingError, match="002.jpg cannot be read: it ends before its last pixels") as error:
        next(iter(folder.train_dataloader()))
    assert error.value.bad_input
    folder.teardown("fit")


def test_a_large_set_is_known_by_its_names_and_some_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = fill(tmp_path / "a", 9)
    whole = folder_of(tmp_path / "a").reference("train")
    assert whole.quick_fingerprint == whole.fingerprint
    monkeypatch.setattr(checking, "LARGE", 8)
    monkeypatch.setattr(contents, "SAMPLE", 3)

    def known() -> str:
        return folder_of(next(tmp_path.glob("[ab]"))).reference("train").quick_fingerprint

    before = known()
    assert before != whole.fingerprint
    (tmp_path / "a").rename(tmp_path / "b")
    assert known() == before, "wherever it lies"
    paths = [tmp_path / "b" / path.name for path in paths]
    kept = paths[4].read_bytes()
    paths[4].write_bytes(jpeg(99))  # rows 0, 4 and 8 are looked at
    assert known() != before
    paths[4].write_bytes(kept)
    assert known() == before
    paths[1].rename(paths[1].with_name("001.jpeg"))
    assert known() != before


# Paths.


def test_paths_are_those_that_were_given() -> None:
    names = ["a/b/1.png", "a/b-c/2.png", "a/b.c/" + os.fsdecode(b"\xe9\n.png"), "a/b/ü"]
    for root in ("/data/", "", "/"):
        given = [Path(root + name) for name in names]
        paths = Paths(given)
        assert paths == given and list(pickle.loads(pickle.dumps(paths))) == given and len(paths) == 4
        assert (paths[1], paths[-1], list(paths[1:3]), list(paths.take([2, 0]))) == (
            given[1],
            given[3],
            given[1:3],
            [given[2], given[0]],
        )
        assert list(paths.below(Path(root + "a"))) == [name.removeprefix("a/") for name in names]
        with pytest.raises(IndexError):
            paths[4]
    assert Paths([]) == [] and Paths([Path("x")])[0] == Path("x") and Paths(given) != given[::-1]


def test_paths_take_the_bytes_of_their_names_and_no_objects() -> None:
    count = 5000
    gc.collect()
    before = len(gc.get_objects())
    images = Files(
        (Path(f"/data/set/class{row % 10}/{row:07}.jpg") for row in range(count)),
        torch.zeros(count, dtype=torch.int64),
        8,
        3,
        sound=np.zeros(count, bool),
    )
    gc.collect()
    assert len(gc.get_objects()) - before < 100, "what worker processes would copy, one by one, as they count"
    assert len(pickle.dumps(images)) < count * (len("class0/0000000.jpg") + 8 + 8 + 1) + 2000


def test_pictures_are_found_in_the_order_of_pathlib(tmp_path: Path) -> None:
    names = ["b/1.png", "b-c/0.png", "b.c/9.png", "b/1/x.png", "b/1-2.png", "B/z.png", "b 1.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert folder_of(tmp_path).paths == sorted(tmp_path / name for name in names)


# Reduced decoding.


def photograph(name: str, path: Path, height: int, width: int, mode: str = "RGB", **given: object) -> np.ndarray:
    """Save the corner of a photograph as a JPEG; its pixels as Pillow decodes them, upright, (h, w, 3)."""
    Image.fromarray(load_sample_image(name)[:height, :width]).convert(mode).save(path, quality=90, **given)
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def of_area(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(int)


def in_training(path: Path, side: int) -> np.ndarray:
    images = Files([path], torch.zeros(1), side, 3, sound=np.ones(1, bool)).in_training()
    return images.__getitems__([0]).image[0].permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize(
    ("own", "wanted", "by"),
    [
        ((1024, 1024), (256, 256), 4),
        ((1024, 1024), (128, 128), 8),
        ((1024, 1024), (257, 256), 1),  # less than twice at 1/2
        ((1024, 1030), (256, 256), 2),
        ((4096, 4096), (256, 256), 8),
        ((1023, 1024), (256, 256), 1),
        ((64, 64), (64, 64), 1),
        ((32, 32), (64, 64), 1),
    ],
)
def test_by_how_much_a_jpeg_is_reduced(own: tuple[int, int], wanted: tuple[int, int], by: int) -> None:
    assert reduction_of(own, wanted) == by


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_reduced_decoding_is_close_to_a_whole_one(name: str, mode: str, tmp_path: Path) -> None:
    """At most 36 grey levels at an edge, 2 on average: what lies between bicubic and area resizing, too."""
    path = tmp_path / "one.jpg"
    whole = photograph(name, path, 416, 416, mode)
    for side in (24, 26, 32, 48, 52, 64, 96, 104, 208):
        found = in_training(path, side)
        apart = np.abs(found - of_area(whole, side))
        assert apart.max() <= 36 and apart.mean() < 2, side
        assert apart.any(), "decoded at a part of the size"


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_reduced_decoding_stands_upright(turn: int, tmp_path: Path) -> None:
    exif, path = Image.Exif(), tmp_path / "one.jpg"
    exif[0x0112] = turn
    whole = photograph("china.jpg", path, 384, 416, exif=exif)
    assert whole.shape[:2] == ((384, 416) if turn < 5 else (416, 384))
    assert np.array_equal(read_pixels(path, 3, fast=True), whole)
    middle = whole[:, 16:-16] if turn < 5 else whole[16:-16]
    apart = np.abs(in_training(path, 48) - of_area(middle, 48))
    assert apart.max() <= 36 and apart.mean() < 2


def test_what_is_not_reduced(tmp_path: Path) -> None:
    """Scores, evaluation, CMYK, other kinds, pictures in their own scale: whole, to the same pixels as ever."""
    path, side = tmp_path / "one.jpg", 48
    whole = photograph("china.jpg", path, 384, 384)
    bicubic = np.asarray(Image.fromarray(whole).resize((side, side), Image.Resampling.BICUBIC)).astype(int)
    evaluated = Files([path], torch.zeros(1), side, 3, sound=np.ones(1, bool)).__getitems__([0]).image[0]
    assert np.array_equal(evaluated.permute(1, 2, 0), bicubic) and not np.array_equal(in_training(path, side), bicubic)
    Image.fromarray(whole).save(tmp_path / "one.png")
    assert np.array_equal(in_training(tmp_path / "one.png", side), bicubic)
    inks = photograph("china.jpg", tmp_path / "inks.jpg", 384, 384, "CMYK")
    expected = np.asarray(Image.fromarray(inks).resize((side, side), Image.Resampling.BICUBIC))
    assert np.array_equal(in_training(tmp_path / "inks.jpg", side), expected)
    for frame, crop, reduced in (("middle", None, True), ("whole", None, True), ("middle", 300, False)):
        images = Pictures([path], (3, side, side), frame, crop, sound=np.ones(1, bool))
        shown = images.with_augmentation((side, side), flip=False, seed=0).augmented([0], np.zeros(1, np.uint64))
        plain = images.__getitems__([0]).image
        assert torch.equal(shown.image, plain) is not reduced
        assert np.abs(shown.image.numpy().astype(int) - plain.numpy()).max() <= 36
    crops = Pictures([path], (3, side, side), "own", sound=np.ones(1, bool)).with_augmentation((side, side), False, 0)
    crop = crops.augmented([0], np.zeros(1, np.uint64)).image[0].permute(1, 2, 0).numpy()
    places = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (side, side))
    assert (places == crop[..., 0]).all((2, 3)).any(), "a part of the picture in its own scale"


def test_threads_open_arrays_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python before 3.11.8 and 3.12.2 fails, now and then, where threads parse literals at once: arrays' headers."""
    image, plain, within, most = np.arange(60, dtype=np.uint8).reshape(4, 5, 3), np.load, [], []

    def load(*given: Any, **named: Any) -> np.ndarray:
        within.append(1)
        most.append(len(within))
        time.sleep(0.002)  # lets the others come
        within.pop()
        return plain(*given, **named)

    paths = [tmp_path / f"{number}.npy" for number in range(16)]
    for path in paths:
        np.save(path, image)
    monkeypatch.setattr(np, "load", load)
    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(lambda path: read_pixels(path, 3), paths)]
        found += threads.map(lambda path: pixels_of(path.read_bytes(), path.name, 3), paths)
        found += threads.map(lambda path: images_to_score(path.parent, None), paths)
    assert all(np.array_equal(pixels, image) for pixels in found[:32])
    assert len(most) == 32 + 16 * 16 and max(most) == 1
