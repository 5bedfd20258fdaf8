"""Files in pairs, domains, with attributes, holes, at low resolution: which pixels come when, what is refused."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gan_lightning import data
from gan_lightning.batches import Attributed, BatchIndex, Captioned, Labeled, Masked, Paired, PartlyLabeled, Unpaired
from gan_lightning.cli import command_line
from gan_lightning.data.base import ImageData
from gan_lightning.data.decoding import read_pixels
from gan_lightning.data.loader import BatchDataset, Loader, TrainingOrder
from gan_lightning.data.masked import random_holes
from gan_lightning.data.pictures import Jitter, resized
from gan_lightning.data.sets import Rows


def save(path: Path, array: np.ndarray, **settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **settings)


def noise(number: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def positions(height: int, width: int) -> np.ndarray:
    """(h, w, 3): a pixel's row and column in its first two channels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(y)], -1).astype(np.uint8)


def in_training(module: ImageData, seed: int = 5, iteration: int = 0, rank: int = 0, world: int = 1) -> ImageData:
    strategy = SimpleNamespace(broadcast=lambda found: found)
    model = SimpleNamespace(seed=seed, images_seen=iteration * module.batch_size)
    module.trainer = SimpleNamespace(lightning_module=model, global_rank=rank, world_size=world, strategy=strategy)
    return module


def same(one: list[tuple], other: list[tuple]) -> bool:
    return len(one) == len(other) and all(
        type(a) is type(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


# Batches of any kind.


def test_what_belongs_together_is_mirrored_together():
    image = torch.arange(2).byte().repeat(64, 1, 1, 1)
    flags = torch.zeros(64, dtype=torch.int64)

    def mirrored(batch: tuple) -> list[torch.Tensor]:
        drawn = BatchDataset(Rows(batch), 3)[BatchIndex(0, list(range(64)))]
        assert type(drawn) is type(batch)
        return [field[:, 0, 0, 0] == 1 for field in drawn if field.ndim == 4]

    alone = mirrored(Labeled(image, flags))[0]
    assert 16 < alone.sum() < 48
    for batch in (Paired(image, image), Masked(image, image.bool()), Attributed(image, torch.ones(64, 4))):
        assert all(torch.equal(field, alone) for field in mirrored(batch))
    for batch in (Unpaired(image, image), PartlyLabeled(image, image, flags)):
        first, second = mirrored(batch)
        assert torch.equal(first, alone)
        assert 16 < (first ^ second).sum() < 48  # the other's coins are independent


def test_a_fingerprint_is_of_every_picture():
    image = torch.arange(32).byte().reshape(2, 1, 4, 4)
    kinds = [Paired(image, image), Paired(image, image + 1), Paired(image + 1, image)]
    assert len({Rows(batch).fingerprint for batch in kinds}) == 3


def test_a_fingerprint_is_of_labels_too():
    image, none = torch.arange(32).byte().reshape(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    labels = [none, torch.tensor([0, 1]), torch.tensor([1, 0])]
    batches = [Labeled(image, label) for label in labels] + [Attributed(image, labels[2][:, None].float())]
    assert len({Rows(batch).fingerprint for batch in batches}) == 4
    of_images = hashlib.sha256(b"torch.uint8 (2, 1, 4, 4)" + bytes(range(32))).hexdigest()
    assert Rows(Labeled(image, none)).fingerprint == of_images  # a set without classes


def test_a_fingerprint_of_files_is_of_their_classes(tmp_path):
    """The same four images in other class folders, in the same order; a set without classes is of images alone."""

    def made(name: str, *places: str) -> data.ImageFolder:
        for number, place in enumerate(places):
            save(tmp_path / name / place / f"{number}.png", noise(number, 16, 16))
        return data.ImageFolder(str(tmp_path / name), 16, val_fraction=0)

    modules = [made("one", *"aabb"), made("two", *"ccdd"), made("three", *"abbb"), made("four", *[""] * 4)]
    assert all([int(path.stem) for path in module.paths] == [0, 1, 2, 3] for module in modules)
    prints = [module.reference("train").fingerprint for module in modules]
    assert prints[0] == prints[1] and len(set(prints)) == 3
    kept = [path.read_bytes() for path in modules[3].paths]
    parts = [hashlib.sha256(part).digest() for part in (b"(3, 16, 16)", *kept)]
    assert prints[3] == hashlib.sha256(b"".join(parts)).hexdigest()


# Reading.


def test_pixels_are_pillows(tmp_path):
    """OpenCV reads some of these, Pillow the rest; either way they are what Pillow alone gives."""
    smooth = np.asarray(Image.fromarray(noise(0, 6, 9)).resize((70, 45), Image.BICUBIC))
    grey = smooth[..., 0].copy()
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "colour.jpg", smooth, quality=90)
    save(tmp_path / "grey.jpg", grey)
    save(tmp_path / "turned.jpg", smooth, exif=exif)
    save(tmp_path / "turned.png", smooth, exif=exif)
    save(tmp_path / "progressive.jpg", smooth, progressive=True, subsampling=0)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "cmyk.jpg")
    for name in ("colour.png", "colour.bmp", "colour.webp", "colour.tif", "colour.gif", "colour.ppm"):
        save(tmp_path / name, smooth)
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
                found = read_pixels(path, channels)
                expected = np.asarray(upright.convert(mode)).reshape(upright.height, upright.width, channels)
                assert found.dtype == np.uint8 and np.array_equal(found, expected), (path.name, channels)
    assert read_pixels(tmp_path / "turned.jpg", 3).shape == (70, 45, 3)


def test_unusual_pixels(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    save(tmp_path / "16.png", grey.astype(np.uint16) * 257)
    sixteen = np.repeat(grey[..., None] * np.uint16(257), 3, 2)
    assert np.array_equal(read_pixels(tmp_path / "16.png", 3), sixteen)  # neither clipped nor cut to 8 bits
    seen = np.dstack([grey, grey, grey, np.where(grey > 100, 255, 0).astype(np.uint8)])
    save(tmp_path / "alpha.png", seen)
    on_white = np.where(grey > 100, grey, 255)
    assert np.array_equal(read_pixels(tmp_path / "alpha.png", 3)[..., 1], on_white)
    Image.fromarray(grey).save(tmp_path / "keyed.png", transparency=40)  # one grey level is transparent
    assert np.array_equal(read_pixels(tmp_path / "keyed.png", 1)[..., 0], np.where(grey == 40, 255, grey))
    palette = Image.fromarray(seen[..., :3]).convert("P", palette=Image.ADAPTIVE)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_pixels(tmp_path / "palette.png", 3), np.asarray(palette.convert("RGB")))


def test_resizing_averages_areas_and_keeps_extremes():
    image = noise(1, 64, 48)
    small = resized(image, 16, 12)
    means = image.reshape(16, 4, 12, 4, 3).mean((1, 3))
    assert np.abs(small - means).max() <= 0.51
    assert resized(image, 64, 48) is image
    assert (resized(np.full((8, 8, 1), 255, np.uint8), 32, 32) == 255).all()
    assert resized(image[..., :1], 100, 70).shape == (100, 70, 1)


# Jitter.


def test_jitter_cuts_windows_and_mirrors_them():
    """Every draw is a window of the image, or its mirror image; places are uniform, coins fair, all independent."""
    image, jitter = positions(40, 40), Jitter(32, flip=True)
    tops, lefts, flips = [], [], []
    for number in range(3000):
        window = jitter([image], number * 0x9E3779B97F4A7C15 % 2**64)[0]
        top, flipped = int(window[0, 0, 0]), window[0, 0, 1] > window[0, -1, 1]
        left = int(window[0, -1 if flipped else 0, 1])
        expected = image[top : top + 32, left : left + 32]
        assert np.array_equal(window, expected[:, ::-1] if flipped else expected)
        tops.append(top), lefts.append(left), flips.append(flipped)
    for places in (tops, lefts):
        counts = np.bincount(places, minlength=9)
        assert len(counts) == 9 and ((counts - 3000 / 9) ** 2 / (3000 / 9)).sum() < 26.2  # 8 degrees, p = 0.001
    assert np.abs(np.corrcoef([tops, lefts, flips]) - np.eye(3)).max() < 4 / math.sqrt(3000)
    assert np.mean(flips) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(3000))
    still = Jitter(32, flip=False)
    assert all(w[0, 0, 1] < w[0, -1, 1] for w in (still([image], number)[0] for number in range(50)))


def test_a_draw_depends_on_its_number_alone():
    image, one, other = positions(40, 40), Jitter(32, True), Jitter(32, True)
    first = [one([image], number)[0] for number in range(30)]
    second = [other([image], number)[0] for number in reversed(range(30))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({window.tobytes() for window in first}) > 20


# Every data module of files.


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Pairs whose B is the negative of A, two domains, a list of attributes, captions, all of odd shapes."""
    for number in range(12):
        a = noise(number, 40, 56)
        save(tmp_path / f"ab/train/{number:02}.png", np.concatenate([a, 255 - a], 1))
        save(tmp_path / f"two/trainA/{number:02}.png", a)
        save(tmp_path / f"two/trainB/{number:02}.bmp", 255 - a)
        save(tmp_path / f"faces/images/{number:02}.png", a)
        if number < 4:
            save(tmp_path / f"ab/val/{number:02}.png", np.concatenate([a, 255 - a], 1))
            save(tmp_path / f"two/testA/{number:02}.png", a)
            save(tmp_path / f"two/testB/{number:02}.png", 255 - a)
    rows = [f"{n:02}.png {1 if n % 2 else -1} {1 if n < 3 else -1} -1" for n in range(12)]
    (tmp_path / "faces/list_attr_celeba.txt").write_text("12\nOdd Early Never\n" + "\n".join(rows) + "\n")
    captions = {f"{n:02}.png": [f"picture {n} view {view}" for view in range(3)] for n in range(12)}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    for letter, listed in (("A", range(7)), ("B", range(7, 12))):
        (tmp_path / f"faces/train{letter}.txt").write_text("\n".join(f"{n:02}.png" for n in listed))
    return tmp_path


def made(files: Path, kind: str, workers: int = 0, batch_size: int = 4) -> ImageData:
    common = {"size": 32, "batch_size": batch_size, "num_workers": workers}
    if kind == "paired":
        return data.PairedImages(str(files / "ab"), jitter=36, **common)
    if kind == "unpaired":
        return data.UnpairedImages(str(files / "two"), jitter=36, **common)
    if kind == "attributes":
        return data.AttributeImages(
            str(files / "faces"), ["Early", "Odd"], jitter=36, flip=True, val_fraction=0, **common
        )
    folder = str(files / "two/trainA")
    if kind == "drawn captions":
        return data.CaptionedShapes(n=12, **common)
    if kind == "captions":
        return data.CaptionedImages(folder, str(files / "captions.json"), jitter=36, val_fraction=0, **common)
    if kind == "masked":
        return data.MaskedImages(folder, hole="random", val_fraction=0, **common)
    return data.LowResolutionImages(folder, val_fraction=0, **common)


KINDS = {
    "paired": Paired,
    "unpaired": Unpaired,
    "attributes": Attributed,
    "masked": Masked,
    "low_resolution": Paired,
    "captions": Captioned,
    "drawn captions": Captioned,
}


@pytest.mark.parametrize("kind", KINDS)
def test_training_depends_on_seed_and_iteration_alone(files, kind):
    """Not on workers, ranks or where the run began; and every epoch and seed draws anew."""
    whole = list(in_training(made(files, kind)).train_dataloader())
    assert len(whole) == 3 and all(type(batch) is KINDS[kind] for batch in whole)
    workers = in_training(made(files, kind, workers=2))
    assert same(whole, list(workers.train_dataloader()))
    workers.teardown("fit")
    following = list(in_training(made(files, kind), iteration=3).train_dataloader())
    resumed = list(in_training(made(files, kind), iteration=2).train_dataloader())
    assert same(resumed, whole[2:] + following[:2])
    ranks = [list(in_training(made(files, kind), rank=rank, world=2).train_dataloader()) for rank in (0, 1)]
    joined = [type(a)(*map(torch.cat, zip(a, b, strict=True))) for a, b in zip(*ranks, strict=True)]
    assert same(whole, joined)
    for other in (following, list(in_training(made(files, kind), seed=6).train_dataloader())):
        assert not same(whole, other)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_drawn_alike_in_any_batch(files, kind):
    images = in_training(made(files, kind)).training_set()
    whole = images.training_batch(BatchIndex(2, list(range(12))))
    for row in (0, 7, 11):
        single = images.training_batch(BatchIndex(2, [row]))
        assert same([single], [type(whole)(*(field[row : row + 1] for field in whole))])
    backwards = images.training_batch(BatchIndex(2, list(range(11, -1, -1))))
    assert same([backwards], [type(whole)(*(field.flip(0) for field in whole))])
    assert not same([whole], [images.training_batch(BatchIndex(3, list(range(12))))])  # another epoch


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_the_same_every_time_and_setup_accepts(files, kind):
    module = in_training(made(files, kind))
    module.setup("fit")
    images = module.reference("train")
    first, again = (images.__getitems__(list(range(12))) for _ in range(2))
    assert same([first], [again])
    assert all(field.dtype == torch.uint8 for field in first if field.ndim == 4 and field.dtype != torch.bool)
    assert len(images.fingerprint) == 64 and module.num_classes is None
    moved = made(files, kind)
    assert moved.reference("train").fingerprint == images.fingerprint
    batches = list(module.val_dataloader())
    assert sum(len(batch[0]) for batch in batches) == len(module.reference("val"))


def test_the_command_line_builds_them(files):
    found = command_line.data_module(["--data=MaskedImages", f"--data.root={files / 'two/trainA'}", "--data.size=32"])
    assert isinstance(found, data.MaskedImages) and found.image_shape == (3, 32, 32)
    faces = ["--data=AttributeImages", f"--data.root={files / 'faces'}", "--data.attributes=[Odd,Never]"]
    assert command_line.data_module(faces).attributes == ["Odd", "Never"]


# Pairs.


@pytest.mark.parametrize("layout", ["side by side", "two folders", "root and second"])
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_both_halves_are_drawn_alike(files, layout, direction):
    root, second = {
        "side by side": ("ab", None),
        "two folders": ("two", None),
        "root and second": ("two/trainA", str(files / "two/trainB")),
    }[layout]
    given = {"size": 32, "jitter": 36, "batch_size": 12, "num_workers": 0, "direction": direction}
    module = data.PairedImages(str(files / root), second, val_fraction=0, **given)
    module.setup("fit")
    plain = module.reference("train").__getitems__(list(range(12)))
    (drawn,) = module.train_dataloader()
    for batch in (plain, drawn):
        assert (batch.source.int() + batch.target.int() - 255).abs().max() <= 1  # of the resizing's rounding
    a = np.asarray(Image.open(files / "two/trainA/03.png"))
    stretched = resized(a if direction == "AtoB" else 255 - a, 32, 32)
    assert np.abs(plain.source[3].permute(1, 2, 0).numpy().astype(int) - stretched).max() <= 1
    assert len(module.reference("val")) == (0 if second else 4)


def test_pairs_without_jitter_keep_their_pixels(tmp_path):
    for number in range(4):
        save(tmp_path / f"train/{number}.png", np.concatenate([noise(number, 16, 16), noise(number + 9, 16, 16)], 1))
    for jitter in (None, 16):
        module = data.PairedImages(
            str(tmp_path), size=16, jitter=jitter, flip=False, val_fraction=0, batch_size=4, num_workers=0
        )
        batch = module.training_set().training_batch(BatchIndex(0, [2, 0]))
        assert np.array_equal(batch.source[0].permute(1, 2, 0), noise(2, 16, 16))
        assert np.array_equal(batch.target[1].permute(1, 2, 0), noise(9, 16, 16))


def test_pairs_are_held_out_by_name_where_none_validate(tmp_path):
    for number in range(60):
        save(tmp_path / f"{number:02}.png", noise(number, 8, 16))
    module = data.PairedImages(str(tmp_path), size=8, jitter=None, val_fraction=0.3)
    val, train = ({path.name for (path,) in getattr(module, split)} for split in ("val", "train"))
    assert len(val | train) == 60 and not val & train and 8 < len(val) < 28
    for path in sorted(tmp_path.iterdir())[:30]:
        path.unlink()
    fewer = data.PairedImages(str(tmp_path), size=8, jitter=None, val_fraction=0.3)
    assert {path.name for (path,) in fewer.val} == {name for name in val if int(name[:2]) >= 30}


def test_pairs_that_are_refused(files):
    def refused(error: type[Exception], message: str, root: str, **given) -> None:
        with pytest.raises(error, match=message) as raised:
            module = data.PairedImages(str(files / root), size=32, jitter=36, batch_size=1, num_workers=0, **given)
            in_training(module).setup("fit")
        assert "\n" not in str(raised.value)

    refused(FileNotFoundError, "^there is no folder .*nowhere: give --data.root a folder of pairs$", "nowhere")
    refused(FileNotFoundError, "no folder .*nowhere: give --data.second", "two/trainA", second="nowhere")
    refused(ValueError, 'direction must be "AtoB" or "BtoA", not \'both\'', "ab", direction="both")
    (files / "empty").mkdir()
    refused(ValueError, "^no pairs for training: .*empty holds no images$", "empty")
    (files / "two/trainB/05.bmp").unlink()
    (files / "two/trainB/06.bmp").unlink()
    refused(ValueError, "^.*trainA/05.png has no partner of its name .*, nor have 1 more$", "two")
    save(files / "two/trainB/05.png", noise(1, 40, 50))
    save(files / "two/trainB/06.png", noise(1, 40, 56))
    refused(ValueError, "1 files .*unequal sizes in a pair: .*05.png has 56x40 pixels, .*05.png 50x40$", "two")
    save(files / "two/trainA/06.bmp", noise(1, 40, 56))
    refused(ValueError, "06.bmp and .*06.png would have the same partner: remove one$", "two")
    save(files / "ab/train/odd.png", noise(1, 40, 57))
    refused(ValueError, "odd.png is 57 pixels wide, and no pair of images side by side is odd$", "ab")
    (files / "ab/train/odd.png").write_bytes((files / "ab/train/00.png").read_bytes()[:-2000])
    (files / "ab/val/text.jpg").write_text("not an image")
    refused(ValueError, "2 files cannot be used: .*odd.png cannot be read: .*text.jpg cannot be read", "ab")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jitter": 20}, "jitter .20. must not be less than size .32."),
        ({"channels": 0}, "must be positive"),
        ({"val_fraction": 1}, "val_fraction must be"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
@pytest.mark.parametrize("kind", [data.PairedImages, data.UnpairedImages])
def test_arguments_that_are_refused(files, kind, given, message):
    with pytest.raises(ValueError, match=message):
        kind(str(files / ("ab" if kind is data.PairedImages else "two")), **{"size": 32, "jitter": 36, **given})


# Domains.


def test_domains_are_cropped_to_their_middle_and_begin_again(tmp_path):
    for number in range(6):
        save(tmp_path / f"trainA/{number}.png", positions(20, 30) + np.uint8(number))
    for number in range(4):
        save(tmp_path / f"trainB/{number}.png", 255 - positions(30, 20) - np.uint8(number))
    module = data.UnpairedImages(
        str(tmp_path), size=20, jitter=None, flip=False, val_fraction=0, batch_size=6, num_workers=0
    )
    images = module.reference("train")
    batch = images.__getitems__([0, 5])
    assert len(images) == 6 and isinstance(batch, Unpaired)
    assert np.array_equal(batch.a[1].permute(1, 2, 0), positions(20, 30)[:, 5:25] + np.uint8(5))
    assert np.array_equal(batch.b[1].permute(1, 2, 0), 255 - positions(30, 20)[5:25] - np.uint8(1))  # 5 is 1 again
    small = data.UnpairedImages(str(tmp_path), size=10, jitter=None, crop=10, val_fraction=0).reference("train")
    assert np.array_equal(small.__getitems__([0]).a[0].permute(1, 2, 0), positions(20, 30)[5:15, 10:20])
    assert small.fingerprint != images.fingerprint

    in_training(module)
    b = torch.cat([images.b.__getitems__([i])[0] for i in range(4)])
    drawn = [module.training_set().training_batch(BatchIndex(epoch, list(range(6)))).b for epoch in range(200)]
    partners = [int((image == b).flatten(1).all(1).nonzero()) for batch in drawn for image in batch]
    counts = np.bincount(partners, minlength=4)
    assert ((counts - 300) ** 2 / 300).sum() < 16.3  # chi squared of three degrees of freedom, p = 0.001
    rows = np.tile(np.arange(6), 200)
    assert abs(np.corrcoef(rows, partners)[0, 1]) < 4 / math.sqrt(1200)


def test_domains_may_be_lists(files):
    def names(module: data.UnpairedImages, letter: str, split: str) -> list[str]:
        return [path.name for path in module.paths[letter][split]]

    given = {"size": 32, "jitter": None, "batch_size": 2, "val_fraction": 0}
    module = data.UnpairedImages(str(files / "faces"), "trainA.txt", str(files / "faces/trainB.txt"), **given)
    assert names(module, "A", "train") == [f"{n:02}.png" for n in range(7)] and not names(module, "A", "val")
    for number in (12, 13, 14):
        save(files / f"faces/images/{number}.png", noise(number, 40, 56))
    (files / "faces/testA.txt").write_text("images/12.png\n\n13.png\n")
    (files / "faces/testB.txt").write_text("14.png\n")
    module = data.UnpairedImages(str(files / "faces"), "trainA.txt", "trainB.txt", **given)
    assert names(module, "A", "val") == ["12.png", "13.png"] and names(module, "B", "val") == ["14.png"]
    assert len(module.reference("val")) == 2 and len(module.reference("train")) == 7
    module.setup("fit")
    (files / "faces/other.txt").write_text(" 03.png\n04.jpg\n")
    with pytest.warns(UserWarning, match="1 of the images that .*txt names have another suffix: 04.png for 04.jpg"):
        other = data.UnpairedImages(str(files / "faces"), "other.txt", "trainB.txt", **given)
    assert names(other, "A", "train") == ["03.png", "04.png"]
    (files / "faces/images/01.png").write_bytes(b"\x89PNG no")
    with pytest.raises(ValueError, match="1 files cannot be used: .*01.png cannot be read"):
        data.UnpairedImages(str(files / "faces"), "trainA.txt", "trainB.txt", **given).setup("fit")


def test_domains_that_are_refused(files):
    def refused(error: type[Exception], message: str, root: str, *given: str) -> None:
        with pytest.raises(error, match=message) as raised:
            data.UnpairedImages(str(files / root), *given)
        assert "\n" not in str(raised.value)

    refused(FileNotFoundError, "^there is no folder .*nowhere: give --data.root", "nowhere")
    refused(FileNotFoundError, "^there is no trainA or A in .*faces: name the folder.* with --data.a$", "faces")
    refused(FileNotFoundError, "^there is no horses in .*two: .* with --data.b$", "two", "trainA", "horses")
    (files / "two/none").mkdir()
    refused(ValueError, "^domain B is empty: .*none holds no images$", "two", "trainA", "none")
    (files / "two/list.txt").write_text("trainA/00.png\nmissing.png\n")
    missing = "list.txt names 1 images that are neither in .*two nor in .*images: missing.png; take"
    refused(FileNotFoundError, missing, "two", "list.txt")
    refused(ValueError, "00.png is neither a folder nor a text file", "two", "trainA/00.png")
    with pytest.raises(ValueError, match="crop must be positive, not 0"):
        data.UnpairedImages(str(files / "two"), crop=0)


# Attributes.


def test_attributes_are_the_lists(files):
    module = made(files, "attributes")
    assert module.attributes == ["Early", "Odd"]
    batch = module.reference("train").__getitems__([0, 1, 2, 3])
    assert batch.attributes.tolist() == [[1, 0], [1, 1], [1, 0], [0, 1]] and batch.attributes.dtype == torch.float32
    middle = noise(3, 40, 56)[:, 8:48]
    assert np.array_equal(batch.image[3].permute(1, 2, 0), resized(middle, 32, 32))
    held_out = data.AttributeImages(str(files / "faces"), ["Odd"], size=32, val_fraction=0.4)
    sets = [held_out.reference(split) for split in ("train", "val")]
    assert len(sets[0]) + len(sets[1]) == 12 and len(sets[1]) > 0
    for images in sets:
        odd = images.__getitems__(list(range(len(images)))).attributes[:, 0]
        assert [int(path.stem) % 2 for path in images.paths] == odd.tolist()


def test_attributes_that_are_refused(files):
    root, listed = str(files / "faces"), files / "faces/list_attr_celeba.txt"
    with pytest.raises(ValueError, match="has the attributes Odd, Early, Never, not 'early', did you mean 'Early'.$"):
        data.AttributeImages(root, ["early"])
    with pytest.raises(ValueError, match="one or more different names"):
        data.AttributeImages(root, [])
    with pytest.raises(FileNotFoundError, match="there is no .*list_attr_celeba.txt"):
        data.AttributeImages(str(files / "two"), ["Odd"])
    listed.write_text(listed.read_text() + "12.png 1 1 1\n")
    with pytest.raises(FileNotFoundError, match="names 1 images that are neither in .*: 12.png; take"):
        data.AttributeImages(root, ["Odd"])
    listed.write_text("1\nOdd Early\n00.png 1\n")
    with pytest.raises(ValueError, match="line 3: expected a file name and 2 fields, 1 or -1, for Odd"):
        data.AttributeImages(root, ["Odd"])


# Holes.


def test_the_central_hole_is_half_the_side(files):
    module = data.MaskedImages(str(files / "two/trainA"), size=32, batch_size=4, num_workers=0, val_fraction=0)
    batch = module.reference("train").__getitems__([0, 5])
    assert batch.hole.shape == (2, 1, 32, 32) and batch.hole.dtype == torch.bool and batch.image.shape[1] == 3
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[8:24, 8:24] = True
    assert (batch.hole == expected).all()
    with pytest.raises(ValueError, match='hole must be "centre" or "random", not \'left\''):
        data.ShapeHoles(hole="left")


def test_random_holes_are_blocks_of_a_quarter_at_most():
    keys = np.random.default_rng(0).integers(0, 2**63, 2000).astype(np.uint64)
    holes = random_holes(keys, 32, 48)
    share = holes.float().mean((1, 2, 3))
    assert share.max() <= 0.25 and share.min() >= 1 / 64
    where = holes.float().mean(0)[0]
    assert (where - where.flip(0)).abs().max() < 0.06 and (
        where - where.flip(1)
    ).abs().max() < 0.06  # no side preferred
    assert len({hole.numpy().tobytes() for hole in holes}) > 1990


# Resolution.


def test_sources_are_pillows_bicubic(files):
    module = data.LowResolutionImages(
        str(files / "two/trainA"), size=32, factor=4, batch_size=12, num_workers=0, val_fraction=0
    )
    batch = module.reference("train").__getitems__([0, 1])
    assert batch.source.shape == (2, 3, 8, 8) and batch.target.shape == (2, 3, 32, 32)
    for row in (0, 1):
        assert np.array_equal(batch.target[row].permute(1, 2, 0), noise(row, 40, 56)[4:36, 12:44])  # the middle
        image = Image.fromarray(batch.target[row].permute(1, 2, 0).numpy())
        pillow = np.asarray(image.resize((8, 8), Image.BICUBIC)).transpose(2, 0, 1)
        assert np.abs(batch.source[row].numpy().astype(int) - pillow).max() <= 1
    drawn = module.training_set().training_batch(BatchIndex(0, list(range(12))))
    windows = np.lib.stride_tricks.sliding_window_view
    for row in range(12):  # a window of the image in its own scale
        places = windows(noise(row, 40, 56), (32, 32), (0, 1)).reshape(-1, 3, 32, 32)
        assert (places == drawn.target[row].numpy()).all((1, 2, 3)).any()
    with pytest.raises(ValueError, match="factor .3. must be at least 2 and divide size .32."):
        data.ShapeResolution(size=32, factor=3)


def test_images_smaller_than_a_crop_are_enlarged(tmp_path):
    save(tmp_path / "small.png", np.full((10, 14, 3), 77, np.uint8))
    images = data.LowResolutionImages(str(tmp_path), size=32, val_fraction=0, batch_size=1).reference("train")
    assert (images.__getitems__([0]).target == 77).all()


def test_workers_send_every_kind_of_batch():
    for kind in (data.ShapePairs, data.ShapeAttributes, data.ShapeDomains, data.ShapeHoles):
        images = kind(n=10, size=32).reference("train")
        order = TrainingOrder(10, 4, 0, lambda: 0)
        workers = Loader(images, order, 2, flip_seed=1, group=2)
        assert same(list(Loader(images, order, 0, flip_seed=1)), list(workers))
        workers.close()
