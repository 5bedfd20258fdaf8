"""What `benchmark` does for each run: a process of `fit`, its scores, its picture, its row."""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import yaml
from PIL import Image, ImageChops

from gan_lightning.cli import evaluation, results
from gan_lightning.cli.comparison import Found
from gan_lightning.cli.results import Run
from gan_lightning.core.hyperparameters import own_record
from gan_lightning.runtime import checkpoint_io, runs
from gan_lightning.runtime.errors import complain
from gan_lightning.runtime.machine import machine
from gan_lightning.runtime.processes import device_named
from gan_lightning.runtime.reading import opened
from gan_lightning.scoring import SUBJECT, merged

FAILURES = (ValueError, OSError, RuntimeError)  # of one run: the others go on
MOST = 60_000  # bytes of a picture
FOREVER = "999:00:00:00"  # with a limit of time Lightning keeps how long training took


def measured(run: Run, given: argparse.Namespace, scores_flags: Callable[..., tuple[argparse.Namespace, list]]) -> str:
    """Measure one run, and append its row; returns what came of it in words.

    Args:
        run: what is trained.
        given: the flags of `benchmark`.
        scores_flags: the flags of `evaluate` for a checkpoint.

    Raises:
        FAILURES: it cannot be trained, scored or written; some scores may be in the row.
    """
    row = identity(run, given.budget)
    path = results.ROWS / f"{run.into or default_name(run.config)}.json"
    known = [old for old in results.read(path) if results.same_run(old, row)]
    same = [old for old in known if old["seed"] == run.seed and old.get("commit") == row.get("commit")]
    if same and not given.again and not (row.get("dirty") or same[0].get("dirty")):
        return f"has a row in {path} (--again measures it again)"
    checkpoint, seconds = trained(run, given)
    content = checkpoint_io.read(checkpoint)
    found, lost = evaluation.scores(
        *scores_flags(str(checkpoint), given.metrics, given.n, given.trust), device_named("auto")
    )
    if not found:
        raise ValueError("; ".join(lost) or "it has no scores")
    record = own_record(content, checkpoint)
    row = {"model": record["class_path"].rsplit(".", 1)[-1], **row}
    accelerator = yaml.safe_load(content.get("config") or "{}").get("trainer", {}).get("accelerator")
    row["machine"] = machine(torch.cuda.is_available() and accelerator != "cpu")
    row["date"] = date.today().isoformat()
    row["cost"] = {
        "seconds": round(seconds, 1),
        "training_seconds": round(content["callbacks"]["Timer"]["time_elapsed"]["train"], 3),
        "steps": content["global_step"],
        "images": record["images_seen"],
    }
    row |= scores_and_cards(found)
    drawn = checkpoint.with_name("samples.png")
    if drawn.exists() and all(old["seed"] == run.seed or not old.get("picture") for old in known):
        row["picture"] = keep_picture(drawn, picture_name(path, row))
    results.add(path, row)
    for line in lost:
        complain(line)
    if lost:
        raise ValueError(f"{path} has a row, without {len(lost)} of the scores")
    return ", ".join([f"{name} {value:.4g}" for name, value in row["scores"].items()] + [str(path)])


def default_name(config: str) -> str:
    """`dcgan-digits` for `configs/dcgan/digits.yaml`."""
    path = Path(config)
    return f"{path.parent.name}-{path.stem}" if path.parent.name else path.stem


def identity(run: Run, budget: str | None) -> results.Row:
    """The fields of a row that are known before training; of absolute paths their last parts alone."""

    def shown(text: str) -> str:
        return re.sub(r"^(--[\w.]+=)?/\S*?([^/]+)/?$", r"\g<1>\2", text) if "/" in text else text

    config = Path(run.config).resolve()
    own = config.is_relative_to(runs.ROOT)  # else its changes are not known
    row: results.Row = {
        "config": config.relative_to(runs.ROOT).as_posix() if own else config.name,
        "flags": [shown(flag) for flag in run.flags],
        **({} if budget is None else {"budget": budget}),
        "seed": run.seed,
    }
    if (commit := runs.git_commit("gan_lightning", *([str(config)] if own else []))) is not None:
        row |= {"commit": commit[0][:10], "dirty": commit[1]}
    return row


def trained(run: Run, given: argparse.Namespace) -> tuple[Path, float]:
    """The last checkpoint of a process of `fit`, and the seconds that it took.

    With a budget no score is taken on the way, so that all of it is training.

    Raises:
        RuntimeError: it failed; it has said why.
        FileNotFoundError: it wrote no checkpoint.
    """
    folder = runs.new_folder("runs/benchmark", default_name(run.config))
    limits = []
    if given.seconds is not None:
        minutes, seconds = divmod(given.seconds, 60)
        days, hours = divmod(minutes // 60, 24)
        limits = [f"--trainer.max_time={days:02}:{hours:02}:{minutes % 60:02}:{seconds:02}"]
        limits += ["--trainer.max_steps=-1", "--trainer.callbacks=null"]
    trust = [word for package in given.trust for word in ("--trust", package)]
    command = [sys.executable, "-m", "gan_lightning.fit", f"--trainer.max_time={FOREVER}", f"--config={run.config}"]
    command += [f"--seed_everything={run.seed}", f"--trainer.default_root_dir={folder}", *limits, *trust, *run.flags]
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise RuntimeError(f"fit ended with exit code {code}")
    return runs.latest_checkpoint(str(folder)), time.monotonic() - began


def scores_and_cards(found: Found) -> results.Row:
    """The fields of a row on what `evaluate` found; cards are shared, and without what the row says itself."""
    cards = merged([entry["card"] for entry in found.values()])
    return {
        "scores": {name: float(f"{entry['value']:.6g}") for name, entry in found.items()},
        "cards": [{name: value for name, value in card.items() if name not in SUBJECT} for card in cards],
    }


def picture_name(path: Path, row: results.Row) -> str:
    """The file for a row's picture: by the model where the rows are of several, and with a number beside another's."""
    model = re.sub(r"\W+", "-", row["model"].lower())
    stem = path.stem if path.stem.replace("_", "").startswith(model) else f"{path.stem}-{model}"
    others = {old.get("picture") for old in results.read(path) if not results.same_run(old, row)}
    names = (f"{stem}{number}.png" for number in ("", *(f"-{n}" for n in range(2, len(others) + 3))))
    return next(name for name in names if name not in others)


def keep_picture(source: Path, name: str) -> str:
    """Copy a picture to the page's, in at most MOST bytes: with fewer colours, then smaller; returns its name."""
    with opened(source) as file:
        image = file.convert("RGB")
    red, green, blue = image.split()
    if not any(ImageChops.difference(red, other).getbbox() for other in (green, blue)):
        image = red
    colours = None
    while len(data := png(image, colours)) > MOST:
        if colours is not None:
            image = image.resize([max(1, side * 3 // 4) for side in image.size], Image.Resampling.LANCZOS)
        colours = 64
    results.IMAGES.mkdir(parents=True, exist_ok=True)
    (results.IMAGES / name).write_bytes(data)
    return name


def png(image: Image.Image, colours: int | None) -> bytes:
    """A PNG file's bytes, of some colours or of all."""
    held = io.BytesIO()
    (image if colours is None else image.quantize(colours)).save(held, "PNG", optimize=True)
    return held.getvalue()
