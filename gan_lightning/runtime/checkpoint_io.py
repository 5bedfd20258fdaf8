"""Checkpoint files: written so that no crash spoils them, read with messages that help."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from gan_lightning.runtime import exported, torchfile
from gan_lightning.runtime.errors import nearest

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
WRITING = threading.Lock()  # held while a checkpoint is being written


def previous(path: str | Path) -> Path:
    """Where the file that stood at `path` before the last save is kept: `last.ckpt` -> `last.previous.ckpt`."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint so that a whole one stands under its name at every instant, and keeps the one before.

    Lightning stages in $TMPDIR, which on another file system leaves half a file when the run is killed. Here the file
    is written beside its place, flushed to the disk, and moved there in one operation.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to a local path.

        Raises:
            ValueError: the checkpoint holds something that would not load again with `weights_only=True`.
            OSError: the file cannot be written; what stood at `path` before still does.
        """
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO writes local files and takes no storage_options")
        _refuse_objects(checkpoint, "checkpoint")
        with WRITING:
            self._write(checkpoint, Path(path))

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        part = _part(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_parts_of_the_dead(path)
            with open(part, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                link(path, previous(path))
            os.replace(part, path)
            _sync_folder(path.parent)
        except (OSError, RuntimeError) as error:  # torch wraps a full disk's OSError in a RuntimeError of its own
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise OSError(f"cannot write the checkpoint {path}: {cause.strerror or cause}") from error
        finally:
            part.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> dict:
        """See :func:`read`; never loads more than tensors and plain values."""
        return read(path, map_location)


def link(source: str | Path, target: str | Path) -> None:
    """Let `target` be the same file as `source`, in one operation; a copy where the file system has no hard links."""
    target = Path(target)
    part = _part(target)
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def require(path: str | Path) -> None:
    """Refuse a checkpoint, or an exported folder, that is not there.

    Raises:
        FileNotFoundError: there is no such file; the message names those that are there.
    """
    path = Path(path)
    if not path.is_file() and not exported.is_exported(path):
        names = [found.name for found in path.glob("*.ckpt")] if path.is_dir() else []
        if path.is_dir():
            there = f"which holds {', '.join(sorted(names))}" if names else "without a *.ckpt in it"
            raise FileNotFoundError(f"{path} is a folder, {there}: name a checkpoint file")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no checkpoint {path}: the folder {path.parent} does not exist")
        names = sorted(found.name for found in path.parent.glob("*.ckpt"))
        there = f"; {path.parent} holds {', '.join(names[:5])}" if names else f"; {path.parent} holds no *.ckpt"
        raise FileNotFoundError(f"there is no checkpoint {path}{nearest(path.name, names) or there}")


def read(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, or of an exported folder in the same form: tensors and plain values, never code.

    Raises:
        FileNotFoundError: see :func:`require`.
        ValueError: see :func:`exported.read`; or the file is truncated, corrupt, or holds more than data; the message
            names the previous good one.
    """
    path = Path(path)
    require(path)
    if path.is_dir():
        return exported.read(path)
    try:
        return torchfile.load_checkpoint(path, map_location)
    except torchfile.UnreadableError as error:
        older, good = previous(path), ""
        if older.is_file():
            with suppress(torchfile.UnreadableError):
                torchfile.load_checkpoint(older)
                good = f"; the previous good one is {older}"
        raise ValueError(f"{path} {error}{good}") from error


def _refuse_objects(value: Any, where: str) -> None:
    if isinstance(value, Tensor) or type(value) in PLAIN:
        return
    if type(value) in (dict, OrderedDict):
        for name, item in value.items():
            _refuse_objects(name, f"{where}[{name!r}]")
            _refuse_objects(item, f"{where}[{name!r}]")
    elif type(value) in (list, tuple, set):
        for index, item in enumerate(value):
            _refuse_objects(item, f"{where}[{index}]")
    else:
        kind = type(value)
        raise ValueError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which weights_only=True refuses to load: keep a "
            "tensor or a plain value instead"
        )


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part-{os.getpid()}")


def _remove_parts_of_the_dead(path: Path) -> None:
    """Remove what writers that were killed in the middle of a save have left of this file."""
    for name in (path.name, previous(path).name):
        for part in path.parent.glob(f".{name}.part-*"):
            number = re.search(r"\d+$", part.name)
            if number and not _alive(int(number[0])):
                part.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Whether there is such a process; taken for granted on Windows, where the question itself would interrupt it."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    """Flush the folder itself: without it a power cut could undo the move."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
