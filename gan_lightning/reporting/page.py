"""A page on runs: one HTML file, with everything in it, that needs neither a server nor the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.core import resume
from gan_lightning.reporting.findings import findings
from gan_lightning.reporting.folder import RunFolder, Scored
from gan_lightning.reporting.pictures import curves_of, slider
from gan_lightning.reporting.scores import columns, signs_of
from gan_lightning.reporting.style import SCRIPT, STYLE
from gan_lightning.runtime.errors import one_line, printable


def html(folders: Sequence[Path]) -> str:
    """A page on runs beside each other.

    Args:
        folders: of the runs.

    Raises:
        FileNotFoundError, ValueError: see :meth:`RunFolder.read`; or no folder is given.
    """
    if not folders:
        raise ValueError("name the folder of a run, such as runs/R3GAN-Digits/2026-11-26_16-40-21")
    runs = [RunFolder.read(Path(folder)) for folder in folders]
    title = " and ".join(dict.fromkeys(_title(run) for run in runs))
    sections = {
        "": _each(runs, [_facts(run) for run in runs]),
        "What to look at": _each(runs, [_findings(run) for run in runs]),
        "Scores": _scores(runs),
        "Samples": _each(runs, [slider(run) for run in runs]),
        "Curves": curves_of(runs),
        "Settings that differ": _changes(runs),
        "Settings": _each(runs, [_config(run) for run in runs]),
    }
    body = "".join(
        f"<section>{f'<h2>{name}</h2>' if name else ''}{content}</section>"
        for name, content in sections.items()
        if content
    )
    name = f'<p class="small">{_text(runs[0].name)}</p>' if len(runs) == 1 else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><h1>{_text(title)}</h1>{name}{body}</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def keep(folder: Path) -> Path | None:
    """Write `report.html` into a run's folder; None, and a warning, where that fails: the run has its results."""
    path = Path(folder, "report.html")
    try:
        path.write_text(html([folder]), "utf-8")
    except Exception as error:  # of a drawing library, a disk, a file
        rank_zero_warn(f"the report of the run could not be made: {one_line(error)}")
        return None
    return path


# Text


def _text(value: object) -> str:
    """Anything as text of a page; bytes of names that are no UTF-8 as escapes."""
    return escape(printable(value))


def _marked(words: str) -> str:
    """Words in which backticks hold code and arXiv numbers become links."""
    shown = re.sub(r"`([^`]*)`", r"<code>\1</code>", _text(words))
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', shown)


def _title(run: RunFolder) -> str:
    return f"{run.model} on {run.data}" if run.model and run.data else run.name


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """What each run is called in tables and panels: by its number where there are several."""
    return [f"{number} {run.name}" if len(runs) > 1 else run.name for number, run in enumerate(runs, 1)]


def _cards(contents: Iterable[str]) -> str:
    return f'<div class="cards">{"".join(f"<article>{content}</article>" for content in contents)}</div>'


def _each(runs: Sequence[RunFolder], contents: Sequence[str]) -> str:
    """A card for each run that has something to show, under its name where there are several runs."""
    shown = [(name, content) for name, content in zip(_names(runs), contents, strict=True) if content]
    heads = [f"<h3>{_text(name)}</h3>" if len(runs) > 1 else "" for name, _ in shown]
    return _cards(head + content for head, (_, content) in zip(heads, shown, strict=True)) if shown else ""


def _facts(run: RunFolder) -> str:
    """The run in a few figures: how far it went, what that cost, on which machine, which checkpoint to take."""
    machine, best = run.machine, run.best()
    cost = {
        "steps": _number(run.steps),
        "images": _number(run.last("images_seen")),
        "time": _time(run.last("hours")),
        "images per second": _number(run.last("images_per_second")),
        **({best[0]: f"{best[1].value:.4g} at step {best[1].step}"} if best else {}),
    }
    on = [machine.get("gpu") or machine.get("processor")]
    on += [f"{machine[name]} {name}" for name in ("cores", "processes") if machine.get(name, 1) != 1]
    on += [f"{name} {machine[name]}" for name in ("torch", "lightning") if name in machine]
    where = {"machine": ", ".join(str(part) for part in on if part) or "not recorded"}
    if run.checkpoint is not None:
        where["checkpoint"] = run.checkpoint.name
    listed = [
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in cost.items() if value is not None
    ]
    lines = [f'<p class="fact"><b>{name}</b><span>{_text(value)}</span></p>' for name, value in where.items()]
    return f"<dl>{''.join(listed)}</dl>{''.join(lines)}"


def _number(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _time(hours: float | None) -> str | None:
    if hours is None:
        return None
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _findings(run: RunFolder) -> str:
    """What the health checks say, and what to try."""
    parts = []
    for found in findings(run):
        tried = "".join(f"<li>{_marked(line)}</li>" for line in found.advice)
        parts.append(
            f'<div class="finding"><h4>{_text(found.title)}</h4><p>{_text(found.evidence)}.</p>'
            f"<p>What to try:</p><ul>{tried}</ul></div>"
        )
    if not run.curves:
        return "<p>The folder has no metrics.csv: there are no figures to look at.</p>"
    return "".join(parts) or '<p class="good">No collapse, no player that wins, no average that lags.</p>'


# Scores


def _scores(runs: Sequence[RunFolder]) -> str:
    """The table of the newest scores, a row a run, and below it how they were made."""
    if not (made := columns(runs)):
        return ""
    signs, cards = signs_of(made)
    several = len(cards) > 1
    heads = "".join(
        f"<th>{_text(name)}{f'<sup>{sign}</sup>' if several else ''}</th>"
        for (name, *_), sign in zip(made, signs, strict=True)
    )
    rows = "".join(
        f"<tr><th>{_text(called)}</th>{''.join(_score(column[2][number]) for column in made)}</tr>"
        for number, called in enumerate(_names(runs))
    )
    told = "".join(f"<p>{f'<sup>{sign}</sup> ' if several else ''}{_card(card)}</p>" for sign, card in cards.items())
    return (
        f'<div class="wide"><table><thead><tr><th>run</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<div class="small">{told}</div>'
    )


def _score(scored: Scored | None) -> str:
    if scored is None:
        return "<td>–</td>"
    spread = "" if scored.std is None else f" ± {scored.std:.2g}"
    return f'<td title="step {scored.step}">{scored.value:.4g}{spread}</td>'


def _card(card: Mapping[str, Any]) -> str:
    if not card:
        return "The run's file does not say how this was made: it compares with nothing."
    return ", ".join(f"{_text(name)} {_text(value)}" for name, value in card.items())


# Settings


def _changes(runs: Sequence[RunFolder]) -> str:
    """The settings in which runs differ from the first."""
    told = {name: None for run in runs[1:] for name in resume.changes(runs[0].config, run.config)}
    rows = [[resume.flat(run.config).get(name, "–") for run in runs] for name in told]
    if not rows:
        return ""
    heads = "".join(f"<th>{_text(called)}</th>" for called in _names(runs))
    body = "".join(
        f"<tr><th>{_text(name)}</th>{''.join(f'<td>{_text(value)}</td>' for value in row)}</tr>"
        for name, row in zip(told, rows, strict=True)
    )
    return f'<div class="wide"><table><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _config(run: RunFolder) -> str:
    if not run.config:
        return ""
    text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    return f"<details><summary>config.yaml</summary><pre>{escape(text)}</pre></details>"
