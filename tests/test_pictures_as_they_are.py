"""Folders and files of pictures as they are found: links, splits, strays, odd names, bit depths, broken JPEGs."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from gan_lightning import data, evaluate, fit, sample
from gan_lightning.cli import yaml_text
from gan_lightning.cli.samples import label_of
from gan_lightning.data.decoding import read_pixels
from gan_lightning.data.finding import image_files, suffixes
from gan_lightning.runtime import errors
from gan_lightning.runtime.reading import Reading


def noise(number: int, height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fill(root: Path, *names: str, width: int = 12) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(number, 12, width)).save(root / name)
    return root


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def below(root: Path, names: bool = False) -> list[str]:
    return [path.relative_to(root).as_posix() for path in image_files(root, names)]


# Each picture once.


def test_a_picture_counts_once_however_it_is_reached(tmp_path, caplog):
    root = fill(tmp_path / "root", "b/1.png", "b/2.png", "c/3.png", "z.png")
    other = fill(tmp_path / "other", "5.png", "deep/6.png")
    for name, target in {"a_loop": root, "b/up": root, "a_folder": root / "b", "d_more": other}.items():
        link(root / name, target)
    for name, target in {"a_file.png": root / "z.png", "gone.png": root / "gone", "c/more": other}.items():
        link(root / name, target)
    link(other / "back", root)
    os.link(root / "c/3.png", root / "c/0.png")
    once = ["b/1.png", "b/2.png", "c/0.png", "c/more/5.png", "c/more/deep/6.png", "z.png"]
    assert below(root) == once
    (line,) = caplog.messages
    assert "root: 6 images; left out: " in line and "5 link to a folder that is here already" in line
    assert "2 another name of a picture that is here already" in line and "1 broken link" in line
    folder = data.ImageFolder(str(root), 8, val_fraction=0.5)
    paths = [path.resolve() for split in ("train", "val") for path in folder.reference(split).paths]
    assert len(set(paths)) == len(paths) == 6
    assert below(root, names=True) == sorted([*once, "a_file.png", "c/3.png"])  # where it is the name that counts


def test_folders_that_are_linked_crosswise_are_walked_once(tmp_path):
    """Twelve folders, each linked in each of the others, have 12! paths."""
    for one in range(12):
        fill(tmp_path, f"{one:02}/{one}.png")
        for other in set(range(12)) - {one}:
            link(tmp_path / f"{one:02}/to{other:02}", tmp_path / f"{other:02}")
    assert below(tmp_path) == [f"{one:02}/{one}.png" for one in range(12)]


def test_what_is_left_out_is_told_in_a_line(tmp_path, caplog):
    fill(
        tmp_path, "1.png", "2.JPG", "__MACOSX/._1.png", "@eaDir/1.png", ".ipynb_checkpoints/1.png", "$RECYCLE.BIN/1.png"
    )
    for name in ("._3.png", "Thumbs.db", "desktop.ini", "a.txt", "b.txt", "c.pdf", "noise"):
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    assert below(tmp_path) == ["1.png", "2.JPG"]
    (line,) = caplog.messages
    assert "\n" not in line and "2 images; left out: 4 of other kinds (2 .txt, 1 without suffix, 1 .pdf), " in line
    assert "2 hidden" in line and "1 no regular file" in line
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini"):
        assert f"1 left behind by a system ({name})" in line
    caplog.clear()
    assert below(fill(tmp_path / "clean", "1.png")) == ["1.png"] and not caplog.messages


def test_suffixes_are_those_that_pillow_decodes(tmp_path):
    assert {".png", ".jpeg", ".jfif", ".tif", ".gif", ".webp", ".tga", ".ppm"} <= suffixes()
    assert not {".pdf", ".eps", ".mpg", ".h5", ".txt", ""} & suffixes()
    for suffix in sorted({".avif", ".jp2", ".qoi", ".apng", ".jpe"} & suffixes()):
        path = tmp_path / f"one{suffix}"
        Image.fromarray(noise(1)).save(path)
        assert read_pixels(path, 3).shape == (12, 12, 3) and path in image_files(tmp_path), suffix


@pytest.mark.parametrize("kind", [data.PairedImages, data.UnpairedImages])
def test_no_picture_stands_in_two_splits(tmp_path, kind):
    fill(tmp_path, "trainA/0.png", "trainA/1.png", "trainB/0.png", "trainB/1.png", "more/0.png", "more/1.png")
    link(tmp_path / "valA", tmp_path / "trainA")
    link(tmp_path / "valB", tmp_path / "more")
    with pytest.raises(
        ValueError, match="valA.0.png is in .*train.* and in .*val.*, and so are 1 more: no picture may"
    ):
        kind(str(tmp_path), size=8, jitter=None)


def test_no_picture_stands_in_two_domains_or_twice_in_a_list(tmp_path, caplog):
    fill(tmp_path, "images/0.png", "images/1.png", "images/2.png", "images/3.png")
    link(tmp_path / "same.png", tmp_path / "images/0.png")
    (tmp_path / "a.txt").write_text("0.png\nimages/1.png\n0.png\nsame.png\n")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf2.png\r\n\r\n3.png \r\n")
    given = {"size": 8, "jitter": None, "val_fraction": 0}
    module = data.UnpairedImages(str(tmp_path), "a.txt", "b.txt", **given)
    assert [[path.name for path in module.paths[letter]["train"]] for letter in "AB"] == [
        ["0.png", "1.png"],
        ["2.png", "3.png"],
    ]
    assert "a.txt: 2 pictures are there under another name too, and count once" in caplog.text
    for a, b in (("a.txt", "a.txt"), ("images", "images"), ("a.txt", "images")):
        with pytest.raises(ValueError, match="0.png is in domain A and in domain B, and so are . more: no picture"):
            data.UnpairedImages(str(tmp_path), a, b, **given)
    with pytest.raises(ValueError, match="0.png is in A and in B"):
        data.PairedImages(str(tmp_path / "images"), str(tmp_path / "images"))


# Splits, classes, pairs.


@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "val"), ("training", "test"), ("Train", "valid"), ("trainA", "testB"), ("train2017", "val2017")],
)
def test_a_root_one_level_too_high_is_refused(tmp_path, train, val):
    root = fill(tmp_path, f"images/{train}/cat/1.png", f"images/{train}/dog/1.png", f"images/{val}/cat/1.png", width=24)
    where = f"images holds the splits {train}, {val} of a set: give"
    for given in (root, root / "images"):
        with pytest.raises(ValueError, match=where) as raised:
            data.ImageFolder(str(given))
        assert str(raised.value).endswith(f"give --data.root {root / 'images' / train}")
    with pytest.raises(ValueError, match=where):
        data.PairedImages(str(root))
    with pytest.raises(ValueError, match=f"{where} --data.a"):
        data.UnpairedImages(str(root), "images", "images")
    assert data.ImageFolder(str(root / "images" / train)).classes == ["cat", "dog"]


def test_a_split_in_a_split_is_refused(tmp_path):
    fill(tmp_path, "train/1.png", "train/val/2.png", width=24)
    for kind, given in ((data.ImageFolder, "train"), (data.PairedImages, ".")):
        with pytest.raises(ValueError, match="train has val among its pictures: move it out, beside it$"):
            kind(str(tmp_path / given))
    fill(tmp_path / "vehicles", "bus/1.png", "train/1.png", "valley/1.png")
    assert data.ImageFolder(str(tmp_path / "vehicles")).classes == ["bus", "train", "valley"]
    fill(tmp_path / "late", "test/1.png", width=24)
    with pytest.raises(ValueError, match="late has the folder test, but no train"):
        data.PairedImages(str(tmp_path / "late"))


def test_classes_are_named_and_counted_as_their_numbers_say(tmp_path, capsys, caplog):
    root = fill(tmp_path / "numbers", *(f"{number}/x.png" for number in range(12)))
    folder = data.ImageFolder(str(root), 8, val_fraction=0, batch_size=4)
    assert folder.classes == [str(number) for number in range(12)]
    images = folder.reference("train")
    assert [int(path.parent.name) for path in images.paths] == images.label.tolist() != sorted(images.label.tolist())
    folder.setup("fit")
    assert capsys.readouterr().out == f"classes: {', '.join(f'{number} {number}' for number in range(12))}\n"
    same = fill(tmp_path / "same", "1/x.png", "01/x.png", "10/x.png")  # no order of numbers: as text
    assert data.ImageFolder(str(same)).classes == ["01", "1", "10"]
    assert data.MaskedImages(str(same)).classes is data.LowResolutionImages(str(same)).classes is None
    many = fill(tmp_path / "many", *(f"c{number:02}/x.png" for number in range(30)))
    data.ImageFolder(str(many), 8, val_fraction=0, batch_size=4).setup("fit")
    assert capsys.readouterr().out.endswith(" 19 c19, and 10 more\n") and not caplog.messages
    fill(root, "loose.png")
    assert data.ImageFolder(str(root)).num_classes is None
    (line,) = caplog.messages
    assert "has no classes: beside the 12 folders 0; 1; 10; 11; 2; and 7 more lie images in none, 1 of them" in line
    assert line.endswith("such as loose.png") and "\n" not in line


@pytest.mark.parametrize("parts", [[""], ["train"], ["train", "val"], ["train", "validation"], ["train", "test"]])
def test_folders_a_and_b_are_pairs(tmp_path, parts):
    """pix2pix's folders before they are combined."""
    for place, part in enumerate(parts):
        for number in range(4):
            for letter, level in (("A", 200), ("B", 50)):
                path = tmp_path / letter / part / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((16, 16, 3), level + number + 10 * place, np.uint8)).save(path)
    module = data.PairedImages(str(tmp_path), size=16, jitter=None, flip=False, val_fraction=0)
    assert (len(module.train), len(module.val)) == (4, 4 * (len(parts) - 1))
    for place, split in zip(range(len(parts)), ("train", "val"), strict=False):
        batch = module.reference(split).__getitems__([0, 3])
        assert batch.source[:, 0, 0, 0].tolist() == [200 + 10 * place, 203 + 10 * place]
        assert batch.target[:, 0, 0, 0].tolist() == [50 + 10 * place, 53 + 10 * place]


def test_pairs_without_a_partner_or_a_half_are_refused(tmp_path, caplog):
    both = fill(tmp_path / "both", "A/train/0.png", "B/train/0.png", "B/val/0.png", "A/loose.png")
    with pytest.raises(FileNotFoundError, match="^there is no folder .*A.val, to make pairs with .*B.val$"):
        data.PairedImages(str(both))
    fill(both, "A/val/0.png")
    assert len(data.PairedImages(str(both)).val) == 1
    assert "both/A: 1 pictures beside train and val are in none of them, and left out" in caplog.text
    with pytest.raises(FileNotFoundError, match="there is no folder .*trainB, to make pairs with .*trainA"):
        data.PairedImages(str(fill(tmp_path / "one", "trainA/0.png")))
    for width in (11, 12):
        square = fill(tmp_path / f"square{width}", "photos/0.png", "maps/0.png", width=width)
        with pytest.raises(
            ValueError, match=f"0.png has {width}x12 pixels, and a pair side .* --data.second"
        ) as raised:
            data.PairedImages(str(square), size=8, jitter=None, val_fraction=0).setup("fit")
        assert "\n" not in str(raised.value)


# Levels and limits.


def twelve_bits() -> np.ndarray:
    return (np.arange(64, dtype=np.uint16).reshape(8, 8) * 65).clip(0, 4095)


def test_white_is_the_level_that_becomes_the_greatest(tmp_path):
    levels = twelve_bits()
    expected = np.array([[int(np.floor(65535 * int(v) / 4095 + 0.5)) for v in row] for row in levels])
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(levels).save(tmp_path / "grey.tif")
    Image.fromarray(levels.astype(np.int32)).save(tmp_path / "integers.tif")
    Image.fromarray(levels.astype(np.float32)).save(tmp_path / "floats.tif")
    colours = np.dstack([levels, levels[::-1], levels.T])
    for name in ("colours.png", "colours.tif"):
        cv2.imwrite(str(tmp_path / name), colours[..., ::-1])
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([colours[..., ::-1], np.full_like(levels, 65535)]))
    for name in ("grey.png", "grey.tif", "integers.tif", "floats.tif", "colours.png", "colours.tif", "alpha.png"):
        found = read_pixels(tmp_path / name, 3, Reading(white=4095))
        assert np.abs(found[..., 0].astype(int) - expected).max() == 0, name
        if "colours" in name or "alpha" in name:
            assert np.array_equal(found[..., 1], found[::-1, :, 0]) and np.array_equal(found[..., 2], found[..., 0].T)
        if name != "floats.tif":
            assert read_pixels(tmp_path / name, 1).max() <= 4095, name
    assert read_pixels(tmp_path / "grey.png", 1, Reading(white=1000))[levels >= 1000].min() == 65535  # clipped

    with pytest.raises(
        ValueError, match="floats.tif cannot be read: 32-bit float pixels: give the level that is white"
    ):
        read_pixels(tmp_path / "floats.tif", 3)
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(ValueError, match="nan.tif cannot be read: it holds numbers that are not finite"):
        read_pixels(tmp_path / "nan.tif", 3, Reading(white=1))


def test_white_of_pictures_of_8_bits(tmp_path):
    levels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([levels] * 3)).save(tmp_path / "colours.png")
    Image.fromarray(np.dstack([levels] * 3 + [np.full_like(levels, 200)])).save(tmp_path / "alpha.png")
    for name in ("grey.png", "colours.png", "alpha.png"):
        found = read_pixels(tmp_path / name, 4, Reading(white=15))
        assert np.array_equal(found[..., 0], levels * 17) and np.array_equal(found[..., 2], levels * 17), name
        assert (found[..., 3] == (200 if name == "alpha.png" else 255)).all()
        for white in (None, 255, 4095):  # an 8-bit picture has none of that level
            assert np.array_equal(read_pixels(tmp_path / name, 4, Reading(white))[..., 0], levels)


def test_a_set_that_is_nearly_black_or_white_is_warned_of(tmp_path, caplog):
    def messages(kind: type = data.ImageFolder, **given) -> list[str]:
        caplog.clear()
        kind(str(tmp_path), size=8, val_fraction=0, batch_size=1, num_workers=0, **given).setup("fit")
        return caplog.messages

    for number in range(6):
        Image.fromarray(noise(number)[..., 0].astype(np.uint16) << 4).save(tmp_path / f"{number}.png")
    fill(tmp_path, "bright.png")
    (line,) = messages()
    assert "is nearly black: half of the pictures have nothing above 16 of 255" in line and "--data.white 4095" in line
    assert not messages(white=4095) and not messages(data.MaskedImages, white=4095)
    assert len(messages(data.LowResolutionImages, factor=2)) == 1
    for path in tmp_path.iterdir():
        Image.fromarray(255 - noise(0) // 8).save(path)
    (line,) = messages(channels=1)
    assert "is nearly white: half of the pictures have nothing below 22" in line
    white_noise = np.zeros((12, 12), np.uint8)  # dark, but for a stroke: no fault
    white_noise[3, 3:6] = 255
    for path in tmp_path.iterdir():
        Image.fromarray(white_noise).save(path)
    assert not messages()


def test_each_side_of_pairs_and_each_domain_is_looked_at(tmp_path, caplog):
    for number in range(3):
        dark = fill(tmp_path, f"trainA/{number}.png", f"trainB/{number}.png") / f"trainB/{number}.png"
        Image.fromarray(noise(number) // 16).save(dark)
    for kind in (data.PairedImages, data.UnpairedImages):
        caplog.clear()
        kind(str(tmp_path), size=8, jitter=None, val_fraction=0, num_workers=0).setup("fit")
        assert [f"{kind.__name__}({tmp_path}) is nearly black" in line for line in caplog.messages] == [True]


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("1", (8, 8)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 20_000)  # width and height, which a checksum follows
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    Image.fromarray(noise(0, 10, 11)).save(tmp_path / "110.png")
    assert read_pixels(tmp_path / "110.png", 3, Reading(max_pixels=110)).shape == (10, 11, 3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("cv2.imdecode", lambda *given: pytest.fail("decoded"))
    for fast in (False, True):
        with pytest.raises(
            ValueError, match="110.png cannot be read: it has 11x10 pixels, more than max_pixels .109. a"
        ):
            read_pixels(tmp_path / "110.png", 3, Reading(max_pixels=109), fast)
        with pytest.raises(
            ValueError, match="bomb.png cannot be read: it has 30000x20000 pixels, .*100000000. allows$"
        ):
            read_pixels(tmp_path / "bomb.png", 3, Reading(), fast)
    for given in ({"max_pixels": 0}, {"white": 0}):
        with pytest.raises(ValueError, match="must be at least 1, not 0"):
            data.ImageFolder(str(tmp_path), **given)


# JPEGs.


def encoded(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


SMOOTH = Image.fromarray(noise(0, 16, 16)).resize((128, 150), Image.Resampling.BICUBIC)
JPEGS = {
    "plain": encoded(SMOOTH, quality=90),
    "fine": encoded(SMOOTH, subsampling=0),
    "progressive": encoded(SMOOTH, progressive=True),
    "grey": encoded(SMOOTH.convert("L")),
    "inks": encoded(SMOOTH.convert("CMYK")),
    "restarts": encoded(SMOOTH, restart_marker_rows=1),
    "close restarts": encoded(SMOOTH, restart_marker_blocks=3),
    "flat": encoded(Image.new("RGB", (128, 150), (128, 128, 128)), quality=95),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_ends_early_and_properly_is_found(tmp_path, name):
    whole, path = JPEGS[name], tmp_path / "one.jpg"
    path.write_bytes(whole)
    with Image.open(path) as file:
        assert np.array_equal(read_pixels(path, 3), np.asarray(file.convert("RGB")))
    path.write_bytes(whole + b"what a camera adds")
    assert read_pixels(path, 3).shape == (150, 128, 3)
    for share in (0.5, 0.75, 0.95):
        path.write_bytes(whole[: int(share * len(whole))].rstrip(b"\xff") + b"\xff\xd9")
        with pytest.raises(ValueError, match="one.jpg cannot be read: "):
            read_pixels(path, 3)


def refused_by_pillow_alone(path: Path) -> None:
    """Write a JPEG whose stream is broken, so that Pillow refuses it and OpenCV makes something of it."""
    random, whole = np.random.default_rng(0), JPEGS["plain"]
    for _ in range(1000):
        broken = bytearray(whole)
        broken[random.integers(2, len(whole) - 2)] = random.integers(256)
        path.write_bytes(bytes(broken))
        try:
            with Image.open(path) as file:
                file.load()
        except OSError:
            if cv2.imdecode(np.frombuffer(bytes(broken), np.uint8), cv2.IMREAD_COLOR) is not None:
                return
    pytest.fail("OpenCV refuses what Pillow refuses")


def test_training_begins_with_pillows_verdict(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(JPEGS["plain"])
    refused_by_pillow_alone(tmp_path / "3.jpg")
    with pytest.raises(ValueError, match="3.jpg cannot be read"):
        read_pixels(tmp_path / "3.jpg", 3)
    with pytest.raises(ValueError, match="^1 damaged files: .*3.jpg cannot be read"):
        data.ImageFolder(str(tmp_path), 8, batch_size=1).setup("fit")
    folder = data.ImageFolder(str(tmp_path), 8, batch_size=1, corrupt="skip", val_fraction=0)
    folder.setup("fit")
    assert folder.reference("train").sound.tolist() == [True] * 3
    assert data.ImageFolder(str(tmp_path), 8).reference("train").sound is None  # read by scores alone


# Names of any bytes.

ODD = b"caf\xe9 [x] 100%s"
ODD_NAMES = [b"\xe9 0.png", b"-dash.png", b"two\nlines.png", b"[b] %s.png", b"l" * 251 + b".png", " ü.png".encode()]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classes of pictures, all of odd names."""
    root = tmp_path_factory.mktemp("names")
    for number, kind in enumerate((b"cat", b"d\xf6g\nline")):
        folder = os.path.join(os.fsencode(root), ODD, kind)
        os.makedirs(folder)
        for name in ODD_NAMES:
            with open(os.path.join(folder, name), "wb") as file:
                Image.fromarray(noise(number, 16, 16)).save(file, "PNG")
    return root / os.fsdecode(ODD)


def test_names_of_any_bytes_can_be_printed_and_read_in_configs():
    name = os.fsdecode(b"caf\xe9\n\xc3\xa9 [x]")
    assert errors.printable(name) == "caf\\xe9\\né [x]" and errors.printable(Path("a b")) == "a b"
    assert not errors.is_utf8(name) and errors.is_utf8("é\n")
    for value in (name, "plain é", {"root": name, "more": [1, name, None]}, "\udcff"):
        assert yaml_text.read(yaml.safe_dump(value, allow_unicode=True)) == value
    assert yaml_text.read(name) == "caf\udce9 é [x]"  # YAML folds the line break, as it does of any plain text
    assert yaml_text.read("{a: 1e-3, b: [x]}") == {"a": 1e-3, "b": ["x"]}


def test_every_command_takes_names_of_any_bytes(odd, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--data.size=16", "--data.batch_size=4", "--data.num_workers=0", "--trainer.max_steps=1"]
    flags += ["--trainer.enable_progress_bar=false"]
    flags += [f"--model.{part}=DCGAN{part.title()}" for part in ("generator", "discriminator")]
    flags += ["--model.generator.width=4", "--model.discriminator.width=4"]
    monkeypatch.setattr("sys.argv", ["fit", f"--data.root={odd}"])  # which W&B keeps
    fit.main(["--model=CGAN", "--data=ImageFolder", f"--data.root={odd}", *flags])
    (checkpoint,) = map(str, tmp_path.glob("runs/*/*/last.ckpt"))
    assert "classes: 0 cat, 1 d\\xf6g\\nline\n" in capsys.readouterr().out
    fit.main([f"--ckpt_path={checkpoint}", "--trainer.max_steps=2", "--trainer.logger=false"])
    sample.main([checkpoint, "--classes"])
    assert capsys.readouterr().out.endswith("   0  cat\n   1  d\\xf6g\\nline\n")
    label, out = os.fsdecode(b"d\xf6g\nline"), os.fsdecode(b"out\xe9")
    sample.main([checkpoint, f"--label={label}", "--n=1", f"--out={out}"])
    assert (tmp_path / out / "000000.png").exists()
    assert "d\\xf6g\\nline: class d\\xf6g\\nline, number 1\n" in capsys.readouterr().out
    evaluated = ["--extractor=DigitFeatures", "--json=scores.json"]
    fakes = tmp_path / os.fsdecode(b"fak\xe9 [y]")
    shutil.copytree(odd / "cat", fakes)
    evaluate.main([f"--real={odd}", f"--fake={fakes}", *evaluated])
    evaluate.main([checkpoint, "--n=4", *evaluated])
    out, err = capsys.readouterr()
    (out + err).encode()
    (fakes / os.fsdecode(b"bad\xe9\n.png")).write_text("no picture")
    with pytest.raises(SystemExit):
        evaluate.main([f"--real={odd}", f"--fake={fakes}", *evaluated])
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ") and "bad\\xe9\\n.png cannot be read: it is no image" in message


# Names of classes.


@pytest.mark.parametrize(
    ("word", "names", "label"),
    [
        ("cat", ["ant", "cat"], 1),
        ("0", ["ant", "cat"], 0),
        ("10", ["0", "1", "10", "2"], 2),  # a name first
        ("2", ["0", "1", "10", "2"], 3),
        ("3", ["5", "6", "7", "8"], 3),  # a number where no class is called so
        ("7", [], 7),
        ("007", ["x"] * 9, 7),
    ],
)
def test_a_class_is_meant_by_its_name_first(word, names, label):
    assert label_of(word, names, len(names) or 10) == label


@pytest.mark.parametrize(
    ("word", "names", "message"),
    [
        ("4", ["ant", "cat"], "label 4: the classes are 0 to 1"),
        ("-1", ["ant", "cat"], "label -1: the classes are 0 to 1"),
        ("car", ["ant", "cat"], "there is no class 'car', did you mean 'cat'?"),
        ("zebra", ["ant", "cat"], "there is no class 'zebra' .--classes lists them"),
        ("zebra", [], "there is no class 'zebra': the classes are 0 to 9"),
    ],
)
def test_a_word_that_means_no_class_is_refused(word, names, message):
    with pytest.raises(ValueError, match=message.replace("?", ".")):
        label_of(word, names, len(names) or 10)
