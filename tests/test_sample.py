"""Pictures from a checkpoint alone, the same ones however they are computed, and short answers to bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import conftest
import pytest
import torch
from conftest import Noisy, quiet, tiny
from PIL import Image
from torch import Tensor, nn

from gan_lightning import models, networks, optim
from gan_lightning.batches import Labeled
from gan_lightning.cli.parser import ModelParser
from gan_lightning.core import AdversarialModule, Encoder, ImageShape, ImageStep, Terms, TwoPlayerGAN
from gan_lightning.core.sampling import lerp, slerp
from gan_lightning.data.finding import image_files
from gan_lightning.loading import load_model
from gan_lightning.metrics import to_uint8
from gan_lightning.noise import SampleNoise, truncated_normal
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.runtime.errors import NotFiniteError, nearest, short_errors
from gan_lightning.sample import main

SHAPE = (1, 8, 8)


def saved(path: Path, kind: type = models.DCGAN, shape: tuple[int, int, int] = SHAPE, steps: int = 2) -> str:
    """A checkpoint of a tiny model after a little training."""
    torch.manual_seed(0)
    small = {
        models.DCGAN: (partial(networks.DCGANGenerator, width=4), partial(networks.DCGANDiscriminator, width=4)),
        models.SNGAN: (partial(networks.ResNetGenerator, width=4), partial(networks.ResNetDiscriminator, width=4)),
    }.get(kind, (partial(networks.MLPGenerator, width=16), partial(networks.MLPDiscriminator, width=16)))
    fast = partial(optim.PaperAdam, lr=0.05)  # the average stays far behind
    parts = dict(zip(("generator", "discriminator"), small, strict=True))
    model = kind(shape, **parts, generator_optimizer=fast, n_critic=1, step=ImageStep(ema_rampup=None))
    return kept(model, path, shape, steps)


def kept(model: TwoPlayerGAN, path: Path, shape: tuple[int, int, int] = SHAPE, steps: int = 2) -> str:
    """A checkpoint of a model after a little training."""
    trainer = quiet(max_steps=steps, plugins=[AtomicCheckpointIO()])
    trainer.fit(model, Noisy(image_shape=shape))
    trainer.save_checkpoint(path, weights_only=False)
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("run") / "last.ckpt")


def pixels(folder: Path) -> Tensor:
    """(n, ...) uint8 of the numbered pictures of a folder."""
    files = sorted(folder.glob("[0-9]*.png"))
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(len(files))]
    return torch.stack([torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8) for file in files])


def test_a_user_gets_pictures_a_grid_and_a_walk(checkpoint: str, tmp_path: Path) -> None:
    """From the file alone: no config, no data, no W&B."""
    program = (
        "import sys, gan_lightning.sample as s; s.main(sys.argv[1:]);"
        "assert not {m for m in sys.modules if m == 'wandb' or m.startswith('gan_lightning.data')}, sys.modules"
    )
    flags = [checkpoint, "--n", "6", "--out", "drawn", "--grid", "--walk", "film/walk.gif", "--seconds", "0.48"]
    result = subprocess.run(
        [sys.executable, "-c", program, *flags], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    out = tmp_path / "drawn"
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [
        "drawn",
        "drawn/sheets/grid.png",
        "film/walk.gif",
    ]
    assert sorted(file.name for file in out.iterdir()) == [f"{i:06d}.png" for i in range(6)] + ["sheets"]
    assert [file.name for file in (out / "sheets").iterdir()] == ["grid.png"]
    assert image_files(out) == sorted(out.glob("0*.png")), "a sheet is no sample, whoever reads the folder"
    out = out / "sheets"
    picture = Image.open(out.parent / "000000.png")
    assert (picture.mode, picture.size) == ("L", (8, 8))
    assert Image.open(out / "grid.png").size == (3 * 10 + 2, 2 * 10 + 2)  # 3 x 2 pictures, 2 pixels apart
    walk = Image.open(tmp_path / "film" / "walk.gif")
    assert (walk.n_frames, walk.size, walk.info["loop"]) == (12, (3 * 10 + 2, 2 * 10 + 2), 0)
    assert walk.info["duration"] == 40, "milliseconds, of 0.48 seconds"
    # The walk begins with the very pictures of the grid.
    assert walk.convert("L").tobytes() == Image.open(out / "grid.png").convert("L").tobytes()


@pytest.mark.parametrize("kind", [models.DCGAN, models.GAN, models.SNGAN])
def test_a_picture_depends_on_seed_and_number_alone(kind: type, tmp_path: Path) -> None:
    path = saved(tmp_path / "last.ckpt", kind, (3, 8, 8))
    for name, flags in {
        "all": ["--n", "33"],
        "single": ["--n", "33", "--batch_size", "1"],
        "odd": ["--n", "33", "--batch_size", "7"],
        "fewer": ["--n", "5"],
        "other": ["--n", "5", "--seed", "1"],
        "live": ["--n", "5", "--live"],
    }.items():
        main([path, "--out", str(tmp_path / name), *flags])
    drawn = pixels(tmp_path / "all")
    assert Image.open(tmp_path / "all" / "000000.png").mode == "RGB"
    assert torch.equal(drawn, pixels(tmp_path / "single"))
    assert torch.equal(drawn, pixels(tmp_path / "odd"))
    assert torch.equal(drawn[:5], pixels(tmp_path / "fewer"))
    assert not torch.equal(drawn[:5], pixels(tmp_path / "other"))
    assert not torch.equal(drawn[:5], pixels(tmp_path / "live"))
    # They are what the model itself makes, up to the rounding of float32.
    image = load_model(path).sample(33)
    expected = ((image + 1) * 127.5).round().movedim(1, 3).flatten(1)
    assert (expected - drawn.float()).abs().max() <= 1


def test_a_straight_walk(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "walk.GIF"
    walk = ["--walk", str(film), "--interpolate", "lerp", "--seconds", "0.12"]
    main([checkpoint, "--n", "1", "--out", str(tmp_path), *walk])
    assert Image.open(film).n_frames == 3
    assert f"walk: {film}" in capsys.readouterr().out


def test_pictures_of_two_calls_are_not_mixed(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = [checkpoint, "--out", str(tmp_path)]
    main([*flags, "--n", "3"])
    main([*flags, "--n", "3", "--seed", "1"])  # the same pictures, drawn again
    capsys.readouterr()
    assert "holds more than the 2 pictures to come, up to 000002.png" in refused([*flags, "--n", "2"], capsys)
    (tmp_path / "1000000.png").write_bytes((tmp_path / "000000.png").read_bytes())
    assert "up to 1000000.png" in refused([*flags, "--n", "200000"], capsys)


def test_a_folder_of_any_name_is_written_to_and_named(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / os.fsdecode(b"[caf\xe9]\n2")
    main([checkpoint, "--n", "2", "--grid", "--out", str(out)])
    assert len(pixels(out)) == 2
    said = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in said] == [r"[caf\xe9]\n2", "grid.png"]
    assert r"[caf\xe9]\n2 holds more than the 1 " in refused([checkpoint, "--n", "1", "--out", str(out)], capsys)


def test_slerp_keeps_the_length_and_ends_where_it_should() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 64, generator=generator, dtype=torch.float64)
    assert torch.allclose(slerp(a, b, 0.0), a)
    assert torch.allclose(slerp(a, b, 1.0), b)
    unit_a, unit_b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    middle = slerp(unit_a, unit_b, 0.3)
    assert torch.allclose(middle.norm(dim=1), torch.ones(5, dtype=torch.float64))
    angle = (unit_a * unit_b).sum(1).arccos()
    assert torch.allclose((unit_a * middle).sum(1).arccos(), 0.3 * angle)
    assert torch.allclose(slerp(a, 2 * a, 0.25), 1.25 * a)  # parallel
    assert torch.allclose(lerp(a, b, 0.25), 0.75 * a + 0.25 * b)


class Flat(nn.Module):
    """Flat images of a level that can be worked out by hand: z_0 / 8, and (c - 1) / 2 for the class c of three."""

    latent_dim = 2

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.image_shape, self.gain = image_shape, nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        shares = label if label.is_floating_point() else nn.functional.one_hot(label, 3).to(z.dtype)
        level = self.gain * z[:, 0] / 8 + (shares * torch.tensor([-0.5, 0.0, 0.5], dtype=z.dtype)).sum(1)
        return level.view(-1, 1, 1, 1).expand(-1, *self.image_shape)


class Able(TwoPlayerGAN, Encoder):
    """A model with three classes and all abilities that a flag may ask for, each in its simplest form."""

    codes = 2

    def __init__(self, image_shape: ImageShape = SHAPE) -> None:
        parts = Flat(image_shape), networks.MLPDiscriminator(image_shape, 3, width=4)
        still = partial(torch.optim.SGD, lr=0.0)
        super().__init__(image_shape, *parts, still, still, 1, ImageStep())
        self.num_classes = 3

    def discriminator_loss(self, batch: Labeled) -> Terms:
        return {"none": self.discriminate(batch).mean()}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"none": self.discriminate(self.fake_like(batch)).mean()}

    def truncate(self, z: Tensor, psi: float) -> Tensor:
        return z.clamp(-psi, psi)

    def traverse(self, z: Tensor, code: int, steps: int) -> Tensor:
        rows = z.repeat(3 if code == 0 else steps, 1, 1)
        rows[..., 0] = torch.arange(len(rows), dtype=z.dtype)[:, None] / 4
        return rows

    def reconstruct(self, images: Tensor) -> Tensor:
        return -images


@pytest.fixture(scope="module")
def able(tmp_path_factory: pytest.TempPathFactory) -> str:
    return kept(Able(), tmp_path_factory.mktemp("able") / "last.ckpt")


def levels(z: Tensor, label: Tensor | float) -> Tensor:
    """(n,) the grey levels of :class:`Flat`'s images of numbers z and classes, which may be mixed."""
    return ((z / 8 + (label - 1) / 2 + 1) * 127.5).round().clamp(0, 255).byte()


def numbers(n: int, seed: int = 0) -> Tensor:
    """(n,) the first number of each latent."""
    return Able().latent(SampleNoise(seed, range(n), torch.device("cpu")), n)[:, 0].double()


def tiles(image: Image.Image, rows: int, columns: int) -> Tensor:
    """(rows, columns) the grey levels of a grid of flat pictures of 8x8, 2 pixels apart."""
    assert image.size == (10 * columns + 2, 10 * rows + 2)
    levels = torch.frombuffer(bytearray(image.convert("L").tobytes()), dtype=torch.uint8).view(10 * rows + 2, -1)
    grid = torch.stack([levels[dy::10, dx::10][:rows, :columns] for dy in range(2, 10) for dx in range(2, 10)])
    assert (grid == grid[0]).all()
    return grid[0]


def test_a_class_can_be_asked_for(able: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([able, "--n", "5", "--label", "1", "--out", str(tmp_path / "one")])
    assert torch.equal(pixels(tmp_path / "one")[:, 0], levels(numbers(5), 1))
    main([able, "--n", "5", "--batch_size", "2", "--out", str(tmp_path / "none")])
    assert torch.equal(pixels(tmp_path / "none")[:, 0], levels(numbers(5), torch.tensor([0, 1, 2, 0, 1])))
    for flag in ("--label", "--labels"):
        assert "label 3: the classes are 0 to 2" in refused([able, flag, "3", "--out", str(tmp_path / "x")], capsys)


def test_classes_are_asked_for_by_name(able: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(able, weights_only=True)
    content["gan_lightning"]["trained_on"]["classes"] = ["0", "2", "sky, blue"]  # as folders sorted as text
    path = str(tmp_path / "named.ckpt")
    AtomicCheckpointIO().save_checkpoint(content, path)
    main([path, "--classes"])
    assert capsys.readouterr().out == "   0  0\n   1  2\n   2  sky, blue\n" and not (tmp_path / "samples").exists()
    for number, (flag, text, labels, said) in enumerate(
        [
            ("--label", "2", [1], ["2: class 2, number 1"]),
            ("--label", "0", [0], []),
            ("--label", "sky, blue", [2], ["sky, blue: class sky, blue, number 2"]),
            ("--labels", "sky, blue", [2], ["sky, blue: class sky, blue, number 2"]),
            ("--labels", "1,0,2", [1, 0, 1], ["1: class 2, number 1", "2: class 2, number 1"]),
        ]
    ):
        out = tmp_path / str(number)
        main([path, "--n", "3", flag, text, "--out", str(out)])
        assert torch.equal(pixels(out)[:, 0].view(-1, 3), torch.stack([levels(numbers(3), label) for label in labels]))
        assert capsys.readouterr().out.splitlines()[:-1] == said
    main([able, "--classes"])
    assert capsys.readouterr().out.split() == ["0", "1", "2"]


def test_classes_are_rows_of_the_same_latents(able: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([able, "--n", "5", "--labels", "2,0,2", "--batch_size", "2", "--grid", "--out", str(tmp_path)])
    expected = torch.stack([levels(numbers(5), label) for label in (2, 0, 2)])
    assert len(expected.unique()) == 10
    assert torch.equal(pixels(tmp_path)[:, 0].view(3, 5), expected)
    assert torch.equal(tiles(Image.open(tmp_path / "sheets" / "grid.png"), 3, 5), expected)
    assert "5 images of each label of Able" in capsys.readouterr().out
    assert "more than the 10 pictures" in refused([able, "--n", "5", "--labels", "0,1", "--out", str(tmp_path)], capsys)
    main([able, "--n", "300", "--labels", "0,1,2", "--grid", "--out", str(tmp_path)])
    assert tiles(Image.open(tmp_path / "sheets" / "grid.png"), 3, 85).shape == (3, 85), "256 images at most"


def test_a_walk_from_label_to_label_keeps_the_latents(able: str, tmp_path: Path) -> None:
    film, e = tmp_path / "walk.gif", 3 * 0.25**2 - 2 * 0.25**3  # of a step of which a quarter has passed
    main([able, "--n", "4", "--labels", "0,2,1", "--walk", str(film), "--seconds", "0.48", "--out", str(tmp_path)])
    walk = Image.open(film)
    labels = [0, 2 * e, 1, 2 - 2 * e, 2, 2 - e, 1.5, 1 + e, 1, 1 - e, 0.5, e]  # 0 -> 2 -> 1 -> 0
    for frame, label in enumerate(labels):
        walk.seek(frame)
        assert torch.equal(tiles(walk, 2, 2).flatten(), levels(numbers(4), label)), frame
    assert walk.n_frames == 12


def test_latents_can_be_truncated(able: str, tmp_path: Path) -> None:
    main([able, "--n", "6", "--label", "1", "--truncation", "0.5", "--out", str(tmp_path)])
    assert (numbers(6).abs() > 0.5).any()
    assert torch.equal(pixels(tmp_path)[:, 0], levels(numbers(6).clamp(-0.5, 0.5), 1))


@pytest.mark.parametrize(("code", "rows"), [(0, 3), (1, 10)])
def test_a_code_is_traversed(able: str, tmp_path: Path, code: int, rows: int) -> None:
    """A row for each value, a column for each latent, here of each class in turn."""
    main([able, "--n", "4", "--traverse", str(code), "--out", str(tmp_path)])
    expected = levels(torch.arange(rows)[:, None] / 4, torch.tensor([0, 1, 2, 0]))
    assert torch.equal(tiles(Image.open(tmp_path / "sheets" / "traverse.png"), rows, 4), expected)


def test_pictures_of_odd_names_and_levels_are_reconstructed(
    able: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9 [x]\n")
    folder.mkdir()
    Image.new("I;16", (8, 8), 1023).save(folder / os.fsdecode(b"\xe9\n.png"))  # white of 10 bits
    flags = [able, "--n", "1", "--reconstruct", str(folder)]
    main([*flags, "--white", "1023", "--out", str(tmp_path / "out")])
    assert Image.open(tmp_path / "out" / "sheets" / "reconstructions" / "000000.png").getextrema() == (
        0,
        0,
    )  # its negative
    (tmp_path / "more").mkdir()
    message = refused([*flags, "--max_pixels", "63", "--out", str(tmp_path / "more")], capsys)
    assert "caf\\xe9 [x]\\n/\\xe9\\n.png cannot be read: it has 8x8 pixels, more than max_pixels (63)" in message
    assert "--reconstruct: give that too" in refused([able, "--white", "3"], capsys)


def test_pictures_of_a_folder_are_reconstructed(able: str, tmp_path: Path) -> None:
    """Here turned into negatives; in the order of their names, whatever their size and kind."""
    folder = tmp_path / "given"
    (folder / "deeper").mkdir(parents=True)
    given = {"b.png": 10, "a.png": 200, "deeper/d.bmp": 120, "deeper/c.png": 30, "z.png": 77}
    for i, (name, level) in enumerate(given.items()):
        Image.new("RGB", (8 + i, 8 + 2 * i), (level,) * 3).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    main([able, "--n", "1", "--reconstruct", str(folder), "--batch_size", "2", "--out", str(tmp_path / "out")])
    files = sorted((tmp_path / "out" / "sheets" / "reconstructions").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(5)]
    originals = [200, 10, 30, 120, 77]  # a, b, deeper/c, deeper/d, z
    assert [Image.open(file).getextrema() for file in files] == [(255 - level,) * 2 for level in originals]
    assert Image.open(files[3]).size == (8, 8)
    pairs = tiles(Image.open(tmp_path / "out" / "sheets" / "reconstructions.png"), 3, 4).view(6, 2)
    assert pairs[:5].tolist() == [[level, 255 - level] for level in originals]


def test_standing_statistics_stand_for_those_of_training(checkpoint: str, tmp_path: Path) -> None:
    for n, name in ((0, "none"), (3, "three")):
        main([checkpoint, "--n", "4", "--standing", str(n), "--out", str(tmp_path / name)])
    module = load_model(checkpoint).double()
    with module.standing_statistics(3):
        expected = to_uint8(module.generate(module.latent(SampleNoise(0, range(4), module.device), 4).double()))
    assert torch.equal(pixels(tmp_path / "three"), expected.flatten(1))
    assert not torch.equal(pixels(tmp_path / "three"), pixels(tmp_path / "none"))


class Warm(Able):
    """A model of a user's own, whose samples have two arguments more."""

    def sample(
        self,
        numbers,
        seed=0,
        live=False,
        truncation=None,
        condition=None,
        average=None,
        temperature: float = 1.0,
        up: bool = True,
    ) -> Tensor:
        """As ever.

        Args:
            temperature: factor of the latents.
        """
        z = (temperature if up else -temperature) * self.latents(numbers, seed)
        condition = self.condition_of(numbers) if condition is None else condition
        return self.generate(z, live, condition, numbers, seed, truncation, average)


def test_an_argument_of_a_model_of_ones_own_is_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept(Warm(), tmp_path / "warm.ckpt")
    main([path, "--n", "5", "--label", "1", "--out", str(tmp_path / "as_ever")])
    main([path, "--n", "5", "--label", "1", "--temperature", "0.5", "--out", str(tmp_path / "cold")])
    assert torch.equal(pixels(tmp_path / "as_ever")[:, 0], levels(numbers(5), 1))
    assert torch.equal(pixels(tmp_path / "cold")[:, 0], levels(0.5 * numbers(5), 1))
    main([path, "--n", "5", "--label", "1", "--no-up", "--out", str(tmp_path / "down")])
    assert torch.equal(pixels(tmp_path / "down")[:, 0], levels(-numbers(5), 1))
    walk = ["--walk", "walk.gif", "--out", str(tmp_path / "walk")]
    assert "--temperature is of samples by number" in refused([path, *walk, "--temperature", "0.5"], capsys)
    torch.save({"z": torch.zeros(2, 2)}, tmp_path / "z.pt")
    stored = ["--latents", str(tmp_path / "z.pt"), "--out", str(tmp_path / "walk")]
    assert "--temperature is of samples by number" in refused([path, *stored, "--temperature", "0.5"], capsys)
    assert not (tmp_path / "walk").exists()
    shown = helped([path], capsys)
    assert "--temperature TEMPERATURE factor of the latents (default 1.0)" in shown
    assert "--seed SEED of the latents (default 0)" in shown, "the words of the base class"


def test_an_argument_of_ones_own_takes_no_flags_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Warm, "sample", lambda self, numbers, out="": None)
    Warm.sample.__annotations__["out"] = str
    parser = ModelParser("sample", "", ["sample"])
    parser.add_argument("--out")
    with pytest.raises(ValueError, match="Warm.sample has an argument out, a flag of this command: rename it"):
        parser.add_method(Warm, "sample")


def helped(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `--help` prints, in one line."""
    with pytest.raises(SystemExit) as exit_:
        main([*args, "--help"])
    assert exit_.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_shows_what_this_model_takes(
    checkpoint: str, able: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    general, some, all_ = helped([], capsys), helped([checkpoint], capsys), helped([able], capsys)
    always = (
        "--seed SEED",
        "--live",
        "--truncation",
        "--grid",
        "--standing N",
        "--walk FILE",
        "--latents FILE",
        "--direction K",
    )
    at_times = ("--label CLASS", "--traverse CODE", "--reconstruct DIR", "--white WHITE")
    for flag in ("checkpoint", "--trust PACKAGE", "--device {cpu,cuda,auto}"):
        assert flag in general and flag in some and flag in all_
    for flag in (*always, *at_times):
        assert flag not in general and (flag in some) == (flag in always) and flag in all_, flag
    info = helped([kept(tiny("InfoGAN"), tmp_path / "info.ckpt", conftest.SHAPE)], capsys)
    assert "--traverse CODE" in info and "--label" not in info and "--reconstruct" not in info


def test_models_with_these_abilities_are_drawn(tmp_path: Path) -> None:
    """BigGAN's classes and truncated latents, InfoGAN's codes."""
    path, out = kept(tiny("BigGAN"), tmp_path / "big.ckpt", conftest.SHAPE), tmp_path / "big"
    film = tmp_path / "walk.gif"
    flags = ["--labels", "0,1", "--truncation", "0.4", "--standing", "2", "--walk", str(film), "--seconds", "0.16"]
    main([path, "--n", "2", *flags, "--out", str(out)])
    module = load_model(path).double()
    z = module.latent(SampleNoise(0, range(2), module.device), 2).double()
    with module.standing_statistics(2):
        drawn = [module.generate(truncated_normal(z, 0.4), False, torch.full((2,), label)) for label in (0, 1)]
    assert torch.equal(pixels(out), to_uint8(torch.cat(drawn)).flatten(1))
    assert Image.open(film).n_frames == 4
    path = kept(tiny("InfoGAN"), tmp_path / "info.ckpt", conftest.SHAPE)
    main([path, "--n", "3", "--traverse", "0", "--out", str(tmp_path / "info")])
    assert Image.open(tmp_path / "info" / "sheets" / "traverse.png").size == (3 * 18 + 2, 10 * 18 + 2)


def refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that bad flags are answered with."""
    with pytest.raises(SystemExit) as exit_:
        main(flags)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and len(message.splitlines()) <= 2
    return message


def test_bad_input_is_one_line(checkpoint: str, able: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    file, corrupt, bare = tmp_path / "file", tmp_path / "corrupt.ckpt", tmp_path / "bare.ckpt"
    file.write_text("")
    corrupt.write_bytes(Path(checkpoint).read_bytes()[:1000])
    torch.save({"weight": torch.zeros(1)}, bare)
    empty, spoilt = tmp_path / "empty", tmp_path / "spoilt"
    empty.mkdir()
    spoilt.mkdir()
    Image.new("L", (8, 8)).save(spoilt / "a.png")
    (spoilt / "b.png").write_bytes((spoilt / "a.png").read_bytes()[:40])
    points = saved(tmp_path / "points.ckpt", models.WGAN, (2, 1, 1))
    for flags, message in [
        ([checkpoint.replace("last", "lst"), *out], "did you mean 'last.ckpt'"),
        ([str(corrupt), *out], "truncated or corrupt"),
        ([str(bare), *out], "not a checkpoint of gan_lightning"),
        ([points, *out], "points"),
        ([checkpoint, *out, "--n", "0"], "--n must be at least 1, not 0"),
        ([checkpoint, *out, "--n", "many"], "invalid int value: 'many'"),
        ([checkpoint, *out, "--walk", "a.gif", "--seconds", "0"], "--seconds: it must be a number above 0, not '0'"),
        ([checkpoint, *out, "--walk", "a.gif", "--seconds", "nan"], "it must be a number above 0, not 'nan'"),
        ([checkpoint, *out, "--walk", "a.avi"], "--walk a.avi: give a file that ends in .gif or .mp4"),
        ([checkpoint, *out, "--interpolate", "lerp"], "--interpolate is of --walk: give that too"),
        ([checkpoint, *out, "--seconds", "2"], "--seconds is of --walk: give that too"),
        ([checkpoint, "--out", str(file)], "is a file"),
        ([checkpoint, *out, "--sed", "1"], "unknown argument '--sed', did you mean '--seed'"),
        ([checkpoint, *out, "--interpolate", "cubic"], "invalid choice: 'cubic'"),
        ([checkpoint, *out, "--label", "3"], "unknown argument '--label': DCGAN does not take it"),
        ([checkpoint, *out, "--labels", "0,1"], "unknown argument '--labels': DCGAN does not take it"),
        ([checkpoint, *out, "--traverse", "0"], "unknown argument '--traverse': DCGAN does not take it"),
        ([checkpoint, *out, "--reconstruct", str(spoilt)], "unknown argument '--reconstruct': DCGAN does not take it"),
        ([checkpoint, *out, "--user", "3"], "unknown argument '--user': DCGAN does not take it"),
        ([checkpoint, *out, "--wholly", "3"], "unknown argument '--wholly': DCGAN does not take it"),
        ([able, *out, "--label", "0", "--labels", "1,2"], "--labels: not allowed with argument --label"),
        ([able, *out, "--labels", "0,,1"], "there is no class '': the classes are 0 to 2"),
        ([able, *out, "--truncation", "0"], "truncation must be positive, not 0.0"),
        ([able, *out, "--truncation", "nan"], "truncation must be positive, not nan"),
        ([able, *out, "--standing", "-1"], "--standing must be at least 0, not -1"),
        ([able, *out, "--traverse", "2"], "--traverse 2: Able has the codes 0 to 1"),
        ([able, *out, "--reconstruct", str(empty)], "empty holds no images"),
        ([able, *out, "--reconstruct", str(tmp_path / "none")], "none: there is no such folder"),
        ([able, *out, "--reconstruct", str(spoilt)], "b.png cannot be read"),
        ([], "required: checkpoint"),
    ]:
        assert message in refused(flags, capsys)
    assert not (tmp_path / "out").exists()
    if not torch.cuda.is_available():
        assert "no GPU" in refused([checkpoint, *out, "--device", "cuda"], capsys)


def test_a_mistyped_flag_is_answered_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "gan_lightning.sample", "x.ckpt", "--outt", "y"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: unknown argument '--outt', did you mean '--out'")
    assert " torch" not in result.stderr  # which takes seconds to load


def test_short_errors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @short_errors(KeyError)
    def fail(error: Exception) -> None:
        raise error

    for error, code in [
        (ValueError("one\ntwo\nthree"), 2),
        (FileNotFoundError("no file"), 2),
        (KeyError("key"), 2),
        (NotFiniteError("not finite"), 1),
    ]:
        with pytest.raises(SystemExit) as exit_:
            fail(error)
        assert exit_.value.code == code
    assert capsys.readouterr().err.splitlines() == [
        "error: one",
        "two",
        "error: no file",
        "error: 'key'",
        "error: not finite",
    ]
    with pytest.raises(TypeError):
        fail(TypeError("a fault of the program"))
    monkeypatch.setenv("GAN_LIGHTNING_TRACEBACK", "1")
    with pytest.raises(ValueError):
        fail(ValueError("shown whole"))


def test_nearest() -> None:
    assert nearest("wgangp", ["DCGAN", "WGANGP"]) == ", did you mean 'WGANGP'?"
    assert nearest("qqq", ["DCGAN"]) == ""


def test_a_model_without_latents_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_path = f"{Other.__module__}.{Other.__qualname__}"
    about = {"class_path": class_path, "players": [], "seed": 0, "iteration": 0, "images_seen": 0, "turns": {}}
    content = {"gan_lightning": about, "state_dict": {}, "hyper_parameters": {}, "pytorch-lightning_version": "2.6.6"}
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "last.ckpt")
    message = refused([str(tmp_path / "last.ckpt"), "--out", str(tmp_path / "out")], capsys)
    assert "Other makes no images from latents" in message


class Other(AdversarialModule):
    """A model that is no generator of images from latents."""

    image_shape = SHAPE

    def __init__(self) -> None:
        super().__init__(ImageStep())

    def players(self) -> dict:
        return {}
