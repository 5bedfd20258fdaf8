"""What the command-line tools say when something is wrong: one line that helps, not a page of traceback."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

DEATH_OF_A_WORKER = re.compile(  # what torch says: the process, and the signal where there was one
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([^.]+)|exited unexpectedly)"
)
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # what torch says on GPUs and CPUs


class RunError(RuntimeError):
    """A run broke, for a reason that one line can say.

    Args:
        message: that line.
        bad_input: whether the reason is something that a user can put right: exit code 2, else 1.
    """

    def __init__(self, message: str, bad_input: bool = False) -> None:
        super().__init__(message)
        self.bad_input = bad_input


class NotFiniteError(RunError):
    """A loss became NaN or infinite; the run stops, and the last checkpoint stays."""


class PeerError(RunError):
    """Another process of the run failed, and this one ends with it; the message says which did, and why."""


class LoadingError(RunError):
    """A worker could not load a batch, or no worker could be started."""


class DataError(ValueError):
    """A file of the data cannot be read; the message names it."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """ ", did you mean 'x', 'y'?" with up to three choices that resemble the word, then those that begin with it; never
    the word itself, and empty where there is none."""
    names = {choice.lower(): choice for choice in choices if choice != word}
    word = word.lower()
    longer = [name for name in names if name.startswith(word)] if len(word.strip("-")) >= 3 else []
    close = list(dict.fromkeys([*difflib.get_close_matches(word, names, n=3, cutoff=0.6), *longer]))[:3]
    return f", did you mean {', '.join(repr(names[name]) for name in close)}?" if close else ""


def require_one_of(what: str, value: object, *choices: str) -> None:
    """Refuse the value of an argument that is none of its words.

    Raises:
        ValueError: naming all of them.
    """
    if value not in choices:
        words = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{what} must be {words}, not {value!r}")


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

    ValueError, OSError (hence FileNotFoundError), Lightning's MisconfigurationException and the types in `more` exit
    with code 2, a RunError with 2 or 1. Anything else is a fault of the program and keeps its traceback, as everything
    does where GAN_LIGHTNING_TRACEBACK is set. A context manager that is also a decorator.
    """
    print_anything()
    try:
        yield
    except Exception as error:
        if not isinstance(error, (RunError, ValueError, OSError, *misconfiguration(), *more)):
            raise
        if os.environ.get("GAN_LIGHTNING_TRACEBACK"):
            raise
        leave(words_of(error), 1 if isinstance(error, RunError) and not error.bad_input else 2)


def words_of(error: Exception) -> str:
    """What an error says; of the system's errors the file and the reason."""
    system = isinstance(error, OSError) and error.strerror and error.filename
    return (f"{printable(error.filename)}: {error.strerror}" if system else str(error)) or type(error).__name__


def one_line(error: BaseException, most: int = 300) -> str:
    """An error's message in one line of about so many characters at most."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= most else text[:most] + " ..."


def misconfiguration() -> tuple[type[Exception], ...]:
    """Lightning's exception for bad input, where Lightning is loaded: it takes seconds, and a flag does not wait."""
    module = sys.modules.get("lightning.fabric.utilities.exceptions")
    return () if module is None else (module.MisconfigurationException,)


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


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says, of a GPU or of a processor, that there is no memory left."""
    return any(text in str(error) for text in NO_MEMORY)


def death_of_a_worker(error: BaseException | None) -> Exception | None:
    """Torch's error about a loader's worker, which an error came from or came while it was raised.

    Torch raises it in a handler of signals, i.e. at any place: what is under way there (a file half written, a network
    half compiled) may end with an error of its own.
    """
    while error is not None and not (isinstance(error, Exception) and DEATH_OF_A_WORKER.search(str(error))):
        error = error.__cause__ or error.__context__
    return error
