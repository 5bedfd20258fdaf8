"""Shards: what `pack` writes, and what StreamedImages makes of it, from a folder and by URL."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import time
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from conftest import quiet, tiny
from PIL import Image

from gan_lightning import pack
from gan_lightning.batches import Attributed, Captioned, Labeled
from gan_lightning.data import ImageFolder, StreamedImages, packing
from gan_lightning.data.blocks import WindowedOrder
from gan_lightning.data.loader import Loader, TrainingOrder
from gan_lightning.data.shards import Shard
from gan_lightning.data.store import Store, require_room
from gan_lightning.runtime.errors import DataError, words_of
from gan_lightning.runtime.reading import Reading
from gan_lightning.text import words

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
COUNT = 20  # pictures of each colour
ATTRIBUTES = ["bright", "odd"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Three classes of pictures of one colour: 250 in the class's channel, and the number modulo 5 in all three."""
    root = tmp_path_factory.mktemp("pictures")
    with (root / "list.csv").open("w") as table, (root / "captions.csv").open("w", newline="") as texts:
        table.write(f"image,{','.join(ATTRIBUTES)}\n")
        lines = csv.writer(texts)
        lines.writerow(["image", "caption"])
        for name, colour in COLOURS.items():
            (root / name).mkdir()
            for number in range(COUNT):
                level = np.array(colour, np.uint8) + np.uint8(number % 5)
                Image.fromarray(np.tile(level, (20, 16, 1))).save(root / name / f"{number}.png")
                table.write(f"{name}/{number}.png,{(number > 9) * 2 - 1},{number % 2 * 2 - 1}\n")
                lines.writerows(
                    [[f"{name}/{number}.png", f"a {name} square"], [f"{name}/{number}.png", f"{name} {number % 2}"]]
                )
    return root


@pytest.fixture(scope="module")
def shards(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    pack.main([str(pictures), "--out", str(out), "--shard_images", "8", "--val_fraction", "0.2"] + ALL)
    return out


ALL = ["--attributes", "all", "--list_path", "list.csv", "--captions"]


def opened(root: str | Path, **options) -> StreamedImages:
    given = {"size": [20, 16], "beside": "classes", "batch_size": 6, "num_workers": 0} | options
    data = StreamedImages(str(root), **given)
    for split in ("train", "val"):
        data.reference(split).window = 2
    return data


def batches(data: Any, seen: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0) -> list[tuple]:
    """Those of an epoch's length from a number of images on, as a process of a run sees them."""
    examples = data.training_set()
    order = TrainingOrder(len(examples), 6, 0, lambda: seen, rank, world_size, permutation=examples.permutation)
    loader = Loader(examples, order, workers, 0)
    found = list(loader)
    loader.close()
    return found


def same(a: list[tuple], b: list[tuple]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) for m, n in zip(a, b, strict=True) for x, y in zip(m, n, strict=True)
    )


# The order.


def test_an_epoch_mixes_windows_of_blocks_and_shows_every_row_once():
    counts = np.array([3, 5, 1, 4, 2, 6, 2])
    order = WindowedOrder(counts, 3, 5)
    rows = order[0:23].tolist()
    assert sorted(rows) == list(range(23)) and sorted(order.blocks.tolist()) == list(range(7))
    owner = np.repeat(np.arange(7), counts)
    end = 0
    for window in range(3):  # of 3, 3 and 1 blocks: exactly their rows, and not one block after the other
        blocks = order.blocks[3 * window : 3 * window + 3]
        mine = rows[end : end + counts[blocks].sum()]
        assert set(owner[mine]) == set(blocks) == set(order.blocks_from(end, 1))
        assert {order.window_at(place) for place in range(end, end + len(mine))} == {window}
        end += len(mine)
    changes = np.count_nonzero(np.diff(owner[rows]))
    assert changes > 2 * len(counts)
    for first in range(23):  # any part, across windows, also when it is asked for first
        assert WindowedOrder(counts, 3, 5)[first : first + 9].tolist() == rows[first : first + 9]
    assert WindowedOrder(counts, 3, 6)[0:23].tolist() != rows


def test_places_are_drawn_evenly():
    """Over seeds each row is as often in the first quarter as in any other: chi-square of 8 rows, 4 quarters."""
    counts, found = np.array([2, 2, 2, 2]), np.zeros((8, 4))
    for seed in range(400):
        for place, row in enumerate(WindowedOrder(counts, 2, seed)[0:8].tolist()):
            found[row, place // 2] += 1
    assert ((found - 100) ** 2 / 100).sum() < 60  # 24 degrees of freedom: 99.99% are below 60


# What is packed.


def test_shards_hold_the_files_as_they_are_and_what_stands_beside_them(pictures, shards):
    index, seen = json.loads((shards / "index.json").read_text()), []
    assert index["classes"] == sorted(COLOURS) and index["attributes"] == ATTRIBUTES and index["images"] == 60
    for split in ("train", "val"):
        for shard in index["shards"][split]:
            content = (shards / shard["name"]).read_bytes()
            assert len(content) == shard["bytes"] and hashlib.sha256(content).hexdigest() == shard["sha256"]
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
                assert all((m.mtime, m.uid, m.uname) == (0, 0, "") for m in tar.getmembers())
            of_class = dict.fromkeys(range(3), 0)
            for name in files:
                if name.endswith(".png"):
                    about = json.loads(files[name[:-3] + "json"])
                    colour, number = about["name"].removesuffix(".png").split("/")
                    assert files[name] == (pictures / about["name"]).read_bytes()
                    assert (about["class"], about["label"]) == (colour, sorted(COLOURS).index(colour))
                    assert about["attributes"] == {"bright": int(int(number) > 9), "odd": int(number) % 2}
                    assert about["captions"] == [f"a {colour} square", f"{colour} {int(number) % 2}"]
                    of_class[about["label"]] += 1
                    seen.append((split, about["name"]))
            assert list(of_class.values()) == shard["class_counts"] and sum(of_class.values()) == shard["images"] <= 8
    folder = ImageFolder(str(pictures), val_fraction=0.2)
    for split in ("train", "val"):
        held = {path.relative_to(folder.root).as_posix() for path in folder.reference(split).paths}
        assert {name for where, name in seen if where == split} == held
    assert len(seen) == len(set(seen)) == 60


def test_the_same_folder_gives_the_same_bytes_and_a_stopped_pack_is_no_set(pictures, shards, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    given = {"shard_images": 8, "val_fraction": 0.2, "attributes": ["all"], "list_path": "list.csv", "captions": ""}
    for place, name in ((packing, "_digest"), (packing.os, "replace")):  # after the first shard, at the last moment
        monkeypatch.setattr(place, name, lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            packing.pack(str(pictures), out, **given)
        assert packing.interrupted(out)
        monkeypatch.undo()
    assert len(list(out.glob("*.tar"))) == len(list(shards.glob("*.tar")))
    with pytest.raises(FileNotFoundError, match=r"index\.json.*gan_lightning\.pack"):
        StreamedImages(str(out))
    (out / "train-000099.tar").write_bytes(b"of another size of shards")
    pack.main([str(pictures), "--out", str(out), "--shard_images", "8", "--val_fraction", "0.2"] + ALL)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in shards.iterdir()}


def test_a_pack_removes_no_tar_of_another_program(pictures, tmp_path, capsys):
    given, mine = [str(pictures), "--out", str(tmp_path)], tmp_path / "photos.tar"
    mine.write_bytes(b"mine")
    with pytest.raises(SystemExit):
        pack.main([*given, "--overwrite"])
    assert "other files than shards" in capsys.readouterr().err
    theirs = mine.rename(tmp_path / "train-000000.tar")  # webdataset's name too
    with pytest.raises(SystemExit):
        pack.main(given)
    assert "--overwrite" in capsys.readouterr().err and theirs.read_bytes() == b"mine"
    mine.write_bytes(b"mine")
    packing.clear(tmp_path)
    assert mine.exists() and not theirs.exists()


def test_white_is_applied_once_to_smaller_pictures_and_others(tmp_path):
    """12 bits in files of 16: level 1024 of 4095 is a quarter of white, and what is above white is white."""
    out, levels = tmp_path / "out", np.full((40, 40), 1024, np.uint16)
    levels[:, 20:] = 6000
    (tmp_path / "in").mkdir()
    out.mkdir()
    for name, side in (("large", 40), ("small", 20)):
        Image.fromarray(levels[:side, 20 - side // 2 :][:, :side]).save(tmp_path / "in" / f"{name}.png")
    Image.fromarray(np.full((40, 40), 9.0, np.float32)).save(tmp_path / "in" / "floats.tiff")
    packing.pack(str(tmp_path / "in"), out, size=20, channels=1, val_fraction=0, reading=Reading(white=4095))
    train = StreamedImages(str(out), size=20, channels=1, white=4095).reference("train")
    for row, image in enumerate(train.__getitems__([0, 1, 2]).image):
        left, right = ((9 / 4095,) * 2) if "floats" in train.place(row)[0].names[row] else (1024 / 4095, 1.0)
        assert torch.allclose((image[0, :, :9] + 1) / 2, torch.tensor(left), atol=1e-4)
        assert torch.allclose((image[0, :, 11:] + 1) / 2, torch.tensor(right), atol=1e-4)


def test_smaller_pictures_and_damaged_ones(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], (1, 90, 3))  # 60 rows, 90 columns
    Image.fromarray(ramp).save(folder / "large.jpg", quality=95)
    Image.fromarray(ramp).save(folder / "large.png")
    Image.fromarray(ramp[:20, :20]).save(folder / "small.png")
    packing.pack(str(folder), tmp_path, size=30, val_fraction=0)
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        about = {
            m.name[:9]: json.loads(tar.extractfile(m).read())["name"] for m in tar.getmembers() if ".json" in m.name
        }
        found = {
            about[m.name[:9]]: tar.extractfile(m).read()
            for m in tar.getmembers()
            if m.name[:9] in about and "json" not in m.name
        }
    assert found["small.png"] == (folder / "small.png").read_bytes()
    for name, kind in (("large.jpg", "JPEG"), ("large.png", "PNG")):
        with Image.open(io.BytesIO(found[name])) as image:
            assert image.size == (45, 30) and image.format == kind
            assert np.abs(np.asarray(image).astype(int)[:, 5, 0] - (np.arange(30) * 8 + 2)).max() <= 3  # means of two
    (folder / "cut.jpg").write_bytes((folder / "large.jpg").read_bytes()[:-300])
    (folder / "text.png").write_text("no picture")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        pack.main([str(folder), "--out", str(out)])
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error:")]
    assert ended.value.code == 2 and len(errors) == 1
    assert "2 damaged files" in errors[0] and "cut.jpg" in errors[0] and "text.png" in errors[0]
    assert not list(out.iterdir())


# What is read.


def test_batches_hold_the_pictures_and_their_classes(pictures, shards):
    data = opened(shards)
    assert data.classes == sorted(COLOURS) and data.num_classes == 3 and data.image_shape == (3, 20, 16)
    for split in ("train", "val"):
        examples = data.reference(split)
        batch = examples.__getitems__(list(range(len(examples))))
        assert type(batch) is Labeled and batch.image.dtype == torch.uint8
        colour = batch.image[:, :, 0, 0]
        assert torch.equal(batch.image, colour[:, :, None, None].expand_as(batch.image))
        expected = [sorted(COLOURS).index(("red", "green", "blue")[i]) for i in colour.argmax(1)]
        assert batch.label.tolist() == expected
        assert examples.class_counts == batch.label.bincount().tolist()
    assert len(data.reference("train")) + len(data.reference("val")) == 60
    wide = StreamedImages(str(shards), size=8, beside="classes").reference("val").__getitems__([0]).image
    assert wide.shape == (1, 3, 8, 8)
    assert data.reference("train").fingerprint != data.reference("val").fingerprint
    assert data.reference("val").fingerprint == opened(shards).reference("val").fingerprint


@pytest.mark.parametrize("beside", ["classes", "captions"])
def test_a_batch_is_a_function_of_the_images_seen_on_any_workers_and_processes(shards, beside):
    data = opened(shards, beside=beside)
    whole = batches(data)
    count = len(whole)
    following = batches(data, 6 * count)
    assert count > 6 and not same(whole, following)
    assert same(batches(data, workers=2), whole)
    stop = count // 2  # in the middle of an epoch
    assert same(batches(data, 6 * stop), [*whole[stop:], *following[:stop]])
    assert same(batches(data, 6 * stop, workers=2), [*whole[stop:], *following[:stop]])
    parts = [batches(data, rank=rank, world_size=2) for rank in (0, 1)]
    joined = [type(a)(*map(torch.cat, zip(a, b, strict=True))) for a, b in zip(*parts, strict=True)]
    assert same(joined, whole)


def test_attributes_are_the_columns_that_are_asked_for(shards):
    data = opened(shards, beside="attributes", attributes=["odd"])
    assert data.attributes == ["odd"] and data.num_classes is None
    both = opened(shards, beside="attributes")
    assert both.attributes == ATTRIBUTES
    rows = list(range(30))
    batch, every = data.reference("train").__getitems__(rows), both.reference("train").__getitems__(rows)
    assert type(batch) is Attributed and batch.attributes.dtype == torch.float32
    assert torch.equal(batch.attributes[:, 0], every.attributes[:, 1])
    # The level beyond the class's own is the picture's number modulo 5, in all three channels: 250 + n, n, n.
    number = batch.image[:, :, 0, 0].min(1).values
    examples = both.reference("train")
    names = [opened_shard.names[row] for opened_shard, row in map(examples.place, rows)]
    truth = [int(name.split("/")[1].removesuffix(".png")) for name in names]
    assert number.tolist() == [n % 5 for n in truth]
    assert every.attributes.tolist() == [[float(n > 9), float(n % 2)] for n in truth]


def test_captions_are_the_pictures_own_and_wrong_ones_are_of_others(shards):
    data = opened(shards, beside=None)  # captions come first
    assert data.vocabulary[:2] == ["<pad>", "<unk>"] and data.length == 3
    assert set(data.vocabulary[2:]) == {"a", "square", "0", "1", *COLOURS}
    drawn = set()
    for epoch in range(3):
        for batch in batches(data, 48 * epoch):
            assert type(batch) is Captioned
            for image, token, wrong in zip(*batch, strict=True):
                said, other = ([data.vocabulary[t] for t in words(row.tolist())] for row in (token, wrong))
                colour = ("red", "green", "blue")[int(image[:, 0, 0].argmax())]
                assert colour in said and said != other
                drawn.add((colour, len(said), other[0] == "a"))
    assert len(drawn) == 12  # either caption of each colour, beside either kind of a wrong one
    assert data.reference("train").captions[0].startswith("a ")


def test_a_model_trains_on_shards_and_they_are_looked_at_first(shards, tmp_path):
    data = opened(shards, size=16)
    quiet(max_steps=2).fit(tiny("GAN", image_shape=data.image_shape), data)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes()[: None if path.name != "train-000001.tar" else -512])
    with pytest.raises(DataError, match=r"train-000001\.tar has \d+ bytes, not \d+: it was cut off"):
        opened(copy).setup("fit")
    (copy / "train-000001.tar").unlink()
    with pytest.raises(FileNotFoundError, match="train-000001"):
        opened(copy).setup("fit")


# By URL.


@pytest.fixture
def remote(shards):
    """The shards in fsspec's memory."""
    system = fsspec.filesystem("memory")
    for path in shards.iterdir():
        system.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    yield "memory://bucket/set"
    system.rm("/bucket", recursive=True)


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """The folder of what is fetched."""
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path))
    return tmp_path / "shards"


def test_shards_by_url_give_the_same_batches_from_a_folder_of_bounded_size(shards, remote, kept, monkeypatch):
    largest = max(path.stat().st_size for path in shards.glob("*.tar"))
    data = opened(remote)
    data.store.limit = 4 * largest
    assert same(batches(data), batches(opened(shards)))
    assert same(batches(opened(f"file://{shards}")), batches(opened(shards)))
    assert data.training_set().fingerprint == opened(shards).training_set().fingerprint
    seen, sizes = set(), []
    make_room = Store._make_room

    def watched(self, size):
        make_room(self, size)
        sizes.append(sum(path.stat().st_size for path in kept.iterdir()) + size)
        seen.update(path.name for path in kept.glob("*.shard"))

    monkeypatch.setattr(Store, "_make_room", watched)
    for epoch in range(3):
        batches(data, 48 * epoch)
    assert sizes and max(sizes) <= 4 * largest and len(seen) > 4
    assert not [path for path in kept.glob("*.lock") if len(path.stem) > len("room")]  # none for each shard


def test_room_is_not_made_of_what_others_fetch(kept, monkeypatch):
    kept.mkdir()
    for name in ("fetched.shard", "now.part", "left.part"):
        (kept / name).write_bytes(bytes(10))
    os.utime(kept / "now.part", (time.time() - 60,) * 2)  # the oldest but what a killed process has left
    os.utime(kept / "left.part", (time.time() - 86400,) * 2)
    listed = os.scandir
    gone = kept / "gone.part"

    def scandir(folder):
        gone.write_bytes(b"")
        entries = list(listed(folder))
        gone.unlink()  # another process gives it its name now
        return entries

    monkeypatch.setattr(os, "scandir", scandir)
    Store(25)._make_room(5)
    assert {path.name for path in kept.iterdir()} == {"fetched.shard", "now.part"}
    Store(25)._make_room(10)
    assert {path.name for path in kept.iterdir()} == {"now.part"}


class Full(io.FileIO):
    """A file on a full disk. A limit of the process's file sizes would reach threads of other tests too."""

    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_not_said_of_the_url(remote, kept, monkeypatch):
    data = opened(remote)
    really = Path.open

    def opens(path: Path, mode: str = "r", **how: Any) -> Any:  # "r+b": when the file has its place
        return Full(path, "r+") if mode == "r+b" else really(path, mode, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opens)
        with pytest.raises(OSError) as error:
            data.reference("val").fetch(0)
    assert words_of(error.value) == f"{kept}: {os.strerror(errno.ENOSPC)}"
    assert not list(kept.glob("*.part"))


def test_workers_fetch_by_http(shards, kept):
    """One of them each shard; the process that started them has used the network before."""
    asked = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] += 1
            super().do_GET()

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(shards))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        data = opened(f"http://127.0.0.1:{server.server_port}")
        assert same(batches(data, workers=2), batches(opened(shards)))
        server.shutdown()
    assert {path for path in asked if "train" in path} == {f"/{path.name}" for path in shards.glob("train*.tar")}
    assert max(asked.values()) == 1


def test_what_is_wrong_with_a_url_is_one_line(remote, shards, kept, monkeypatch):
    system = fsspec.filesystem("memory")
    name = json.loads((shards / "index.json").read_text())["shards"]["val"][0]["name"]
    content = system.cat_file(f"/bucket/set/{name}")
    for wrong, said in ((content[:-512], "has .* bytes, not"), (b"\0" * len(content), "other contents than its index")):
        system.pipe_file(f"/bucket/set/{name}", wrong)
        with pytest.raises(OSError, match=said):
            opened(remote).reference("val").__getitems__([0])
        assert not list(kept.glob("*.shard")) and not list(kept.glob("*.part"))
    with pytest.raises(FileNotFoundError, match=r"memory://bucket/other/index\.json"):
        StreamedImages("memory://bucket/other")
    for address in ("nostore://bucket", "simplecache::memory://bucket/set"):
        with pytest.raises(ValueError, match="is no URL of a kind that is read: memory, http"):
            StreamedImages(address)
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    with pytest.raises(ValueError, match="s3://bucket/set/index.json needs a package: pip install s3fs"):
        StreamedImages("s3://bucket/set")
    large = 3 * 2**20
    with pytest.raises(ValueError, match=r"need 8 MB, more than --data\.cache_size 5"):
        require_room("set", remote, Store(5 * 2**20), 4, [large] * 10)


# What is wrong.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.update(format=9), "format 9"),
        (lambda index: index["shards"]["val"][0].update(name="../other.tar"), "is damaged"),
        (lambda index: index["shards"]["val"][0].update(bytes="1"), "is damaged"),
        (lambda index: index.pop("classes"), "is damaged"),
        (lambda index: index["shards"]["val"][0].update(rows_at=512), "is damaged"),
        (lambda index: index["shards"]["val"][0].update(images=1), "is damaged"),
        (lambda index: index["shards"]["val"][0].update(rows_bytes=2**46), "is damaged"),
        (lambda index: index["shards"]["val"][0].pop("class_counts"), "is damaged.*class_counts"),
        (lambda index: index["shards"]["train"][0].update(class_counts=[8]), "is damaged.*class_counts"),
        (lambda index: index.pop("arrays"), "is damaged.*arrays"),
        (lambda index: index.update(captions=5), "is damaged"),
        (lambda index: index["captions"]["word"].update(counts=[1]), "is damaged"),
        (lambda index: index.update(classes=["blue"]), "is damaged"),
    ],
)
def test_a_damaged_index_is_one_line(shards, tmp_path, change, said):
    index = json.loads((shards / "index.json").read_text())
    change(index)
    for path in shards.glob("*.tar"):
        os.link(path, tmp_path / path.name)
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=said) as error:
        opened(tmp_path).reference("val").__getitems__([0])
    assert "\n" not in str(error.value)
    (tmp_path / "index.json").write_text('{"format": 1, ')
    with pytest.raises(ValueError, match="is damaged"):
        StreamedImages(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows["size"].__setitem__(0, 2**46), "a row ends behind"),
        (lambda rows: rows["offset"].__setitem__(1, -(2**63)), "a row ends behind"),
        (lambda rows: rows["label"].__setitem__(2, 3), r"\w+/\d+\.png has the label 3, which is no class"),
        (lambda rows: rows.update(attributes=[]), "other attributes"),
        (lambda rows: rows["captions"].__setitem__(0, []), "no captions"),
        (lambda rows: rows["captions"].__setitem__(0, [5]), "a caption is no text"),
    ],
)
def test_a_damaged_table_is_one_line(shards, change, said):
    index = json.loads((shards / "index.json").read_text())
    shard = index["shards"]["train"][0]
    content = (shards / shard["name"]).read_bytes()
    rows = json.loads(content[shard["rows_at"] : shard["rows_at"] + shard["rows_bytes"]])
    change(rows)
    text = json.dumps(rows).encode()
    with tempfile.TemporaryFile() as file:
        file.write(content[: shard["rows_at"]] + text)
        file.flush()
        with pytest.raises(DataError, match=f"{shard['name']} is damaged: .*{said}") as error:
            Shard(file, shard["name"], shard["rows_at"], len(text), shard["images"], index)
    assert "\n" not in str(error.value)


def test_what_shards_do_not_have_is_said(pictures, shards, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"the attributes bright, odd, not 'old', did you mean 'odd'"):
        opened(shards, beside="attributes", attributes=["old"])
    packing.pack(str(pictures / "red"), tmp_path, val_fraction=0)
    with pytest.raises(ValueError, match="has no captions, but pictures alone"):
        opened(tmp_path, beside="captions")
    (tmp_path / "other.txt").write_text("mine")
    for out, said in (
        (tmp_path, "other files than shards"),
        (shards, "--overwrite"),
        (pictures / "list.csv", "is a file"),
    ):
        with pytest.raises(SystemExit) as ended:
            pack.main([str(pictures), "--out", str(out)])
        assert ended.value.code == 2 and said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        pack.main([str(pictures), "--out", str(tmp_path / "new"), "--attributes", "old", "--list_path", "list.csv"])
    assert "did you mean 'odd'" in capsys.readouterr().err
