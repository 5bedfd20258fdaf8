"""Runs under Slurm: which job a run's folder belongs to, so that a job that is started again goes on by itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

FILE = "slurm.json"  # in a run's folder: the job, and the command that it ran


def job() -> str | None:
    """The job that this process is part of; None outside of Slurm, and in a shell that Slurm has given.

    A task of an array is a job of its own.
    """
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):  # as Lightning tells them
        return None
    return os.environ.get("SLURM_JOB_ID")


def claim(folder: Path, arguments: Sequence[str]) -> None:
    """Note that the folder's run is this job's, and the command line's of `fit`; outside of Slurm do nothing."""
    if job() is not None:
        (folder / FILE).write_text(json.dumps({"job": job(), "arguments": list(arguments)}) + "\n")


def unfinished(root: str, arguments: Sequence[str]) -> Path | None:
    """The `last.ckpt` under `root` that this command has left in this job, where Slurm has started the job again.

    None for a job that runs for the first time, and where nothing was saved.
    """
    if job() is None or int(os.environ.get("SLURM_RESTART_COUNT") or 0) < 1:
        return None
    mine = [note.with_name("last.ckpt") for note in Path(root).glob(f"*/*/{FILE}") if _reads(note, arguments)]
    return max((path for path in mine if path.exists()), key=lambda path: path.stat().st_mtime, default=None)


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


def _reads(note: Path, arguments: Sequence[str]) -> bool:
    try:
        return json.loads(note.read_text()) == {"job": job(), "arguments": list(arguments)}
    except (OSError, ValueError):
        return False
