"""Signals that end a run: noted when they come, obeyed where all processes can, with the exit code that a shell knows.

A handler runs between any two steps of Python: between two players' turns, within a save, within an operation that the
other processes know nothing of. So it notes the signal and does nothing else. Training looks at the note at the ends
of batches (`callbacks.Checkpoint`), scores after each of their batches (`processes.together`).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType, TracebackType
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
ENDING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has two of them
AT_ONCE = (signal.SIGINT, signal.SIGTERM)  # that end the program at once when they come again
AGAIN = 2.0  # seconds; `timeout` and torchrun send a signal twice within less, and mean it once
ANSWER = 1.0  # seconds that the main thread is given to end where nothing is to be saved
PATIENCE = 10.0  # seconds that the processes that Lightning has started are given to end
_PARENT = "GAN_LIGHTNING_PARENT"  # how the processes that Lightning starts know that this one is their parent

_active: Listener | None = None


class Stopped(SystemExit):
    """A signal has ended the run: exit code 128 + its number, as a shell says it.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Listener:
    """A context manager within which signals do not kill.

    Where nothing is to be saved they raise :class:`Stopped` at once; else the first one is noted. A second SIGINT or
    SIGTERM, later than `AGAIN` seconds, ends the program and what it has started at once. A signal that is ignored
    when the context is entered (as SIGHUP is under nohup), or that the program handles itself, stays as it is. In
    another thread than the main one nothing is handled, for Python allows no more.

    Attributes:
        received: the number of the first signal; 0 for none.
        saving: whether there is something to save, or others to agree with: a signal must wait.
        launcher: Lightning's, that has started the other processes of the run; None for none.
    """

    def __init__(self) -> None:
        self.received = 0
        self.saving = False
        self.launcher: Any = None
        self._process = os.getpid()
        self._pipe, self._pipe_before = -1, -1  # where the interpreter writes the numbers of signals as they come
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Listener:
        global _active
        self._outer, _active = _active, self
        if threading.current_thread() is threading.main_thread():
            if not _launched():
                os.environ[_PARENT] = str(self._process)
            for number in ENDING:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._note)
            if os.name == "posix":  # elsewhere a thread that hangs is left to the system
                reader, self._pipe = os.pipe()
                os.set_blocking(self._pipe, False)
                self._pipe_before = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
                threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global _active
        _active = self._outer
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
        if self._pipe >= 0:
            signal.set_wakeup_fd(self._pipe_before)
            os.write(self._pipe, b"\0")
            os.close(self._pipe)
        if os.environ.get(_PARENT) == str(self._process):
            os.environ.pop(_PARENT)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a copy of the process that has not yet begun its own work
            return
        if self.received:
            return
        self.received = number
        if not self.saving:
            self.stop()
        name = signal.Signals(number).name
        once_more = " (once more stops at once)" if number in AT_ONCE else ""
        _say(f"\n{name}: stopping at the end of this batch, with a checkpoint{once_more}")

    def _watch(self, reader: int) -> None:
        """In a thread: see to signals that the main thread cannot, since it waits for others within torch."""
        asked: float | None = None  # when SIGINT or SIGTERM came first
        while (byte := os.read(reader, 1)) not in (b"", b"\0"):
            if (number := byte[0]) not in self._before:
                continue
            if number in AT_ONCE:
                if asked is None:
                    asked = time.monotonic()
                elif time.monotonic() - asked > AGAIN:
                    self._end_at_once(number)
            if not self.saving:
                for process in self.part():
                    process.terminate()
                time.sleep(ANSWER)
                if not (self.received or self.saving):
                    self._end_at_once(number)
        os.close(reader)

    def stop(self) -> None:
        """End where nothing is to be saved, with the other processes of the run.

        Raises:
            Stopped: always.
        """
        self._tell_parent(self.received)
        for process in self.part():
            process.terminate()
        raise Stopped(self.received)

    def _tell_parent(self, number: int) -> None:
        """Else Lightning kills it, within five seconds."""
        if _launched():
            os.kill(os.getppid(), number)

    def part(self) -> list[subprocess.Popen]:
        """Take leave of the processes that Lightning has started, before they end; this one waits for them at its end.

        Lightning watches them, and kills this process within five seconds of the end of one with another code than 0.
        """
        watched = getattr(self.launcher, "procs", [])
        processes = list(watched)
        watched.clear()
        if processes:
            atexit.register(wait, processes)
        return processes

    def _end_at_once(self, number: int) -> None:
        _say(f"\n{signal.Signals(self.received or number).name}: ended at once, with nothing more saved")
        if not self.saving:
            self._tell_parent(number)
        for process in [*getattr(self.launcher, "procs", []), *multiprocessing.active_children()]:
            with suppress(OSError):
                process.kill()
        os._exit(128 + (self.received or number))


def active() -> Listener | None:
    """The listener that this process is within."""
    return _active if _active is not None and _active._process == os.getpid() else None


@contextmanager
def listening() -> Iterator[Listener]:
    """The listener that this process is within, or a new one for as long as this lasts."""
    with nullcontext(found) if (found := active()) else Listener() as listener:
        yield listener


def listen_to_the_end() -> None:
    """Listen until the program ends, while it is ending too: another process of the run may repeat the signal."""
    Listener().__enter__()


def received() -> int:
    """The number of the signal that this process is to end by; 0 for none."""
    return _active.received if active() else 0


def _launched() -> bool:
    """Whether Lightning has started this process from one that listens too."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and os.environ.get(_PARENT) == str(os.getppid())


def left_to_parent(worker: int = 0) -> None:
    """Ignore what the parent process handles: for a worker, which must work until it is told to end.

    What ends it is its parent: by a message, by SIGKILL (see :meth:`data.loader.Loader.close`), or by its own end.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _end_with(parent: int) -> None:
    """End this worker when its parent has ended: torch's look for that fails while a batch fills a pipe to nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if folder := getattr(multiprocessing.current_process(), "_config", {}).get("tempdir"):  # of its connections
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that are started within do not receive these signals before they ignore them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _say(line: str) -> None:
    """Print from a handler, on the first process alone: `print` may be interrupted, and cannot be entered twice."""
    if rank_zero_only.rank == 0:
        with suppress(OSError):
            os.write(2, f"{line}\n".encode())


def wait(processes: list[subprocess.Popen], seconds: float = PATIENCE) -> None:
    """Until they have ended, by force if they take longer."""
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
