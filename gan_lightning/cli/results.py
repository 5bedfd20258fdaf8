"""Rows of measured runs, `results/*.json`, and the page that shows them as tables, `docs/results.md`.

A file is a list with one row a line. A row of :mod:`gan_lightning.benchmark` says what was run (`config`, `flags`,
`budget`, `seed`), by what (`commit`, `dirty`, `machine`), when (`date`), at what `cost`, and what came of it (`scores`,
the `cards` of them, `picture`). A row that is older than this form has an `origin`, and text as it stood on the page.

The page is prose. A table stands between two comments, of which the first is its header:

    <!-- results: digits, by FID-digits | model | config | cost = whole command | FID-digits | picture -->
    <!-- end -->

`digits` is the file, `by` sorts by a score, the least first. A column is a score, a part of the cost, or another field
of a row; ` = ` gives it another title. Rows that differ in their seeds alone share a line: mean ± sample standard
deviation.
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

ROWS, PAGE, IMAGES = Path("results"), Path("docs", "results.md"), Path("docs", "images")
TABLE = re.compile(r"^(<!-- results: ([^\n]+) -->\n).*?^(<!-- end -->)$", re.DOTALL | re.MULTILINE)
RUN = ("config", "flags", "budget")  # fields that say what was run, beside the seed

Row = dict[str, Any]


class Run(NamedTuple):
    """What is trained and scored, and where its row goes."""

    config: str
    flags: list[str]  # of `fit`
    seed: int
    into: str | None  # the file of rows, without its ending; None for `<model>-<config>`


# Files of rows.


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file yet.

    Raises:
        ValueError: it is no list of rows.
    """
    try:
        rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    except ValueError as error:
        raise ValueError(f"{path} is no list of rows: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is no list of rows")
    return rows


def same_run(one: Row, other: Row) -> bool:
    """Whether two rows are of one config with the same flags and budget, whatever their seeds."""
    known = all({"config", "flags", "seed"} <= row.keys() for row in (one, other))  # not so of rows by hand
    return known and all(one.get(name) == other.get(name) for name in RUN)


def add(path: Path, row: Row) -> None:
    """Append a row, in place of one of the same run and seed; processes may do so at the same time, but on Windows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        rows = [old for old in read(path) if not (same_run(old, row) and old["seed"] == row["seed"])]
        part = path.with_suffix(".json.part")
        part.write_text(text_of([*rows, row]), "utf-8")
        os.replace(part, path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within it no other process is in it with the same folder; on Windows, which locks no folders, this is not so."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
        yield
    finally:
        os.close(handle)


def text_of(rows: Iterable[Row]) -> str:
    """A file's text, one row a line."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


# The page.


def page(text: str, folder: Path = ROWS) -> str:
    """The page's text with every table written anew from the rows in `folder`.

    Raises:
        ValueError: a table has a column that no row of its file has.
    """
    return TABLE.sub(lambda found: found[1] + table(found[2], folder) + found[3], text)


def unused(text: str, folder: Path = ROWS) -> list[str]:
    """The files of rows in `folder` that no table of the page shows."""
    shown = {re.split(r"[,|]", found[2])[0].strip() for found in TABLE.finditer(text)}
    return sorted({path.stem for path in folder.glob("*.json")} - shown)


def table(header: str, folder: Path) -> str:
    """The lines of one table, and above them how its rows were measured; see :func:`page`."""
    named, *columns = (part.strip() for part in header.split(" |"))
    name, _, score = named.partition(", by ")
    path = folder / f"{name}.json"
    if not path.exists():
        return f"There are no rows in {path} yet.\n"
    groups = grouped(read(path))
    titles = {column.split(" =")[0]: column.split(" =")[-1].strip() for column in columns}
    for column in [*titles, *([score] if score else [])]:
        if not any(cell(column, group) for group in groups):
            raise ValueError(f"{PAGE}: no row of {path} has a {column}")
    if score:
        groups.sort(key=lambda group: mean_of(score, group))
    heads = ["" if column == "picture" else title for column, title in titles.items()]
    lines = [heads, ["---"] * len(heads), *([cell(column, group) for column in titles] for group in groups)]
    shown = (" | ".join(line) for line in lines)
    return measured_how(groups) + "".join(re.sub(" +", " ", f"| {line} |\n") for line in shown)


def grouped(rows: list[Row]) -> list[list[Row]]:
    """Rows that differ in their seeds alone together, in the file's order."""
    groups: list[list[Row]] = []
    for row in rows:
        group = next((group for group in groups if same_run(group[0], row)), None)
        if group is None:
            groups.append(group := [])
        group.append(row)
    return [sorted(group, key=lambda row: row.get("seed", 0)) for group in groups]


def values_of(column: str, group: list[Row]) -> list[Any]:
    """What rows have in a column: of their scores, of their cost, or another field."""
    places = ({**row, **row.get("cost", {}), **row.get("scores", {})} for row in group)
    return [place[column] for place in places if place.get(column) not in (None, "")]


def mean_of(column: str, group: list[Row]) -> float:
    """The mean of a score; infinite where there is none."""
    numbers = [value for value in values_of(column, group) if isinstance(value, (int, float))]
    return statistics.fmean(numbers) if numbers else math.inf


def cell(column: str, group: list[Row]) -> str:
    """What a table shows of rows that differ in their seeds alone; empty where they have nothing to show."""
    first = group[0]
    if column == "picture":
        pictured = next((row for row in group if row.get("picture")), None)
        return pictured and f"![{pictured.get('alt', pictured.get('model', ''))}](images/{pictured['picture']})" or ""
    if column == "config" and "flags" in first:
        seeds = [row["seed"] for row in group if "seed" in row]
        shown = ", ".join(map(str, seeds)) if any(seeds) else ""  # seed 0 alone is what is taken for granted
        which = shown and f", seed{'s' if len(seeds) > 1 else ''} {shown}"
        return f"`{' '.join([first['config'], *first['flags']])}`{which}"
    found = values_of("seconds" if column == "cost" else column, group)
    if not found and ", " in column:
        return ", ".join(filter(None, (cell(part, group) for part in column.split(", "))))
    if not all(isinstance(value, (int, float)) for value in found):
        return "; ".join(dict.fromkeys(str(value).replace("|", "\\|") for value in found))
    if not found:
        return ""
    mean = statistics.fmean(found)
    if column == "cost":
        return duration(mean)
    if column in ("steps", "images"):
        return f"{mean:,.0f}"
    deviation = statistics.stdev(found) if len(found) > 1 else next(iter(values_of(f"{column}/std", group)), None)
    return f"{mean:.4g}" if deviation is None else with_deviation(mean, deviation)


def with_deviation(mean: float, deviation: float) -> str:
    """`93.2 ± 8.5`: two digits of the deviation that count, and as many decimals of the mean."""
    if not deviation or not math.isfinite(deviation):
        return f"{mean:.4g} ± {deviation:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def duration(seconds: float) -> str:
    """`6 min 2 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = {"h": hours, "min": minutes, "s": 0 if hours else seconds}
    return " ".join(f"{value} {unit}" for unit, value in parts.items() if value) or "0 s"


def measured_how(groups: list[list[Row]]) -> str:
    """A paragraph on the rows that a command measured: on what, for how long, when; empty where there are none."""
    rows = [row for group in groups for row in group if "machine" in row]
    if not rows:
        return ""

    def each(texts: Iterable[str]) -> str:
        return " or ".join(dict.fromkeys(texts))

    def many(count: int, word: str) -> str:
        return f"{count} {word}{'s' if count > 1 else ''}"

    machines = [row["machine"] for row in rows]
    seeds = sorted({row["seed"] for row in rows})
    dates = sorted({row["date"] for row in rows})
    said = [
        each(f"{row['budget']} of training each" for row in rows if row.get("budget")),
        each(one.get("gpu") or f"{many(one['threads'], 'thread')} of {one['processor']}" for one in machines),
        each(f"torch {one['torch']}, lightning {one['lightning']}" for one in machines),
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        each(f"commit {row['commit']}{' with changes' if row['dirty'] else ''}" for row in rows if row.get("commit")),
        " to ".join(dict.fromkeys((dates[0], dates[-1]))),
    ]
    which = "" if len(rows) == sum(map(len, groups)) else "Of the rows measured last: "
    return f"{which}{'; '.join(filter(None, said))}.\n\n"
