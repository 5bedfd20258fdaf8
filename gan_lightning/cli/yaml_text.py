"""Configs that name files of any bytes.

Python holds a byte of a file's name that is no UTF-8 as a lone surrogate, U+DC80 to U+DCFF. A config writes it as
"\\\\uDCE9", and the YAML reader of the command line takes neither form: here it reads a private character in its place.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

SHIFT = 0x100000  # from the surrogates to characters for private use
SURROGATE = re.compile(r"[\udc80-\udcff]|\\u(dc[89a-f][0-9a-f])", re.IGNORECASE)
PRIVATE = re.compile(f"[{chr(SHIFT + 0xDC80)}-{chr(SHIFT + 0xDCFF)}]")

_read = get_loader("yaml")


def read(text: str) -> Any:
    """What YAML text says, names of files of any bytes in it."""
    private = SURROGATE.sub(lambda sign: chr(SHIFT + (int(sign[1], 16) if sign[1] else ord(sign[0]))), text)
    return _restored(_read(private)) if private != text else _read(text)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {_restored(name): _restored(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return PRIVATE.sub(lambda sign: chr(ord(sign[0]) - SHIFT), value) if isinstance(value, str) else value


def allow_any_names() -> None:
    """Let every parser of command lines read so from now on."""
    set_loader("yaml", read, (yaml.YAMLError,))
