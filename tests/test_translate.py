"""Pictures of any size and kind through a checkpoint alone, against maps that are known in closed form."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import TRANSLATORS, Noisy, NoisyBatches, quiet, tiny, translator
from PIL import Image, ImageOps
from torch import Tensor, nn

from gan_lightning.batches import Paired, central_hole
from gan_lightning.cli import translation
from gan_lightning.cli.parser import signed
from gan_lightning.cli.samples import require_images
from gan_lightning.core import AdversarialModule, ImageShape, Inpainter, Step, Terms, Translator
from gan_lightning.core.tiling import lengthened, tiled
from gan_lightning.data.base import ImageData
from gan_lightning.data.sets import Examples, Split
from gan_lightning.loading import load_model
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.translate import main


class PairSet(Examples):
    """Images, and their negatives."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def __len__(self) -> int:
        return len(self.image)

    def __getitems__(self, index: list[int]) -> Paired:
        return Paired(self.image[index], 255 - self.image[index])


class Negatives(ImageData):
    def __init__(self, image_shape: tuple[int, int, int] = (1, 16, 16), batch_size: int = 4) -> None:
        super().__init__("Negatives", image_shape, None, batch_size, 0)

    def load(self, split: Split) -> PairSet:
        generator = torch.Generator().manual_seed(int(split == "val"))
        shape = (8 if split == "train" else 10, *self.image_shape)
        return PairSet(torch.randint(256, shape, generator=generator, dtype=torch.uint8))


class Gain(nn.Module):
    """A factor, and pixels repeated."""

    def __init__(self, gain: float, scale: int) -> None:
        super().__init__()
        self.gain, self.scale = nn.Parameter(torch.tensor(gain)), scale

    def forward(self, image: Tensor) -> Tensor:
        return self.gain * image.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


class Linear(Translator):
    """Multiplies by a factor that does not learn: 1 changes nothing, -1 makes negatives."""

    multiple = 4
    pairs: ClassVar = {"": ("made", "target")}
    domains: ClassVar = {"AtoB": ("made", "target")}

    def __init__(self, image_shape: ImageShape, gain: float = -1.0, step: Step = Step()) -> None:
        still = partial(torch.optim.SGD, lr=0.0)
        super().__init__(image_shape, Gain(gain, self.scale), None, still, still, step)

    def generator_loss(self, batch: Paired) -> Terms:
        return {"l1": (self.generator(batch.source) - batch.target).abs().mean()}

    def translate(self, image: Tensor) -> Tensor:
        assert not any(side % self.multiple for side in image.shape[2:]) and image.dtype == self.dtype
        return self.made_by(self.generator, image)

    def columns(self, batch: Paired) -> dict[str, Tensor]:
        return {"source": batch.source, "made": self.translate(batch.source), "target": batch.target}


class Doubled(Linear):
    """Twice the size."""

    scale = 2

    def generator_loss(self, batch: Paired) -> Terms:
        return {"l1": self.generator(batch.source).abs().mean()}


class Fourfold(Doubled):
    """Four times the size."""

    scale = 4


class OneSize(Linear):
    """Of one size only."""

    any_size = False

    def translate(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == self.image_shape
        return super().translate(image)


class TwoWays(Linear):
    """There negatives, and back nothing."""

    directions: ClassVar = ("AtoB", "BtoA")

    def translate(self, image: Tensor, direction: str | None = None) -> Tensor:
        return super().translate(image) * (1, -1)[self.which(direction)]


class Faces(Linear):
    """White for men, black for others, grey where it was not asked for."""

    def __init__(self, image_shape: ImageShape, step: Step = Step()) -> None:
        super().__init__(image_shape, step=step)
        self.attributes = ["Black_Hair", "Blond_Hair", "Male"]

    def translate(self, image: Tensor, attributes: dict[str, bool]) -> Tensor:
        return torch.full_like(image, {True: 1.0, False: -1.0, None: 0.2}[attributes.get("Male")])


class Filler(Inpainter, Linear):
    """Paints what is hidden at half of white, and forgets what was known."""

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        assert hole.dtype == torch.bool and hole.shape == (len(image), 1, *image.shape[2:])
        return torch.where(hole, torch.full_like(image, 0.2), -torch.ones_like(image))


class SmallFiller(Filler):
    """The same, of one size only."""

    any_size = False


class Noise(Linear):
    """Draws in evaluation."""

    def translate(self, image: Tensor) -> Tensor:
        return torch.rand_like(image)


class Greedy(Linear):
    """Finds no memory."""

    def translate(self, image: Tensor) -> Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


class Other(AdversarialModule):
    """Neither translates nor samples."""

    def __init__(self, image_shape: ImageShape, step: Step = Step()) -> None:
        super().__init__(step)
        self.network = nn.Linear(1, 1)


class Checkpoints:
    """Checkpoints by class and channels, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, kind: type[Translator], channels: int = 3, size: int = 16) -> str:
        path = self.folder / f"{kind.__name__}-{channels}-{size}.ckpt"
        if not path.exists():
            trainer = quiet(max_steps=1, plugins=[AtomicCheckpointIO()])
            shape = (channels, size, size)
            trainer.fit(kind(shape), Negatives(shape))
            trainer.save_checkpoint(path, weights_only=False)
        return str(path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def kept(pixels: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def run(*flags: object) -> int:
    """The command's exit code."""
    try:
        main([str(flag) for flag in flags])
    except SystemExit as end:
        return end.code
    return 0


def made_of(checkpoint: str, path: Path, *flags: object) -> Image.Image:
    """What becomes of a file."""
    out = path.parent / "translated"
    assert run(checkpoint, "--input", path, "--out", out, *flags) == 0
    return Image.open(out / f"{path.stem}.png")


def refusal(capsys: pytest.CaptureFixture, *flags: object) -> str:
    """The line that ends a command with bad input."""
    assert run(*flags) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text


# Sizes and tiles.


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_photo_of_odd_size_keeps_its_size(checkpoint: Checkpoints, tmp_path: Path, suffix: str) -> None:
    path = kept(noise(667, 1001, 3), tmp_path / f"photo.{suffix}")
    made = made_of(checkpoint(Linear), path)
    assert (made.mode, made.size) == ("RGB", (1001, 667))
    assert np.array_equal(made, 255 - np.asarray(Image.open(path)))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (15, 17), (16, 32)])
def test_tiny_pictures_are_made_longer_and_cropped_back(
    checkpoint: Checkpoints, tmp_path: Path, size: tuple[int, int]
) -> None:
    pixels = noise(*size, 3)
    assert np.array_equal(made_of(checkpoint(Linear), kept(pixels, tmp_path / "tiny.png")), 255 - pixels)


def test_what_is_added_is_the_reflection_as_numpy_has_it() -> None:
    pixels = torch.from_numpy(noise(17, 30)).float()[None, None]
    expected = np.pad(pixels[0, 0].numpy(), ((0, 3), (0, 2)), "reflect")
    assert np.array_equal(lengthened(pixels, 4)[0, 0], expected)
    short = np.pad(pixels[0, 0, :2].numpy(), ((0, 14), (0, 2)), "edge")  # two rows cannot be reflected 14 times
    short[:, 30:] = np.pad(short[:, :30], ((0, 0), (0, 2)), "reflect")[:, 30:]
    assert np.array_equal(lengthened(pixels[:, :, :2], 4)[0, 0], short)


def test_larger_pictures_come_out(checkpoint: Checkpoints, tmp_path: Path) -> None:
    pixels = noise(23, 37, 3)
    for kind, scale in ((Doubled, 2), (Fourfold, 4)):
        made = made_of(checkpoint(kind), kept(pixels, tmp_path / "small.png"))
        assert np.array_equal(made, 255 - pixels.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize(("kind", "size"), [(Linear, (667, 1001)), (Doubled, (130, 210)), (Fourfold, (90, 75))])
def test_tiles_show_no_seams(
    checkpoint: Checkpoints, tmp_path: Path, kind: type, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(noise(*size, 3), tmp_path / "photo.png")
    whole = np.asarray(made_of(checkpoint(kind), path))
    calls: list[int] = []
    network_of = translation.network_of

    def counted(*what: object) -> Callable[[Tensor], Tensor]:
        network = network_of(*what)

        def watched(source: Tensor) -> Tensor:
            calls.append(max(source.shape[2:]))
            return network(source)

        return watched

    monkeypatch.setattr(translation, "network_of", counted)
    tiles = np.asarray(made_of(checkpoint(kind), path, "--tile", 64, "--overlap", 13))
    assert len(calls) > 1 and max(calls) <= 64
    assert np.array_equal(tiles, whole)


def test_neighbouring_tiles_are_blended_linearly() -> None:
    """Each tile of a constant of its own: between two the picture goes from one to the next in equal steps."""
    numbers = iter(range(9))

    def network(source: Tensor) -> Tensor:
        return torch.full((1, 1, 2 * source.shape[2], 2 * source.shape[3]), float(next(numbers)))

    made = tiled(network, torch.zeros(1, 1, 16, 28), 16, 4, 4, 2)  # tiles begin at 0 and 12
    way = (torch.arange(8) + 0.5) / 8
    expected = torch.cat([torch.zeros(24), way, torch.ones(24)]).expand(32, 56)
    torch.testing.assert_close(made[0, 0], expected)


def test_tiles_begin_at_multiples_and_cover_all() -> None:
    begun = []

    def network(source: Tensor) -> Tensor:
        begun.append((int(source[0, 0, 0, 0]), int(source[0, 1, 0, 0]), *source.shape[2:]))
        return source

    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(88.0), indexing="ij")
    source = torch.stack([rows, columns])[None]
    torch.testing.assert_close(tiled(network, source, 32, 5, 8, 1), source)
    assert begun == [(top, left, 32, 32) for top in (0, 8) for left in (0, 24, 48, 56)]


def test_a_model_of_one_size_sees_that_size(checkpoint: Checkpoints, tmp_path: Path) -> None:
    flat = np.full((50, 31, 3), (10, 99, 250), np.uint8)
    made = made_of(checkpoint(OneSize), kept(flat, tmp_path / "flat.png"))
    assert np.array_equal(made, 255 - flat)
    own = noise(16, 16, 3)
    assert np.array_equal(made_of(checkpoint(OneSize), kept(own, tmp_path / "own.png")), 255 - own)
    halves = np.zeros((32, 64, 3), np.uint8)
    halves[:, 32:] = 255
    found = np.asarray(made_of(checkpoint(OneSize), kept(halves, tmp_path / "halves.png")))
    assert (found[:, :24] == 255).all() and (found[:, 40:] == 0).all(), "left stays left"


# Kinds of pictures.


def test_channels_are_the_models(checkpoint: Checkpoints, tmp_path: Path) -> None:
    grey, colour = noise(20, 31), noise(20, 31, 3)
    made = made_of(checkpoint(Linear), kept(grey, tmp_path / "grey.png"))
    assert made.mode == "RGB" and np.array_equal(made, 255 - grey[..., None].repeat(3, 2))
    made = made_of(checkpoint(Linear, 1), kept(grey, tmp_path / "grey.png"))
    assert made.mode == "L" and np.array_equal(made, 255 - grey)
    made = made_of(checkpoint(Linear, 1), kept(colour, tmp_path / "colour.png"))
    assert made.mode == "L" and np.array_equal(made, 255 - np.asarray(Image.fromarray(colour).convert("L")))


def test_alpha_is_kept(checkpoint: Checkpoints, tmp_path: Path) -> None:
    pixels = noise(20, 31, 4)
    made = made_of(checkpoint(Linear), kept(pixels, tmp_path / "clear.png"))
    assert made.mode == "RGBA"
    assert np.array_equal(made, np.concatenate([255 - pixels[..., :3], pixels[..., 3:]], 2))
    made = made_of(checkpoint(Linear, 1), kept(pixels, tmp_path / "clear.png"))
    assert made.mode == "LA" and np.array_equal(np.asarray(made)[..., 1], pixels[..., 3])
    pixels[..., 3] = 255
    assert made_of(checkpoint(Linear), kept(pixels, tmp_path / "opaque.png")).mode == "RGBA"
    pixels[:, :, 3] = np.where(np.arange(31) < 15, 0, 255)
    made = np.asarray(made_of(checkpoint(Doubled), kept(pixels, tmp_path / "halves.png")))
    assert made.shape == (40, 62, 4)
    assert (made[:, :28, 3] == 0).all() and (made[:, 32:, 3] == 255).all()


def test_sixteen_bits_are_scaled(checkpoint: Checkpoints, tmp_path: Path) -> None:
    grey = noise(20, 31)
    path = kept(grey.astype(np.uint16) * 257, tmp_path / "deep.png")
    assert Image.open(path).mode.startswith("I")
    assert np.array_equal(made_of(checkpoint(Linear, 1), path), 255 - grey)


def test_palettes_become_colours(checkpoint: Checkpoints, tmp_path: Path) -> None:
    painted = Image.fromarray(noise(20, 31, 3)).quantize(16)
    painted.save(tmp_path / "painted.png")
    expected = 255 - np.asarray(painted.convert("RGB"))
    assert np.array_equal(made_of(checkpoint(Linear), tmp_path / "painted.png"), expected)
    painted.save(tmp_path / "clear.png", transparency=3)
    made = np.asarray(made_of(checkpoint(Linear), tmp_path / "clear.png"))
    assert np.array_equal(made[..., :3], expected)
    assert np.array_equal(made[..., 3] == 0, np.asarray(painted) == 3)


def test_pictures_are_turned_upright(checkpoint: Checkpoints, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its left side
    path = kept(noise(20, 31, 3), tmp_path / "lying.jpg", exif=exif)
    made = made_of(checkpoint(Linear), path)
    assert made.size == (20, 31) and not made.getexif()
    stored = np.asarray(Image.open(path))
    assert np.array_equal(made, 255 - np.rot90(stored, -1))
    assert np.array_equal(made, 255 - np.asarray(ImageOps.exif_transpose(Image.open(path))))


def test_a_file_gives_the_same_picture_whatever_else_is_translated(checkpoint: Checkpoints, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in "ab":
        kept(noise(20, 31, 3), pictures / f"{name}.png")
    for out in ("one", "two"):
        assert run(checkpoint(Noise), "--input", pictures, "--out", tmp_path / out) == 0
        torch.rand(3)
    made = [np.asarray(Image.open(tmp_path / out / f"{name}.png")) for out in ("one", "two") for name in "ab"]
    assert all(np.array_equal(one, made[0]) for one in made[1:])


@pytest.mark.parametrize("name", TRANSLATORS)
def test_every_model_translates_pictures_of_any_size(name: str, tmp_path: Path) -> None:
    model = translator(name)
    trainer = quiet(max_steps=1, plugins=[AtomicCheckpointIO()])
    trainer.fit(model, NoisyBatches(name))
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    sizes = [(1, 1), (5, 40), (61, 33)]
    (tmp_path / "in").mkdir()
    for size in sizes:
        kept(noise(*size, 3), tmp_path / "in" / f"{size[0]}.png")
    flags = [tmp_path / "last.ckpt", "--input", tmp_path / "in"]
    flags += ["--attributes", f"+{model.attributes[0]}"] if model.attributes else []
    tiles = ["--tile", 32, "--overlap", 16] if model.any_size and not model.attributes else []
    for out, more in (("one", []), ("two", []), ("tiled", tiles)):
        assert run(*flags, "--out", tmp_path / out, *more) == 0
    for height, width in sizes:
        one, two, tiled = (Image.open(tmp_path / out / f"{height}.png") for out in ("one", "two", "tiled"))
        assert one.mode == "L" and one.size == tiled.size == (model.scale * width, model.scale * height)
        assert one.tobytes() == two.tobytes()


# Directions, attributes, holes.


def test_directions(checkpoint: Checkpoints, tmp_path: Path) -> None:
    pixels = noise(20, 31, 3)
    path = kept(pixels, tmp_path / "a.png")
    for flags, expected in (((), 255 - pixels), (("AtoB",), 255 - pixels), (("BtoA",), pixels)):
        flags = ("--direction", *flags) if flags else ()
        assert np.array_equal(made_of(checkpoint(TwoWays), path, *flags), expected)


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (("--attributes", "+Blond_Hair,-Male"), 0),
        (("--attributes", "-Male"), 0),
        (("--attributes=-Blond_Hair, +Male",), 255),
        (("--attributes", "+Black_Hair"), 153),
    ],
)
def test_attributes(checkpoint: Checkpoints, tmp_path: Path, flags: tuple[str, ...], level: int) -> None:
    made = made_of(checkpoint(Faces), kept(noise(20, 31, 3), tmp_path / "face.png"), *flags)
    assert (np.asarray(made) == level).all()


class Stronger(Linear):
    """A translator of a user's own."""

    def translate(self, image: Tensor, strength: float = 1.0) -> Tensor:
        """As ever.

        Args:
            image: as ever.
            strength: factor of what is made.
        """
        return strength * super().translate(image)


def test_an_argument_of_a_model_of_ones_own_is_a_flag(checkpoint: Checkpoints, tmp_path: Path) -> None:
    path = kept(np.full((20, 31, 3), 255, np.uint8), tmp_path / "white.png")
    assert (np.asarray(made_of(checkpoint(Stronger), path)) == 0).all()
    assert (np.asarray(made_of(checkpoint(Stronger), path, "--strength", 0.2)) == 102).all()  # -0.2 of [-1, 1]


@pytest.mark.parametrize(
    ("kind", "shown", "hidden"),
    [
        (Linear, ("--input", "--tile"), ("--direction", "--attributes", "--strength")),
        (TwoWays, ("--direction {AtoB,BtoA}",), ("--attributes",)),
        (Faces, ("--attributes +Black_Hair,-Male",), ("--direction",)),
        (Stronger, ("--strength STRENGTH", "factor of what is made (default 1.0)"), ("--direction",)),
    ],
)
def test_help_shows_what_this_model_takes(
    checkpoint: Checkpoints, kind: type, shown: tuple[str], hidden: tuple[str], capsys: pytest.CaptureFixture
) -> None:
    assert run(checkpoint(kind), "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(flag in text for flag in shown) and not any(flag in text for flag in hidden)


def test_attributes_are_read() -> None:
    known = ["Black_Hair", "Blond_Hair", "Male"]
    assert signed("+Blond_Hair,-Male", known) == {"Blond_Hair": True, "Male": False}
    for text, message in {
        "+Blonde_Hair": "no 'Blonde_Hair', did you mean 'Blond_Hair', 'Black_Hair'",
        "-male": "did you mean 'Male'",
        "+Zebra": "no 'Zebra': there are Black_Hair, Blond_Hair, Male",
        "Male": r"write \+Male or -Male",
        "+Male,-Male": "names Male twice",
        "": "write",
    }.items():
        with pytest.raises(ArgumentTypeError, match=message):
            signed(text, known)


def test_what_is_transparent_is_filled_and_the_rest_stays(checkpoint: Checkpoints, tmp_path: Path) -> None:
    pixels = noise(45, 31, 4)
    hidden = np.zeros((45, 31), bool)
    hidden[3:20, 11:30] = True
    pixels[..., 3] = np.where(hidden, 0, 255)
    path = kept(pixels, tmp_path / "torn.png")
    for flags in ((), ("--tile", 16, "--overlap", 4)):
        made = made_of(checkpoint(Filler), path, *flags)
        assert made.mode == "RGB"
        assert np.array_equal(np.asarray(made)[~hidden], pixels[~hidden][:, :3])
        assert (np.asarray(made)[hidden] == 153).all()  # 0.2 of [-1, 1]
    made = np.asarray(made_of(checkpoint(SmallFiller), path))  # resized, and still no hidden pixel counts as known
    assert np.array_equal(made[~hidden], pixels[~hidden][:, :3])
    inner = np.zeros_like(hidden)
    inner[6:17, 13:28] = True  # away from the edge, which resizing mixes
    assert (made[inner] == 153).all()
    whole = noise(20, 31, 4)
    whole[..., 3] = 255
    assert np.array_equal(made_of(checkpoint(Filler), kept(whole, tmp_path / "whole.png")), whole[..., :3])


@pytest.mark.parametrize("kind", [Filler, SmallFiller])
def test_without_alpha_the_centre_is_filled(checkpoint: Checkpoints, tmp_path: Path, kind: type) -> None:
    pixels = noise(32, 64, 3)
    made = np.asarray(made_of(checkpoint(kind), kept(pixels, tmp_path / "whole.png")))
    hidden = np.zeros((32, 64), bool)
    hidden[8:24, 16:48] = True
    assert np.array_equal(made[~hidden], pixels[~hidden])
    assert (made[10:22, 20:44] == 153).all()
    assert kind is SmallFiller or (made[hidden] == 153).all()


def test_the_centre_is_a_quarter() -> None:
    hole = central_hole(8, 16)
    assert hole.nonzero().aminmax(dim=0)[0].tolist() == [2, 4] and int(hole.sum()) == 4 * 8
    assert central_hole(1, 1).all()


# Folders and files.


def test_a_folder_with_one_broken_file(checkpoint: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    (pictures / "deep" / "er").mkdir(parents=True)
    pixels = noise(20, 31, 3)
    kept(pixels, pictures / "a.b.png")
    kept(pixels, pictures / "deep" / "er" / "a.bmp")
    whole = kept(pixels, pictures / "deep" / "z.png")
    (pictures / "deep" / "cut.png").write_bytes(whole.read_bytes()[:900])
    (pictures / "notes.txt").write_text("no picture")
    assert run(checkpoint(Linear), "--input", pictures, "--out", out) == 1
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == ["a.b.png", "deep/er/a.png", "deep/z.png"]
    assert all(np.array_equal(Image.open(out / name), 255 - pixels) for name in written)
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if "skipped" in line][0].startswith(
        f"skipped: {pictures / 'deep' / 'cut.png'} cannot be read"
    )
    assert said.out == f"3 of 4 pictures translated by Linear: {out}\n"
    (pictures / "deep" / "cut.png").unlink()
    assert run(checkpoint(Linear), "--input", pictures, "--out", out) == 0
    assert capsys.readouterr().out == f"3 pictures translated by Linear: {out}\n"


def test_earlier_translations_below_the_input_are_not_translated_again(checkpoint: Checkpoints, tmp_path: Path) -> None:
    pixels = noise(20, 31, 3)
    kept(pixels, tmp_path / "a.png")
    for _ in range(2):
        assert run(checkpoint(Linear), "--input", tmp_path, "--out", tmp_path / "out") == 0
    assert [path.relative_to(tmp_path) for path in sorted((tmp_path / "out").rglob("*.png"))] == [Path("out/a.png")]


def test_nothing_is_overwritten(checkpoint: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures = tmp_path / "in"
    (pictures / "in").mkdir(parents=True)
    first, second = kept(noise(20, 31, 3), pictures / "a.png"), pictures / "in" / "a.png"
    kept(noise(20, 31, 3), second)
    before = first.read_bytes()
    flags = (checkpoint(Linear), "--input")
    assert "in place" in refusal(capsys, *flags, pictures, "--out", pictures)
    assert "in place" in refusal(capsys, *flags, first, "--out", pictures / ".." / "in")
    # in/in/a.png would become in/a.png.
    assert "would be overwritten" in refusal(capsys, *flags, pictures, "--out", tmp_path)
    kept(noise(20, 31, 3), pictures / "a.jpg")
    message = refusal(capsys, *flags, pictures, "--out", tmp_path / "out")
    assert "a.jpg" in message and "a.png" in message and "both become" in message
    assert first.read_bytes() == before and not (tmp_path / "out").exists()


def test_the_command_runs_by_itself(checkpoint: Checkpoints, tmp_path: Path) -> None:
    kept(noise(20, 31, 3), tmp_path / "a.png")
    places = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    flags = [checkpoint(Linear), "--input", "a.png"]
    done = subprocess.run(
        [sys.executable, "-m", "gan_lightning.translate", *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": places},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 picture translated by Linear: translated\n" and (tmp_path / "translated/a.png").exists()


# What is refused.


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        (Linear, ["--direction", "AtoB"], "unknown argument '--direction': Linear does not take it"),
        (TwoWays, ["--direction", "CtoA"], "argument --direction: invalid choice: 'CtoA' (choose from"),
        (Linear, ["--attributes", "+Male"], "unknown argument '--attributes': Linear does not take it"),
        (Faces, [], "required: --attributes"),
        (Faces, ["--attributes", "+Mal"], "argument --attributes: there is no 'Mal', did you mean 'Male'"),
        (Faces, ["--attributes", "-Male", "--direction", "AtoB"], "'--direction': Faces does not take it"),
        (Faces, ["--attributes", "-Male", "--tile", "64", "--overlap", "8"], "off the whole picture"),
        (Filler, ["--direction", "AtoB"], "'--direction': Filler does not take it"),
        (OneSize, ["--tile", "64", "--overlap", "8"], "OneSize makes images of 16x16 only"),
        (Linear, ["--tile", "62", "--overlap", "8"], "at least 16, and a multiple of 4"),
        (Linear, ["--tile", "8", "--overlap", "0"], "at least 16, and a multiple of 4"),
        (Linear, ["--tile", "64", "--overlap", "61"], "overlap by 60 at the most"),
        (Linear, ["--tile", "64"], "--overlap must be at least 0 and less than --tile 64, not 64"),
        (Linear, ["--tile", "64", "--overlap", "-1"], "--overlap must be at least 0"),
        (Linear, ["--overlap", "8"], "--overlap is of tiles"),
        (Linear, ["--tiles", "8"], "unknown argument '--tiles', did you mean '--tile'"),
        (Linear, ["--attributes", "--tile"], "expected one argument"),
        (Linear, ["--device", "tpu"], "invalid choice"),
        (Greedy, [], "a.png, 31x20, does not fit into memory: use --tile 512"),
        (Greedy, ["--tile", "64", "--overlap", "8"], "use less"),
    ],
)
def test_flags_that_cannot_be_followed(
    checkpoint: Checkpoints,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    kind: type,
    flags: list[str],
    message: str,
) -> None:
    kept(noise(20, 31, 3), tmp_path / "a.png")
    out = tmp_path / "out"
    assert message in refusal(capsys, checkpoint(kind), "--input", tmp_path / "a.png", "--out", out, *flags)
    assert not out.exists()


def test_names_of_any_bytes_and_every_name_of_a_picture(
    checkpoint: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pictures, out = tmp_path / os.fsdecode(b"caf\xe9 [x]"), tmp_path / os.fsdecode(b"\xe8 %s\n")
    pictures.mkdir()
    names = [os.fsdecode(name) for name in (b"\xe9\n0.png", b"-dash.png", b"l" * 251 + b".png", b"[b] %s.png")]
    for name in names:
        kept(noise(8, 8, 3), pictures / name)
    os.link(pictures / names[0], pictures / "second name.png")
    (pictures / os.fsdecode(b"bad\xe9\n.png")).write_text("no picture")
    kept(noise(9, 9, 3), pictures / "large.png")
    path = checkpoint(Linear)
    assert run(path, "--input", pictures, "--out", out, "--max_pixels", "64") == 1
    assert {file.name for file in out.iterdir()} == {*names, "second name.png"}
    said = capsys.readouterr()
    (said.out + said.err).encode()
    skipped = [line for line in said.err.splitlines() if line.startswith("skipped: ")]
    assert "bad\\xe9\\n.png cannot be read: it is no image" in skipped[0]
    assert "large.png cannot be read: it has 9x9 pixels, more than max_pixels (64) allows" in skipped[1]
    kept(np.arange(64, dtype=np.uint16).reshape(8, 8) * 65, tmp_path / "deep.png")
    run(path, "--input", tmp_path / "deep.png", "--out", tmp_path / "made", "--white", "4095")
    made = np.asarray(Image.open(tmp_path / "made" / "deep.png"))[..., 0]
    assert made.max() == 255 and made[-1, -1] == 0  # the negative of white


def test_inputs_that_are_not_there(checkpoint: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = checkpoint(Linear)
    assert "no such file or folder" in refusal(capsys, path, "--input", tmp_path / "none", "--out", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "empty holds no images" in refusal(capsys, path, "--input", tmp_path / "empty", "--out", tmp_path / "out")
    kept(noise(20, 31, 3), tmp_path / "a.png")
    assert "is a file, not a folder" in refusal(capsys, path, "--input", tmp_path, "--out", tmp_path / "a.png")
    assert "there is no checkpoint" in refusal(capsys, tmp_path / "x.ckpt", "--input", tmp_path, "--out", "out")
    assert "required: --input" in refusal(capsys, path)
    if not torch.cuda.is_available():
        assert "no GPU here" in refusal(capsys, path, "--input", tmp_path / "a.png", "--device", "cuda")
    text = kept(noise(20, 31, 3), tmp_path / "a.png").with_name("text.png")
    text.write_text("no picture")
    assert run(path, "--input", text, "--out", tmp_path / "out") == 1
    assert "0 of 1 picture " in capsys.readouterr().out


def test_models_that_do_not_translate(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    kept(noise(20, 31, 3), tmp_path / "a.png")
    trainer = quiet(max_steps=1, plugins=[AtomicCheckpointIO()])
    trainer.fit(tiny("DCGAN"), Noisy())
    path = tmp_path / "dcgan.ckpt"
    trainer.save_checkpoint(path, weights_only=False)
    message = refusal(capsys, path, "--input", tmp_path / "a.png", "--out", tmp_path / "out")
    assert "DCGAN makes images from latents: use python -m gan_lightning.sample" in message
    with pytest.raises(ValueError, match="Other does not translate images"):
        translation.require_pictures(Other((3, 8, 8)))
    with pytest.raises(ValueError, match="images of 2 channels"):
        translation.require_pictures(Linear((2, 8, 8)))


def test_sampling_a_translator_says_what_to_use(checkpoint: Checkpoints, tmp_path: Path) -> None:
    module = load_model(checkpoint(Linear))
    with pytest.raises(ValueError, match="no images from latents: use python -m gan_lightning.translate"):
        require_images(module)
