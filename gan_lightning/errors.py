"""What the command-line tools say when something is wrong: one line that helps, not a page of traceback."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

TRUST_HELP = "a package of your own that the checkpoint may name; may be given again and again"


class NotFiniteError(RuntimeError):
    """A loss became NaN or infinite; the run stops, and the last checkpoint stays."""


class PeerError(RuntimeError):
    """Another process of the run failed, and this one ends with it.

    Args:
        message: which did, and why.
        bad_input: whether that was for what a user can put right.
    """

    def __init__(self, message: str, bad_input: bool = True) -> None:
        super().__init__(message)
        self.bad_input = bad_input


def nearest(word: str, choices: Iterable[str]) -> str:
    """ ", did you mean 'x', 'y'?" with up to three choices that resemble the word, then those that begin with it; never
    the word itself, and empty where there is none."""
    names = {choice.lower(): choice for choice in choices if choice != word}
    word = word.lower()
    longer = [name for name in names if name.startswith(word)] if len(word.strip("-")) >= 3 else []
    close = list(dict.fromkeys([*difflib.get_close_matches(word, names, n=3, cutoff=0.6), *longer]))[:3]
    return f", did you mean {', '.join(repr(names[name]) for name in close)}?" if close else ""


def printable(name: object) -> str:
    """A path or a name in one line that can be printed: bytes that are no UTF-8 as \\xe9, a newline as \\n."""

    def shown(character: str) -> str:
        if "\udc80" <= character <= "\udcff":  # how Python reads a byte that is no UTF-8
            return f"\\x{ord(character) - 0xDC00:02x}"
        unprintable = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        return character.encode("unicode_escape").decode() if unprintable else character

    return "".join(map(shown, str(name)))


def is_utf8(name: str) -> bool:
    """Whether a path has bytes that are UTF-8, which is not every path."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def print_anything() -> None:
    """Let stdout show what its encoding does not have, such as a file name's odd bytes, as escapes, as stderr does."""
    if hasattr(sys.stdout, "reconfigure"):  # not where something else has taken its place
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def short_errors(*more: type[Exception]) -> Iterator[None]:
    """End the program with `error: <first lines of the message>` for what a user can put right.

    ValueError, OSError (hence FileNotFoundError), PeerError, Lightning's MisconfigurationException and the types in
    `more` exit with code 2, a loss that is not finite with code 1. Anything else is a fault of the program and keeps
    its traceback, as everything does where GAN_LIGHTNING_TRACEBACK is set. A context manager that is also a decorator.
    """
    print_anything()
    try:
        yield
    except Exception as error:
        code = 1 if isinstance(error, NotFiniteError) else 2
        if not isinstance(error, (NotFiniteError, PeerError, ValueError, OSError, *misconfiguration(), *more)):
            raise
        if os.environ.get("GAN_LIGHTNING_TRACEBACK"):
            raise
        system = isinstance(error, OSError) and error.strerror and error.filename
        leave((f"{error.filename}: {error.strerror}" if system else str(error)) or type(error).__name__, code)


def misconfiguration() -> tuple[type[Exception], ...]:
    """Lightning's exception for bad input, where Lightning is loaded: it takes seconds, and a flag does not wait."""
    module = sys.modules.get("lightning.fabric.utilities.exceptions")
    return () if module is None else (module.MisconfigurationException,)


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


def make_folder(folder: str | os.PathLike[str], flag: str, exist_ok: bool = True) -> None:
    """Make a folder that can be written to.

    Raises:
        FileExistsError: it is there, and may not be.
        OSError: it cannot be made or written to; the message names the flag that chose it.
    """
    try:
        os.makedirs(folder, exist_ok=exist_ok)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileExistsError:
        if os.path.isdir(folder):
            raise
        raise OSError(f"{folder} is a file, not a folder: choose another {flag}") from None
    except OSError as error:
        raise OSError(f"cannot write to the folder {folder} ({error.strerror}): choose another {flag}") from error


def leave(message: str, code: int = 2) -> NoReturn:
    """Print an error, and exit."""
    complain(message)
    sys.exit(code)


def complain(message: str) -> None:
    """Print `error:` and the message's first two lines to stderr."""
    print("error:", "\n".join(message.strip().splitlines()[:2]), file=sys.stderr)


def program(command: str) -> str:
    """A command as it was called: `gan fit` by the script, else `python -m gan_lightning.fit`."""
    return f"gan {command}" if Path(sys.argv[0]).stem == "gan" else f"python -m gan_lightning.{command}"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and that names the flags nearest to one it does not know.

    What it parses has `set` too, the names of what is not at its default.
    """

    CHECKPOINT = ("--ckpt", "--ckpt_path", "--checkpoint", "--model")  # what other commands call the first argument

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
