"""The scores that `evaluate` found, as tables: of one model, or of two files side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gan_lightning.scoring import card_lines, differences, table

Found = dict[str, dict[str, Any]]  # figure -> {"value": float, "card": dict}


def shown(found: Found) -> str:
    """The table for the terminal, and below it how the scores were made."""
    lines = table({name: entry["value"] for name, entry in found.items()})
    return "\n".join([*lines, *card_lines([entry["card"] for entry in found.values()])])


def compared(paths: list[Path], force: bool) -> str:
    """The table of two files' scores.

    Args:
        paths: of the two files.
        force: compare scores whose cards differ too.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or not ours, no score in common, or cards that differ.
    """
    one, other = (_read(path) for path in paths)
    names = [name for name in one if name in other]
    if not names:
        raise ValueError(f"{paths[0]} and {paths[1]} have no score in common")
    apart = {name: differences(one[name]["card"], other[name]["card"]) for name in names}
    if not force and (different := {line: None for lines in apart.values() for line in lines}):
        raise ValueError(
            f"these scores cannot be compared, their cards differ in {'; '.join(different)} (--force does)"
        )
    lines = [f"{'':<24}{paths[0].stem:>14}{paths[1].stem:>14}{'difference':>14}"]
    for name in names:
        a, b = one[name]["value"], other[name]["value"]
        lines.append(f"{name:<24}{a:>14.4g}{b:>14.4g}{b - a:>+14.4g}" + ("  (cards differ)" if apart[name] else ""))
    return "\n".join(lines)


def _read(path: Path) -> Found:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        found = json.loads(path.read_text())
        return {name: {"value": float(entry["value"]), "card": dict(entry["card"])} for name, entry in found.items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ValueError(f"{path} is not a file that --json wrote") from None
