"""What the command line says when something is wrong: one or two lines and the nearest names, not a page of usage."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, Trainer, loggers
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from gan_lightning import augment, callbacks, data, metrics, models, networks, optim, scoring
from gan_lightning.cli.arguments import program
from gan_lightning.cli.yaml_text import allow_any_names
from gan_lightning.core import AdversarialModule, ImageStep, Manipulator, Ranker, SequenceGenerator, Translator
from gan_lightning.runtime import checkpoint_io, trainer_arguments
from gan_lightning.runtime.errors import nearest
from gan_lightning.runtime.trust import USER, Source, packages_beyond

allow_any_names()
CHOICES = {"model": AdversarialModule, "data": LightningDataModule}  # in a config, by class_path
GROUPS = {"trainer": Trainer, "checkpoint": callbacks.Checkpoint, "grid": callbacks.SampleGrid}  # by arguments alone
_PLACES: tuple[ModuleType, ...] = (models, data, networks, augment, optim, callbacks, metrics, lightning_callbacks)

_WHEN = "--trainer.callbacks.when.{0} of a score, `when: {{{0}: ...}}` in yaml"
_RATES = "--model.generator_optimizer.lr and --model.discriminator_optimizer.lr"
ELSEWHERE = {  # what other programs call it -> its flag here
    "lr": _RATES,
    "learning_rate": _RATES,
    "batch_size": "--data.batch_size",
    "num_workers": "--data.num_workers",
    "workers": "--data.num_workers",
    "dataroot": "--data.root",
    "data_root": "--data.root",
    "dataset": "--data",
    "epochs": "--trainer.max_epochs, or --trainer.max_steps",
    "n_epochs": "--trainer.max_epochs, or --trainer.max_steps",
    "gpus": "--trainer.devices",
    "gpu_ids": "--trainer.devices",
    "device": "--trainer.accelerator",
    "name": "--trainer.default_root_dir",
    "resume": "--ckpt_path",
    "seed": "--seed_everything",
    "scheduler": "--model.step.scheduler",
    "augment": "--model.step.augment",
    **{name: _WHEN.format(name) for name in ("every_n_steps", "every_n_epochs", "at_end")},
}


def _classes(*places: ModuleType) -> dict[str, type]:
    return {name: kind for place in places for name, kind in vars(place).items() if inspect.isclass(kind)}


def listed(value: Any) -> list:
    """A list as it is, None as an empty one, anything else as the only item."""
    return value if isinstance(value, list) else [] if value is None else [value]


def at_home(value: Any) -> Any:
    """Parsed settings with the home folder for every `~/`, as shells and files leave it."""
    if isinstance(value, (Namespace, dict)):
        for name, item in list(vars(value).items() if isinstance(value, Namespace) else value.items()):
            value[name] = at_home(item)
    elif isinstance(value, list):
        value[:] = map(at_home, value)
    return os.path.expanduser(value) if isinstance(value, str) and re.match(r"~[^/]*/", value) else value


class Parser(LightningArgumentParser):
    """Lightning's parser; every error is a ValueError of one or two lines; no flag is guessed from its beginning."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False} | kwargs)

    def parse_args(self, args: list[str] | None = None, *more: Any, **kwargs: Any) -> Namespace:
        if args is not None:  # jsonargparse writes the null of an argument of a class as `None`, and does not read that
            args = [re.sub(r"^(--[\w.]+)=None$", r"\1=null", text) for text in args]
        try:
            return super().parse_args(args, *more, **kwargs)
        except UnicodeDecodeError as error:
            raise ValueError("--config: not a text file (a checkpoint is given by --ckpt_path)") from error

    def error(self, message: str, ex: Exception | None = None) -> None:
        raise ValueError(self.shorten(str(message)))

    def instantiate_classes(self, *args: Any, **kwargs: Any) -> Any:
        """Build what was parsed; a constructor's ValueError arrives wrapped in pages, and leaves as one line."""
        try:
            return super().instantiate_classes(*args, **kwargs)
        except ValueError as error:
            raise ValueError(self.shorten(str(error))) from error

    def shorten(self, message: str) -> str:
        """The line of a long message that says what is wrong, with the names that may have been meant."""
        if flags := re.search(r"unrecognized arguments: (.+)", message, re.I):
            flag = flags.group(1).split()[0].split("=")[0]
            return f"unknown flag {flag}{self._flag_for(flag)}" if flag.startswith("-") else self._not_a_flag(flag)
        not_taken = r"(?:Option|Key) '([\w.]+)' is not (?:accepted|expected)|does not accept option '([\w.]+)'"
        if option := re.search(not_taken, message):
            name = (option.group(1) or option.group(2)).split(".init_args")[0]
            first, last = name.split(".")[0], name.split(".")[-1]
            if first in ELSEWHERE:
                return f"unknown argument {first}: give {ELSEWHERE[first]}"
            return f"unknown argument {name}{nearest(last, self._arguments())}"
        if missing := re.search(r"arguments are required: (model|data)", message):
            return f"no {missing.group(1)}: give --{missing.group(1)} NAME (`{program('fit')} --list`)"
        keys = re.findall(r'Parser key "([\w.]+)"', message)
        where = f"{keys[-1]}: " if keys else ""
        if keys and (required := re.search(r"the following arguments are required: (\w+)", message)):
            return f"{where}{required.group(1)} is missing: give --{keys[0]}.{required.group(1)}"
        if absent := re.search(r"Problem with given class_path '[\w.]*?(\w+)':\s*(.+)", message):
            return f"{where}{absent.group(1)}: {absent.group(2)}"
        if "cannot represent an object" in message and (kind := re.search(r"class_path='[\w.]*?(\w+)'", message)):
            name = kind.group(1)
            instead = f": {trainer_arguments.TIMER}" if name == "Timer" else ", write it in Python"
            return f"{where}{name} cannot be kept in config.yaml{instead}"
        if config := re.search(r"Unable to load config '([^']*)'", message):
            return f"{where}{config.group(1)} is no file of `name: value` lines"
        if content := re.search(r"Unexpected config:(.*)", message, re.S):
            found = " ".join(content.group(1).split())[:60]
            return f"--config: expected a file of `name: value` lines, not {found or 'an empty one'}"
        if folder := re.search(r"Path is not a file: '([^']*)'", message):
            return f"{where}{folder.group(1)} is a folder, not a file"
        if yaml := re.search(r"((?:found|did not find|could not find|mapping values) .+?)\s+in \"", message, re.S):
            place = re.findall(r"line (\d+), column (\d+)", message)[-1]
            file = re.search(r"sub-config file (\S+):", message)
            tab = " (YAML is indented with spaces, not tabs)" if "cannot start any token" in yaml.group(1) else ""
            what = file.group(1) if file else "--config"
            return f"{what}, line {place[0]}, column {place[1]} is no YAML: {' '.join(yaml.group(1).split())}{tab}"
        if link := re.search(r"Call to compute_fn of link .+? failed: (.+)", message, re.S):
            return link.group(1)
        if name := re.search(r"Expected a dot import path string: (\S+)", message):
            known = self._known(keys[0] if keys else "")
            none = " (false for none)" if keys and keys[0] == "trainer.logger" else ""
            return f"{where}unknown name {name.group(1)}{nearest(name.group(1), known)}{none}"
        if file := re.search(r"File does not exist: '?([^'\n]+)'?", message):
            return f"{where}no such file: {file.group(1)}"
        if problem := re.search(r"Errors:\n\s*- (?!Expected a)(.+)", message):  # an exception of a constructor
            return re.sub(r'^Parser key "[\w.]+": ', "", problem.group(1).strip())
        if wrong := re.search(r"Expected an? (.+?)\. Got value: (.+)", message):
            whole = re.fullmatch(r"(-?\d+)\.0", wrong.group(2).strip()) if _plain(wrong.group(1)) == "int" else None
            write = f": write {whole.group(1)}" if whole else ""
            return f"{where}expected {_plain(wrong.group(1))}, not {wrong.group(2)}{write}"
        if expected := re.findall(r"- Expected an? (.+)", message):
            given = re.search(r"Given value: (.+)", message)
            kinds = " or ".join(dict.fromkeys(_plain(kind) for kind in expected))
            return f"{where}expected {kinds}" + (f", not {given.group(1)}" if given else "")
        return " ".join(message.split())[:300]

    def _flag_for(self, flag: str) -> str:
        """What may have been meant by a flag that there is not: the habits of other programs, or the nearest flags."""
        name = flag.lstrip("-")
        trainers = f"--trainer.{name}"
        meant = ELSEWHERE.get(name.split(".")[0]) or (trainers if trainers in self._flags() else None)
        return f": give {meant}" if meant else nearest(flag, self._flags())

    def _not_a_flag(self, word: str) -> str:
        """What may have been meant by a word that no flag stands before."""
        ending, flag = os.path.splitext(word)[1], None
        if ending in (".yaml", ".yml"):
            flag = "--config"
        elif ending == ".ckpt":
            flag = "--ckpt_path"
        else:
            flag = next((f"--{kind}" for kind in ("model", "data") if word in self._known(kind)), None)
        return f"{word} stands without a flag" + (f": give {flag} {word}" if flag else "")

    def _flags(self) -> list[str]:
        parsed = [flag for action in self._actions for flag in action.option_strings]
        return [*parsed, "--list", "--help_all"]  # those two of `fit` are answered before there is a parser

    def _arguments(self) -> list[str]:
        kinds = (ImageStep, *_classes(models, data, networks, augment, optim, callbacks).values())
        return sorted({name for kind in kinds for name in inspect.signature(kind.__init__).parameters} - {"self"})

    def _known(self, key: str) -> list[str]:
        if key == "trainer.logger":
            return [name for name in loggers.__all__ if name != "Logger"]
        places = {"model": (models,), "data": (data,)}.get(key.split(".")[0], _PLACES)
        return [name for place in places for name in getattr(place, "__all__", _classes(place))]


def _plain(kind: str) -> str:
    """`<class 'int'>` as `int`, `typing.Literal['a', 'b']` as `'a', 'b'`, `<class 'NoneType'>` as `null`."""
    kind = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", kind)
    return re.sub(r"typing\.Literal\[(.+)\]", r"\1", kind).replace("NoneType", "null")


def config_of(
    path: str | Path, trust: Sequence[str] = (), content: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """The config in a checkpoint, None where there is none; it names nothing that a file may not name.

    Folders of checkpoints and grids are left out of it, so that no run writes over what another has written.

    Args:
        path: the file.
        trust: packages that it may name too.
        content: of the file, where it has been read.

    Raises:
        FileNotFoundError, ValueError: see :func:`checkpoint_io.read`; or what stands there is no config, or names what
            no file may name.
    """
    if (text := (checkpoint_io.read(path) if content is None else content).get("config")) is None:
        return None
    try:  # no alias: a few of them can stand for more than any memory holds
        config = None if any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text)) else yaml.safe_load(text)
        json.dumps(config)  # what a parser is given of it
    except (yaml.YAMLError, AttributeError, RecursionError, TypeError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no config that can be read: name the model and the data it was trained with")
    for group in ("checkpoint", "grid"):  # where a run writes is the user's word, or its own new folder
        if isinstance(config.get(group), dict):
            config[group].pop("folder", None)
    trainer = config.get("trainer")
    if isinstance(trainer, dict) and re.search("://|::", str(trainer.get("default_root_dir"))):
        del trainer["default_root_dir"]  # an address: Lightning would connect to it
    check_config(config, Source.file(path, trust))
    return config


def check_config(config: Mapping[str, Any], source: Source) -> None:
    """Look at a config before anything is built of it.

    Raises:
        ValueError: it names what its source may not name, or what its place does not ask for.
    """
    for name, value in config.items():
        if source.trusted is not None and (not str(name).isidentifier() or name == "config"):  # parsers read more files
            source.refuse("its config", f"has {str(name)[:80]!r}, which is no part of one")
        if name in GROUPS:
            source.check_arguments(GROUPS[name], value, name)
        else:
            source.check(value, CHOICES.get(name, str | int | None), name)


def data_module(args: list[str]) -> LightningDataModule:
    """The data module of `--data NAME` and `--data.argument value`, as `fit` takes them.

    Raises:
        ValueError: no such data or argument, in a line.
    """
    parser = Parser()
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    config = at_home(parser.parse_args(args))
    check_config(vars(config), USER)
    return parser.instantiate_classes(config).data


def closing(cli: LightningCLI, report: Path | None) -> str:
    """What a run ends with: where its files are, its report among them, its scores, and what to type next."""
    trainer, checkpoint, grid = cli.trainer, cli.config_init.checkpoint, cli.config_init.grid
    if not cli.model.begun:
        step = trainer.global_step
        return f"nothing left to train: {cli.resumed.path} is at step {step}; give a greater --trainer.max_steps"
    folder = os.path.relpath(cli.folder)
    scores = [callback for callback in trainer.callbacks if isinstance(callback, callbacks.ScheduledScore)]
    examples = "examples" if cli.model.scored_by else "images"
    lines = [f"step {trainer.global_step}, {cli.model.images_seen} {examples}, {folder}"]
    lines += [line for score in scores for line in scoring.table(score.scores)]
    lines += scoring.card_lines([score.card for score in scores if score.scores])
    if (error := trainer.callback_metrics.get("validation/error")) is not None:
        lines += scoring.table({"validation/error": float(error)})
    if checkpoint.last_path is None:
        why = [name for name in ("fast_dev_run", "barebones") if getattr(trainer, name)]
        why += ["enable_checkpointing false"]
        return "\n".join([*lines, f"nothing is kept of the model (--trainer.{why[0]})"])
    last = os.path.relpath(checkpoint.last_path)
    lines += [f"checkpoint  {last}"]
    if checkpoint.best_path:
        lines += [f"best        {os.path.relpath(checkpoint.best_path)} ({checkpoint.best_score:.4g})"]
    made = {"samples": grid.path, "progress": cli.summary.progress, "curves": cli.summary.curves, "report": report}
    lines += [f"{name:<12}{os.path.relpath(path)}" for name, path in made.items() if path]
    last += "".join(f" --trust {package}" for package in packages_beyond(checkpoint.config or ""))
    if isinstance(cli.model, Translator):
        wanted = f" --attributes +{shlex.quote(cli.model.attributes[0])}" if cli.model.attributes else ""
        looks = [f"  {program('translate')} {last} --input DIR --out {folder}/translated{wanted}"]
    elif cli.model.scored_by:
        flags = ["--n 20"] if isinstance(cli.model, SequenceGenerator) else []
        if isinstance(cli.model, Ranker) and cli.model.users:
            flags += [f"--user {shlex.quote(cli.model.users[0])} --k 10"]
        if isinstance(cli.model, Manipulator):
            flags += [f"--n 16 --out {folder}/drawn --grid --animate {folder}/film.gif"]
        looks = [f"  {program('sample')} {last} {flag}" for flag in flags]
        looks += [f"  {program('evaluate')} {last} --json {folder}/scores.json"]
    else:
        looks = [
            f"  {program('sample')} {last} --n 64 --out {folder}/drawn --grid --walk {folder}/walk.gif",
            f"  {program('evaluate')} {last} --metrics fid,kid,memorisation --json {folder}/scores.json",
        ]
    further = f"--trainer.max_steps {2 * trainer.global_step}"
    over = any(
        group["lr"] == 0 < group.get("initial_lr", 0) for one in trainer.optimizers for group in one.param_groups
    )
    if over and all(hasattr(config.scheduler, "end") for config in trainer.lr_scheduler_configs):
        further += f" --model.step.scheduler.end {2 * trainer.global_step}"  # else nothing would move any more
    lines += [
        "next:",
        *looks,
        *([] if cli.model.finished else [f"  {program('fit')} --ckpt_path {last} {further}"]),
        f"  {program('fit')} --list",
    ]
    return "\n".join(lines)
