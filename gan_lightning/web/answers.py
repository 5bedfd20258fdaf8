"""How a page answers: one call at a time, and a sentence where something is wrong that a user can put right."""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import gradio as gr
from PIL import Image

from gan_lightning.runtime.errors import out_of_memory

T = TypeVar("T")
ONE = threading.RLock()  # networks go into evaluation mode and back, and Gradio has a thread for each call
KEPT = 500  # files and folders of the page, the newest ones
ASKED_FOR = 60.0  # seconds for which a file stays, however many are newer: a browser asks for it after the answer
SHOWN_FOR = 10  # seconds that a sentence stays
FILES = tempfile.TemporaryDirectory(prefix="gan_lightning_demo_")  # what is downloaded, until the program ends


def answered(function: Callable[..., T]) -> Callable[..., T]:
    """A function for a page: what it raises that a user can put right is shown as a sentence, without a traceback."""

    @functools.wraps(function)
    def call(*inputs: object) -> T:
        with ONE:
            try:
                return function(*inputs)
            except (ValueError, OSError, argparse.ArgumentTypeError) as error:
                said = str(error)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                said = "this does not fit into memory: ask for less, or for a smaller picture"
        raise gr.Error(said, SHOWN_FOR, title="This cannot be done", print_exception=False)

    return call


def file_of(image: Image.Image) -> str:
    """The file of a picture, named by its content.

    Gradio writes a picture once more over the same file while a browser reads it, and a file it does not.
    """
    image.save(content := io.BytesIO(), "PNG")
    path = Path(FILES.name) / f"{hashlib.sha256(content.getvalue()).hexdigest()}.png"
    if path.exists():
        path.touch()  # as new as what is drawn beside it
    else:
        prune()
        path.write_bytes(content.getvalue())
    return str(path)


def folder() -> Path:
    """A new folder for files to download; the oldest ones go."""
    prune()
    return Path(tempfile.mkdtemp(dir=FILES.name))


def prune() -> None:
    """Keep the newest of what the page has written, and all that a browser may still be about to ask for."""
    written = sorted((path.stat().st_mtime, path) for path in Path(FILES.name).iterdir())
    for since, path in written[:-KEPT]:
        if since < time.time() - ASKED_FOR:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def seed_of(value: float | None) -> int:
    """The number in a field; 0 of an empty one."""
    return int(value or 0)
