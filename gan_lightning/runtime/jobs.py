"""Jobs of a cluster: which job a run's folder belongs to, so that a job that is started again goes on by itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "job.json"  # in a run's folder: the names of the job, and the command that it ran
UNNAMED = "none"  # torchrun's id of a job where --rdzv-id is not given


def slurm() -> str | None:
    """The number of the Slurm job that this process is part of; a task of an array is a job of its own.

    None outside of Slurm, and in a shell that Slurm has given.
    """
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):  # as Lightning tells them
        return None
    return os.environ.get("SLURM_JOB_ID")


def names() -> dict[str, bool]:
    """The names of the job that this process is part of, each with whether it is a job that has been started before.

    Slurm and torchrun count how often they start a job again. But each node of torchrun counts its own failures alone,
    and starts its processes again where another node failed, too: the counts differ. A job that its user has named, by
    `--rdzv-id`, is therefore taken for one that may have been started before, whatever its count says.
    """
    found = {}
    if (number := slurm()) is not None:
        found[f"Slurm {number}"] = _count("SLURM_RESTART_COUNT") > 0
    if (name := os.environ.get("TORCHELASTIC_RUN_ID")) is not None:
        again = name != UNNAMED or _count("TORCHELASTIC_RESTART_COUNT") > 0
        address = f" at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}" if name == UNNAMED else ""
        found[f"torchrun {name}{address}"] = again
    return found


def claim(folder: Path, arguments: Sequence[str], checkpoints: str | Path) -> None:
    """Note that the folder's run is this job's, and the command line's of `fit`; outside of a job do nothing.

    Args:
        folder: of the run.
        arguments: the command line.
        checkpoints: the folder of the run's checkpoints.
    """
    if not (job := names()):
        return
    last = Path(checkpoints, "last.ckpt").absolute()
    note = {"names": list(job), "arguments": list(arguments), "checkpoint": str(last)}
    part = folder / f"{FILE}.part"  # the other processes of the job may be reading
    part.write_text(json.dumps(note) + "\n")
    os.replace(part, folder / FILE)


def unfinished(root: str, arguments: Sequence[str]) -> tuple[Path, Path] | None:
    """The `last.ckpt` of the run that this command began last in this job, and that run's folder.

    None for a job that runs for the first time, and where that run has saved nothing. Every process of the job looks by
    itself: `callbacks.Checkpoint` sees to it that they have found the same.

    Args:
        root: under which the folders of runs are.
        arguments: the command line.
    """
    known = {name for name, again in names().items() if again}
    found = []
    for note in Path(root).glob(f"*/*/{FILE}") if known else ():
        said, time = _read(note)
        if known & set(said.get("names", ())) and said.get("arguments") == list(arguments):
            found.append((time, Path(said["checkpoint"]), note.parent))
    _, last, folder = max(found, default=(0.0, None, None))
    return (last, folder) if last is not None and last.is_file() else None


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


def _count(variable: str) -> int:
    return int(os.environ.get(variable) or 0)


def _read(note: Path) -> tuple[dict[str, Any], float]:
    """What a note says, and when it was written; nothing of one that cannot be read."""
    try:
        said, time = json.loads(note.read_text()), note.stat().st_mtime
    except (OSError, ValueError):
        return {}, 0.0
    if not isinstance(said, dict) or not isinstance(said.get("checkpoint"), str):
        return {}, 0.0
    listed = isinstance(said.get("names"), list) and all(isinstance(name, str) for name in said["names"])
    return (said if listed else {}), time
