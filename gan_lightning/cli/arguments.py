"""What is typed: the arguments of the commands that do not train, and errors of one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gan_lightning.runtime.errors import leave, nearest

TRUST_HELP = "a package of your own that the checkpoint may name; may be given again and again"


def typed(args: list[str] | None) -> list[str]:
    """What was typed, `sys.argv` for None; `~/` after `--flag=`, where shells leave it, becomes the home folder.

    Raises:
        ValueError: an empty value, which is what a script leaves of a variable that is not set.
    """
    args = sys.argv[1:] if args is None else args
    for before, arg in zip(["", *args], args, strict=False):
        flag, equals, value = arg.partition("=")
        if not arg or (equals and not value and flag.startswith("--")):
            flag = flag or before
            if flag.endswith("_column"):  # of a table that has none
                continue
            raise ValueError(f"an empty value{f' after {flag}' if flag else ''}: give one, or leave the flag out")
    return [re.sub(r"^(--[^=]+=)?(~[^/=]*/.*)$", _at_home, arg) for arg in args]


def _at_home(found: re.Match) -> str:
    return (found[1] or "") + os.path.expanduser(found[2])


def program(command: str) -> str:
    """A command as it was called: `gan fit` by the script, else `python -m gan_lightning.fit`."""
    return f"gan {command}" if Path(sys.argv[0]).stem == "gan" else f"python -m gan_lightning.{command}"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and that names the flags nearest to one it does not know.

    What it parses has `set` too, the names of what is not at its default.

    Attributes:
        least: the least value of a flag, by its name.
    """

    CHECKPOINT = ("--ckpt", "--ckpt_path", "--checkpoint", "--model")  # what other commands call the first argument

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.least: dict[str, int] = {}

    def add_trust(self) -> None:
        """The flag `--trust PACKAGE`, for whoever loads a checkpoint."""
        self.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help=TRUST_HELP)

    def error(self, message: str) -> NoReturn:
        leave(f"{message} (--help lists the flags)")

    def parse_args(self, args: list[str] | None = None) -> argparse.Namespace:
        args = typed(args)
        self.refuse_checkpoint_flags(args)
        known, unknown = self.parse_known_args(args)
        if unknown and not unknown[0].startswith("-"):
            self.error(f"one argument too many: {unknown[0]!r}")
        if unknown:
            self.refuse_flag(unknown[0].split("=")[0])
        for name, least in self.least.items():
            if (value := getattr(known, name)) is not None and value < least:
                self.error(f"--{name} must be at least {least}, not {value}")
        known.set = [name for name, value in vars(known).items() if value != self.get_default(name)]
        return known

    def refuse_checkpoint_flags(self, args: Sequence[str]) -> None:
        """Refuse the checkpoint where a flag names it that this parser does not have."""
        flags = [arg.split("=")[0] for arg in args]
        for flag in self.CHECKPOINT:
            if flag in flags and flag not in self._option_string_actions:
                self.error(f"unknown argument {flag!r}: the checkpoint's file is named without a flag")

    def refuse_flag(self, flag: str) -> NoReturn:
        """Refuse a flag that this parser does not have."""
        self.error(f"unknown argument {flag!r}{nearest(flag, self._option_string_actions)}")
