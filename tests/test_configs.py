"""Every yaml of `configs/` is parsed, and the small ones are built and take a step."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lightning.pytorch import LightningDataModule

from gan_lightning import command_line, fit, models
from gan_lightning.core import AdversarialModule

ROOT = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(path for path in ROOT.glob("*/*.yaml") if path.parent.name != "trainer")


def parse(*args: str) -> fit.FitCLI:
    """All that `fit` does before it builds anything."""
    cli = fit.FitCLI.__new__(fit.FitCLI)
    cli.trainer_class, cli.trainer_defaults = fit.Trainer, fit.DEFAULTS
    cli.save_config_callback, cli.seed_everything_default, cli.auto_configure_optimizers = None, 0, False
    cli._model_class, cli.subclass_mode_model = AdversarialModule, True
    cli.datamodule_class = cli._datamodule_class = LightningDataModule
    cli.subclass_mode_data, cli.parser_class = True, command_line.Parser
    cli.setup_parser(False, {}, {})
    cli.parse_arguments(cli.parser, list(args))
    return cli


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
    flags += ["callbacks.extractor=StackedDigitFeatures"]
    cli = parse(f"--config={ROOT / 'dcgan' / 'digits.yaml'}", *(f"--trainer.{flag}" for flag in flags))
    fid, *_, kid = cli.parser.instantiate_classes(cli.config).trainer.callbacks
    assert (type(fid).__name__, fid.every_n_steps, fid.protocol.n_fake) == ("FID", 375, 2000)
    assert (kid.subset_size, kid.protocol.n_fake, kid.extractor.name) == (50, 300, "stacked-digits")


@pytest.mark.parametrize("model", models.__all__)
def test_every_model_has_a_digits_config_that_takes_a_step(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (p for p in ROOT.glob("*/digits.yaml") if yaml.safe_load(p.read_text())["model"]["class_path"] == model)
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.callbacks=null"]
    fit.main([f"--config={path}", "--trainer.max_steps=1", "--data.batch_size=4", *quiet])
    assert list(tmp_path.glob(f"runs/{model}-Digits/*/last.ckpt"))
