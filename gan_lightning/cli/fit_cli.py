"""What `fit` does once torch and Lightning are loaded: it completes the command line, trains, and says how it ended."""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from pydoc import locate
from typing import Any, NamedTuple

import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning import reporting
from gan_lightning.batches import LINKED_ARGUMENTS
from gan_lightning.callbacks import Checkpoint, GANProgressBar, Health, RunSummary, SampleGrid
from gan_lightning.cli import command_line, ending
from gan_lightning.cli.arguments import TRUST_HELP, Parser, program
from gan_lightning.core import AdversarialModule
from gan_lightning.core.hyperparameters import own_record, with_plain_factories
from gan_lightning.loading import init_from
from gan_lightning.runtime import checkpoint_io, jobs, processes, runs, signals, trainer_arguments
from gan_lightning.runtime.errors import leave, misconfiguration, one_line, short_errors
from gan_lightning.runtime.peers import Peers
from gan_lightning.runtime.trust import RUN_FOLDER, USER

PACKAGE = Path(__file__).parents[1]
FREEZE_HELP = "a module that does not move, which is model.step.freeze"
INIT_HELP = "a checkpoint whose weights a new run starts from, where they fit"
DEFAULTS = {"max_steps": 100_000, "max_epochs": -1, "default_root_dir": "runs", "enable_model_summary": False}


def config_file(name: str) -> str:
    """A file of `configs/`: beside the package in a checkout, inside it when installed."""
    return str(next(path for root in (PACKAGE.parent, PACKAGE) if (path := root / "configs" / name).exists()))


class Resumed(NamedTuple):
    """The checkpoint that a run goes on from."""

    path: Path
    folder: Path | None  # of the run that it is of, where that goes on in its place; None for a new one
    config: dict[str, Any] | None  # of that run, which settings come from; None of one that was begun in Python
    reached: tuple[int, int]  # generator steps, images

    @classmethod
    def read(cls, path: Path, folder: Path | None, trust: Sequence[str] | None) -> Resumed:
        """A checkpoint, whose config may name the packages of `trust`; None where its config is not wanted.

        Raises:
            FileNotFoundError, ValueError: see :func:`command_line.config_of`; or no run can go on from it.
        """
        content = checkpoint_io.read(path)
        saved = own_record(content, path)
        if "optimizer_states" not in content:
            raise ValueError(f"{path} holds weights, and no run to go on with: begin one from them: --init_from {path}")
        config = None if trust is None else command_line.config_of(path, trust, content)
        for part, kind, within in (
            *((name, dict, content) for name in ("state_dict", "hyper_parameters", "loops", "callbacks")),
            *((name, list, content) for name in ("optimizer_states", "lr_schedulers")),
            *((name, int, saved) for name in ("seed", "iteration", "images_seen")),
            ("global_step", int, content),
            ("class_path", str, saved),
            ("players", list, saved),
            ("turns", dict, saved),
        ):
            if not isinstance(within.get(part), kind):
                raise ValueError(f"{path} is damaged: it holds no {part} that a run can go on from")
        return cls(path, folder, config, (content["global_step"], saved["images_seen"]))


class FitCLI(LightningCLI):
    """LightningCLI with a folder for each run, its trackers, checkpoints and pictures.

    Args:
        resumed: what the run goes on from; None for a new one.
        arguments: the command line as it was given.
    """

    def __init__(self, resumed: Resumed | None, arguments: list[str], *args: Any, **kwargs: Any) -> None:
        self.resumed, self.arguments = resumed, arguments
        super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: command_line.Parser) -> None:
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="`last`, or a file to resume from")
        parser.add_argument("--init_from", type=str | None, default=None, help=INIT_HELP)
        parser.add_argument("--freeze", type=str | None, default=None, metavar="NAME", help=FREEZE_HELP)
        parser.add_argument("--trust", type=str | None, default=None, metavar="PACKAGE", help=TRUST_HELP)
        parser.add_lightning_class_args(Checkpoint, "checkpoint")
        parser.add_lightning_class_args(SampleGrid, "grid")
        for fact in LINKED_ARGUMENTS:
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
        self.config = command_line.at_home(parser.parse_args(args))
        with_plain_factories(self.config.model, "model")
        for flag in ("trust", "freeze"):
            if self.config.pop(flag) is not None:  # flags have been taken out
                raise ValueError(f"{flag} is no part of a config: give --{flag} on the command line")
        command_line.check_config(vars(self.config), USER)
        if isinstance(callbacks := self.config.trainer.callbacks, list):  # `callbacks+=FID` again, of a run that has it
            self.config.trainer.callbacks = [one for n, one in enumerate(callbacks) if one not in callbacks[:n]]
        names = (self.config[part].class_path.rsplit(".", 1)[-1] for part in ("model", "data"))
        self.run_name = "-".join(names)

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        asked = self.config_init.trainer
        trainer_arguments.check(asked)
        processes.longest_wait()  # refused before the run has a folder
        if asked.enable_checkpointing is False or asked.barebones:
            self.parser.callback_keys.remove("checkpoint")
        resumed, reached = self.resumed, None
        if resumed is not None and resumed.folder is not None:
            self.folder, reached = resumed.folder, resumed.reached
        else:
            self.folder = runs.new_folder(self.config.trainer.default_root_dir, self.run_name)
        if resumed is not None and resumed.config is not None:
            self.config_init.model.seed_wins = self.config.seed_everything != resumed.config.get("seed_everything")
        text = self.parser.dump(self.config, skip_unset=False)
        if rank_zero_only.rank == 0:  # the other processes of a cluster's launcher do not know the folder
            jobs.claim(self.folder, self.arguments, self.config.checkpoint.folder or self.folder)
        self.config_init.checkpoint.config = text
        logger = asked.logger
        if asked.barebones:
            logger = logger or None  # with a logger Lightning refuses it
        elif logger is None or logger is True:
            logger = runs.loggers(self.folder, self.run_name, yaml.safe_load(text), reached)
        elif logger:
            logger = [*command_line.listed(logger), runs.RunCSVLogger(self.folder, reached)]
            for board in (one for one in logger if isinstance(one, TensorBoardLogger) and one.save_dir == RUN_FOLDER):
                board._root_dir, board._version = str(self.folder), ""  # not known when it was made; one for all parts
        own_bar = any(isinstance(callback, ProgressBar) for callback in command_line.listed(asked.callbacks))
        bar = [] if own_bar or asked.enable_progress_bar is False or asked.barebones else [GANProgressBar()]
        self.summary = RunSummary()
        self.peers = Peers(partial(ending.further, self))
        self.trainer_defaults = {"callbacks": [*bar, Health(), self.summary, self.peers]}
        with trainer_arguments.refused():
            return super().instantiate_trainer(default_root_dir=str(self.folder), logger=logger, **kwargs)


def trusted(args: list[str]) -> tuple[list[str], list[str]]:
    """The packages of `--trust`, and the arguments without it: no config holds it, and no checkpoint."""
    return taken_out(args, "--trust", "name a package")


def frozen(args: list[str]) -> list[str]:
    """The arguments with all of `--freeze NAME` as the model's argument `step.freeze`."""
    names, others = taken_out(args, "--freeze", "name a module of the model, such as discriminator.layers.0")
    return [*others, f"--model.step.freeze={json.dumps(names)}"] if names else others


def with_board(args: list[str]) -> list[str]:
    """The arguments with the run's folder for a TensorBoardLogger that is given none."""
    words = " ".join(args).replace("=", " ")
    if "--trainer.logger TensorBoardLogger" not in words or "--trainer.logger.save_dir" in words:
        return args
    own = {"save_dir": RUN_FOLDER, "name": "tensorboard"}
    missing = [name for name in own if f"--trainer.logger.{name} " not in words]
    return [*args, *(f"--trainer.logger.{name}={own[name]}" for name in missing)]


def taken_out(args: list[str], flag: str, hint: str) -> tuple[list[str], list[str]]:
    """The values of a flag that may be given again, and the arguments without it.

    Raises:
        ValueError: it has no value; the hint says what that would be.
    """
    given = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    given.add_argument(flag, action="append", default=[], dest="values")
    try:
        known, others = given.parse_known_args(args)
    except argparse.ArgumentError:
        raise ValueError(f"{flag}: {hint}") from None
    return known.values, others


def with_base_config(args: list[str], trust: Sequence[str] = ()) -> tuple[list[str], Resumed | None]:
    """Put before the arguments what they leave out: a checkpoint's config if one is resumed, else the quick start's.

    Not by the parser's defaults: those of one model would stay when another is named.

    Args:
        args: those of the command line.
        trust: packages of the user's own that the checkpoint may name.

    Returns:
        the arguments, and what the run goes on from.

    Raises:
        FileNotFoundError, ValueError: see :func:`command_line.config_of`; the file does not say what it was trained on,
            or there is no file whose weights a new run starts from.
    """
    given, flags = args, Parser(add_help=False, allow_abbrev=False)
    for flag in ("--model", "--data", "--ckpt_path", "--init_from", "--trainer.default_root_dir"):
        flags.add_argument(flag)
    flags.add_argument("--config", "-c", action="append", default=[])
    known, _ = flags.parse_known_args(args)
    named = {name: getattr(known, name) for name in ("model", "data", "ckpt_path", "init_from")}
    root = getattr(known, "trainer.default_root_dir")
    for config in reversed([_settings(text) for text in known.config]):  # later ones win, and flags over them
        for part, value in named.items():
            chosen = config.get(part)
            named[part] = value or (chosen.get("class_path") if isinstance(chosen, dict) else chosen)
        root = root or _root_of(config)
    own, resumed, given_path = _own(root, given), None, named["ckpt_path"]
    if given_path not in (None, "null"):
        if known.init_from is not None:
            raise ValueError("--ckpt_path goes on with a run, --init_from begins a new one: leave one of them out")
        path, folder = Path(given_path).expanduser(), None
        if own is not None:  # not what others have saved since, nor a file that has gone since
            path, folder = own
        elif given_path == "last":  # goes on with its run; a file that is named begins a new one
            names = (name.rsplit(".", 1)[-1] if name else "*" for name in (named["model"], named["data"]))
            runs_root = os.path.expanduser(root or DEFAULTS["default_root_dir"])
            path = runs.latest_checkpoint(runs_root, "-".join(names).replace("*-*", "*"))
            folder = path.parent
        resumed = Resumed.read(path, folder, trust)
        elsewhere = _root_of(resumed.config or {})
        if own is None and root is None and elsewhere and (own := _own(elsewhere, given)):
            resumed = Resumed.read(*own, trust)
        if resumed.config is not None:  # as it was looked at, not a text that reads in more than one way
            args = ["--config", json.dumps(resumed.config), *args]
        elif not (named["model"] and named["data"]):
            raise ValueError(f"{resumed.path} holds no config: name the model and the data it was trained with")
    elif known.model or known.data:
        if not known.config:
            args = [f"--model={known.model or 'DCGAN'}", f"--data={known.data or 'Digits'}", *args]
    elif not known.config:
        args = ["--config", config_file("r3gan/digits.yaml"), *args]
    if own is not None:
        resumed = resumed or Resumed.read(*own, None)  # of this very command, which says all by itself
        if rank_zero_only.rank == 0:
            print(f"{', '.join(jobs.names())}: goes on from {own[0]}; a job of another name begins anew", flush=True)
    if resumed is None and (donor := named["init_from"]) not in (None, "null"):
        checkpoint_io.require(Path(donor).expanduser())  # before the run has a folder
    return args, resumed


def _own(root: str | None, arguments: list[str]) -> tuple[Path, Path] | None:
    """What the job goes on from by itself, see :func:`jobs.unfinished`."""
    return jobs.unfinished(os.path.expanduser(root or DEFAULTS["default_root_dir"]), arguments)


def _root_of(config: dict[str, Any]) -> str | None:
    """The folder of all runs that a config names; its trainer may stand in another file."""
    trainer = config.get("trainer")
    return trainer.get("default_root_dir") if isinstance(trainer, dict) else None


def _settings(config: str) -> dict[str, Any]:
    """A config file's settings, or none of one that cannot be read: the parser says what is wrong with it."""
    try:
        found = yaml.safe_load(Path(config).expanduser().read_text("utf-8") if "\n" not in config else config)
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    return found if isinstance(found, dict) else {}


def run(args: list[str]) -> None:
    """Train as the arguments say; exit code 2 for bad input, 1 for a run that broke, 128 + n by signal n."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for asked in ("profilers", "callbacks"):  # reports that nobody gets without asking for them
        logging.getLogger(f"lightning.pytorch.{asked}").setLevel(logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of the fonts that it looks for when it is new
    with signals.listening() as listener, short_errors(), runs.finished():
        processes.know_rank()
        trust, given = trusted(args)
        args, resumed = with_base_config(with_board(frozen(given)), trust)
        cli = FitCLI(
            resumed,
            given,
            AdversarialModule,
            LightningDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=DEFAULTS,
            parser_class=command_line.Parser,
            parser_kwargs={"prog": program("fit"), "description": "Train a GAN: every flag."},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            run=False,
            args=args,
        )
        processes.limit_waiting(cli.trainer.strategy)
        listener.launcher = cli.trainer.strategy.launcher
        try:
            if cli.config.init_from is not None and resumed is None:
                said = init_from(cli.model, cli.config.init_from)
                if cli.trainer.is_global_zero:
                    print(said)
            ckpt_path = None if resumed is None else str(resumed.path)
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=ckpt_path, weights_only=True)
        except signals.Stopped as stopped:
            cli.peers.dismiss()
            if cli.trainer.is_global_zero:
                print(ending.how_it_stopped(cli, stopped.signal), flush=True)
            if ending.asks_again(cli, stopped.signal):
                processes.wait_for_first(ending.ASKING)
            if cli.trainer.is_global_zero:
                cli.summary.draw(cli.trainer)
                reporting.keep(cli.folder)
            raise
        except Exception as error:
            with suppress(OSError):
                cli.folder.rmdir()  # if nothing is in it
            ending.explain(cli, error)
            if isinstance(error, (ValueError, *misconfiguration())):
                if cli.model.begun:  # no bad input any more, but a fault in somebody's code: it needs its traceback
                    traceback.print_exc()
                    sys.exit(1)
            elif isinstance(error, (RuntimeError, KeyError, TypeError, AttributeError, IndexError)):
                if missing := trainer_arguments.metric_not_there(error):
                    raise ValueError(missing) from error
                if resumed is not None and not cli.model.begun:
                    raise ValueError(f"no run can go on from {resumed.path}: {one_line(error)}") from error
            raise
        if not cli.model.begun and resumed is None:
            leave("nothing was trained: the trainer's limits leave no batch")
        if cli.trainer.is_global_zero:
            report = reporting.keep(cli.folder) if cli.model.begun and not cli.trainer.fast_dev_run else None
            print(command_line.closing(cli, report))
