"""A cluster may end a run at any time: signals to real processes, and at every moment of a run within this one.

What must hold: the run ends within half a minute with 128 + the signal's number, its file loads, nothing but the batch
in hand is lost, the run that goes on equals an unbroken one bit for bit, and no process is left a second later.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import test_fit
import torch
from conftest import SHAPE, SMALL_GAN, Noisy, assert_same, last_step, quiet, tensors, tiny
from lightning.pytorch import Callback, Trainer

from gan_lightning import fit
from gan_lightning.callbacks import Checkpoint
from gan_lightning.cli import fit_cli
from gan_lightning.core import AdversarialModule
from gan_lightning.data.base import ImageData
from gan_lightning.data.loader import Loader, TrainingOrder
from gan_lightning.data.sets import InMemory
from gan_lightning.runtime import jobs, processes, signals
from gan_lightning.runtime.checkpoint_io import read

pytestmark = pytest.mark.usefixtures("signals_at_default")
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 138}  # 128 + the number that Linux gives them
COMMAND = ["--model=GAN", *SMALL_GAN, "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
LOGGED = [
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=log",
    "--trainer.logger.flush_logs_every_n_steps=1",
    "--trainer.log_every_n_steps=1",
]


# Real processes.


class Run:
    """`fit` in a session of its own, every process of which can be found by a mark in its environment."""

    def __init__(
        self,
        folder: Path,
        *args: str,
        ignored: str | None = None,
        launcher: Sequence[str] = (),
        logger: Sequence[str] = LOGGED,
    ) -> None:
        self.folder, self.mark = folder, f"SIGNALS_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [
                sys.executable,
                *launcher,
                "-m",
                "gan_lightning.fit",
                *COMMAND,
                *logger,
                "--trainer.max_steps=100000",
                *args,
            ],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=ignored and (lambda: signal.signal(getattr(signal, ignored), signal.SIG_IGN)),
            env=os.environ | {"OMP_NUM_THREADS": "1", name: value},
        )

    def logged(self) -> int:
        """The last step in metrics.csv; -1 before there is one."""
        return max(map(last_step, self.folder.glob("**/metrics.csv")), default=-1)

    def reach(self, step: int) -> int:
        deadline = time.monotonic() + 300  # on a crowded machine it takes minutes to load the libraries
        while (logged := self.logged()) < step:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, f"step {logged} at last"
            time.sleep(0.05)
        return logged

    def everyone(self) -> dict[int, int]:
        """The processes of the run that are alive, by number, each with its parent's."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                    if state != "Z":
                        found[int(folder.name)] = int(parent)
            except OSError:  # it has ended meanwhile
                continue
        return found

    def ranks(self) -> list[int]:
        """The training processes, by rank: the first one and those that it has started by name."""
        first = self.process.pid
        others = [n for n, parent in self.everyone().items() if parent == first and rank_of(n) == 1]
        return [first, *sorted(others)]

    def send(self, name: str, target: str) -> None:
        number = getattr(signal, name)
        if target == "group":
            os.killpg(self.process.pid, number)
        else:
            os.kill(self.ranks()[{"parent": 0, "rank": -1}[target]], number)

    def end(self) -> tuple[str, str]:
        """Output and errors of the run, once it and all of its processes have ended in time."""
        self.crowd = max(os.getloadavg()[0] / (os.cpu_count() or 1), 1)  # processes that share a core
        began = time.monotonic()
        out, err = self.process.communicate(timeout=30 * self.crowd)
        self.ended = time.monotonic() - began
        print(f"ended after {self.ended:.1f} s, {self.crowd:.1f} processes a core")  # `pytest -rP` shows it
        time.sleep(1)
        assert not self.everyone(), "processes are left"
        return out, err

    def file(self) -> Path:
        (path,) = self.folder.glob("runs/*/*/last.ckpt")
        return path


def rank_of(number: int) -> int | None:
    """As its launcher has told it; a worker is a copy of its parent, and has the same."""
    for line in Path(f"/proc/{number}/environ").read_text().split("\0"):
        if line.startswith("LOCAL_RANK="):
            return int(line.partition("=")[2])
    return None


@contextmanager
def started(folder: Path, *args: str, **options: Any) -> Iterator[Run]:
    run = Run(folder, *args, **options)
    try:
        yield run
    finally:
        for number in run.everyone():
            os.kill(number, signal.SIGKILL)


def check_file(run: Run, reached: int) -> int:
    """The generator step of the file, at least the one that was logged before the signal."""
    content = read(run.file())
    assert content["global_step"] == content["gan_lightning"]["iteration"] >= reached
    return content["global_step"]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in read(path)["state_dict"].items() if isinstance(value, torch.Tensor)}


def train_to(folder: Path, steps: int, *more: str) -> dict[str, torch.Tensor]:
    """The weights after so many steps, trained in a process of its own: what tests have set in this one may change
    how torch rounds."""
    folder.mkdir(exist_ok=True)
    before = set(folder.glob("runs/*/*/last.ckpt"))
    done = test_fit.run(folder, *COMMAND, "--trainer.logger=false", f"--trainer.max_steps={steps}", *more)
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = set(folder.glob("runs/*/*/last.ckpt")) - before
    return weights(path)


def test_bar_13_a_group_a_rank_and_what_nohup_ignores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with workers, of which one alone gets the signal; one with workers, under nohup, with its group."""
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir(), one.mkdir()
    with started(two, "--trainer.devices=2", "--data.num_workers=1") as pair:
        with started(one, "--data.num_workers=2", ignored="SIGHUP") as alone:
            reached = alone.reach(3)
            alone.send("SIGHUP", "group")
            reached = alone.reach(reached + 2)  # not impressed
            alone.send("SIGTERM", "group")
            out, err = alone.end()
        assert alone.process.returncode == 143
        step = check_file(alone, reached)
        assert alone.file().with_name("curves.png").exists()
        path = os.path.relpath(alone.file(), one)
        assert f"SIGTERM: ended at step {step}, saved in {path}; go on with: python -m gan_lightning.fit" in out
        assert err.count("SIGTERM") == 1 and "Traceback" not in err and "SIGHUP" not in err

        reached = pair.reach(3)
        assert len(pair.ranks()) == 2 and len(pair.everyone()) == 4
        pair.send("SIGUSR1", "rank")
        out, err = pair.end()
    assert pair.process.returncode == 138 and "Traceback" not in err, err
    assert out.count("SIGUSR1: ended at step") == 1
    both = check_file(pair, reached)

    unbroken = train_to(tmp_path / "unbroken", step + 3)
    resumed = train_to(one, step + 3, f"--ckpt_path={alone.file()}")
    assert_same(resumed, unbroken)
    expected = train_to(tmp_path / "whole", both)
    for name, value in weights(pair.file()).items():  # two halves of a batch are the whole, but for rounding
        assert (value - expected[name]).norm() <= 1e-3 * expected[name].norm() + 1e-6, name


@pytest.mark.slow
@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("devices, target", [(1, "parent"), (1, "group"), (2, "parent"), (2, "rank"), (2, "group")])
@pytest.mark.parametrize("workers", [0, 2])
def test_bar_13_every_signal_to_everyone(
    name: str, devices: int, target: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = f"--trainer.devices={devices}", f"--data.num_workers={workers}"
    with started(tmp_path, *options) as run:
        reached = run.reach(5)
        run.send(name, target)
        out, err = run.end()
    assert run.process.returncode == CODES[name] and "Traceback" not in err, err
    assert run.ended < 5 * run.crowd, "bar 13: 5 s on a machine that does nothing else"
    assert out.count(f"{name}: ended at step") == 1 and err.count(name) <= 1
    step = check_file(run, reached) + 3
    go_on = f"--ckpt_path={run.file()}"
    if devices == 1:
        resumed = train_to(tmp_path / "resumed", step, go_on)
        assert_same(resumed, train_to(tmp_path / "unbroken", step))
    elif name == "SIGTERM":  # two processes take long to start
        found = []
        for folder, *more in ((tmp_path / "resumed", go_on), (tmp_path / "unbroken",)):
            folder.mkdir()
            command = [sys.executable, "-m", "gan_lightning.fit", *COMMAND, "--trainer.logger=false", *more]
            last = ["--trainer.devices=2", f"--trainer.max_steps={step}"]
            assert subprocess.run([*command, *last], cwd=folder, timeout=300).returncode == 0
            (path,) = folder.glob("runs/*/*/last.ckpt")
            found.append(weights(path))
        assert_same(*found)


# Moments, in this process.


class When(Callback):
    """Sends this process a signal at a hook, where `due(trainer, module)`."""

    def __init__(self, hook: str, name: str, due: Callable[[Trainer, Any], bool] = lambda *_: True) -> None:
        def act(trainer: Trainer, module: Any, *_: Any, **__: Any) -> None:
            if due(trainer, module):
                os.kill(os.getpid(), getattr(signal, name))

        setattr(self, hook, act)


class Validated(AdversarialModule):
    """Mixed into a model: validation in batches."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("seen", torch.tensor(float(batch_idx)))


class ManyHeldOut(Noisy):
    """Three batches of validation."""

    def load(self, split: str) -> InMemory:
        whole = super().load("train")
        return whole if split == "train" else InMemory(whole.every.image[:40], torch.zeros(40))


def model(seed: int = 0) -> AdversarialModule:
    kind = type(tiny("GAN"))
    made = tiny("GAN", seed=seed)
    made.__class__ = type("Validated", (Validated, kind), {})
    return made


def ended(folder: Path, *more: Callback, steps: int = 6, data: ImageData | None = None, **options: Any) -> int | None:
    """The exit code of a run of the callback alone; None for one that ends by itself."""
    trainer = quiet(callbacks=[*more, Checkpoint(str(folder))], enable_checkpointing=True, max_steps=steps, **options)
    torch.manual_seed(0)
    try:
        trainer.fit(model(), data or ManyHeldOut())
    except SystemExit as end:
        return end.code
    return None


VALIDATED = {"limit_val_batches": 1.0, "val_check_interval": 2, "check_val_every_n_epoch": None}


@pytest.mark.parametrize(
    "hook, due, saved",
    [
        ("on_fit_start", lambda *_: True, None),
        ("on_sanity_check_start", lambda *_: True, None),
        ("on_train_start", lambda *_: True, None),
        ("on_train_batch_start", lambda trainer, module: module.iteration == 2, 3),
        ("on_validation_start", lambda trainer, module: module.iteration == 2, 2),
        ("on_validation_batch_end", lambda trainer, module: module.iteration == 4, 4),
        ("on_validation_end", lambda trainer, module: module.iteration == 4, 5),
        ("on_save_checkpoint", lambda trainer, module: module.iteration == 6, 6),  # the last save: it has finished
    ],
)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_every_moment(hook: str, due: Callable, saved: int | None, name: str, tmp_path: Path) -> None:
    """Before the first batch a run ends at once; later it saves the state of a batch's end, and goes on bit for bit."""
    code = ended(tmp_path / "run", When(hook, name, due), num_sanity_val_steps=1, **VALIDATED)
    assert code == (None if hook == "on_save_checkpoint" else CODES[name])
    path = tmp_path / "run" / "last.ckpt"
    assert path.exists() == (saved is not None)
    if saved is None:
        return
    assert read(path)["gan_lightning"]["iteration"] == saved
    found = []
    for last, folder in ((path, "resumed"), (None, "unbroken")):
        again = model(seed=int(last is not None))
        checkpoint = Checkpoint(str(tmp_path / folder))
        trainer = quiet(callbacks=[checkpoint], enable_checkpointing=True, max_steps=9, **VALIDATED)
        trainer.fit(again, ManyHeldOut(), ckpt_path=last)
        assert trainer.global_step == 9
        found.append(tensors(again))
    assert_same(*found)


def test_a_long_score_ends_after_a_batch_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it trains and of the final weights; the score is taken by the run that goes on."""
    seen = []

    def interrupted(*_: Any) -> None:
        seen.append(1)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("gan_lightning.scoring.feature_pass._show", interrupted)
    score = ["--trainer.callbacks+=FID", "--trainer.callbacks.protocol.n_fake=2000"]
    for args, step in (([*score, "--trainer.callbacks.when.every_n_steps=2"], 2), (score, 4)):
        seen.clear()
        folder = tmp_path / str(step)
        folder.mkdir()
        monkeypatch.chdir(folder)
        with pytest.raises(signals.Stopped) as end:
            fit.main([*COMMAND, "--trainer.logger=false", "--trainer.max_steps=4", *args])
        assert end.value.code == 143 and len(seen) == 2
        (path,) = folder.glob("runs/*/*/last.ckpt")
        assert read(path)["global_step"] == step


def test_lightnings_handlers_are_out_of_the_way(tmp_path: Path) -> None:
    """For a run, and back in place for the next, which may have another callback."""
    seen = {}

    class Look(Callback):
        def on_sanity_check_start(self, trainer: Trainer, pl_module: Any) -> None:
            seen["sanity"] = signal.getsignal(signal.SIGTERM)

        def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
            seen["end"] = signal.getsignal(signal.SIGTERM)
            seen["trainer"] = trainer

    assert ended(tmp_path, Look(), num_sanity_val_steps=1, **VALIDATED) is None
    for moment in ("sanity", "end"):
        assert isinstance(getattr(seen[moment], "__self__", None), signals.Listener), moment
    connector = seen["trainer"]._signal_connector
    assert connector.register_signal_handlers.__self__ is connector
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signals.active() is None


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_what_a_second_one_does_is_said_where_it_does_it(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    number = getattr(signal, name)
    with signals.listening() as listener:
        listener.saving = True
        os.kill(os.getpid(), number)
        assert listener.received == number
    said = capfd.readouterr().err
    assert f"{name}: stopping at the end" in said
    assert ("once more stops at once" in said) == (name in ("SIGINT", "SIGTERM"))


def test_a_handler_of_the_program_stays(tmp_path: Path) -> None:
    heard = []
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        at_two = lambda trainer, module: module.iteration == 2  # noqa: E731
        assert ended(tmp_path, When("on_train_batch_start", "SIGUSR1", at_two)) is None
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert heard == [signal.SIGUSR1]


def in_copy(work: Callable[[], None]) -> int:
    """The exit code of a copy of this process that does `work`."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
            os._exit(0)
        except SystemExit as end:
            os._exit(100 if end.code is None else int(end.code))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_twice_at_once_is_once_and_later_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` and torchrun send a signal twice; a person who asks again means it. The second kind does not matter."""

    def twice(pause: float, first: str, second: str) -> int:
        def work() -> None:
            with signals.Listener() as listener:
                listener.saving = True
                os.kill(os.getpid(), getattr(signal, first))
                time.sleep(pause)
                os.kill(os.getpid(), getattr(signal, second))
                time.sleep(0.3)  # a thread sees to it
                assert listener.received == getattr(signal, first)

        return in_copy(work)

    monkeypatch.setattr(signals, "AGAIN", 0.2)
    assert twice(0.0, "SIGTERM", "SIGTERM") == 0
    assert twice(0.4, "SIGTERM", "SIGTERM") == 143
    assert twice(0.4, "SIGINT", "SIGTERM") == 130
    assert twice(0.4, "SIGUSR1", "SIGTERM") == 0  # a warning, then the first that is meant
    assert twice(0.4, "SIGHUP", "SIGHUP") == 0


@pytest.mark.parametrize("saving, code", [(False, 143), (True, 130)])
def test_a_main_thread_that_hangs_in_foreign_code(saving: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a collective operation, say, whose other side has gone: no handler of Python runs there."""
    monkeypatch.setattr(signals, "AGAIN", 0.2)
    monkeypatch.setattr(signals, "ANSWER", 0.2)
    first, *more = ["SIGINT", "SIGTERM"] if saving else ["SIGTERM"]

    def work() -> None:
        with signals.Listener() as listener:
            listener.saving = saving
            if saving:
                os.kill(os.getpid(), getattr(signal, first))
                time.sleep(0.3)
            rest = more if saving else [first]
            script = "import os, signal, sys, time; time.sleep(0.5); [os.kill(int(sys.argv[1]), getattr(signal, n)) "
            script += "for n in sys.argv[2:]]"
            subprocess.Popen([sys.executable, "-c", script, str(os.getpid()), *rest])
            # The interpreter is released, and handlers are not run until it returns.
            _wait_in_c(5)

    began = time.monotonic()
    assert in_copy(work) == code
    assert time.monotonic() - began < 4


def _wait_in_c(seconds: float) -> None:
    """Until the time is over, whatever signals come: `usleep` would return at the first."""
    libc, end = ctypes.CDLL(None), time.monotonic() + seconds
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    wanted = (ctypes.c_long * 2)(int(time.time() + seconds), 0)
    libc.pthread_mutex_timedlock(mutex, wanted)
    assert time.monotonic() >= end - 1


def test_stopping_at_once_leaves_no_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(signals, "AGAIN", 0.0)
    noted = tmp_path / "workers"

    def work() -> None:
        loader = _loader(2)
        with signals.Listener() as listener:
            listener.saving = True
            next(batches := iter(loader))
            noted.write_text(json.dumps([worker.pid for worker in loader._iterator._workers]))
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            next(batches)

    assert in_copy(work) == 143
    time.sleep(1)
    assert not any(_runs(worker) for worker in json.loads(noted.read_text()))


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Stuck(InMemory):
    """Hangs in the third batch, as a lost file system does."""

    def training_batch(self, which: Any) -> Any:
        if self.hang and which.index[0] >= 8:
            time.sleep(600)
        return super().training_batch(which)


def _loader(workers: int, hang: bool = False) -> Loader:
    images = Stuck(torch.zeros(16, *SHAPE, dtype=torch.uint8), torch.zeros(16))
    images.hang = hang
    order = TrainingOrder(16, 4, 0, lambda: 0)
    order._from = lambda start: iter(_in_order())
    return Loader(images, order, workers)


def _in_order() -> list[Any]:
    from gan_lightning.batches import BatchIndex

    return [BatchIndex(0, list(range(first, first + 4))) for first in range(0, 16, 4)]


def test_workers_ignore_what_their_parent_handles_and_end_with_it() -> None:
    loader = _loader(2)
    batches = iter(loader)
    next(batches)
    workers = list(loader._iterator._workers)
    for name in CODES:
        for worker in workers:
            os.kill(worker.pid, getattr(signal, name))
    assert len(list(batches)) == 3 and all(worker.is_alive() for worker in workers)
    began = time.monotonic()
    loader.close()
    assert time.monotonic() - began < 2 and not any(worker.is_alive() for worker in workers)


def test_a_worker_that_hangs_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ignores SIGTERM, by which torch and multiprocessing would end it: they would wait for ever."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    loader = _loader(2, hang=True)
    batches = iter(loader)
    next(batches)
    workers = list(loader._iterator._workers)
    loader.close()
    for worker in workers:
        worker.join(2)
        assert not worker.is_alive()


def test_no_signal_reaches_a_worker_before_it_ignores_them() -> None:
    def is_ended_by(signals_wait: bool) -> bool:
        """A copy that sends itself SIGTERM, then ignores it as a worker does."""

        def work() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            signals.left_to_parent()
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
            os.kill(os.getpid(), signal.SIGTERM)

        if not signals_wait:
            return in_copy(work) == -signal.SIGTERM
        with signals.held_back():
            code = in_copy(work)
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return code == -signal.SIGTERM

    assert is_ended_by(signals_wait=False)
    assert not is_ended_by(signals_wait=True)


def test_what_is_done_together_ends_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is told before a signal, and outside of a run a signal is none of its business."""
    with processes.together():
        pass
    with signals.Listener() as listener:
        listener.saving = True
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(signals.Stopped) as end, processes.together():
            pass
        assert end.value.code == 129 and end.value.signal is signal.SIGHUP
        with pytest.raises(ValueError, match="first"), processes.together():
            raise ValueError("first")


def test_the_others_are_asked_often_enough(tmp_path: Path) -> None:
    """Every 20 batches, and at least every five seconds where a batch takes less."""
    checkpoint = Checkpoint(str(tmp_path))
    looks = {}

    class Clock(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            for pace in (0.001, 0.3, 2.0, 60.0):
                checkpoint._looked = pl_module.iteration - 10, time.monotonic() - 10 * pace
                checkpoint._agree(trainer, pl_module)
                looks[pace] = checkpoint._look - pl_module.iteration

    quiet(callbacks=[Clock(), checkpoint], enable_checkpointing=True, max_steps=1).fit(tiny("GAN"), Noisy())
    assert looks == {0.001: 20, 0.3: 16, 2.0: 2, 60.0: 1}


# Slurm.


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of one task, and an `scontrol` that notes what it is asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    tool = tools / "scontrol"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tools}/asked\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name, value in {"JOB_ID": "77", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("GAN_LIGHTNING_RUN", "")  # set by a run, and put back after the test
    monkeypatch.chdir(tmp_path)
    return tools / "asked"


class AtThird(Callback):
    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.iteration == 2 and "STOP_AT_THIRD" in os.environ:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_a_requeued_job_goes_on_by_itself(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = [*COMMAND, "--trainer.logger=false", "--trainer.max_steps=5", f"--trainer.callbacks+={__name__}.AtThird"]
    monkeypatch.setenv("STOP_AT_THIRD", "1")
    with pytest.raises(SystemExit) as end:
        fit.main(command)
    assert end.value.code == 138
    (path,) = tmp_path.glob("runs/*/*/last.ckpt")
    assert read(path)["global_step"] == 3
    assert cluster.read_text() == "requeue 77\n"
    assert "SIGUSR1: ended at step 3" in (said := capsys.readouterr().out) and "job 77 is requeued" in said
    assert not list(tmp_path.rglob("hpc_ckpt*"))

    monkeypatch.delenv("STOP_AT_THIRD")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    fit.main(command)
    assert list(tmp_path.glob("runs/*/*/last.ckpt")) == [path], "it begins another run"
    resumed = weights(path)
    assert read(path)["global_step"] == 5
    monkeypatch.setenv("SLURM_JOB_ID", "78")  # another job of the same command, started again before it could save
    fit.main(command)
    (other,) = set(tmp_path.glob("runs/*/*/last.ckpt")) - {path}
    assert_same(weights(other), resumed)


def test_a_requeued_job_that_went_on_with_another_run_goes_on_with_its_own(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its settings too, whatever others have saved since, or removed."""
    for width in (4, 8):
        fit.main([*COMMAND, "--trainer.logger=false", "--trainer.max_steps=1", f"--model.generator.width={width}"])
    mine, others = sorted(tmp_path.glob("runs/*/*"), key=lambda run: (run / "last.ckpt").stat().st_mtime_ns)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for number, path in enumerate(("last", "gone.ckpt", str(others / "last.ckpt"))):
        monkeypatch.setenv("SLURM_JOB_ID", str(number))
        arguments = [f"--ckpt_path={path}", "--trainer.max_steps=3"]
        jobs.claim(mine, arguments, mine)
        args, resumed = fit_cli.with_base_config(arguments)
        assert resumed is not None and resumed.path == mine / "last.ckpt" and resumed.folder.resolve() == mine
        settings = json.loads(args[args.index("--config") + 1])
        assert settings["model"]["init_args"]["generator"]["init_args"]["width"] == 4


def test_which_run_a_job_goes_on_with(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "runs/A-B/1", tmp_path / "runs/C-D/2"
    for folder, arguments in ((first, ["--seed=1"]), (second, ["--seed=2"])):
        folder.mkdir(parents=True)
        jobs.claim(folder, arguments, folder)
    root = str(tmp_path / "runs")
    assert jobs.unfinished(root, ["--seed=1"]) is None, "the job runs for the first time"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert jobs.unfinished(root, ["--seed=1"]) is None, "there is no file yet"
    for folder in (first, second):
        (folder / "last.ckpt").touch()
    assert jobs.unfinished(root, ["--seed=1"]) == (first / "last.ckpt", first)
    assert jobs.unfinished(root, ["--seed=2"]) == (second / "last.ckpt", second)
    assert jobs.unfinished(root, ["--seed=3"]) is None
    (first / jobs.FILE).write_text("{")
    assert jobs.unfinished(root, ["--seed=1"]) is None
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert jobs.unfinished(root, ["--seed=2"]) is None and jobs.slurm() is None
    monkeypatch.delenv("SLURM_JOB_NAME")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert jobs.unfinished(root, ["--seed=2"]) is None


def test_what_slurm_is_asked(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert jobs.requeue() == "job 70_3 is requeued, and will go on"
    assert cluster.read_text() == "requeue 70_3\n"
    (cluster.parent / "scontrol").write_text("#!/bin/sh\necho 'Requested operation not allowed' >&2\nexit 1\n")
    assert jobs.requeue() == "job 70_3 is not requeued: Requested operation not allowed"
    monkeypatch.setenv("PATH", str(cluster.parent / "nowhere"))
    assert jobs.requeue().startswith("job 70_3 is not requeued: ")
