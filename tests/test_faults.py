"""What breaks a run from outside: one line says what, where the last checkpoint is, and how to go on; nothing hangs."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from conftest import Noisy, finish_wandb, tiny, trained
from lightning.pytorch import Callback
from PIL import Image
from test_signals import COMMAND, rank_of, started
from torch.utils.data._utils import signal_handling

from gan_lightning import fit
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import Checkpoint, Health, tracking
from gan_lightning.data.loader import Loader, WholeOrder
from gan_lightning.data.sets import InMemory
from gan_lightning.runtime import errors, peers, signals
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO, read

GO_ON = re.compile(
    r"; the last checkpoint is of step (\d+); go on with: python -m gan_lightning\.fit --ckpt_path (\S+)$"
)
SAVED = "--checkpoint.every_n_steps=2"


def check_line(said: str, folder: Path, words: str) -> None:
    """One line with the words, and a checkpoint that loads and has the step that the line says."""
    lines = [line.partition("error: ")[2] for line in said.splitlines() if "error: " in line]
    assert len(lines) == 1 and words in lines[0], said
    step, path = GO_ON.search(lines[0]).groups()
    assert read(folder / path)["global_step"] == int(step) > 0


# Processes that are gone.


def test_bar_14_a_killed_process_ends_the_others_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two that `devices` has started, and the first of torchrun's, which W&B tracks."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kept"))  # torch makes it where there is none
    folders = [tmp_path / name for name in ("devices", "torchrun")]
    for folder in folders:
        (folder / "tmp").mkdir(parents=True)
    two = "--trainer.devices=2", SAVED
    every = ["--trainer.log_every_n_steps=1"]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    monkeypatch.setenv("TMPDIR", str(folders[0] / "tmp"))
    with started(folders[0], *two) as own:
        monkeypatch.setenv("TMPDIR", str(folders[1] / "tmp"))
        with started(folders[1], *two, launcher=torchrun, logger=every) as launched:
            for run, rank in ((own, 1), (launched, 0)):
                run.reach(5)
                first = run.process.pid
                (process,) = (n for n, of in run.everyone().items() if of == first and rank_of(n) == rank)
                began = time.monotonic()
                os.kill(process, signal.SIGKILL)
                _, err = run.end()
                crowd = max(os.getloadavg()[0] / (os.cpu_count() or 1), 1)  # processes that share a core
                print(f"{time.monotonic() - began - 1:.1f} s for process {rank}, {crowd:.1f} processes a core")
                assert time.monotonic() - began < 10 * crowd + 1, "with the second that `end` waits"
                assert run.process.returncode == 1
                said = re.sub(r"\nTraceback.+?ChildFailedError.+", "", err, flags=re.S)  # what torchrun itself says
                check_line(said, run.folder, f"process {rank} of 2 is gone{' (SIGKILL)' if rank else ''}")
                assert "Traceback" not in said, said
                left = [path.name for path in (run.folder / "tmp").iterdir()]
                assert not [name for name in left if not name.startswith("torchelastic_")], left


class Stuck(peers.Peers):
    """Of a process whose main thread hears nothing, as under NCCL."""

    def __init__(self, process: int) -> None:
        super().__init__(lambda: "; go on")
        self._ranks = {os.pidfd_open(process): 1}


def _hang(process: int, path: str) -> None:
    os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), 2)
    sys.stderr = os.fdopen(2, "w")
    peers.HANGING, peers.place = 0.2, lambda: (0, 2)
    stuck = Stuck(process)
    stuck.told = lambda code: None
    threading.Thread(target=stuck._watch, daemon=True).start()
    save, torch.save = torch.save, lambda *args: (time.sleep(2.5), save(*args))
    AtomicCheckpointIO().save_checkpoint({"step": 3}, Path(path).with_name("a.ckpt"))
    time.sleep(60)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="of Linux")
def test_a_process_that_hears_nothing_of_the_end_is_ended(tmp_path: Path) -> None:
    peer = subprocess.Popen(["sleep", "60"])
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_hang, args=(peer.pid, str(tmp_path / "err")))
    process.start()
    time.sleep(0.5)
    assert process.is_alive()
    peer.kill()
    peer.wait()
    path = tmp_path / "a.ckpt"
    while not path.exists():  # a save that began before, and takes longer than HANGING
        assert process.is_alive()
        time.sleep(0.05)
    process.join(10)
    assert read(path) == {"step": 3}
    assert process.exitcode == 1 and (tmp_path / "err").read_text() == "error: process 1 of 2 is gone; go on\n"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="of Linux")
def test_descriptors_of_processes_are_closed_at_the_end() -> None:
    stuck = Stuck(os.getpid())
    (descriptor,) = stuck._ranks
    stuck.teardown(None, None, "fit")
    assert stuck.gone(0) == []
    with pytest.raises(OSError):
        os.fstat(descriptor)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="of Linux")
def test_only_processes_of_this_start_of_this_machine_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host with the same name, whose first namespace has the same number, has another identity of its start."""
    (tmp_path / "here").write_text("1b4e28ba-2fa1-11d2-883f-0016d3cca427\n")
    (tmp_path / "there").write_text("6fa459ea-ee8a-3ca4-894e-db77e160355e\n")

    def gather(known: list, mine: Any) -> None:
        for rank, host in enumerate(("here", "here", "there", "untold")):
            monkeypatch.setattr(peers, "BOOT", tmp_path / host)
            known[rank] = peers.machine(), os.getpid()

    monkeypatch.setattr(peers, "BOOT", tmp_path / "here")
    monkeypatch.setattr(peers, "place", lambda: (0, 4))
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    watch = peers.Peers(str)
    watch._over.set()  # its thread ends at once
    watch.setup(SimpleNamespace(strategy=SimpleNamespace(launcher=None)), None, "fit")  # type: ignore[arg-type]
    assert list(watch._ranks.values()) == [1]


def test_others_are_watched_until_the_last_save_and_may_end_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, seen = peers.Peers(str), []
    save = Checkpoint._save
    monkeypatch.setattr(Checkpoint, "_save", lambda *args: (seen.append(("save", watch._over.is_set())), save(*args)))
    monkeypatch.setattr(tracking, "log_model", lambda *_: seen.append(("upload", watch._over.is_set())))
    trained(tiny("GAN"), 2, callbacks=[watch, Checkpoint(str(tmp_path))], enable_checkpointing=True)
    assert seen == [("save", False), ("upload", True)]


def test_one_of_each_machine_speaks_when_the_first_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it torch's store has ended; of another machine's processes nothing is known."""

    def ended() -> None:
        raise RuntimeError("the store is closed")

    monkeypatch.setattr(peers, "_get_default_store", ended)
    for world, rank, here, gone, speaks in (
        (2, 1, {}, [], True),  # alone on its machine
        (2, 1, {7: 0}, [0], True),
        (4, 3, {7: 2}, [], False),
        (4, 2, {7: 3}, [], True),
        (4, 3, {7: 2}, [2], True),
        (3, 2, {7: 0, 8: 1}, [0], False),
    ):
        watch = peers.Peers(str)
        watch._ranks = here
        monkeypatch.setattr(watch, "gone", lambda seconds, gone=gone: gone)
        monkeypatch.setattr(peers, "place", lambda rank=rank, world=world: (rank, world))
        assert (watch.told(1) is None) == speaks


def test_others_are_watched_until_a_signals_save_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed while all save together would else leave the others to the limit of their wait."""
    watch, seen = peers.Peers(str), []
    save = Checkpoint._save
    monkeypatch.setattr(Checkpoint, "_save", lambda *args: (seen.append(watch._over.is_set()), save(*args)))

    class Stops(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise signals.Stopped(signal.SIGTERM)

    with pytest.raises(signals.Stopped):
        trained(tiny("GAN"), 2, callbacks=[watch, Checkpoint(str(tmp_path)), Stops()], enable_checkpointing=True)
    assert seen == [False]
    watch.dismiss()
    assert watch._over.is_set()


NCCL = """NCCL error in: ProcessGroupNCCL.cpp:77, internal error, NCCL version 2.27.5
ncclInternalError: Internal check failed.
Last error:
Socket: no route to 10.0.0.7"""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("[gloo/tcp/pair.cc:561] Connection closed by peer [10.0.0.7]:2346"), r"\[10.0.0.7\]:2346"),
        (torch.distributed.DistBackendError("NCCL error: remote process exited"), "NCCL error"),
        (torch.distributed.DistBackendError(NCCL), ": Socket: no route to 10.0.0.7$"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (errors.NotFiniteError("gloo"), None),
        (TypeError("gloo"), None),
    ],
)
def test_errors_of_connections_are_told_from_others(
    error: Exception, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process on another machine the connection's address is known."""
    monkeypatch.setattr(peers, "place", lambda: (0, 2))
    said = peers.Peers(str).lost(error)
    assert (said is None) == (words is None) and (words is None or re.search(words, said))


# Data and workers.


def pictures(folder: Path, suffix: str = "png") -> list[Path]:
    """Noise, of which no half is a whole picture."""
    folder.mkdir()
    drawn = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    paths = [folder / f"{number}.{suffix}" for number in range(len(drawn))]
    for path, picture in zip(paths, drawn, strict=True):
        Image.fromarray(picture).save(path)
    return paths


FOLDER = ["--data=ImageFolder", "--data.root=pictures", "--data.size=16"]


def broken(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, act: Callable[[], None], *args: str
) -> tuple[int, str]:
    """The exit code of a run that something happens to at the end of its fourth step, and what it says."""

    def after(self: Health, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4:
            act()

    monkeypatch.setattr(Health, "on_train_batch_start", after, raising=False)
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        fit.main([*COMMAND, "--trainer.logger=false", "--trainer.max_steps=400", SAVED, *args])
    said = capfd.readouterr().err
    assert "Traceback" not in said, said
    return end.value.code, said


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("act", "suffix", "words"),
    [(Path.unlink, "png", "cannot be read: No such file"), (cut, "png", "cannot be read"), (cut, "jpg", "cannot be")],
)
def test_a_file_that_breaks_is_named(
    act: Callable, suffix: str, words: str, workers: int, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = pictures(tmp_path / "pictures", suffix)
    code, said = broken(
        monkeypatch, capfd, lambda: [act(path) for path in paths], *FOLDER, f"--data.num_workers={workers}"
    )
    assert code == 2
    check_line(said, tmp_path, f".{suffix} {words}")
    assert re.search(r"error: \S+pictures/\d+\.", said)


@pytest.mark.parametrize("within_a_save", [False, True])
def test_a_killed_worker_is_named(
    within_a_save: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    # Torch sets its handler of SIGCHLD once in a process. Event loops of other tests take it away, and the wait for a
    # worker that is killed while it sends would not end.
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    killed: list[int] = []

    def kill() -> None:
        killed.append(multiprocessing.active_children()[0].pid)
        os.kill(killed[0], signal.SIGKILL)

    def kill_within_the_next_save() -> None:
        write = torch.save

        def interrupted(content: Any, file: Any) -> None:
            def slow(written: Any) -> int:
                if file.tell() and not killed:
                    kill()
                    time.sleep(30)  # torch's handler raises within it; the archive, half written, then fails to close
                return file.write(written)

            write(content, SimpleNamespace(write=slow, flush=file.flush))

        monkeypatch.setattr(torch, "save", interrupted)

    code, said = broken(
        monkeypatch, capfd, kill_within_the_next_save if within_a_save else kill, "--data.num_workers=2"
    )
    assert code == 1, said
    check_line(said, tmp_path, f"a loader's worker (process {killed[0]})")
    # torch tells the signal only where it hears of the end before it waits for a batch in vain
    assert re.search("(was killed by the signal 'Killed'|has ended): most likely there was no memory left", said)


class Faulty(InMemory):
    """A fault of code in its last example."""

    def __getitems__(self, index: list[int]) -> Labeled:
        if len(self) - 1 in index:
            raise KeyError("no\nsuch")
        return super().__getitems__(index)


def test_a_fault_in_a_worker_is_a_line_and_without_one_itself() -> None:
    images = Faulty(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.zeros(8))
    batches = iter(Loader(images, WholeOrder(8, 4), 1))
    assert len(next(batches)[0]) == 4
    with pytest.raises(errors.LoadingError, match="worker failed: KeyError: 'no.*--data.num_workers 0") as raised:
        next(batches)
    assert not raised.value.bad_input and "\n" not in str(raised.value)
    with pytest.raises(KeyError):
        list(Loader(images, WholeOrder(8, 4), 0))


def test_workers_that_cannot_be_started_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.multiprocessing.Process, "start", refuse)
    with pytest.raises(errors.LoadingError, match="No space left on device.*use --data.num_workers 0"):
        next(iter(Loader(Noisy().load("train"), WholeOrder(64, 8), 1)))


LEFT_ALONE = """
import os, signal, torch
from gan_lightning.data.loader import Loader, WholeOrder
from gan_lightning.data.sets import InMemory
images = InMemory(torch.zeros(64, 1, 256, 256, dtype=torch.uint8), torch.arange(64))
batches = iter(Loader(images, WholeOrder(64, 4), 2))  # 256 kB each, more than a pipe holds
next(batches)
print(*(one.pid for one in torch.multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_of_a_killed_process_end_and_leave_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kept")}
    (tmp_path / "out").touch()
    with open(tmp_path / "out", "w") as out:
        assert subprocess.run([sys.executable, "-c", LEFT_ALONE], env=environment, stdout=out).returncode == -9
    workers = [int(word) for word in (tmp_path / "out").read_text().split()]
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.1)
    assert len(workers) == 2 and {path.name for path in tmp_path.iterdir()} <= {"out", "kept"}


SMALL_MEMORY = """
import torch
from gan_lightning.data.loader import Loader, WholeOrder
from gan_lightning.data.sets import InMemory
images = InMemory(torch.randint(256, (64, 3, 256, 256), dtype=torch.uint8), torch.arange(64))
got = list(Loader(images, WholeOrder(64, 8), 2))
assert torch.equal(torch.cat([batch.image for batch in got]), images.image)
assert not any(batch.image.is_shared() for batch in got)
"""


def test_a_small_shared_memory_is_done_without() -> None:
    """In a mount namespace of its own, 1 MB for batches of 1.5 MB."""
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no file system may be mounted")
    command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, SMALL_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("/dev/shm has no room for a worker's 1.5 MB") == 1, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_two_processes_end_when_a_file_breaks(workers: int, tmp_path: Path) -> None:
    paths = pictures(tmp_path / "pictures")
    with started(tmp_path, *FOLDER, "--trainer.devices=2", SAVED, f"--data.num_workers={workers}") as run:
        run.reach(5)
        for path in paths:
            cut(path)
        _, err = run.end()
    assert run.process.returncode == 2 and "Traceback" not in err, err
    check_line(err, tmp_path, "cannot be read")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_end_when_a_worker_is_killed(rank: int, tmp_path: Path) -> None:
    with started(tmp_path, "--trainer.devices=2", SAVED, "--data.num_workers=1") as run:
        run.reach(5)
        parent = run.ranks()[rank]
        (worker,) = (n for n, of in run.everyone().items() if of == parent and n not in run.ranks())
        os.kill(worker, signal.SIGKILL)
        _, err = run.end()
    assert run.process.returncode == 1 and "Traceback" not in err, err
    check_line(err, tmp_path, f"a loader's worker (process {worker})")


# W&B.


def test_a_second_run_of_a_process_has_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that the user has opened is used and stays open; nothing of W&B stays in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    finish_wandb()
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "file" / "below"))  # no folder can be made there
    (tmp_path / "file").touch()
    command = [*COMMAND, "--trainer.max_steps=1"]
    for name in ("first", "second"):  # W&B's own process stays in the folder of the first
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        caplog.clear()
        fit.main(command)
        (line,) = (line for line in caplog.text.splitlines() if "WANDB_DIR" in line)
        assert str(tmp_path / "file") in line and "W&B" in line
        assert wandb.run is None and "WANDB_DATA_DIR" not in os.environ and os.environ["WANDB_MODE"] == "offline"
    wandb.teardown()  # its own process has then written all
    kept = [list(folder.glob("wandb/offline-run-*/*.wandb")) for folder in tmp_path.glob("*/runs/*/*")]
    assert [len(files) for files in kept] == [1, 1]
    monkeypatch.delenv("WANDB_DIR")
    mine = wandb.init(dir=tmp_path, id="mine")
    with pytest.warns(UserWarning, match="already in progress"):
        fit.main(command)
    assert wandb.run is mine
    mine.finish()
    wandb.teardown()


def test_a_tracker_without_a_disk_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    finish_wandb()
    init = wandb.init

    def full(*args: Any, mode: str | None = None, **options: Any) -> Any:
        if mode is None:
            raise OSError(28, "No space left on device")
        return init(*args, mode=mode, **options)

    monkeypatch.setattr(wandb, "init", full)
    fit.main([*COMMAND, "--trainer.max_steps=1", "--trainer.log_every_n_steps=1"])
    (made,) = tmp_path.glob("runs/*/*")
    assert "generator/loss" in (made / "metrics.csv").read_text() and (made / "last.ckpt").exists()
    assert "No space left on device): this run is tracked by metrics.csv alone" in caplog.text
