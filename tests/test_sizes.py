"""Images whose sides differ, and images of any number of channels and levels."""

from __future__ import annotations

import argparse
import math
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import TRANSLATORS, plain_networks, quiet, tiny, translator
from lightning.pytorch import Callback
from PIL import Image
from torch import Tensor, nn

from gan_lightning import data, evaluate, fit, networks, sample, translate
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import FID, SampleGrid
from gan_lightning.core import AdversarialModule
from gan_lightning.data.base import cropped
from gan_lightning.data.decoding import batch_of, read_image, read_pixels
from gan_lightning.data.finding import image_files
from gan_lightning.data.levels import as_bytes
from gan_lightning.data.pictures import Pictures
from gan_lightning.loading import load_model
from gan_lightning.metrics import DigitFeatures, Extractor, Features, to_uint8
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.runtime.reading import Reading
from gan_lightning.runtime.sizes import largest_crop, sides_of, size_flag, size_of
from gan_lightning.scoring import Protocol


def pixels(seed: int, *shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, int(np.iinfo(dtype).max) + 1, shape, dtype=dtype)


# Sizes.


def test_a_size_is_one_number_or_two():
    assert sides_of(64) == sides_of([64, 64]) == (64, 64) and sides_of((48, 80)) == (48, 80)
    assert size_of((48, 80)) == [48, 80] and size_of((64, 64)) == 64
    assert size_flag("64") == 64 and size_flag("64,128") == size_flag("[64, 128]") == [64, 128]


@pytest.mark.parametrize(
    "size", [0, -3, [64], [64, 64, 3], [64, 0], [64, -1], "64", "wide", 6.4, [6.4, 6], True, None, []]
)
def test_no_size(size):
    with pytest.raises(ValueError, match=r"^size must be a positive whole number, or two: \[height, width\], not "):
        sides_of(size)


@pytest.mark.parametrize("text", ["0", "wide", "1,2,3", "6.4", "-2,5", ","])
def test_no_size_on_a_command_line(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a positive whole number, or two: height,width"):
        size_flag(text)


def test_the_largest_crop_of_the_proportions():
    assert largest_crop(100, 300, (48, 80)) == (100, 167)  # all of the height
    assert largest_crop(300, 100, (48, 80)) == (60, 100)  # all of the width
    assert largest_crop(218, 178, (64, 64)) == (178, 178) and largest_crop(218, 178, (64, 64), 100) == (100, 100)
    assert largest_crop(200, 400, (64, 128), 100) == (100, 200) and largest_crop(1, 5, (64, 2)) == (1, 1)
    image = torch.arange(8 * 12).view(1, 1, 8, 12)
    assert torch.equal(cropped(image, (8, 8)), image[..., 2:10]) and torch.equal(
        cropped(image, (2, 6)), image[:, :, 2:6]
    )


# Every data module.


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures smaller and larger than any size below, pairs, domains, a list of attributes and captions."""
    root = tmp_path_factory.mktemp("photos")
    names = []
    for number, shape in enumerate([(30, 40), (20, 90), (90, 25), (200, 160), (64, 96), (48, 48)] * 2):
        for folder in ("images", "A", "B"):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels(number, *shape, 3)).save(root / folder / f"{number}.png")
        names.append(f"{number}.png")
    rows = "\n".join(f"{name} {'1' if number % 2 else '-1'}" for number, name in enumerate(names))
    (root / "list_attr_celeba.txt").write_text(f"Bright\n{rows}\n")
    (root / "captions.csv").write_text("image,caption\n" + "".join(f"{name},number {name}\n" for name in names))
    return root


FROM_FILES = {
    "ImageFolder": {},
    "MaskedImages": {},
    "LowResolutionImages": {"factor": 4},
    "PairedImages": {"jitter": None},
    "UnpairedImages": {"jitter": 40},
    "AttributeImages": {"attributes": ["Bright"]},
    "CaptionedImages": {"jitter": 60},
}
MADE = {
    "Digits": {},
    "PartlyLabeledDigits": {},
    "StackedDigits": {"n": 20},
    "DigitDomains": {},
    "DigitPatches": {"n": 20, "image_size": [48, 80]},
    "ShapePairs": {"n": 4},
    "ShapeDomains": {"n": 4},
    "ShapeAttributes": {"n": 4},
    "ShapeRefinement": {"n": 4},
    "ShapeIdentities": {"n": 4},
    "ShapeHoles": {"n": 4},
    "ShapeResolution": {"n": 4},
    "CaptionedShapes": {"n": 4},
}
SIDES = (32, 48)


def sized(name: str, photos: Path, size: object = SIDES) -> data.base.ImageData:
    given = FROM_FILES.get(name, MADE.get(name))
    if name in FROM_FILES:
        root = photos / "images" if name in ("ImageFolder", "MaskedImages", "LowResolutionImages") else photos
        given = {"root": str(root), "val_fraction": 0, "num_workers": 0, **given}
    return getattr(data, name)(size=list(size) if isinstance(size, tuple) else size, batch_size=4, **given)


def test_every_data_module_of_images_is_here():
    """MNIST's files and CIFAR-10's are not there, shards and Parquet have tests of their own; points and words have no
    size."""
    sized = {name for name in data.__all__ if "size" in getattr(data, name).__init__.__annotations__}
    assert sized == {*FROM_FILES, *MADE, "MNIST", "FashionMNIST", "CIFAR10", "StreamedImages", "ParquetImages"}


@pytest.mark.parametrize("name", [*FROM_FILES, *MADE])
def test_sides_may_differ(name, photos):
    module = sized(name, photos)
    height, width = SIDES
    assert module.image_shape[1:] == (height, width * (2 if name == "DigitDomains" else 1))
    module.setup("fit")
    images = next(iter(module.train_dataloader()))
    for field in [field for field in images if field.ndim == 4]:
        small = field.shape[2:] == (height // 4, width // 4) and "Resolution" in name
        assert small or field.shape[2:] == module.image_shape[1:]
        assert field.float().std() > 0
    for wrong in (0, [32, 0], [32, 48, 3], "wide"):
        with pytest.raises(ValueError, match="^size must be a positive whole number, or two"):
            sized(name, photos, wrong)


def test_photographs_are_cropped_to_the_proportions_of_the_size_and_keep_theirs(tmp_path):
    """A disc stays one: in files of other proportions, smaller and larger than the size, read by either reader."""
    for number, (height, width) in enumerate([(40, 100), (200, 90), (24, 24), (120, 180)]):
        y, x = np.mgrid[:height, :width] + 0.5
        radius = 0.35 * min(height, width / 1.5)
        disc = ((y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2) * np.uint8(255)
        Image.fromarray(disc).save(tmp_path / f"{number}.png")
    folder = data.ImageFolder(str(tmp_path), [32, 48], 1, val_fraction=0, batch_size=2).reference("train")
    other = Pictures(folder.paths, (1, 32, 48))
    for found in (folder.__getitems__([0, 1, 2, 3]).image, other.__getitems__([0, 1, 2, 3]).image):
        inside = (found[:, 0] > 127).float()
        high, wide = inside.amax(2).sum(1), inside.amax(1).sum(1)
        assert (high - wide).abs().max() <= 2 and (high - 2 * 0.35 * 32).abs().max() <= 2, (high, wide)


def test_jitter_keeps_the_proportions_of_the_size(photos):
    module = data.UnpairedImages(str(photos), size=[32, 48], jitter=40, val_fraction=0)
    assert module.jitter == (40, 60)
    with pytest.raises(ValueError, match="jitter .31. must not be less than size .32."):
        data.UnpairedImages(str(photos), size=[32, 48], jitter=31)


def test_drawings_stretch_with_the_sides():
    """What is drawn is the same at equal shares of the sides: halved in width, pixels are means of two neighbours."""
    wide = data.ShapeDomains(n=6, size=[32, 64]).reference("train").a.image
    square = data.ShapeDomains(n=6, size=32).reference("train").a.image
    means = wide.float().view(6, 3, 32, 32, 2).mean(4)
    assert (means - square.float()).abs().max() <= 64  # edges, which are true to a quarter of a pixel
    assert (means - square.float()).abs().mean() < 1


# Levels and channels.


def test_16_bits_keep_their_order_and_fill_the_range(tmp_path):
    levels = np.array(
        [[0, 1, 2, 255], [256, 257, 32767, 32768], [32769, 65278, 65279, 65280], [65533, 65534, 65535, 7]]
    )
    levels = levels.astype(np.uint16)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(levels).save(tmp_path / name)
    np.save(tmp_path / "grey.npy", levels)
    for name in ("grey.png", "grey.tif", "grey.npy"):
        image = batch_of([read_image(tmp_path / name, 4, 1)])
        assert image.dtype == torch.float32 and image.min() == -1 and image.max() == 1, name
        exact = torch.from_numpy(levels.astype(np.float64) * 2 / 65535 - 1)
        assert (image[0, 0].double() - exact).abs().max() < 1e-7
        assert len(image.unique()) == 16
        assert torch.equal(image.flatten().argsort(), torch.from_numpy(levels.astype(int)).flatten().argsort())


@pytest.mark.parametrize("name", ["colours.png", "colours.tif"])
def test_colours_of_16_bits(tmp_path, name):
    colours = pixels(0, 5, 7, 3, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), colours[..., ::-1])
    for fast in (False, True):
        assert np.array_equal(read_pixels(tmp_path / name, 3, fast=fast), colours)
    grey = read_pixels(tmp_path / name, 1)[..., 0]
    assert np.abs(grey - colours.astype(float) @ (0.299, 0.587, 0.114)).max() <= 0.5 + 1e-6
    opaque = read_pixels(tmp_path / name, 4)
    assert np.array_equal(opaque[..., :3], colours) and (opaque[..., 3] == 65535).all()


def test_colours_of_16_bits_with_alpha_and_turned(tmp_path):
    colours, alpha = pixels(0, 5, 7, 3, dtype=np.uint16), pixels(1, 5, 7, 1, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.concatenate([colours[..., ::-1], alpha], 2))
    assert np.array_equal(read_pixels(tmp_path / "alpha.png", 4), np.concatenate([colours, alpha], 2))
    share = alpha / 65535
    assert np.abs(read_pixels(tmp_path / "alpha.png", 3) - (share * colours + (1 - share) * 65535)).max() <= 0.5 + 1e-6

    content = (tmp_path / "alpha.png").read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = len(raw).to_bytes(4, "big") + b"eXIf" + raw
    chunk += zlib.crc32(b"eXIf" + raw).to_bytes(4, "big")
    (tmp_path / "turned.png").write_bytes(content[:33] + chunk + content[33:])  # after the first chunk
    turned = read_pixels(tmp_path / "turned.png", 4)
    assert np.array_equal(turned, np.rot90(np.concatenate([colours, alpha], 2), -1))


def test_a_batch_of_both_depths_has_the_values_that_bytes_have_in_training(tmp_path):
    byte, deep = pixels(0, 1, 3, 3), pixels(1, 1, 3, 3, dtype=np.uint16)
    alone, both = batch_of([byte]), batch_of([byte, deep])
    scaled = data.Digits().on_after_batch_transfer(Labeled(alone, torch.zeros(1)), 0).image
    assert alone.dtype == torch.uint8 and both.dtype == torch.float32 and torch.equal(both[:1], scaled)
    assert np.array_equal(as_bytes(np.arange(256, dtype=np.uint16) * np.uint16(257)), np.arange(256))


def test_resizing_keeps_16_bits_and_five_channels(tmp_path):
    """Channel by channel as Pillow resizes floats; a ramp within one 8-bit level survives."""
    ramp = np.linspace(30100, 30299, 64 * 64).reshape(64, 64).round().astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    small = read_image(tmp_path / "ramp.png", [16, 16], 1)[0].astype(int)
    assert (
        np.abs(small - ramp.reshape(16, 4, 16, 4).mean((1, 3))).max() <= 2 and len(np.unique(small)) > 50
    )  # all within one level of 8 bits
    five = pixels(0, 20, 30, 5)
    np.save(tmp_path / "five.npy", five)
    found = read_image(tmp_path / "five.npy", [10, 15], 5)
    assert found.shape == (5, 10, 15) and found.dtype == np.uint8
    for channel in range(5):
        alone = Image.fromarray(five[..., channel]).resize((15, 10), Image.BICUBIC)
        assert np.abs(found[channel].astype(int) - np.asarray(alone)).max() <= 1


def test_arrays_have_any_number_of_channels(tmp_path):
    for name, array in {
        "last": pixels(0, 6, 8, 5),
        "first": pixels(0, 5, 6, 8),
        "grey": pixels(0, 6, 8),
        "one": pixels(0, 6, 8, 1),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert np.array_equal(read_pixels(tmp_path / "last.npy", 5), pixels(0, 6, 8, 5))
    assert np.array_equal(read_pixels(tmp_path / "first.npy", 5), np.moveaxis(pixels(0, 5, 6, 8), 0, 2))
    for name in ("grey", "one"):
        assert np.array_equal(read_pixels(tmp_path / f"{name}.npy", 1)[..., 0], pixels(0, 6, 8))
    np.save(tmp_path / "both.npy", pixels(0, 5, 6, 5))  # either way round: the last are the channels
    assert np.array_equal(read_pixels(tmp_path / "both.npy", 5), pixels(0, 5, 6, 5))


def test_numbers_of_arrays(tmp_path):
    def read(array: np.ndarray, **given: int) -> np.ndarray:
        np.save(tmp_path / "x.npy", array)
        return read_pixels(tmp_path / "x.npy", 1, Reading(**given))[..., 0]

    assert read(np.array([[0.0, 0.25, 1.0, 9.0]]), white=1).tolist() == [[0, 16384, 65535, 65535]]
    assert read(np.array([[-5, 0, 50, 100]]), white=100).tolist() == [[0, 0, 32768, 65535]]
    assert read(np.array([[0, 32767]], np.int16)).tolist() == [[0, 65535]]
    assert read(np.array([[0, 15]], np.uint8), white=15).tolist() == [[0, 255]]
    for array, message in {
        "floats": (np.zeros((2, 2)), "numbers of the type float64: give the level that is white by the argument white"),
        "wide": (np.zeros((2, 2), np.int32), "numbers of the type int32: give the level that is white"),
        "nan": (np.full((2, 2), np.nan, np.float32), "numbers of the type float32"),
        "yes": (np.ones((2, 2), bool), "its elements are of the type bool, not numbers"),
        "line": (np.zeros(4, np.uint8), "it has the shape .4,., not .height, width. or"),
        "empty": (np.zeros((0, 4), np.uint8), "it has the shape .0, 4., not"),
        "objects": (np.array([[None]]), "Python objects in dtype"),
        "three": (
            np.zeros((4, 5, 3), np.uint8),
            "its shape .4, 5, 3. has 3 channels, the last ones, and channels is 1",
        ),
    }.values():
        with pytest.raises(ValueError, match=f"x.npy cannot be read: .*{message}") as raised:
            read(array)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="not finite"):
        read(np.full((2, 2), np.nan), white=1)
    with pytest.raises(ValueError, match="it has 4x3 pixels, more than max_pixels .11. allows"):
        read(np.zeros((3, 4), np.uint8), max_pixels=11)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-3])
    with pytest.raises(ValueError, match="x.npy cannot be read"):
        read_pixels(tmp_path / "x.npy", 1)


def test_files_that_do_not_fit_are_named(tmp_path):
    """Several pages, and other channels than the others: one line with the file's name, none of it in training."""
    first, *more = (Image.fromarray(pixels(number, 8, 8)) for number in range(3))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=more)
    np.save(tmp_path / "a.npy", pixels(0, 8, 8, 5))
    np.save(tmp_path / "b.npy", pixels(0, 8, 8, 4))
    Image.fromarray(pixels(0, 8, 8, 3)).save(tmp_path / "c.png")
    with pytest.raises(ValueError, match="^3 damaged files: ") as raised:
        data.ImageFolder(str(tmp_path), 8, 5, val_fraction=0, batch_size=1).setup("fit")
    message = str(raised.value)
    assert "\n" not in message and "a.npy" not in message
    assert "b.npy cannot be read: its shape (8, 8, 4) has 4 channels, the last ones, and channels is 5" in message
    assert "c.png cannot be read: 5 channels come from .npy files only; an image file gives 1, 3 or 4" in message
    with pytest.raises(ValueError, match="pages.tif cannot be read: it has 3 pages: save each as a file, or all as"):
        read_pixels(tmp_path / "pages.tif", 1)


@pytest.mark.parametrize(
    "name", ["ImageFolder", "MaskedImages", "LowResolutionImages", "PairedImages", "UnpairedImages"]
)
@pytest.mark.parametrize("side", [20, 60])  # smaller and larger than the size
def test_five_channels_of_16_bits_reach_training(tmp_path, name, side):
    for number in range(4):
        for folder in ("A", "B") if name in ("PairedImages", "UnpairedImages") else ("",):
            (tmp_path / folder).mkdir(exist_ok=True)
            seed, dtype = number + 9 * (folder == "B"), np.uint8 if folder == "B" else np.uint16
            np.save(tmp_path / folder / f"{number}.npy", pixels(seed, side, side + 4, 5, dtype=dtype))
    given = {"jitter": 20} if name in ("PairedImages", "UnpairedImages") else {}
    module = getattr(data, name)(
        str(tmp_path), size=[16, 24], channels=5, val_fraction=0, batch_size=4, num_workers=0, **given
    )
    module.setup("fit")
    (batch,) = module.train_dataloader()
    batch = module.on_after_batch_transfer(batch, 0)
    for field in [field for field in batch if field.ndim == 4 and field.dtype != torch.bool]:
        assert field.dtype == torch.float32 and field.shape[:2] == (4, 5) and field.abs().max() <= 1
        assert field.min() < -0.1 and field.max() > 0.1


# Models.


def test_a_network_says_what_sides_it_needs():
    for shape, message in {
        (3, 32, 44): "32x44 images: beside 32 the longer side must be a multiple of 8 .nearest: 40, 48.",
        (3, 44, 32): "44x32 images: beside 32 the longer side must be a multiple of 8 .nearest: 40, 48.",
        (3, 36, 80): "36x80 images: the shorter side must be 4, 5, 6 or 7 times a power of two .nearest: 32, 40.",
        (3, 36, 36): "36x36 images: the size must be 4, 5, 6 or 7 times a power of two .nearest: 32, 40.",
    }.items():
        for network in (networks.DCGANGenerator, networks.ResNetDiscriminator):
            with pytest.raises(ValueError, match=f"{network.__name__} cannot build {message}"):
                network(shape)
    with pytest.raises(ValueError, match="the longer divide as often, not 32x44"):
        networks.ContextGenerator((3, 32, 44))
    assert networks.UNetGenerator((3, 32, 48), width=2).multiple == 16
    assert networks.UNetGenerator((3, 256, 256), width=2).multiple == 256  # the paper's


class Means(Extractor):
    """The means of eight fields of any images."""

    name, resizer, feature_dim = "means", "none", 8

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def look(self, images: Tensor) -> Features:
        return Features(nn.functional.adaptive_avg_pool2d(images.float().mean(1), (2, 4)).flatten(1))


def train(model: AdversarialModule, module: data.base.ImageData, folder: Path, *more: Callback) -> None:
    """Two steps with a grid, whose checkpoint is `last.ckpt` in the folder."""
    grid = SampleGrid(None, rows=2, folder=str(folder))
    trainer = quiet(max_steps=2, callbacks=[grid, *more], plugins=[AtomicCheckpointIO()])
    trainer.fit(model, module)
    trainer.save_checkpoint(folder / "last.ckpt")


DRAWN = {
    "Pix2Pix": "ShapePairs",
    "CycleGAN": "ShapeDomains",
    "StarGAN": "ShapeAttributes",
    "SimGAN": "ShapeRefinement",
    "FaceSwap": "ShapeIdentities",
    "ContextEncoder": "ShapeHoles",
    "SRGAN": "ShapeResolution",
}


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_train_and_translate(name, tmp_path):
    module = getattr(data, DRAWN[name])(n=8, size=list(SIDES), batch_size=4)
    module.count = lambda split: 8
    given = {"attributes": ["Warm", "Filled", "Large"]} if name == "StarGAN" else {}
    if name == "SRGAN":
        given["features"] = partial(networks.RandomFeatures, channels=3, width=4)
    model = translator(name, image_shape=module.image_shape, **given)
    train(model, module, tmp_path)
    columns = len(model.columns(module.on_after_batch_transfer(module.reference("val").__getitems__([0]), 0)))
    assert Image.open(tmp_path / "samples.png").size == (columns * (48 + 2) + 2, 2 * (32 + 2) + 2)
    Image.fromarray(pixels(0, 20, 44, 3)).save(tmp_path / "in.png")
    how = ["--attributes=+Warm"] if name == "StarGAN" else []
    translate.main(
        [str(tmp_path / "last.ckpt"), "--input", str(tmp_path / "in.png"), "--out", str(tmp_path / "o"), *how]
    )
    times = 4 if name == "SRGAN" else 1
    assert Image.open(tmp_path / "o" / "in.png").size == (44 * times, 20 * times)


KINDS = [("DCGAN", 5), ("WGANGP", 4), ("GAN", 2), ("SNGAN", 3), ("BEGAN", 1), ("StyleGAN2", 5), ("R3GAN", 4)]


@pytest.mark.parametrize(("name", "channels"), KINDS)
def test_gans_train_and_are_sampled_and_scored(name, channels, tmp_path, capsys):
    """Of 16-bit arrays of any channels and sides that differ, from the files to pictures of samples and back."""
    (tmp_path / "files").mkdir()
    for number in range(12):
        np.save(tmp_path / f"files/{number}.npy", pixels(number, 40, 50, channels, dtype=np.uint16))
    given = {"root": str(tmp_path / "files"), "size": list(SIDES), "channels": channels, "val_fraction": 0}
    module = data.ImageFolder(**given, batch_size=4, num_workers=0)
    model = tiny(name, {"num_classes": None} if name == "SNGAN" else {}, image_shape=(channels, *SIDES))
    score = FID(Means(), Protocol(n_fake=12))
    train(model, module, tmp_path, score)
    assert 0 < score.scores["FID-means"] < math.inf and score.card["image_shape"] == f"{channels}x32x48"
    shown = {1: "RGB", 3: "RGB", 4: "RGBA"}.get(channels)  # torchvision writes grey in three channels
    tile = 48 if shown else 48 * channels
    grid = Image.open(tmp_path / "samples.png")
    assert (grid.mode, grid.size) == (shown or "RGB", (2 * (tile + 2) + 2, 2 * (32 + 2) + 2))

    flags = [str(tmp_path / "last.ckpt"), "--n", "3", "--out", str(tmp_path / "drawn"), "--grid"]
    sample.main([*flags, "--walk", str(tmp_path / "walk.gif"), "--seconds", "0.2"])
    files = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    suffix = "png" if shown else "npy"
    assert files == [*(f"{number:06d}.{suffix}" for number in range(3)), "sheets"]
    for sheet in ("drawn/sheets/grid.png", "walk.gif"):
        assert Image.open(tmp_path / sheet).size == grid.size
    assert image_files(tmp_path / "drawn") == sorted((tmp_path / "drawn").glob("0*"))
    made = to_uint8(load_model(tmp_path / "last.ckpt").sample(3))
    for number, path in enumerate(image_files(tmp_path / "drawn")):
        found = read_pixels(path, channels)
        assert np.abs(found.astype(int) - made[number].movedim(0, 2).numpy()).max() <= 1
    with pytest.raises(SystemExit):  # a folder of other pictures
        (tmp_path / f"drawn/000000.{'npy' if shown else 'png'}").write_bytes(b"")
        sample.main(flags)
    assert "holds more than the 3 pictures to come" in capsys.readouterr().err


def test_extractors_say_which_channels_they_see(tmp_path):
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", pixels(number, 16, 16, 5))
    folder = data.ImageFolder(str(tmp_path), 16, 5, val_fraction=0, batch_size=4)
    message = "^DigitFeatures sees images of 1 or 3 channels, not 5: score them by an extractor of your own, or leave"
    with pytest.raises(ValueError, match=message):
        FID(DigitFeatures()).check(tiny("DCGAN", image_shape=(5, 16, 16)), folder)
    with pytest.raises(ValueError, match=message):
        DigitFeatures()(torch.zeros(2, 5, 16, 16))


def test_a_checkpoint_of_two_sides_is_compared_with_data_of_its_size(tmp_path, capsys):
    """`evaluate` sets the size of named data, [height, width] of one picture where two stand side by side."""
    for name, kind, shape in (("GAN", "Digits", (1, 16, 24)), ("CoGAN", "DigitDomains", (1, 16, 48))):
        module = getattr(data, kind)(size=[16, 24], batch_size=8)
        train(tiny(name, plain_networks(name), image_shape=shape), module, tmp_path)
        given = [str(tmp_path / "last.ckpt"), "--data", kind, "--n", "6", "--n_real", "5", "--device", "cpu"]
        evaluate.main([*given, "--extractor", "DigitFeatures"])
        assert "x".join(map(str, shape)) in capsys.readouterr().out


def test_folders_are_brought_to_two_sides(tmp_path, capsys):
    for folder in ("real", "fake"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            Image.fromarray(pixels(number, 20 + number, 30)).save(tmp_path / folder / f"{number}.png")
    flags = ["--real", str(tmp_path / "real"), "--fake", str(tmp_path / "fake"), "--extractor", "DigitFeatures"]
    evaluate.main([*flags, "--size", "12,18"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "3x12x18, by Pillow to [12, 18]" in shown
    with pytest.raises(SystemExit):
        evaluate.main([*flags, "--size", "12,18,3"])
    assert "--size: must be a positive whole number, or two: height,width, not 12,18,3" in capsys.readouterr().err


# The command line.


def test_fit_takes_two_sides(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--data=Digits", "--data.size=[16,24]", "--data.batch_size=8", "--trainer.logger=false"]
    flags += ["--model=GAN", "--trainer.max_steps=1", "--trainer.accelerator=cpu", "--grid.rows=2"]
    fit.main(flags)
    (run,) = (tmp_path / "runs").glob("*/*")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["init_args"]["size"] == [16, 24]
    assert load_model(run / "last.ckpt").image_shape == (1, 16, 24)
    fit.main(["--ckpt_path=last", "--trainer.max_steps=2"])  # from the list in the config
    assert len(list((tmp_path / "runs").glob("*/*"))) == 1
    capsys.readouterr()
    for size, message in {
        "[16,24,3]": "size must be a positive whole number, or two: [height, width], not [16, 24, 3]",
        "wide": "wide",
        "[32,48]": "the data and the checkpoint differ in image shape: [1, 32, 48] and [1, 16, 24]",
    }.items():
        with pytest.raises(SystemExit) as left:
            fit.main(["--ckpt_path=last", "--trainer.max_steps=3", f"--data.size={size}"])
        said = capsys.readouterr().err.strip()
        assert left.value.code == 2 and message in said and "\n" not in said
