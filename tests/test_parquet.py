"""ParquetImages: Hugging Face's layout, written here by pyarrow."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from conftest import quiet, tiny
from PIL import Image
from test_streamed import batches, same

from gan_lightning.batches import BatchIndex, Labeled
from gan_lightning.data import ParquetImages, blocks, parquet
from gan_lightning.data.blocks import WindowedOrder
from gan_lightning.data.loader import TrainingOrder
from gan_lightning.data.parquet_files import on_hub, parquet_files
from gan_lightning.data.store import Store
from gan_lightning.runtime.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
CLASSES = ["cat", "dog", "owl"]


def picture(number: int) -> bytes:
    """A PNG picture all of whose levels are a number."""
    content = io.BytesIO()
    Image.new("RGB", (10, 8), (number,) * 3).save(content, "PNG")
    return content.getvalue()


def write(path: Path, numbers: list[int], group: int = 7, **changes: Any) -> Path:
    """A file as `datasets` writes it, its columns replaced or added by `changes`; the label is the number modulo 3."""
    pictures = [{"bytes": picture(number), "path": f"{number}.png"} for number in numbers]
    columns = {"image": pictures, "label": [number % 3 for number in numbers]} | changes.pop("columns", {})
    features = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
    said = {"info": {"features": features | changes.pop("features", {})}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(said)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """60 pictures in two files for training, 9 in one for validation, 3 of another kind."""
    root = tmp_path_factory.mktemp("set")
    write(root / "data" / "train-00000-of-00002.parquet", list(range(40)))
    write(root / "data" / "train-00001-of-00002.parquet", list(range(40, 60)), group=4)
    write(root / "data" / "test-00000-of-00001.parquet", list(range(100, 103)))
    write(root / "data" / "validation-00000-of-00001.parquet", list(range(200, 209)))
    return root


def opened(root: str | Path, **options: Any) -> ParquetImages:
    given = {"size": [8, 10], "batch_size": 6, "num_workers": 0} | options
    data = ParquetImages(str(root), **given)
    data.reference("train").window = 2
    return data


def levels(batch: Labeled) -> list[int]:
    assert (batch.image == batch.image[:, :1, :1, :1]).all()
    return batch.image[:, 0, 0, 0].tolist()


def joined(parts: list[list[Labeled]]) -> list[Labeled]:
    """The batches that processes have a part of each."""
    return [Labeled(*map(torch.cat, zip(*of_batch, strict=True))) for of_batch in zip(*parts, strict=True)]


def test_rows_are_those_of_the_files_of_their_split(folder, caplog):
    with pytest.warns(UserWarning, match="left out: test"):
        data = opened(folder)
    assert data.classes == CLASSES and data.num_classes == 3
    for split, numbers in (("train", list(range(60))), ("val", list(range(200, 209)))):
        examples = data.reference(split)
        batch = examples.__getitems__(list(range(len(numbers))))
        assert type(batch) is Labeled and levels(batch) == numbers
        assert batch.label.tolist() == [number % 3 for number in numbers]
        assert examples.class_counts == np.bincount([number % 3 for number in numbers]).tolist()
    drawn = [number for batch in batches(data) for number in levels(batch)]
    assert sorted(drawn) == list(range(60)) and drawn != sorted(drawn)
    quiet(max_steps=1).fit(tiny("GAN", image_shape=data.image_shape), data)


def test_a_batch_is_a_function_of_the_images_seen_on_any_workers_and_processes(folder):
    data = opened(folder)
    whole, following = batches(data), batches(data, 60)
    assert len(whole) == 10 and not same(whole, following)
    assert same(batches(data, workers=2), whole)
    assert same(batches(data, 24), [*whole[4:], *following[:4]])
    assert same(batches(data, 24, workers=2), [*whole[4:], *following[:4]])
    assert same(joined([batches(data, rank=rank, world_size=2) for rank in (0, 1)]), whole)


def test_every_epoch_trains_on_the_same_pixels_and_the_first_refuses_damaged_ones(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole, cut = io.BytesIO(), io.BytesIO()
    Image.fromarray(levels).save(whole, "JPEG", quality=95)
    half = whole.getvalue()[: len(whole.getvalue()) // 2]
    cut.write(half + b"\xff\xd9")  # ends properly, and OpenCV fills it up
    pictures = [{"bytes": content.getvalue(), "path": None} for content in (whole, cut)]
    path = write(tmp_path / "some.parquet", [0, 1], columns={"image": pictures})
    train = opened(path, size=16, val_fraction=0).training_set()
    first, second = (train.training_batch(BatchIndex(epoch, [0])).image for epoch in (0, 1))
    assert torch.equal(first, second)
    means = levels.reshape(16, 4, 16, 4, 3).mean((1, 3)).transpose(2, 0, 1)  # of the areas
    assert np.abs(first[0].numpy() - means).mean() < 4  # 10 from Pillow's bicubic pixels
    train.training_batch(BatchIndex(1, [1]))
    with pytest.raises(DataError, match="row 1, cannot be read"):
        train.training_batch(BatchIndex(0, [1]))


def test_of_a_large_set_no_more_than_the_footers_are_read_before_training(many, monkeypatch):
    def known_by(root: Path) -> str:
        return opened(root).reference("train").quick_fingerprint

    examples = opened(many).reference("train")
    assert examples.quick_fingerprint == examples.fingerprint
    monkeypatch.setattr(parquet, "LARGE", 10_000)
    monkeypatch.setattr(parquet, "hashed", None)
    large = known_by(many)
    copy = many.rename(many.with_name("elsewhere"))
    assert known_by(copy) == large != examples.fingerprint
    first, last = copy / "train-00.parquet", copy / "train-11.parquet"
    content = first.read_bytes()
    write(first, list(range(8)), group=4)  # other row groups
    assert known_by(copy) != large
    first.write_bytes(content)
    assert known_by(copy) == large
    last.rename(copy / "train-12.parquet")
    assert known_by(copy) != large


@pytest.fixture
def many(tmp_path) -> Path:
    """96 pictures in 12 files of 4 row groups each."""
    for file in range(12):
        write(tmp_path / "many" / f"train-{file:02}.parquet", list(range(8 * file, 8 * file + 8)), group=2)
    return tmp_path / "many"


def test_a_file_of_a_url_is_fetched_once_an_epoch_into_a_small_cache(many, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    system, fetched = fsspec.filesystem("memory"), []
    for path in many.iterdir():
        system.pipe_file(f"/many/{path.name}", path.read_bytes())
    largest = max(path.stat().st_size for path in many.iterdir())

    class Now:  # a thread that is done when it has been started
        def __init__(self, target: Any, args: tuple, daemon: bool) -> None:
            self.start = lambda: target(*args)

    download = Store._download
    monkeypatch.setattr(blocks, "threading", SimpleNamespace(Thread=Now))
    monkeypatch.setattr(
        Store, "_download", lambda self, name, *rest: fetched.append(name) or download(self, name, *rest)
    )

    def opened_within(root: str | Path) -> ParquetImages:
        data = ParquetImages(str(root), size=[8, 10], batch_size=6, num_workers=0, val_fraction=0)
        data.store.limit = 8 * largest
        data.reference("train").window = 3
        return data

    data = opened_within("memory://many")
    whole = batches(data)
    assert sorted(number for batch in whole for number in levels(batch)) == list(range(96))
    assert len(set(fetched[:12])) == 12 and len(fetched) <= 12 + 2  # and the next epoch's first two
    before, orders, init = len(fetched), [], WindowedOrder.__init__
    monkeypatch.setattr(WindowedOrder, "__init__", lambda self, *given: orders.append(init(self, *given)))
    following = batches(data, 96)
    assert len(fetched) - before <= 12 + 2
    assert 1 <= len(orders) <= 4, "an order is not made anew for each of the 16 batches"
    local = opened_within(many)  # the order is the same wherever the files lie
    assert same(batches(local), whole) and same(batches(local, 42), [*whole[7:], *following[:7]])
    assert same(batches(local, 42, workers=2), [*whole[7:], *following[:7]])
    assert same(joined([batches(local, rank=rank, world_size=2) for rank in (0, 1)]), whole)
    system.rm("/many", recursive=True)


def test_a_process_reads_row_groups_alone_and_keeps_a_window_of_them(folder, monkeypatch):
    data, read = opened(folder), []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, number, **given: read.append(number) or whole(self, number, **given),
    )
    for name in ("read", "iter_batches"):
        monkeypatch.setattr(pq.ParquetFile, name, None)
    examples, held = data.training_set(), 0
    for which in TrainingOrder(60, 6, 0, lambda: 0, permutation=examples.permutation):
        examples.training_batch(which)
        held = max(held, len(examples._opened))
    assert held == 2
    assert len(read) <= 11 + 5  # each of the 11 groups about once: a batch across windows may want one again


def test_rows_are_held_out_of_every_group_where_no_file_is_meant_for_it(folder, tmp_path):
    write(tmp_path / "pictures.parquet", list(range(40)), group=10)
    data = opened(tmp_path / "pictures.parquet", val_fraction=0.2)
    assert levels(data.reference("val").__getitems__(list(range(8)))) == [8, 9, 18, 19, 28, 29, 38, 39]
    rest = [number for number in range(40) if number % 10 < 8]
    assert levels(data.reference("train").__getitems__(list(range(32)))) == rest
    assert data.reference("val").class_counts == np.bincount([n % 3 for n in range(40) if n % 10 > 7]).tolist()
    small = write(tmp_path / "small.parquet", list(range(40)), group=3)  # 4 of 40, though no group has 10
    assert len(opened(small, val_fraction=0.1).reference("val")) == 4
    assert opened(tmp_path / "pictures.parquet").training_set().fingerprint != opened(small).training_set().fingerprint
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(small.read_bytes())
    assert opened(copy).training_set().fingerprint == opened(small).training_set().fingerprint


def test_columns_are_found_by_their_types(tmp_path):
    numbers = list(range(6))
    other = [{"bytes": picture(50 + number), "path": None} for number in numbers]
    two = write(tmp_path / "two.parquet", numbers, columns={"thumb": other}, features={"thumb": {"_type": "Image"}})
    with pytest.raises(ValueError, match=r"several columns of pictures: name one by --data\.image_column.*thumb"):
        opened(two)
    train = opened(two, image_column="thumb", val_fraction=0).reference("train")
    assert levels(train.__getitems__([0, 5])) == [50, 55]
    plain = tmp_path / "plain.parquet"  # bytes alone, and nothing of `datasets`
    pq.write_table(pa.table({"png": [picture(number) for number in numbers], "label": numbers}), plain)
    data = opened(plain, val_fraction=0)
    assert data.num_classes is None and levels(data.reference("train").__getitems__([4, 2])) == [4, 2]
    with pytest.raises(ValueError, match="no column 'lable' of class labels with names.*label \\(int64\\)"):
        opened(plain, label_column="lable")
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "text.parquet")
    with pytest.raises(ValueError, match="no column of pictures"):
        opened(tmp_path / "text.parquet")


def test_what_is_wrong_with_a_file_names_it_and_the_row(tmp_path, folder):
    numbers = list(range(9))
    pictures = [{"bytes": picture(number), "path": "p"} for number in numbers]
    pictures[7] = {"bytes": None, "path": "elsewhere/7.png"}
    pictures[8] = {"bytes": picture(8)[:-30], "path": "8.png"}
    path = write(tmp_path / "some.parquet", numbers, group=5, columns={"image": pictures, "label": [-1] * 9})
    train = opened(path, val_fraction=0).reference("train")
    for row, said in (
        (0, "row group 0, row 0, has the label -1"),
        (7, "row group 1, row 2, has no picture"),
        (8, "row 3, cannot"),
    ):
        with pytest.raises(DataError, match=rf"some\.parquet, .*{said}") as error:
            train.training_batch(BatchIndex(0, [row]))
        assert "\n" not in str(error.value)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)  # of the first row group
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"some\.parquet, row group 0, cannot be read"):
        opened(path, val_fraction=0).reference("train").__getitems__([0])
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cut\.parquet is no Parquet file, or was cut off"):
        opened(tmp_path / "cut.parquet")
    write(tmp_path / "mixed" / "a.parquet", numbers)
    write(
        tmp_path / "mixed" / "b.parquet",
        numbers,
        features={"label": {"names": ["cat", "dog", "ox"], "_type": "ClassLabel"}},
    )
    with pytest.raises(ValueError, match=r"b\.parquet has other columns or classes than .*a\.parquet"):
        opened(tmp_path / "mixed")
    with pytest.raises(FileNotFoundError, match=r"there are no \.parquet files"):
        (tmp_path / "empty").mkdir()
        opened(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no .*/nothing/here/at/all"):
        opened("nothing/here/at/all")


def test_files_by_url_are_fetched_and_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path))
    system = fsspec.filesystem("memory")
    for path in (folder / "data").iterdir():
        system.pipe_file(f"/hub/data/{path.name}", path.read_bytes())
    data = opened("memory://hub")
    assert data.training_set().class_counts == opened(folder).training_set().class_counts
    assert not list(tmp_path.iterdir())  # footers and labels are read where they are
    assert same(batches(data), batches(opened(folder)))
    assert len(list(tmp_path.glob("shards/*.shard"))) == 2
    system.rm("/hub", recursive=True)


def test_a_file_of_a_url_that_changes_and_keeps_its_size_is_fetched_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    system, sizes = fsspec.filesystem("memory"), []
    for number in (100, 103):
        content = write(tmp_path / "some.parquet", [number]).read_bytes()
        sizes.append(len(content))
        system.pipe_file("/changing/train.parquet", content)
        data = opened("memory://changing", val_fraction=0)
        assert levels(data.reference("train").__getitems__([0])) == [number]
    assert sizes[0] == sizes[1]  # or the size alone would tell
    system.rm("/changing", recursive=True)


def test_a_name_is_looked_for_on_the_hub(folder, monkeypatch):
    asked = []

    def builder(name: str, config: str | None) -> Any:
        asked.append((name, config))
        files = {split: [f"hf://datasets/{name}@main/{split}.parquet"] for split in ("train", "test")}
        return SimpleNamespace(config=SimpleNamespace(data_files=files))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset_builder=builder))
    assert parquet_files("user/owls", "small")["train"] == ["hf://datasets/user/owls@main/train.parquet"]
    assert asked == [("user/owls", "small")]
    files = {"train": ["hf://datasets/user/owls/train.zip"]}
    made = SimpleNamespace(config=SimpleNamespace(data_files=files))
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset_builder=lambda *given: made))
    with pytest.raises(
        ValueError, match=r"does not consist of \.parquet files: .*hf://datasets/user/owls@~parquet/default"
    ):
        parquet_files("user/owls", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"needs the package datasets: pip install 'gan_lightning\[parquet\]'"):
        parquet_files("user/owls", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"need the package pyarrow: pip install 'gan_lightning\[parquet\]'"):
        ParquetImages(str(folder))


@pytest.mark.slow
def test_datasets_itself_names_the_files_of_each_split(folder):
    """On a folder, which it treats as it treats a repository of the Hub; it takes seconds to import."""
    splits = on_hub(str(folder), None)
    assert [Path(path).name for path in splits["train"]] == [f"train-0000{n}-of-00002.parquet" for n in (0, 1)]
    assert set(splits) == {"train", "validation", "test"}
