"""Every yaml of `configs/` is parsed, and the small ones are built and take a step."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml

from gan_lightning import data, fit, models
from gan_lightning.cli import fit_cli

ROOT = Path(__file__).parents[1] / "configs"
SMALL = (
    "digits",
    "shapes",
    "patterns",
    "synthetic",
    "oracle_small",
    "picture",
)  # what needs neither files nor much time
NO_EXPERIMENTS = ("cluster", "sweeps", "trainer")
EXPERIMENTS = sorted(path for path in ROOT.glob("*/*.yaml") if path.parent.name not in NO_EXPERIMENTS)


class Parsed(Exception):
    """Carries the command line that was parsed; raised before anything is built."""


def parse(*args: str) -> fit_cli.FitCLI:
    """All that `fit` does before it builds anything."""
    parse_arguments = fit_cli.FitCLI.parse_arguments

    def only_parse(self: fit_cli.FitCLI, *given: Any) -> None:
        parse_arguments(self, *given)
        raise Parsed(self)

    with patch.object(fit_cli.FitCLI, "parse_arguments", only_parse), pytest.raises(Parsed) as parsed:
        fit_cli.run(list(args))
    return parsed.value.args[0]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_parses_and_begins_with_its_command(path: Path) -> None:
    config = parse(f"--config={path}").config
    assert config.model.class_path.rsplit(".", 1)[-1] in models.__all__
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("# python -m gan_lightning.fit ") and f"configs/{path.parent.name}/{path.name}" in first
    assert second.startswith("# ")


@pytest.mark.parametrize("path", sorted(ROOT.glob("trainer/*.yaml")), ids=lambda path: path.stem)
def test_a_trainer_file_composes_with_an_experiment(path: Path) -> None:
    config = parse(f"--config={ROOT / 'dcgan' / 'digits.yaml'}", f"--trainer={path}").config
    for name, value in yaml.safe_load(path.read_text()).items():
        assert config.trainer[name] == value
    assert (
        config.trainer.max_steps == yaml.safe_load((ROOT / "dcgan" / "digits.yaml").read_text())["trainer"]["max_steps"]
    )


def test_a_trainer_file_composes_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "small.yaml").write_text("max_steps: 3\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text("model: LSGAN\ndata: Digits\ntrainer: ../trainer/small.yaml\n")
    config = parse(f"--config={tmp_path / 'experiment' / 'x.yaml'}").config
    assert config.trainer.max_steps == 3 and config.model.class_path == "gan_lightning.models.LSGAN"


def test_scores_are_set_in_yaml_and_by_flags() -> None:
    flags = ["callbacks+=KID", "callbacks.subset_size=50", "callbacks.protocol.n_fake=300"]
    flags += ["callbacks.extractor=StackedDigitFeatures", "callbacks.when.every_n_epochs=2"]
    cli = parse(f"--config={ROOT / 'dcgan' / 'digits.yaml'}", *(f"--trainer.{flag}" for flag in flags))
    fid, *_, kid = cli.parser.instantiate_classes(cli.config).trainer.callbacks
    assert (type(fid).__name__, fid.when.every_n_steps, fid.protocol.n_fake) == ("FID", 375, 2000)
    assert (kid.when.every_n_steps, kid.when.every_n_epochs, kid.when.at_end) == (None, 2, True)
    assert (kid.subset_size, kid.protocol.n_fake, kid.extractor.name) == (50, 300, "stacked-digits")


@pytest.mark.parametrize("model", models.__all__)
def test_every_model_has_a_small_config_that_takes_a_step(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (path for name in SMALL for path in sorted(ROOT.glob(f"*/{name}.yaml")))
    path = next(path for path in small if yaml.safe_load(path.read_text())["model"]["class_path"] == model)
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.callbacks=null"]
    kind = getattr(data, yaml.safe_load(path.read_text())["data"]["class_path"])
    few = ["--data.n=100"] if "n" in inspect.signature(kind).parameters else []  # drawing thousands takes a while
    fit.main([f"--config={path}", "--trainer.max_steps=1", "--data.batch_size=4", *few, *quiet])
    assert list(tmp_path.glob(f"runs/{model}-*/*/last.ckpt"))


@pytest.mark.parametrize("name", ["sngan/cifar10", "sngan/cifar10_projection", "sagan/cifar10", "biggan/cifar10"])
def test_a_published_setting_runs_twenty_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own optimizers, schedules, averages and numbers of steps; narrow networks, few images of the same shape."""
    monkeypatch.chdir(tmp_path)
    text = re.sub(r"width: \d+", "width: 8", (ROOT / f"{name}.yaml").read_text())
    (tmp_path / "narrow.yaml").write_text(text)
    narrow = ["generator=ResNetGenerator", "discriminator=ResNetDiscriminator", "generator.width=8"]
    narrow = [f"--model.{flag}" for flag in [*narrow, "discriminator.width=8"]] if "width" not in text else []
    flags = ["--data=StackedDigits", "--data.n=100", "--data.batch_size=4", "--trainer.max_steps=20", *narrow]
    fit.main(["--config=narrow.yaml", *flags, "--trainer.logger=false", "--trainer.enable_progress_bar=false"])
    (checkpoint,) = tmp_path.glob("runs/*/*/last.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["global_step"] == 20
    assert all(value.isfinite().all() for value in state["state_dict"].values() if torch.is_tensor(value))


@pytest.mark.parametrize("name", ["dense", "movielens"])
def test_settings_of_irgan_play_their_game(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = [f"--model.{flag}=1" for flag in ("pretraining", "discriminator_turns", "generator_turns")]
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.callbacks=null"]
    fit.main([f"--config={ROOT / 'irgan' / f'{name}.yaml'}", "--trainer.max_steps=2", *short, *quiet])
    state = torch.load(next(tmp_path.glob("runs/*/*/last.ckpt")), weights_only=True)
    assert state["gan_lightning"]["turns"] == {"beginner": 1, "discriminator": 1, "generator": 1}
    assert all(value.isfinite().all() for value in state["state_dict"].values() if torch.is_tensor(value))


@pytest.mark.parametrize("name", ["stackgan/cub", "stackgan/coco", "stackgan/flickr8k"])
def test_settings_for_captions_run_five_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All phases, with their own text encoders, schedules and batches; narrow networks, small drawn scenes."""
    monkeypatch.chdir(tmp_path)
    text = re.sub(r"(width|dim): \d+", r"\1: 4", (ROOT / f"{name}.yaml").read_text())
    config = yaml.safe_load(text)
    config["data"] = {"class_path": "CaptionedShapes", "init_args": {"n": 40, "size": 16, "batch_size": 4}}
    settings = config["model"]["init_args"]
    settings |= {"stage_1_side": 8, "stage_1_images": 8, "stage_2_batch": settings.get("stage_2_batch") and 2}
    if "text_images" in settings:
        settings["text_images"] = 4
        settings["text_encoder"]["init_args"]["widths"] = [4, 4, 4]
    (tmp_path / "narrow.yaml").write_text(yaml.safe_dump(config))
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    fit.main(["--config=narrow.yaml", "--trainer.max_steps=5", *quiet])
    (checkpoint,) = tmp_path.glob("runs/*/*/last.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    first = 1 if "text_images" in settings else 0
    assert state["gan_lightning"]["turns"].items() >= {"generator_1": 2, "generator_2": 3 - first}.items()
    assert all(value.isfinite().all() for value in state["state_dict"].values() if torch.is_tensor(value))


def test_settings_for_captions_are_the_authors() -> None:
    """Pictures, epochs of the stages, batches, epochs between two halvings of the rates, widths."""
    for name, pictures, epochs, batches, halving, width, blocks in (
        ("cub", 8_855, (600, 600), (64, 64), (50, 100), (128, 64), 4),
        ("coco", 82_783, (120, 100), (128, 40), (20, 20), (192, 96), 2),
    ):
        config = parse(f"--config={ROOT / 'stackgan' / f'{name}.yaml'}").config
        model, batch = config.model.init_args, config.data.init_args.batch_size
        assert (batch, model.stage_2_batch or batch) == batches and config.data.init_args.size == 256
        assert model.stage_1_images == epochs[0] * pictures and model.stage_1_side == 64 and model.kl_weight == 2.0
        steps = (model.text_images + model.stage_1_images) / batches[0] + epochs[1] * pictures / batches[1]
        assert config.trainer.max_steps == math.ceil(steps)
        for schedule, every, size in zip(
            (model.step.scheduler, model.stage_2_scheduler), halving, batches, strict=True
        ):
            assert schedule.init_args.gamma == 0.5
            assert schedule.init_args.step_size == pytest.approx(every * pictures / size, abs=1)
        assert (model.generator_1.init_args.width, model.discriminator_1.init_args.width) == width
        assert (model.generator_2.init_args.width, model.discriminator_2.init_args.width) == width
        assert model.generator_2.init_args.blocks == blocks
        assert model.generator_1.init_args.condition_dim == model.discriminator_2.init_args.condition_dim == 128


def test_published_settings_for_cifar10_are_the_sheets() -> None:
    """Batch, steps, discriminator steps, learning rates and betas, decay, start and pace of the average."""
    expected = {  # per generator step: images, hence the half-life of an average that keeps 0.9999
        "sngan/cifar10": (64, 100_000, 5, 2e-4, 2e-4, (0.0, 0.9), None),
        "sngan/cifar10_projection": (64, 100_000, 5, 2e-4, 2e-4, (0.0, 0.9), None),
        "sagan/cifar10": (64, 100_000, 1, 1e-4, 4e-4, (0.0, 0.9), 64),
        "biggan/cifar10": (50, 125_000, 4, 2e-4, 2e-4, (0.0, 0.999), 200),
    }
    for name, (batch, steps, n_critic, g, d, betas, images) in expected.items():
        cli = parse(f"--config={ROOT / f'{name}.yaml'}")
        built = cli.config.model.init_args
        assert (cli.config.data.init_args.batch_size, cli.config.trainer.max_steps) == (batch, steps)
        assert built.n_critic == n_critic
        for rate, optimizer in ((g, built.generator_optimizer), (d, built.discriminator_optimizer)):
            settings = optimizer.init_args
            assert (settings.lr, settings.beta1, settings.beta2) == (rate, *betas)
        if images is None:
            assert built.step.scheduler.init_args.end == steps  # linear to zero
        else:
            half_life = math.log(0.5) / math.log(0.9999) * images
            assert built.step.ema_half_life == pytest.approx(half_life, rel=1e-3) and built.step.ema_start == 1000


@pytest.mark.parametrize("name", ["cifar10", "stl10"])
def test_full_size_settings_of_lapgan_run_at_reduced_width(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = re.sub(r"width: \d+", "width: 4", (ROOT / "lapgan" / f"{name}.yaml").read_text())
    (tmp_path / "narrow.yaml").write_text(text)
    size = yaml.safe_load(text)["data"]["init_args"].get("size", 32)
    flags = ["--data=StackedDigits", "--data.root=null", f"--data.size={size}", "--data.n=100", "--data.batch_size=4"]
    flags += ["--trainer.max_steps=5", "--trainer.callbacks=null", "--trainer.logger=false"]
    fit.main(["--config=narrow.yaml", *flags, "--trainer.enable_progress_bar=false"])
    (checkpoint,) = tmp_path.glob("runs/*/*/last.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["global_step"] == 5
    assert all(value.isfinite().all() for value in state["state_dict"].values() if torch.is_tensor(value))
