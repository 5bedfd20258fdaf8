"""The pictures that a run's folder ends with: curves of its figures, and a film of its samples."""

from __future__ import annotations

import csv
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from PIL import Image

from gan_lightning.callbacks import tracking
from gan_lightning.callbacks.sample_grid import SampleGrid
from gan_lightning.runtime.errors import one_line
from gan_lightning.runtime.reading import opened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUBJECTS = ("loss", "accuracy", "gradient_norm", "learning_rate", "deviation", "reward")  # what all players may have
CLOCKS = ("step", "epoch", "images_seen", "images_per_second", "hours")  # no panel of their own
SCORES = 12  # panels of scores, at most
POINTS = 50  # of a curve; more are put together, and the curve is of their means
# Okabe and Ito, 2008: colours that people with any kind of colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FRAMES = 100  # of a film, at most
SIDE = 512  # pixels of a frame, at most
DURATION, HELD = 100, 2000  # milliseconds of a frame, and of the last one

Curve = tuple[list[float], list[float]]  # generator steps, values


class RunSummary(Callback):
    """Ends a fit with `curves.png` and `progress.gif`; it changes nothing in the training.

    `curves.png` shows what `metrics.csv` holds, earlier parts of the run too: losses, the terms of each player that has
    several, accuracies, gradient norms and learning rates, and a panel for each score. It is written to the trainer's
    root if the trainer has a `CSVLogger`. `progress.gif` shows the grids of :class:`SampleGrid`, which are of the same
    latents. It is written beside `samples.png` if there are at least two grids of one size. If a picture cannot be
    made, there is a warning, and the run ends as ever.

    Attributes:
        curves, progress: the files; None while there is none.
    """

    def __init__(self) -> None:
        self.curves: Path | None = None
        self.progress: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.curves = self.progress = None

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # all scores, also those of the end, are logged by now
            self.draw(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Write both files, on the first process. After an error or a signal this is not called: a caller may."""
        if trainer.is_global_zero:
            self.curves, self.progress = _made(_curves, trainer), _made(_film, trainer)
            if self.progress is not None:
                caption = f"the same latents up to step {trainer.global_step}"
                tracking.log_film(trainer, "progress", self.progress, caption)


def _made(make: Callable[[Trainer], Path | None], trainer: Trainer) -> Path | None:
    """What `make` returns; None where it fails, and a warning says why."""
    try:
        return make(trainer)
    except Exception as error:  # of a drawing library, a disk, a file: the run's results are safe by now
        rank_zero_warn(f"a picture of the run could not be made: {one_line(error)}")
        return None


# Curves.


def _curves(trainer: Trainer) -> Path | None:
    loggers = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    if not loggers:
        return None
    loggers[-1].save()  # `fit` puts the one that goes on in the run's file last
    metrics, path = Path(loggers[-1].log_dir, "metrics.csv"), Path(trainer.default_root_dir, "curves.png")
    curves = read_curves(metrics) if metrics.exists() else {}
    if not panels(curves):
        return None
    figure = draw_curves(curves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names in letters that the font lacks
        figure.savefig(path)
    return path


def read_curves(metrics: Path) -> dict[str, Curve]:
    """The figures of a `metrics.csv`, each where it has a value; columns of words are left out."""
    return curves_in(read_rows(metrics))


def curves_in(rows: Iterable[dict[str, str]]) -> dict[str, Curve]:
    """The figures of rows that :func:`read_rows` has read; see :func:`read_curves`."""
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, text in row.items():
            try:
                step, value = int(row["step"]), float(text)
            except (KeyError, TypeError, ValueError):  # no such column, empty, a card, or a line that a crash cut off
                continue
            steps, values = curves.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
    return curves


def read_rows(metrics: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`, by the names of its columns; those before the first that is damaged."""
    rows: list[dict[str, str]] = []
    with metrics.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        rows.extend(csv.DictReader(file))
    return rows


def panels(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """What is drawn together: the names of figures by their labels, by the panel's title.

    Some figures are left out: a term that is the whole loss, standard deviations of scores, and scores beyond the first
    `SCORES`. Variants of a score (`NDCG@10/popularity`) share its panel.
    """
    names = list(names)
    players = [name.removesuffix("/loss") for name in names if name.endswith("/loss")]
    found: dict[str, dict[str, str]] = {"loss": {}}
    found |= {f"{player}: terms": {} for player in players}
    found |= {subject.replace("_", " "): {} for subject in SUBJECTS[1:]}
    scores: dict[str, dict[str, str]] = {}
    for name in names:
        first, _, rest = name.partition("/")
        if first in players:
            subject = re.match(rf"({'|'.join(SUBJECTS)})(?:_|$)", rest)
            if subject is None:
                found[f"{first}: terms"][rest] = name
            else:
                which = rest[subject.end() :]
                found[subject[1].replace("_", " ")][f"{first} {which}".strip()] = name
        elif name not in CLOCKS and rest != "std":
            scores.setdefault(first if first in names else name, {})[name] = name
    kept = {title: lines for title, lines in found.items() if len(lines) > (1 if title.endswith(": terms") else 0)}
    return kept | dict(list(scores.items())[:SCORES])


def means(curve: Curve) -> Curve:
    """A curve of at most `POINTS` points, each the mean of as many neighbours; the last may be the mean of fewer."""
    steps, values = curve
    each = math.ceil(len(steps) / POINTS)
    parts = [slice(first, first + each) for first in range(0, len(steps), each)]
    return [fmean(steps[part]) for part in parts], [fmean(values[part]) for part in parts]


def draw_curves(curves: dict[str, Curve]) -> Figure:
    """The panels of a run's figures; see :func:`draw_panels`."""
    lines = panels(curves).items()
    return draw_panels({title: {label: curves[name] for label, name in names.items()} for title, names in lines})


def draw_panels(shown: dict[str, dict[str, Curve]]) -> Figure:
    """Panels, three a row, by their titles: curves by their labels."""
    import matplotlib  # here: its import takes a second
    from matplotlib.figure import Figure  # and no pyplot, which would keep figures and look for a display

    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    width, height = 4.0 * columns, 2.4 * rows + 0.2
    last = max(max(steps) for curves in shown.values() for steps, _ in curves.values())
    look = {
        "font.size": 8.0,
        "axes.formatter.limits": (-3, 4),
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "grid.color": "0.9",
        "legend.edgecolor": "none",
        "lines.linewidth": 1.0,
        "lines.markersize": 3.0,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(width, height), dpi=100)
        # Margins in inches: a layout engine would draw everything twice.
        figure.subplots_adjust(
            0.55 / width, 0.5 / height, 1 - 0.3 / width, 1 - 0.3 / height, wspace=0.85 / 3.1, hspace=0.6 / 1.8
        )
        for number, (title, curves) in enumerate(shown.items(), 1):
            ax = figure.add_subplot(rows, columns, number, title=title, xlim=(0, 1.02 * max(last, 1)))
            for colour, (label, curve) in zip(itertools.cycle(COLOURS), curves.items(), strict=False):
                if len(curve[0]) > POINTS:
                    ax.plot(*curve, color=colour, alpha=0.2)
                ax.plot(*means(curve), color=colour, label=label, marker="o")
            ax.ticklabel_format(axis="x", style="plain")
            if title.endswith("gradient norm") and all(value > 0 for _, values in curves.values() for value in values):
                ax.set_yscale("log")
            if list(curves) != [title]:
                ax.legend()
            if number > len(shown) - columns:
                ax.set_xlabel("generator steps")
    return figure


# The film.


def _film(trainer: Trainer) -> Path | None:
    grid = next((callback for callback in trainer.callbacks if isinstance(callback, SampleGrid)), None)
    if grid is None or grid.path is None:
        return None
    found = {int(path.stem.removeprefix("step-")): path for path in grid.path.parent.glob("samples/step-*.png")}
    pictures = [found[step] for step in sorted(found) if step <= trainer.global_step]  # else of a part that was lost
    return save_film(pictures, grid.path.with_name("progress.gif"))


def save_film(pictures: list[Path], path: Path) -> Path | None:
    """Write an endless film of the pictures that have the last one's size; returns its path, None for fewer than two.

    At most `FRAMES` of them, equally spaced, the first and the last among them, each at most `SIDE` pixels a side.
    """

    def size(picture: Path) -> tuple[int, int]:
        with opened(picture) as image:  # reads no pixels
            return image.size

    def frame(picture: Path) -> Image.Image:
        with opened(picture) as image:
            image = image.convert("RGB")
        image.thumbnail((SIDE, SIDE))
        return image.quantize()

    sizes = [size(picture) for picture in pictures]
    pictures = [picture for picture, its in zip(pictures, sizes, strict=True) if its == sizes[-1]]
    if len(pictures) < 2:
        return None
    count = min(len(pictures), FRAMES)
    first, *more = (pictures[round(i * (len(pictures) - 1) / (count - 1))] for i in range(count))
    frame(first).save(
        path,
        save_all=True,
        append_images=map(frame, more),
        duration=[DURATION] * (count - 1) + [HELD],
        loop=0,
    )
    return path
