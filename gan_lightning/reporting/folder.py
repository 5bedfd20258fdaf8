"""What the folder of a run holds, read without a checkpoint being loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gan_lightning.callbacks.run_summary import Curve, curves_in, read_rows
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import CHECKPOINTS
from gan_lightning.scoring import SUBJECT, differences, merged

FILES = ("metrics.csv", "config.yaml", "last.ckpt", "best.ckpt", "samples.png", "samples.txt")  # of a run's folder


class Scored(NamedTuple):
    """A score at one time.

    Attributes:
        step: the generator step.
        value: the figure.
        std: its standard deviation; None where it has none.
        card: how it was made; empty where the run's file does not say.
    """

    step: int
    value: float
    std: float | None
    card: dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """A run, as its folder tells.

    Attributes:
        path: the folder.
        config: the settings; empty where there is no `config.yaml`, or it cannot be read.
        curves: figures over generator steps.
        scores: each score of the run by its name, in the order of time.
        alarms: what the health checks said, with the generator step.
        grids: what `SampleGrid` drew (`.png`) or wrote (`.txt`), by generator step.
        machine: what the run was computed on, by the names of `runtime.machine`; empty where no file says so.
    """

    path: Path
    config: dict[str, Any]
    curves: dict[str, Curve]
    scores: dict[str, list[Scored]]
    alarms: list[tuple[int, str]]
    grids: dict[int, Path]
    machine: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """A run's folder; what is missing in it, or cut off, is left out.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it holds no run; a folder of runs is answered with the newest of them.
        """
        if path.is_file():
            raise ValueError(f"{printable(path)} is a file: give the run's folder, {printable(path.parent)}")
        if not path.is_dir():
            raise FileNotFoundError(f"there is no folder {printable(path)}")
        if not any((path / name).exists() for name in FILES):
            within = max(path.rglob("metrics.csv"), key=lambda file: file.stat().st_mtime, default=None)
            hint = f": the newest within it is {printable(within.parent)}" if within else ""
            raise ValueError(f"{printable(path)} is not the folder of a run{hint}")
        metrics = path / "metrics.csv"
        rows = read_rows(metrics) if metrics.exists() else []
        whole = [row for row in rows if None not in row and (row.get("step") or "").isdecimal()]
        grids = {int(file.stem[5:]): file for file in path.glob("samples/step-*.*") if file.stem[5:].isdecimal()}
        return cls(
            path,
            _settings(path / "config.yaml"),
            curves_in(rows),
            _scores(whole),
            [(int(row["step"]), row["health"]) for row in whole if row.get("health")],
            dict(sorted(grids.items())),
            _settings(path / "machine.json"),
        )

    @property
    def name(self) -> str:
        """The folder's name, with the one above it: `R3GAN-Digits/2026-11-26_16-40-21`."""
        return "/".join(self.path.absolute().parts[-2:])

    @property
    def model(self) -> str:
        """The name of the model's class; empty where no file says it."""
        return _class_name(self.config.get("model"))

    @property
    def data(self) -> str:
        """The name of the data's class; empty where no file says it."""
        return _class_name(self.config.get("data"))

    @property
    def steps(self) -> int | None:
        """Generator steps up to the last line of the log; None where there is none."""
        return max(self.curves["step"][0]) if "step" in self.curves else None

    @property
    def checkpoint(self) -> Path | None:
        """`best.ckpt`, else `last.ckpt`; None where there is neither."""
        files = (self.path / name for name in CHECKPOINTS)
        return next((file for file in files if file.exists()), None)

    def best(self) -> tuple[str, Scored] | None:
        """The name of the score that `best.ckpt` is kept by, and the best that compares with the newest."""
        kept = self.config.get("checkpoint")
        kept = kept if isinstance(kept, dict) else {}
        monitor = kept.get("monitor", "FID")
        named = [name for name in self.scores if name == monitor or name.startswith(f"{monitor}-")]
        if not named:
            return None
        scored = self.scores[named[0]]
        newest = scored[-1]
        fair = [one for one in scored if one is newest or (one.card and not differences(one.card, newest.card))]
        choose = max if kept.get("mode") == "max" else min
        return named[0], choose(fair, key=lambda one: one.value)

    def last(self, figure: str) -> float | None:
        """The newest value of a figure; None where it has none."""
        return self.curves[figure][1][-1] if figure in self.curves else None


def _scores(rows: list[dict[str, str]]) -> dict[str, list[Scored]]:
    """The scores in rows: figures that stand in a row with a card."""
    found: dict[str, list[Scored]] = {}
    for row in rows:
        told = [name for name, text in row.items() if name.endswith("/card") and text]
        cards = {name.removesuffix("/card"): _card(row[name]) for name in told}
        together = merged(list(cards.values()))
        for name, text in row.items():
            if not cards or not text or name in ("step", "epoch", "health") or name.endswith(("/card", "/std")):
                continue
            own = cards.get(name.partition("/")[0], together[0] if len(together) == 1 else {})
            try:
                std = float(row[f"{name}/std"]) if row.get(f"{name}/std") else None
                found.setdefault(name, []).append(Scored(int(row["step"]), float(text), std, own))
            except ValueError:
                continue
    return found


def _card(text: str) -> dict[str, Any]:
    """A card without what says which model was scored; empty where it cannot be read."""
    try:
        card = json.loads(text)
    except ValueError:
        card = None
    return {name: value for name, value in card.items() if name not in SUBJECT} if isinstance(card, dict) else {}


def _settings(path: Path) -> dict[str, Any]:
    """A YAML or JSON file's map; empty where there is none."""
    try:
        found = yaml.safe_load(path.read_text("utf-8", "replace"))
    except (OSError, yaml.YAMLError):
        found = None
    return found if isinstance(found, dict) else {}


def _class_name(part: Any) -> str:
    kind = part.get("class_path") if isinstance(part, Mapping) else part
    return kind.rsplit(".", 1)[-1] if isinstance(kind, str) else ""
