"""What `fit` says of a run that ends before its time: by a signal, or broken."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import suppress
from typing import Any

from gan_lightning.runtime import jobs
from gan_lightning.runtime.checkpoint_io import read
from gan_lightning.runtime.errors import (
    DEATH_OF_A_WORKER,
    DataError,
    NotFiniteError,
    PeerError,
    RunError,
    death_of_a_worker,
    words_of,
)
from gan_lightning.runtime.trust import packages_beyond

ASKING = 30.0  # seconds that processes wait for the first one to ask Slurm: srun ends it when one of them has ended


def asks_again(cli: Any, number: signal.Signals) -> bool:
    """Whether Slurm is asked to run a job again which a signal has ended; the same on all processes."""
    saved = cli.config_init.checkpoint.last_path is not None
    return saved and number.name == "SIGUSR1" and jobs.slurm() is not None


def how_it_stopped(cli: Any, number: signal.Signals) -> str:
    """The line that ends a run which a signal has ended; where the signal means it, Slurm is asked to run it again."""
    checkpoint = cli.config_init.checkpoint
    if checkpoint.last_path is None:
        return f"{number.name}: ended before there was anything to save"
    further = f"go on with: {_command(cli, checkpoint.last_path)}"
    if asks_again(cli, number):
        further = f"{jobs.requeue()}; by hand: {further.removeprefix('go on with: ')}"
    last = shlex.quote(os.path.relpath(checkpoint.last_path))
    return f"{number.name}: ended at step {cli.trainer.global_step}, saved in {last}; {further}"


def further(cli: Any) -> str:
    """The rest of the line that ends a broken run: its last checkpoint, and the command that goes on from it."""
    path = cli.config_init.checkpoint.last_path or (cli.resumed and cli.resumed.path)
    if path is None:
        return "; the run had not saved anything yet"
    step = ""
    with suppress(OSError, ValueError):  # another error is being told
        step = f" of step {read(path, 'meta')['global_step']}"  # which may have come while processes lost each other
    return f"; the last checkpoint is{step or ' there'}; go on with: {_command(cli, path)}"


def _command(cli: Any, checkpoint: str | os.PathLike[str]) -> str:
    trust = "".join(f" --trust {package}" for package in packages_beyond(cli.config_init.checkpoint.config or ""))
    return f"python -m gan_lightning.fit --ckpt_path {shlex.quote(os.path.relpath(checkpoint))}{trust}"


def explain(cli: Any, error: Exception) -> None:
    """Say in one line, on one process, what has broken a run; come back where an error needs its traceback.

    Raises:
        RunError: the line; of a run that had begun with its last checkpoint and the command that goes on from it.
        SystemExit: another process says it.
    """
    error = death_of_a_worker(error) or error
    words, bad_input = _words(error), isinstance(error, (DataError, OSError))
    if isinstance(error, RunError):
        bad_input = error.bad_input
    lost = cli.peers.lost(error) if words is None else None
    said = cli.peers.told(2 if bad_input else 1)
    cli.peers.part()
    if said is not None and (lost or isinstance(error, PeerError)):
        sys.exit(said)
    if words := words or lost:
        raise RunError(f"{words}{further(cli) if cli.model.begun else ''}", bad_input) from error


def _words(error: Exception) -> str | None:
    """What an error says if it is no fault of the code."""
    if killed := DEATH_OF_A_WORKER.search(str(error)):
        number, by = killed.groups()
        if by and by.startswith("Bus error"):
            return f"a loader's worker (process {number}) found no room in /dev/shm: use --data.num_workers 0"
        how = f"was killed by the signal {by!r}" if by else "has ended"
        return (
            f"a loader's worker (process {number}) {how}: most likely there was no memory left; "
            "use fewer --data.num_workers, or a smaller --data.batch_size"
        )
    named = isinstance(error, (RunError, DataError, OSError)) and not isinstance(error, NotFiniteError)
    return words_of(error) if named else None
