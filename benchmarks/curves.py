"""Curves of a run's figures: `python benchmarks/curves.py OUT.png RUN [RUN ...] --figures NLL_oracle,distinct`.

Runs that go on where another one stopped are one curve: give their folders in order. Needs matplotlib, which the
package does not: `pip install matplotlib`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt


def read(folders: list[Path], figure: str) -> tuple[list[int], list[float]]:
    """Steps and values; of a step that several runs have the last one's."""
    values: dict[int, float] = {}
    for folder in folders:
        with (folder / "metrics.csv").open(newline="") as file:
            values |= {int(row["step"]): float(row[figure]) for row in csv.DictReader(file) if row.get(figure)}
    if not values:
        raise SystemExit(f"no {figure} in {', '.join(str(folder) for folder in folders)}")
    return list(values), list(values.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture")
    parser.add_argument("runs", nargs="+", type=Path, help="folders with a metrics.csv")
    parser.add_argument("--figures", required=True, help="names of columns, each with axes of its own: a,b,c")
    parser.add_argument("--marks", default="", help="steps where a vertical line stands: 4680,4730")
    parser.add_argument("--first", type=int, default=0, help="the step that the axis begins at")
    options = parser.parse_args()
    names = options.figures.split(",")
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False, layout="constrained")
    for name, ax in zip(names, axes[0], strict=True):
        steps, values = read(options.runs, name)
        points = [(step, value) for step, value in zip(steps, values, strict=True) if step >= options.first]
        ax.plot(*zip(*points, strict=True), marker=".", color="black", linewidth=1)
        for mark in filter(None, options.marks.split(",")):
            ax.axvline(int(mark), color="gray", linestyle=":")
        ax.set(title=name, xlabel="generator steps")
    figure.savefig(options.out, dpi=80)


if __name__ == "__main__":
    main()
