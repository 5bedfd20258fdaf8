"""The pictures of the page of `report`, within the page: samples over time, and curves."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import ascii_lowercase

from PIL import Image

from gan_lightning.callbacks.run_summary import Curve, draw_panels, panels
from gan_lightning.reporting.folder import RunFolder
from gan_lightning.reporting.scores import columns
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.reading import opened

GRIDS = 16  # of a run, at most
SIDE = 768  # pixels of a grid, at most
LARGE = 60_000  # bytes of a grid's file; a larger one becomes a JPEG


def slider(run: RunFolder) -> str:
    """A slider over what `SampleGrid` drew or wrote, the newest in view."""
    files = list(run.grids.items())
    if len(files) > GRIDS:
        files = [files[round(n * (len(files) - 1) / (GRIDS - 1))] for n in range(GRIDS)]
    shots = [(step, shot) for step, path in files if (shot := _shot(path, step))]
    if not shots:
        return ""
    figures = "".join(
        f"<figure{'' if number == len(shots) - 1 else ' hidden'}>{shot}<figcaption>step {step}</figcaption></figure>"
        for number, (step, shot) in enumerate(shots)
    )
    last = len(shots) - 1
    slider = f'<input type="range" min="0" max="{last}" value="{last}" aria-label="samples over time">' if last else ""
    return f'<div class="grids">{figures}{slider}</div>'


def _shot(path: Path, step: int) -> str:
    """A grid in HTML; empty where it cannot be read."""
    try:
        if path.suffix == ".txt":
            return f"<pre>{escape(path.read_text('utf-8', 'replace'))}</pre>"
        data, kind = path.read_bytes(), "png"
        with opened(io.BytesIO(data)) as file:
            size = file.size
            if len(data) > LARGE or max(size) > SIDE:
                image, held = file.convert("RGB"), io.BytesIO()
                image.thumbnail((SIDE, SIDE))
                image.save(held, "JPEG", quality=85)
                data, kind, size = held.getvalue(), "jpeg", image.size
            else:
                file.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return (
        f'<img width="{size[0]}" height="{size[1]}" alt="samples at step {step}" src="{_data(data, f"image/{kind}")}">'
    )


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def curves_of(runs: Sequence[RunFolder]) -> str:
    """A panel for each subject of one run; of several, one for each figure, with a curve for each run."""
    drawn = _alone(runs[0]) if len(runs) == 1 else _together(runs)
    pictures = [
        f'<img class="curves" alt="{escape(printable(title))}" src="{_data(_svg(title, lines), "image/svg+xml")}">'
        for title, lines in drawn.items()
    ]
    return f'<div class="panels">{"".join(pictures)}</div>' if pictures else ""


def _alone(run: RunFolder) -> dict[str, dict[str, Curve]]:
    lines = panels(run.curves).items()
    return {title: {label: run.curves[name] for label, name in names.items()} for title, names in lines}


def _together(runs: Sequence[RunFolder]) -> dict[str, dict[str, Curve]]:
    """The panels of several runs: a score's curves share one only where the runs' cards compare."""
    found: dict[str, dict[str, Curve]] = {}
    names = dict.fromkeys(name for run in runs for lines in panels(run.curves).values() for name in lines.values())
    called = [str(number) for number in range(1, len(runs) + 1)]
    for name in names:
        having = {label: run.curves[name] for label, run in zip(called, runs, strict=True) if name in run.curves}
        ways = [column for column in columns(runs) if column[0] == name]
        for number, (_, _, newest) in enumerate(ways):
            own = {
                label: having.pop(label) for label, one in zip(called, newest, strict=True) if one and label in having
            }
            found[f"{name} ({ascii_lowercase[number % 26]})" if len(ways) > 1 else name] = own
        if having:
            found[name] = having
    return found


def _svg(title: str, lines: dict[str, Curve]) -> bytes:
    import matplotlib

    held = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names in letters that the font lacks
        draw_panels({title: lines}).savefig(held, format="svg", transparent=True, metadata={"Date": None})
    return held.getvalue()
