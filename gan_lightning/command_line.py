"""What the command line says when something is wrong: one or two lines and the nearest names, not a page of usage."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from types import ModuleType
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from gan_lightning import augment, callbacks, data, metrics, models, networks, optim, scoring
from gan_lightning.errors import nearest
from gan_lightning.translator import Translator
from gan_lightning.yaml_text import allow_any_names

allow_any_names()
_PLACES: tuple[ModuleType, ...] = (models, data, networks, augment, optim, callbacks, metrics, lightning_callbacks)


def _classes(*places: ModuleType) -> dict[str, type]:
    return {name: kind for place in places for name, kind in vars(place).items() if inspect.isclass(kind)}


class Parser(LightningArgumentParser):
    """Lightning's parser; every error is a ValueError of one or two lines."""

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
            return f"unknown flag {flag}{nearest(flag, self._flags())}"
        if option := re.search(r"(?:Option|Key) '([\w.]+)' is not (?:accepted|expected)", message):
            return f"unknown argument {option.group(1)}{nearest(option.group(1).split('.')[-1], self._arguments())}"
        if missing := re.search(r"arguments are required: (model|data)", message):
            return f"no {missing.group(1)}: give --{missing.group(1)} NAME (`python -m gan_lightning.fit --list`)"
        keys = re.findall(r'Parser key "([\w.]+)"', message)
        where = f"{keys[-1]}: " if keys else ""
        if link := re.search(r"Call to compute_fn of link .+? failed: (.+)", message, re.S):
            return link.group(1)
        if name := re.search(r"Expected a dot import path string: (\S+)", message):
            known = self._known(keys[0] if keys else "")
            return f"{where}unknown name {name.group(1)}{nearest(name.group(1), known)}"
        if file := re.search(r"File does not exist: '?([^'\n]+)'?", message):
            return f"{where}no such file: {file.group(1)}"
        if problem := re.search(r"Errors:\n\s*- (?!Expected a)(.+)", message):  # an exception of a constructor
            return re.sub(r'^Parser key "[\w.]+": ', "", problem.group(1).strip())
        if wrong := re.search(r"Expected an? (.+?)\. Got value: (.+)", message):
            return f"{where}expected {_plain(wrong.group(1))}, not {wrong.group(2)}"
        if expected := re.findall(r"- Expected an? (.+)", message):
            given = re.search(r"Given value: (.+)", message)
            kinds = " or ".join(dict.fromkeys(_plain(kind) for kind in expected))
            return f"{where}expected {kinds}" + (f", not {given.group(1)}" if given else "")
        return " ".join(message.split())[:300]

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def _arguments(self) -> list[str]:
        kinds = _classes(models, data, networks, augment, optim, callbacks).values()
        return sorted({name for kind in kinds for name in inspect.signature(kind.__init__).parameters} - {"self"})

    def _known(self, key: str) -> list[str]:
        places = {"model": (models,), "data": (data,)}.get(key.split(".")[0], _PLACES)
        return [name for place in places for name in getattr(place, "__all__", _classes(place))]


def _plain(kind: str) -> str:
    """`<class 'int'>` as `int`, `typing.Literal['a', 'b']` as `'a', 'b'`, `<class 'NoneType'>` as `null`."""
    kind = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", kind)
    return re.sub(r"typing\.Literal\[(.+)\]", r"\1", kind).replace("NoneType", "null")


def data_module(args: list[str]) -> LightningDataModule:
    """The data module of `--data NAME` and `--data.argument value`, as `fit` takes them.

    Raises:
        ValueError: no such data or argument, in a line.
    """
    parser = Parser()
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    return parser.instantiate_classes(parser.parse_args(args)).data


def listing() -> str:
    """The models with their papers, and the data modules."""
    lines, width = ["models:"], max(map(len, (*models.__all__, *data.__all__)))
    for name in models.__all__:
        kind = getattr(models, name)
        title, year = re.match(r"(.+), (\d{4})\.", inspect.getmodule(kind).__doc__).groups()
        arxiv = re.search(r"arXiv:(\d{4}\.\d{4,5})", kind.__doc__).group(0)
        lines.append(f"  {name:<{width}} {year}  {arxiv:<17} {title}")
    lines += ["data:"]
    lines += [f"  {name:<{width}} {inspect.getdoc(getattr(data, name)).splitlines()[0]}" for name in data.__all__]
    return "\n".join(lines)


def closing(cli: LightningCLI) -> str:
    """What a run ends with: where its files are, its scores, and what to type next."""
    trainer, checkpoint, grid = cli.trainer, cli.trainer.checkpoint_callback, cli.config_init.grid
    if not cli.model.begun:
        step = trainer.global_step
        return f"nothing left to train: {cli.resume_from} is at step {step}; give a greater --trainer.max_steps"
    last, folder = os.path.relpath(checkpoint.last_path), os.path.relpath(cli.folder)
    scores = [callback for callback in trainer.callbacks if isinstance(callback, callbacks.ScheduledScore)]
    examples = "examples" if cli.model.scored_by else "images"
    lines = [f"step {trainer.global_step}, {cli.model.images_seen} {examples}, {folder}"]
    lines += [line for score in scores for line in scoring.table(score.scores)]
    lines += scoring.card_lines([score.card for score in scores if score.card])
    if (error := trainer.callback_metrics.get("validation/error")) is not None:
        lines += scoring.table({"validation/error": float(error)})
    lines += [f"checkpoint  {last}"]
    if checkpoint.best_path:
        lines += [f"best        {os.path.relpath(checkpoint.best_path)} ({checkpoint.best_score:.4g})"]
    if grid.path:
        lines += [f"samples     {os.path.relpath(grid.path)}"]
    if isinstance(cli.model, Translator):
        looks = [f"  python -m gan_lightning.translate {last} --input DIR --out {folder}/translated"]
    elif cli.model.scored_by:
        flags = ["--n 20"] if getattr(cli.model, "vocabulary", None) else []
        if users := getattr(cli.model, "users", None):
            flags += [f"--user {shlex.quote(users[0])} --k 10"]
        looks = [f"  python -m gan_lightning.sample {last} {flag}" for flag in flags]
        looks += [f"  python -m gan_lightning.evaluate {last} --json {folder}/scores.json"]
    else:
        looks = [
            f"  python -m gan_lightning.sample {last} --n 64 --out {folder}/drawn --grid --interpolate slerp",
            f"  python -m gan_lightning.evaluate {last} --metrics fid,kid,memorisation --json {folder}/scores.json",
        ]
    lines += [
        "next:",
        *looks,
        f"  python -m gan_lightning.fit --ckpt_path {last} --trainer.max_steps {2 * trainer.global_step}",
        "  python -m gan_lightning.fit --list",
    ]
    return "\n".join(lines)
