"""The other processes of a run: which of them has ended before its time, and which of the rest says so."""

from __future__ import annotations

import atexit
import os
import platform
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed.distributed_c10d import _get_default_store

from gan_lightning.runtime import signals
from gan_lightning.runtime.checkpoint_io import WRITING
from gan_lightning.runtime.errors import RunError, complain
from gan_lightning.runtime.processes import of_connection, place, waited_in_vain

ENDING = 2.0  # seconds that a process may take to end after the others have lost its connection
HANGING = 10.0  # seconds after the end of one within which the others hear of it, or are ended too
BOOT, SPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
TOLD = "gan_lightning/end"  # in the store: the exit code of the process that has said why the run ends


def machine() -> tuple[str, str, int]:
    """Equal in two processes if the numbers of processes mean the same in both.

    They do on one start of one kernel, in one container. Machines may share a name, and their first namespaces of
    processes have the same number everywhere. What a system does not tell is empty.
    """
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    return platform.node(), boot, SPACE.stat().st_ino if SPACE.exists() else 0


class Peers(Callback):
    """Watches the other processes of a run on its machine, by file descriptors that are readable once one has ended.

    Lightning kills the first process without a word within five seconds of another's end, and leaves the others to
    their connections. Here the error of a connection becomes a line, and a process that does not hear of the end (it
    waits for 30 minutes, `processes.TIMEOUT`) is ended with that line, but not while it writes a checkpoint. Where the
    system has no such descriptors (Linux has them since 5.3), Lightning's way stays.

    Args:
        further: what to do next, as the rest of the line.
    """

    def __init__(self, further: Callable[[], str]) -> None:
        self.further = further
        self._ranks: dict[int, int] = {}  # by descriptor
        self._children: dict[int, subprocess.Popen] = {}  # by rank: those that this process has started
        self._over = threading.Event()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        rank, world = place()
        if world == 1 or not hasattr(os, "pidfd_open"):
            return
        here = machine()
        known: list[Any] = [None] * world
        dist.all_gather_object(known, (here, os.getpid()))
        for other, (where, process) in enumerate(known):
            if other != rank and where == here:
                with suppress(OSError):
                    self._ranks[os.pidfd_open(process)] = other
        launcher: Any = trainer.strategy.launcher
        if started := getattr(launcher, "procs", []):
            self._children = dict(enumerate(started, rank + 1))
            launcher.procs = list(started)
            started.clear()  # the list that Lightning watches
        threading.Thread(target=self._watch, name="peers", daemon=True).start()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if place()[1] > 1:
            trainer.strategy.barrier()
        self.dismiss()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, signals.Stopped):  # else all are to save together first: `fit` dismisses them
            self.dismiss()

    def dismiss(self) -> None:
        """From now on each process may end when it has done its part."""
        self._over.set()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.dismiss()
        ranks, self._ranks = self._ranks, {}
        for descriptor in ranks:
            os.close(descriptor)

    def gone(self, seconds: float) -> list[int]:
        """The ranks of those that have ended, as soon as there are any, or after so many seconds."""
        poll, ranks = select.poll(), self._ranks
        for descriptor in ranks:
            poll.register(descriptor, select.POLLIN)
        return sorted(ranks[descriptor] for descriptor, _ in poll.poll(1000 * seconds)) if ranks else []

    def lost(self, error: Exception) -> str | None:
        """What to say of an error that another process's end has caused; None for any other error."""
        if place()[1] == 1 or not isinstance(error, RuntimeError) or isinstance(error, RunError):
            return None
        if gone := self.gone(ENDING):
            return self._said(gone)
        if alone := waited_in_vain(error):
            return alone
        if of_connection(error):
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]  # where NCCL says why
            return f"processes cannot talk to each other: {last[:200]}"
        return None

    def told(self, code: int) -> int | None:
        """The exit code of the process that says why the run ends; None where that is this one, with its `code`.

        The processes agree by torch's store. If that has ended with the first process, the next one of each machine
        speaks, since machines know nothing of each other then.
        """
        rank, world = place()
        if world == 1:
            return None
        mine = f"{code} {rank}"
        try:
            first = _get_default_store().compare_set(TOLD, "", mine).decode()
        except (RuntimeError, ValueError):
            others = {rank, *self._ranks.values()}.difference(self.gone(0), {0})
            return None if rank == min(others, default=rank) else code
        return None if first == mine else int(first.split()[0])

    def part(self) -> None:
        """Take leave of the processes that this one has started: they have nothing to save, and end with it."""
        if self._children:
            atexit.register(signals.wait, list(self._children.values()), ENDING)

    def _said(self, gone: list[int]) -> str:
        def how(rank: int) -> str:
            code = self._children[rank].poll() if rank in self._children else None
            return f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""

        return " and ".join(f"process {rank} of {place()[1]} is gone{how(rank)}" for rank in gone)

    def _watch(self) -> None:
        while not (gone := self.gone(1.0)):
            if self._over.is_set():
                return
        if self._over.wait(HANGING):
            return
        WRITING.acquire()  # and kept: no other save begins
        if (code := self.told(1)) is None:
            complain(f"{self._said(gone)}{self.further()}")
            sys.stderr.flush()
        for process in self._children.values():
            process.kill()
        os._exit(code or 1)
