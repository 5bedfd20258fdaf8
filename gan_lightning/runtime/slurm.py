"""Runs under Slurm: which job a run's folder belongs to, so that a job that is started again goes on by itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "slurm.json"  # in a run's folder: the job, and the command that it ran


def job() -> str | None:
    """The job that this process is part of; None outside of Slurm, and in a shell that Slurm has given.

    A task of an array is a job of its own.
    """
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):  # as Lightning tells them
        return None
    return os.environ.get("SLURM_JOB_ID")


def claim(folder: Path, arguments: Sequence[str], checkpoints: str | Path) -> None:
    """Note that the folder's run is this job's, and the command line's of `fit`; outside of Slurm do nothing.

    Args:
        folder: of the run.
        arguments: the command line.
        checkpoints: the folder of the run's checkpoints.
    """
    if job() is None:
        return
    note = {"job": job(), "arguments": list(arguments), "checkpoint": str(Path(checkpoints, "last.ckpt").absolute())}
    part = folder / f"{FILE}.part"  # the other processes of the job may be reading
    part.write_text(json.dumps(note) + "\n")
    os.replace(part, folder / FILE)


def unfinished(root: str, arguments: Sequence[str]) -> tuple[Path, Path] | None:
    """The `last.ckpt` that this command has left in this job, where Slurm has started it again, and its run's folder.

    None for a job that runs for the first time, and where nothing was saved.

    Args:
        root: under which the folders of runs are.
        arguments: the command line.
    """
    if job() is None or int(os.environ.get("SLURM_RESTART_COUNT") or 0) < 1:
        return None
    found = []
    for note in Path(root).glob(f"*/*/{FILE}"):
        said = _read(note)
        if (said.get("job"), said.get("arguments")) == (job(), list(arguments)):
            last = Path(str(said.get("checkpoint")))
            found += [(last, note.parent)] if last.is_file() else []
    return max(found, key=lambda run: run[0].stat().st_mtime, default=None)


def requeue() -> str:
    """Ask Slurm to start this job again; the line that says what came of it."""
    number = os.environ["SLURM_JOB_ID"]
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        number = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", number], capture_output=True, text=True)
        problem = "" if done.returncode == 0 else done.stderr.strip() or f"scontrol ends with {done.returncode}"
    except OSError as error:
        problem = str(error)
    return f"job {number} is not requeued: {problem}" if problem else f"job {number} is requeued, and will go on"


def _read(note: Path) -> dict[str, Any]:
    try:
        said = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
