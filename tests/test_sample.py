"""Pictures from a checkpoint alone, the same ones however they are computed, and short answers to bad input."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Noisy, quiet
from PIL import Image
from torch import Tensor

from gan_lightning import models, networks, optim
from gan_lightning.checkpoints import AtomicCheckpointIO, load_model
from gan_lightning.core import AdversarialModule, Step
from gan_lightning.errors import NotFiniteError, nearest, short_errors
from gan_lightning.sample import lerp, main, slerp

SHAPE = (1, 8, 8)


def saved(path: Path, kind: type = models.DCGAN, shape: tuple[int, int, int] = SHAPE, steps: int = 2) -> str:
    """A checkpoint of a tiny model after a little training."""
    torch.manual_seed(0)
    small = {
        models.DCGAN: (partial(networks.DCGANGenerator, width=4), partial(networks.DCGANDiscriminator, width=4)),
        models.SNGAN: (partial(networks.ResNetGenerator, width=4), partial(networks.ResNetDiscriminator, width=4)),
    }.get(kind, (partial(networks.MLPGenerator, width=16), partial(networks.MLPDiscriminator, width=16)))
    fast = partial(optim.PaperAdam, lr=0.05)  # the average stays far behind
    model = kind(shape, *small, generator_optimizer=fast, n_critic=1, step=Step(ema_rampup=None))
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
    flags = [checkpoint, "--n", "6", "--out", "drawn", "--grid", "--interpolate", "slerp", "--frames", "12"]
    result = subprocess.run(
        [sys.executable, "-c", program, *flags], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    out = tmp_path / "drawn"
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [
        "drawn",
        "drawn/grid.png",
        "drawn/walk.gif",
    ]
    assert sorted(file.name for file in out.iterdir()) == [f"{i:06d}.png" for i in range(6)] + ["grid.png", "walk.gif"]
    picture = Image.open(out / "000000.png")
    assert (picture.mode, picture.size) == ("L", (8, 8))
    assert Image.open(out / "grid.png").size == (3 * 10 + 2, 2 * 10 + 2)  # 3 x 2 pictures, 2 pixels apart
    walk = Image.open(out / "walk.gif")
    assert (walk.n_frames, walk.size, walk.info["loop"]) == (12, (3 * 10 + 2, 2 * 10 + 2), 0)
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
    main([checkpoint, "--n", "1", "--out", str(tmp_path), "--interpolate", "lerp", "--frames", "3"])
    assert Image.open(tmp_path / "walk.gif").n_frames == 3
    assert f"walk: {tmp_path / 'walk.gif'}" in capsys.readouterr().out


def test_pictures_of_two_calls_are_not_mixed(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = [checkpoint, "--out", str(tmp_path)]
    main([*flags, "--n", "3"])
    main([*flags, "--n", "3", "--seed", "1"])  # the same pictures, drawn again
    capsys.readouterr()
    assert "holds more pictures than --n 2, up to 000002.png" in refused([*flags, "--n", "2"], capsys)


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


class Conditional(models.GAN):
    """Draws brighter images for greater labels."""

    num_classes = 2

    def generate(self, z: Tensor, live: bool = False, label: Tensor | None = None) -> Tensor:
        images = super().generate(z, live)
        return images if label is None else torch.zeros_like(images) + label.view(-1, 1, 1, 1)


def test_a_class_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "last.ckpt", Conditional)
    main([path, "--n", "2", "--label", "1", "--out", str(tmp_path / "out")])
    assert (pixels(tmp_path / "out") == 255).all()
    assert "classes 0 to 1" in refused([path, "--label", "2", "--out", str(tmp_path / "out")], capsys)


def refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that bad flags are answered with."""
    with pytest.raises(SystemExit) as exit_:
        main(flags)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and len(message.splitlines()) <= 2
    return message


def test_bad_input_is_one_line(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    file, corrupt, bare = tmp_path / "file", tmp_path / "corrupt.ckpt", tmp_path / "bare.ckpt"
    file.write_text("")
    corrupt.write_bytes(Path(checkpoint).read_bytes()[:1000])
    torch.save({"weight": torch.zeros(1)}, bare)
    points = saved(tmp_path / "points.ckpt", models.WGAN, (2, 1, 1))
    for flags, message in [
        ([checkpoint.replace("last", "lst"), *out], "did you mean 'last.ckpt'"),
        ([str(corrupt), *out], "truncated or corrupt"),
        ([str(bare), *out], "not a checkpoint of gan_lightning"),
        ([points, *out], "points"),
        ([checkpoint, *out, "--n", "0"], "--n must be at least 1, not 0"),
        ([checkpoint, *out, "--n", "many"], "invalid int value: 'many'"),
        ([checkpoint, *out, "--frames", "1", "--interpolate", "lerp"], "--frames must be at least 2"),
        ([checkpoint, "--out", str(file)], "is a file"),
        ([checkpoint, *out, "--sed", "1"], "unknown argument '--sed', did you mean '--seed'"),
        ([checkpoint, *out, "--interpolate", "cubic"], "invalid choice: 'cubic'"),
        ([checkpoint, *out, "--label", "3"], "DCGAN was trained without classes"),
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
    assert result.stderr.splitlines()[-1].startswith("error: unknown argument '--outt', did you mean '--out'?")
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
    about = {"class_path": class_path, "players": [], "seed": 0, "iteration": 0, "images_seen": 0}
    content = {"gan_lightning": about, "state_dict": {}, "hyper_parameters": {}, "pytorch-lightning_version": "2.6.6"}
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "last.ckpt")
    message = refused([str(tmp_path / "last.ckpt"), "--out", str(tmp_path / "out")], capsys)
    assert "Other makes no images from latents" in message


class Other(AdversarialModule):
    """A model that is no generator of images from latents."""

    image_shape = SHAPE

    def __init__(self) -> None:
        super().__init__(Step())

    def players(self) -> dict:
        return {}
