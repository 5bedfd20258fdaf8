"""What the command-line tools say when something is wrong: one line that helps, not a page of traceback."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn


class NotFiniteError(RuntimeError):
    """A loss became NaN or infinite; the run stops, and the last checkpoint stays."""


class PeerError(RuntimeError):
    """Another process of the run failed, and this one ends with it."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """ ", did you mean 'x', 'y'?" with up to three choices that resemble the word; empty where none does."""
    names = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), names, n=3, cutoff=0.6)
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

    ValueError, OSError (hence FileNotFoundError), PeerError and the types in `more` exit with code 2, a loss that is
    not finite with code 1. Anything else is a fault of the program and keeps its traceback, as everything does where
    GAN_LIGHTNING_TRACEBACK is set. A context manager that is also a decorator.
    """
    print_anything()
    try:
        yield
    except Exception as error:
        code = 1 if isinstance(error, NotFiniteError) else 2
        if not isinstance(error, (NotFiniteError, PeerError, ValueError, OSError, *more)):
            raise
        if os.environ.get("GAN_LIGHTNING_TRACEBACK"):
            raise
        leave(str(error) or type(error).__name__, code)


def leave(message: str, code: int = 2) -> NoReturn:
    """Print `error:` and the message's first two lines to stderr, and exit."""
    print("error:", "\n".join(message.strip().splitlines()[:2]), file=sys.stderr)
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and that names the flags nearest to one it does not know.

    What it parses has `set` too, the names of what is not at its default.
    """

    def error(self, message: str) -> NoReturn:
        leave(f"{message} (--help lists the flags)")

    def parse_args(self, args: list[str] | None = None) -> argparse.Namespace:
        known, unknown = self.parse_known_args(args)
        if unknown:
            flag = unknown[0].split("=")[0]
            self.error(f"unknown argument {flag!r}{nearest(flag, self._option_string_actions)}")
        known.set = [name for name, value in vars(known).items() if value != self.get_default(name)]
        return known
