"""Files that `torch.save` wrote, read as data: code in one is refused, never run, and the file is called what it is."""

from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gan_lightning.runtime.errors import one_line

LEGACY = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little")  # at the head of files from before torch 1.6


class UnreadableError(ValueError):
    """What is wrong with a file, to stand behind its name."""


def load(path: str | Path, map_location: Any = "cpu") -> Any:
    """What a file holds: tensors and plain values.

    Raises:
        UnreadableError: it is damaged, holds more than data, or is another kind of file; the message lacks its name.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        return load_open(file, map_location)


def load_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds; see :func:`load`.

    Raises:
        UnreadableError: see :func:`load`; or it holds something else than parts by name.
    """
    content = load(path, map_location)
    if not isinstance(content, dict):
        raise UnreadableError("is not a checkpoint: it does not hold a dictionary")
    return content


def load_open(file: BinaryIO, map_location: Any = "cpu") -> Any:
    """See :func:`load`."""
    zipped = False
    try:
        if zipped := zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as records:  # torch.load does not look at the checksums that it wrote
                if damaged := records.testzip():
                    raise zipfile.BadZipFile(f"checksum of {damaged}")
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch would say of a foreign file is said below
            return torch.load(file, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise UnreadableError(_what_is_wrong(file, zipped, error)) from error


def _what_is_wrong(file: BinaryIO, zipped: bool, error: Exception) -> str:
    refused = isinstance(error, pickle.UnpicklingError)
    if zipped and refused:
        return "is not loaded: it holds more than data, and could run code"
    if zipped and "TorchScript" in str(error):
        return "is a TorchScript archive, which holds code: it is not loaded"
    file.seek(0)
    if not file.read(1):
        return "is truncated or corrupt (0 bytes)"
    file.seek(0)
    if refused and LEGACY in file.read(32):
        return (
            "is a legacy torch file, and not loaded: it holds more than data (which could run code), or is damaged; "
            "save it again with torch.save, nothing but tensors and plain values"
        )
    file.seek(0)
    if not zipped and _is_pickle(file):
        return "is a pickle, not a file of torch.save: it could run code, and is not loaded"
    return f"is truncated or corrupt ({one_line(error, 100)})"


def _is_pickle(file: BinaryIO) -> bool:
    """Whether the file is one pickle from its first byte to its last; looks at it without running it."""
    try:
        *_, (last, _, _) = pickletools.genops(file)
    except Exception:  # as many ways as there are bytes
        return False
    return last.name == "STOP" and not file.read(1)
