"""Train a GAN: `python -m gan_lightning.fit [--model NAME] [--data NAME] [--config FILE] [--ckpt_path last|FILE]`.

With no argument DCGAN learns the handwritten digits that ship with scikit-learn. `--list` names the models and the
data, `--print_config` shows every setting, and later files and flags win over earlier ones.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning import checkpoints, command_line, runs, signals, slurm
from gan_lightning.callbacks import Checkpoint, GANProgressBar, Health, SampleGrid
from gan_lightning.core import AdversarialModule
from gan_lightning.data.base import FACTS
from gan_lightning.errors import short_errors

PACKAGE = Path(__file__).parent
DEFAULTS = {"max_steps": 100_000, "max_epochs": -1, "default_root_dir": "runs", "enable_model_summary": False}


def config_file(name: str) -> str:
    """A file of `configs/`: beside the package in a checkout, inside it when installed."""
    return str(next(path for root in (PACKAGE.parent, PACKAGE) if (path := root / "configs" / name).exists()))


class FitCLI(LightningCLI):
    """LightningCLI with a folder for each run, its trackers, checkpoints and pictures.

    Args:
        typed: the command line as it was given.
    """

    def __init__(self, *positional: Any, typed: list[str], **named: Any) -> None:
        self.typed = typed
        super().__init__(*positional, **named)

    def add_arguments_to_parser(self, parser: command_line.Parser) -> None:
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="`last`, or a file to resume from")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(SampleGrid, "grid")
        for fact in FACTS:
            known = self._image_shape if fact == "image_shape" else None
            parser.link_arguments(f"data.{fact}", f"model.init_args.{fact}", known, apply_on="instantiate")

    def _image_shape(self, shape: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        """The data's.

        Raises:
            ValueError: it has none, and the model is one of images.
        """
        model, data = (self.config[part].class_path.rsplit(".", 1)[-1] for part in ("model", "data"))
        kind = locate(self.config.model.class_path)
        if shape is None and "image_shape" in inspect.signature(kind).parameters:
            raise ValueError(f"{model} is a model of images, and {data} has none: choose other data or another model")
        return shape

    def parse_arguments(self, parser: command_line.Parser, args: list[str]) -> None:
        self.config = parser.parse_args(args)
        names = (self.config[part].class_path.rsplit(".", 1)[-1] for part in ("model", "data"))
        self.run_name = "-".join(names)

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        root, self.resume_from = self.config.trainer.default_root_dir, self.config.ckpt_path
        if (own := slurm.unfinished(root, self.typed)) is not None:
            self.resume_from, self.folder = str(own), own.parent
        elif self.resume_from == "last":  # goes on with its run; a file that is named begins a new one
            self.resume_from = str(runs.latest_checkpoint(root, self.run_name))
            self.folder = Path(self.resume_from).parent
        else:
            if self.resume_from is not None:
                checkpoints.read(self.resume_from)
            self.folder = runs.new_folder(root, self.run_name)
        text = self.parser.dump(self.config, skip_unset=False)
        if rank_zero_only.rank == 0:  # the other processes of a cluster's launcher do not know the folder
            (self.folder / "config.yaml").write_text(text)
            slurm.claim(self.folder, self.typed)
        self.config_init.checkpoint.config = text
        logger = self.config_init.trainer.logger
        if logger is None or logger is True:
            logger = runs.loggers(self.folder, self.run_name, yaml.safe_load(text))
        elif logger:
            logger = [*(logger if isinstance(logger, list) else [logger]), runs.RunCSVLogger(self.folder)]
        bar = [GANProgressBar()] if self.config_init.trainer.enable_progress_bar is not False else []
        self.trainer_defaults = {"callbacks": [*bar, Health()]}
        return super().instantiate_trainer(default_root_dir=str(self.folder), logger=logger, **kwargs)


def with_base_config(args: list[str]) -> list[str]:
    """Put before the arguments what they leave out: a checkpoint's config if one is resumed, else the quick start's.

    Not by the parser's defaults: those of one model would stay when another is named.
    """
    given = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--model", "--data", "--config", "-c", "--ckpt_path", "--trainer.default_root_dir"):
        given.add_argument(flag)
    known, _ = given.parse_known_args(args)
    if known.config or known.c:
        return args
    if known.model or known.data:
        return [f"--model={known.model or 'DCGAN'}", f"--data={known.data or 'Digits'}", *args]
    if known.ckpt_path is None:
        return ["--config", config_file("dcgan/digits.yaml"), *args]
    path = known.ckpt_path
    if path == "last":
        root = getattr(known, "trainer.default_root_dir") or DEFAULTS["default_root_dir"]
        path = slurm.unfinished(root, args) or runs.latest_checkpoint(root)
    if (config := checkpoints.read(path).get("config")) is None:
        raise ValueError(f"{path} holds no config: name the model and the data it was trained with")
    return ["--config", config, *args]


def how_it_stopped(cli: FitCLI, number: signal.Signals) -> str:
    """The line that ends a run which a signal has ended; where the signal means it, Slurm is asked to run it again."""
    if (last := cli.config_init.checkpoint.last_path) is None:
        return f"{number.name}: ended before there was anything to save"
    last = shlex.quote(os.path.relpath(last))
    further = f"go on with: python -m gan_lightning.fit --ckpt_path {last}"
    if number.name == "SIGUSR1" and slurm.job() is not None:
        further = f"{slurm.requeue()}; by hand: {further.removeprefix('go on with: ')}"
    return f"{number.name}: ended at step {cli.trainer.global_step}, saved in {last}; {further}"


def main(args: list[str] | None = None) -> None:
    """Train as the command line says; exit code 2 for bad input, 1 for a run that broke, 128 + n by signal n."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    args = sys.argv[1:] if args is None else args
    with signals.listening() as listener, short_errors():
        if "--list" in args:
            print(command_line.listing())
            return
        cli = FitCLI(
            AdversarialModule,
            LightningDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=DEFAULTS,
            parser_class=command_line.Parser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            run=False,
            args=with_base_config(args),
            typed=args,
        )
        listener.launcher = cli.trainer.strategy.launcher
        try:
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.resume_from, weights_only=True)
        except signals.Stopped as stopped:
            if cli.trainer.is_global_zero:
                print(how_it_stopped(cli, stopped.signal))
            raise
        except ValueError:
            if cli.model.begun:  # no bad input any more, but a fault in somebody's code: it needs its traceback
                traceback.print_exc()
                sys.exit(1)
            raise
        if cli.trainer.is_global_zero:
            print(command_line.closing(cli))


if __name__ == "__main__":
    signals.listen_to_the_end()
    main()
