"""Several nodes, as far as one machine goes: agents of torchrun over loopback, fake tasks of Slurm, configs/cluster.

What must hold: two nodes train what one process trains, in one folder; a signal to one node ends all with one file;
the same command in a job that is started again goes on by itself, and Slurm is asked for it once.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import SMALL_GAN, free_port, last_step
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from test_configs import parse

from gan_lightning import fit
from gan_lightning.runtime import jobs, processes
from gan_lightning.runtime.checkpoint_io import read

CONFIGS = Path(__file__).parents[1] / "configs" / "cluster"
SMALL = [
    "--model=GAN",
    *SMALL_GAN,
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=log",
    "--trainer.log_every_n_steps=1",
]
NODES = 2
FSDP2 = "--trainer.strategy=fsdp2"
each_strategy = pytest.mark.parametrize("strategy", [[], [FSDP2]], ids=["", "fsdp2"])
slow_with_shards = pytest.mark.parametrize(
    "strategy", [[], pytest.param([FSDP2], marks=pytest.mark.slow)], ids=["", "fsdp2"]
)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in read(path)["state_dict"].items() if isinstance(value, torch.Tensor)}


def alone(monkeypatch: pytest.MonkeyPatch, folder: Path, steps: int, *more: str) -> dict[str, torch.Tensor]:
    """The weights of one process after so many steps."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAN_LIGHTNING_RUN", "")  # set by a run, and put back after the test
    fit.main([*SMALL, "--trainer.logger=false", f"--trainer.max_steps={steps}", *more])
    (path,) = folder.glob("runs/*/*/last.ckpt")
    return weights(path)


def assert_close(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Two halves of a batch are the whole, but for rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-3 * value.norm() + 1e-6, name


def the_run(folder: Path) -> Path:
    """The one folder of a run, with its one `metrics.csv`, in which no step stands twice."""
    (run,) = folder.glob("runs/*/*")
    (path,) = folder.glob("runs/**/metrics.csv")
    assert path.parent == run
    with open(path, newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    return run


def start_nodes(folder: Path, command: list[str], environments: list[dict[str, str]]) -> list[subprocess.Popen[str]]:
    """A command on each node, each in a session of its own."""
    own = {name: value for name, value in os.environ.items() if name not in ("PL_GLOBAL_SEED", "GAN_LIGHTNING_RUN")}
    own |= {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONFIGS.parents[1])}
    own |= {"PATH": f"{folder}/tools:{Path(sys.executable).parent}:{os.environ['PATH']}", "PET_LOCAL_ADDR": "127.0.0.1"}
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [
        subprocess.Popen(command, cwd=folder, env=own | environment, start_new_session=True, **how)
        for environment in environments
    ]


# torchrun.


class Agents:
    """`configs/cluster/torchrun.sh` on two nodes, each in a session of its own; their processes are found by a mark."""

    def __init__(self, folder: Path, *args: str, restarts: int = 0, job: str = "tested", address: str = "") -> None:
        self.folder, self.mark = folder, f"CLUSTER_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        variables = {
            "NNODES": str(NODES),
            "JOB": job,
            "ADDRESS": address or f"127.0.0.1:{free_port()}",
            "MAX_RESTARTS": str(restarts),
            "PET_MONITOR_INTERVAL": "0.1",
            name: value,
        }
        self.nodes = start_nodes(folder, ["bash", str(CONFIGS / "torchrun.sh"), *SMALL, *args], [variables] * NODES)

    def ranks(self) -> dict[int, int]:
        """The training processes: by rank the number of the process."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                if (
                    self.mark.encode() in environment
                    and (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
                ):
                    for entry in environment:
                        if entry.startswith(b"RANK="):
                            found[int(entry[5:])] = int(folder.name)
            except OSError:  # it has ended meanwhile
                continue
        return found

    def reach(self, step: int) -> int:
        """The last step in the run's metrics.csv, once it is so far."""
        deadline = time.monotonic() + 240
        while True:
            assert time.monotonic() < deadline and all(node.poll() is None for node in self.nodes), self.end()
            for path in self.folder.glob("runs/*/*/metrics.csv"):
                if (last := last_step(path)) >= step:
                    return last
            time.sleep(0.1)

    def end(self) -> list[str]:
        """What the nodes have printed, once both have ended."""
        return [node.communicate(timeout=300)[0] for node in self.nodes]


@contextmanager
def started(folder: Path, *args: str, **options: Any) -> Iterator[Agents]:
    agents = Agents(folder, *args, **options)
    try:
        yield agents
    finally:
        for number in agents.ranks().values():
            os.kill(number, signal.SIGKILL)
        for node in agents.nodes:
            node.kill()


@slow_with_shards
def test_two_agents_of_torchrun_train_as_one_process_and_end_together(
    strategy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM to the group of one of them: one file, the one line, nothing left on the other."""
    (folder := tmp_path / "two").mkdir()
    with started(folder, "--trainer.max_steps=100000", *strategy) as agents:
        reached = agents.reach(3)
        assert set(agents.ranks()) == {0, 1}
        os.killpg(agents.nodes[1].pid, signal.SIGTERM)
        began = time.monotonic()
        printed = agents.end()
        assert time.monotonic() - began < 30 and not agents.ranks()
    assert all(node.returncode for node in agents.nodes)
    said = re.findall(r"SIGTERM: ended at step (\d+), saved in (\S+);", "\n".join(printed))
    run = the_run(folder)
    assert [(path, int(step) > reached) for step, path in said] == [(f"{run.relative_to(folder)}/last.ckpt", True)], (
        printed
    )
    files = {path.parent for path in folder.glob("runs/**/*") if path.is_file()}
    assert files == {run}
    assert_close(weights(run / "last.ckpt"), alone(monkeypatch, tmp_path / "one", int(said[0][0])))


@pytest.mark.slow
@each_strategy
def test_what_fails_on_one_node_is_started_again_on_both_and_goes_on(
    strategy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kill -9 of one process. Only its own node counts that as a start again."""
    (folder := tmp_path / "two").mkdir()
    often = "--trainer.max_steps=300", "--checkpoint.every_n_steps=10"
    with started(folder, *often, *strategy, restarts=3) as agents:
        agents.reach(25)
        os.kill(agents.ranks()[1], signal.SIGKILL)
        printed = "".join(agents.end())
    assert all(node.returncode == 0 for node in agents.nodes), printed
    run = the_run(folder)
    assert f"torchrun tested: goes on from {run / 'last.ckpt'}" in printed
    assert read(run / "last.ckpt")["global_step"] == 300
    assert_close(weights(run / "last.ckpt"), alone(monkeypatch, tmp_path / "one", 300))


# Slurm.


class AtThird(Callback):
    """In the third batch a signal to this task, or nothing for a long time, where the test says so."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.iteration == 2 and (what := os.environ.get("AT_THIRD")):
            time.sleep(60) if what == "hang" else os.kill(os.getpid(), getattr(signal, what))


def in_copies(folder: Path, environments: list[dict[str, str]], *args: str) -> list[tuple[int, str]]:
    """Exit code and output of `fit` in copies of this process, which have nothing to import: one a task."""
    copies = []
    for number, environment in enumerate(environments):
        path = folder / f"task{number}.out"
        if not (process := os.fork()):
            code = 99
            try:
                output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(output, 1), os.dup2(output, 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w", 1, closefd=False), os.fdopen(2, "w", 1, closefd=False)
                os.chdir(folder)
                os.environ.update(environment)
                torch.set_num_threads(1)  # threads of the parent are not there
                rank_zero_only.rank = int(environment.get("RANK") or environment["SLURM_PROCID"])  # as at an import
                fit.main(list(args), own_process=True)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except Exception:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                path.with_suffix(".end").touch()
                os._exit(code)
        copies.append((process, path))
    deadline = time.monotonic() + 240
    ended = {}
    while len(ended) < len(copies) and time.monotonic() < deadline:
        for process, _ in copies:
            if process not in ended and (found := os.waitpid(process, os.WNOHANG))[0]:
                ended[process] = os.waitstatus_to_exitcode(found[1])
        time.sleep(0.05)
    for process, _ in copies:
        if process not in ended:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return [(ended.get(process, -9), path.read_text()) for process, path in copies]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an `scontrol` that notes what it is asked has noted."""
    tools = tmp_path / "tools"
    tools.mkdir()
    scontrol = tools / "scontrol"
    scontrol.write_text(
        f'#!/bin/sh\necho "$@" >> {tools}/asked\nsleep 1\nls {tmp_path}/two/*.end >> {tools}/left || true\n'
    )
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tools / "asked"


def tasks(**more: str) -> list[dict[str, str]]:
    """What Slurm tells the tasks of a job of two nodes, one on each."""
    job = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": str(NODES),
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": str(NODES),
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_LOCALID": "0",
        "MASTER_PORT": str(free_port()),
        "GAN_LIGHTNING_RUN": "",
    }
    return [job | {"SLURM_PROCID": str(node), "SLURM_NODEID": str(node)} | more for node in range(NODES)]


@each_strategy
def test_a_job_of_two_nodes_is_requeued_once_and_goes_on(
    strategy: list[str], tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm warns both tasks; both end, one of them asks, and the same command goes on in the same folder."""
    (folder := tmp_path / "two").mkdir()
    command = [*SMALL, "--trainer.max_steps=40", f"--trainer.num_nodes={NODES}", *strategy]
    command += [f"--trainer.callbacks+={__name__}.AtThird"]
    ended = in_copies(folder, tasks(AT_THIRD="SIGUSR1"), *command)
    assert [code for code, _ in ended] == [138, 138], ended
    assert tool.read_text() == "requeue 77\n"
    assert tool.with_name("left").read_text() == "", "srun ends the first task when another one has left"
    assert [output.count("job 77 is requeued") for _, output in ended] == [1, 0]
    run = the_run(folder)
    assert 3 <= read(run / "last.ckpt")["global_step"] < 40

    ended = in_copies(folder, tasks(SLURM_RESTART_COUNT="1"), *command)
    assert [code for code, _ in ended] == [0, 0], ended
    assert [output.count("goes on from") for _, output in ended] == [1, 0]
    assert the_run(folder) == run and read(run / "last.ckpt")["global_step"] == 40
    assert_close(weights(run / "last.ckpt"), alone(monkeypatch, tmp_path / "one", 40))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("heard", [(0,), (1,), (0, 1)])
@each_strategy
def test_a_signal_to_any_task_ends_all(
    name: str,
    heard: tuple[int, ...],
    strategy: list[str],
    tool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the signal's code and one file, which one process goes on from as if it had trained alone."""
    (folder := tmp_path / "two").mkdir()
    command = [*SMALL, *strategy, f"--trainer.num_nodes={NODES}", f"--trainer.callbacks+={__name__}.AtThird"]
    nodes = [node | {"AT_THIRD": name if rank in heard else ""} for rank, node in enumerate(tasks())]
    ended = in_copies(folder, nodes, *command)
    assert [code for code, _ in ended] == [128 + getattr(signal, name)] * NODES, ended
    assert [output.count(f"{name}: ended at step") for _, output in ended] == [1, 0]
    assert not any("Traceback" in output for _, output in ended)
    assert tool.exists() == (name == "SIGUSR1")
    last = the_run(folder) / "last.ckpt"
    steps, trusted = read(last)["global_step"] + 5, [f"--trust={__name__}"]
    one_process = f"--ckpt_path={last}", "--trainer.num_nodes=1", "--trainer.strategy=auto", *trusted
    resumed = alone(monkeypatch, tmp_path / "resumed", steps, *one_process)
    assert_close(resumed, alone(monkeypatch, tmp_path / "one", steps))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        [],
        ["--data.batch_size=32"],
        ["--data.num_workers=1"],
        ["--model.discriminator_optimizer.lr=0.001"],
        ["--model.step.micro_batches=2"],
    ],
    ids=lambda change: " ".join(change) or "nodes",
)
@each_strategy
def test_two_nodes_go_on_with_what_is_said(
    strategy: list[str], change: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one process has begun: they train what it trains with the same words."""
    alone(monkeypatch, begun := tmp_path / "begun", 3)
    (last,) = begun.glob("runs/*/*/last.ckpt")
    (folder := tmp_path / "two").mkdir()
    command = [*SMALL, f"--ckpt_path={last}", "--trainer.max_steps=12", *change, *strategy]
    ended = in_copies(folder, tasks(), *command, f"--trainer.num_nodes={NODES}")
    assert [code for code, _ in ended] == [0, 0], ended
    assert f"trainer.num_nodes: 1 -> {NODES}" in ended[0][1] or "num_nodes" in ended[0][1]
    expected = alone(monkeypatch, tmp_path / "one", 12, f"--ckpt_path={last}", *change)
    assert_close(weights(the_run(folder) / "last.ckpt"), expected)


@pytest.mark.slow
def test_a_task_that_hangs_is_not_waited_for_without_end(tmp_path: Path) -> None:
    command = [*SMALL, f"--trainer.num_nodes={NODES}", f"--trainer.callbacks+={__name__}.AtThird"]
    nodes = [
        node | {"AT_THIRD": "hang" if rank else ""} for rank, node in enumerate(tasks(GAN_LIGHTNING_TIMEOUT="0.3"))
    ]
    (code, output), _ = in_copies(tmp_path, nodes, *command)
    assert code == 1 and "error: process 0 has waited in vain for another one" in output
    assert "GAN_LIGHTNING_TIMEOUT" in output and "Traceback" not in output


def test_how_long_processes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts as gloo words them."""
    strategy = DDPStrategy()
    processes.limit_waiting(strategy)
    assert strategy._timeout == timedelta(minutes=30)
    monkeypatch.setenv("GAN_LIGHTNING_TIMEOUT", "1.5")
    processes.limit_waiting(strategy)
    assert strategy._timeout == timedelta(seconds=90)
    for wrong in ("0", "-1", "nan", "an hour", "1e300"):
        monkeypatch.setenv("GAN_LIGHTNING_TIMEOUT", wrong)
        with pytest.raises(ValueError, match="number of minutes"):
            processes.limit_waiting(strategy)
    place = "third_party/gloo/gloo/transport/tcp"
    waited = RuntimeError(f"[{place}/unbound_buffer.cc:81] Timed out waiting 18000ms for recv operation to complete")
    assert "(Timed out waiting 18000ms for recv operation to complete)" in processes.waited_in_vain(waited)
    lost = f"Gloo connectFullMesh failed with [{place}/pair.cc:152] timed out connecting: SO_ERROR: Connection refused"
    assert "(timed out connecting: SO_ERROR: Connection refused)" in processes.waited_in_vain(RuntimeError(lost))
    assert processes.waited_in_vain(RuntimeError("Application timeout caused pair closure"))
    assert processes.waited_in_vain(RuntimeError(f"[{place}/pair.cc:545] Read error: Connection reset by peer")) is None


def test_a_wrong_time_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_LIGHTNING_TIMEOUT", "an hour")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "night")
    with pytest.raises(SystemExit) as end:
        fit.main(SMALL)
    assert end.value.code == 2 and "GAN_LIGHTNING_TIMEOUT is a number of minutes" in capsys.readouterr().err
    assert not [*tmp_path.glob("runs/*/*")]


def test_the_first_process_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    store, here = torch.distributed.HashStore(), threading.local()
    monkeypatch.setattr(processes, "place", lambda: (getattr(here, "rank", 1), 2))
    monkeypatch.setattr(processes, "_get_default_store", lambda: store)
    began = time.monotonic()
    processes.wait_for_first(0.3)
    assert 0.25 <= time.monotonic() - began < 5, "the limit"
    other = threading.Thread(target=processes.wait_for_first, args=(60,))
    other.start()
    other.join(0.2)
    assert other.is_alive()
    here.rank = 0
    processes.wait_for_first(60)
    other.join(5)
    assert not other.is_alive()


# Which job a process is part of, and what it goes on from.


def torchrun(job: str, count: int = 0, rank: int = 0, port: str = "29500") -> dict[str, str]:
    """What torchrun tells one of two processes, on nodes of their own."""
    return {
        "TORCHELASTIC_RUN_ID": job,
        "TORCHELASTIC_RESTART_COUNT": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": str(rank),
        "GROUP_RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(NODES),
    }


def test_which_run_a_job_of_torchrun_goes_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named job with its own, whatever a node has counted; one without a name where torchrun has started it again."""

    def found(job: str, count: int, **more: str) -> Path | None:
        for name, value in (torchrun(job, count) | more).items():
            monkeypatch.setenv(name, value)
        own = jobs.unfinished(str(tmp_path), ["--a"])
        return own and own[1]

    def begun(name: str, job: str, saved: bool = True) -> Path:
        (folder := tmp_path / "A-B" / name).mkdir(parents=True)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
        jobs.claim(folder, ["--a"], folder)
        if saved:
            (folder / "last.ckpt").touch()
        os.utime(folder / jobs.FILE, (len(name), len(name)))  # the time of the note: longer names are later
        return folder

    for number, damaged in enumerate(('{"names": null}', '{"names": [[1]], "checkpoint": "a"}', "[]", "{")):
        (folder := tmp_path / "A-B" / f"damaged{number}").mkdir(parents=True)
        (folder / jobs.FILE).write_text(damaged)
    assert found("x", 0) is None
    first, other = begun("1", "x"), begun("2", "y")
    assert found("x", 0) == found("x", 1) == first and found("y", 0) == other
    begun("33", "x", saved=False)
    assert found("x", 1) is None, "the run that it began last has saved nothing: an older one is not it"

    unnamed = begun("444", "none")
    assert found("none", 0) is None and found("none", 1) == unnamed
    assert found("none", 1, MASTER_PORT="29501") is None

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    both = begun("5555", "of one start")
    assert found("of the next", 0) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert found("of the next", 0) == both, "Slurm has started it again, and torchrun has given it another name"


def test_processes_that_would_not_go_on_from_the_same_file_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one would begin anew, with the weights of the first and without its optimizers' state."""
    alone(monkeypatch, folder := tmp_path / "run", 2)
    command = [*SMALL, "--trainer.max_steps=4", f"--trainer.num_nodes={NODES}"]
    (run,) = folder.glob("runs/*/*")
    port = str(free_port())
    with monkeypatch.context() as patch:
        patch.setenv("TORCHELASTIC_RUN_ID", "none")
        patch.setenv("MASTER_ADDR", "127.0.0.1")
        patch.setenv("MASTER_PORT", port)
        jobs.claim(run, command, run)
    ended = in_copies(folder, [torchrun("none", 1 - rank, rank, port) for rank in range(NODES)], *command)
    for code, output in ended:
        assert code == 2 and "error: the first process goes on from" in output and "--rdzv-id" in output, ended
        assert "Traceback" not in output
    assert read(run / "last.ckpt")["global_step"] == 2


@pytest.mark.parametrize("rank, node, expected", [(None, "1", 1), (None, "0", 0), ("0", "1", 0), (None, None, 0)])
def test_the_first_process_of_the_second_node_is_not_the_first(
    rank: str | None, node: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where MASTER_ADDR and NODE_RANK are set by hand, Lightning does not know it before there is a Trainer."""
    for name, value in (("RANK", rank), ("NODE_RANK", node)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    processes.know_rank()
    assert rank_zero_only.rank == expected


# The files of configs/cluster.


def test_slurms_script() -> None:
    """Its options, and that `fit` takes its command."""
    text = (CONFIGS / "slurm.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)$", text, re.M))
    assert options["signal"] == "USR1@120" and "requeue" in options  # to the tasks: B: would be the shell alone
    assert options["ntasks-per-node"] == options["gpus-per-node"], "a task a GPU"
    (command,) = re.findall(r"^srun (?:.|\n)*", text, re.M)
    assert '--cpus-per-task="$SLURM_CPUS_PER_TASK"' in command and "cpus-per-task" in options
    trainer = checked(command, SLURM_NTASKS_PER_NODE="4", SLURM_NNODES="2").trainer
    assert (int(trainer.devices), trainer.num_nodes) == (4, 2)


def test_torchruns_script() -> None:
    text = (CONFIGS / "torchrun.sh").read_text()
    assert "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in text
    (command,) = re.findall(r"^exec (?:.|\n)*", text, re.M)
    trainer = checked(command, NPROC_PER_NODE="4", NNODES="2").trainer
    assert (int(trainer.devices), trainer.num_nodes) == (4, 2)
    launcher = shlex.split(command)
    assert {"--rdzv-backend=c10d", "--max-restarts=${MAX_RESTARTS:-3}"} <= set(launcher)


def test_kubernetes_job() -> None:
    """A volume for the runs, shared memory, time for the last file, and as many processes as the command asks for."""
    claim, job = yaml.safe_load_all((CONFIGS / "pytorchjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    elastic, worker = job["spec"]["elasticPolicy"], job["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert elastic["rdzvBackend"] == "c10d" and elastic["rdzvId"] not in ("", "none") and elastic["maxRestarts"] > 0
    assert elastic["minReplicas"] == elastic["maxReplicas"] == worker["replicas"], "the number of nodes is fixed"
    assert worker["restartPolicy"] == "OnFailure"
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert all(isinstance(value, str) for value in environment.values()), "Kubernetes refuses numbers"
    patience = int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    assert 30 < patience < pod["terminationGracePeriodSeconds"]
    assert environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes[find(mounted, "/dev/shm")]["emptyDir"]["medium"] == "Memory"
    kept = volumes[find(mounted, "/runs")]["persistentVolumeClaim"]["claimName"]
    assert claim["kind"] == "PersistentVolumeClaim" and claim["metadata"]["name"] == kept
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]

    assert container["name"] == "pytorch" and container["command"] == ["torchrun", "-m", "gan_lightning.fit"]
    trainer = checked(shlex.join([*container["command"], *container["args"]])).trainer
    assert trainer.default_root_dir == "/runs"
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert int(trainer.devices) == gpus == elastic["nProcPerNode"] and trainer.num_nodes == worker["replicas"]


# The same files, run: with a fake `srun`, and the environments that SkyPilot and Kubeflow's operator give.

FOUR_STEPS = [*SMALL, "--trainer.logger=false", "--trainer.max_steps=4"]


def run_nodes(folder: Path, command: list[str], environments: list[dict[str, str]]) -> str:
    """What a command prints on each node, once all have ended well."""
    nodes = start_nodes(folder, command, environments)
    try:
        printed = "".join(node.communicate(timeout=400)[0] for node in nodes)
    finally:
        for node in nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
    assert all(node.returncode == 0 for node in nodes), printed
    return printed


@pytest.mark.slow
def test_slurms_script_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks of one node, as `srun` starts them: with the job's environment, and a number each."""
    (tools := tmp_path / "two" / "tools").mkdir(parents=True)
    (srun := tools / "srun").write_text(
        "#!/bin/bash\n"
        'echo "srun $1 $2"; shift 2; pids=\n'
        "for task in $(seq 0 $((SLURM_NTASKS - 1)))\n"
        'do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & pids+=" $!"; done\n'
        "for pid in $pids; do wait $pid || exit 1; done\n"
    )
    srun.chmod(0o755)
    job = tasks(SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="2", SLURM_NNODES="1", SLURM_CPUS_PER_TASK="4")[0]
    job = {name: value for name, value in job.items() if name not in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")}
    command = ["bash", str(CONFIGS / "slurm.sbatch"), *FOUR_STEPS]
    printed = run_nodes(tmp_path / "two", command, [job | {"SLURM_NODEID": "0"}])
    assert "srun --kill-on-bad-exit=1 --cpus-per-task=4" in printed
    (path,) = (tmp_path / "two").glob("runs/*/*/last.ckpt")
    assert_close(weights(path), alone(monkeypatch, tmp_path / "one", 4))


@pytest.mark.slow
def test_skypilots_task_trains_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two processes in place of GPUs. The machine is taken away; the same task on another goes on by itself."""
    (folder := tmp_path / "two").mkdir()
    (folder / "configs").symlink_to(CONFIGS.parent)  # the working folder is the checkout
    task = yaml.safe_load((CONFIGS / "skypilot.yaml").read_text())
    command = ["bash", "-c", task["run"].replace(":29400", f":{free_port()}")]
    arguments = [*SMALL, "--trainer.max_steps=400", f"--trainer.default_root_dir={folder}/bucket"]
    sky = {"SKYPILOT_NUM_NODES": "1", "SKYPILOT_NUM_GPUS_PER_NODE": "2", "SKYPILOT_TASK_ID": "sky-1_gan"}
    sky |= {"SKYPILOT_NODE_IPS": "127.0.0.1\n", "ARGS": shlex.join(arguments)}
    (taken,) = start_nodes(folder, command, [sky])
    deadline = time.monotonic() + 240
    while not [*folder.glob("bucket/*/*/metrics.csv")]:
        assert taken.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(taken.pid, signal.SIGTERM)
    assert "SIGTERM: ended at step" in taken.communicate(timeout=120)[0]
    assert "goes on from" in run_nodes(folder, command, [sky])
    (path,) = folder.glob("bucket/*/*/last.ckpt")
    assert_close(weights(path), alone(monkeypatch, tmp_path / "one", 400))


@pytest.mark.slow
def test_kubernetes_job_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pods with what the operator makes of `elasticPolicy`: torchrun's arguments as variables."""
    (folder := tmp_path / "two").mkdir()
    _, job = yaml.safe_load_all((CONFIGS / "pytorchjob.yaml").read_text())
    elastic = job["spec"]["elasticPolicy"]
    (container,) = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"] if "/runs" not in entry["value"]}
    environment |= {
        "PET_RDZV_BACKEND": elastic["rdzvBackend"],
        "PET_RDZV_ENDPOINT": f"127.0.0.1:{free_port()}",
        "PET_RDZV_ID": elastic["rdzvId"],
        "PET_NNODES": f"{elastic['minReplicas']}:{elastic['maxReplicas']}",
        "PET_NPROC_PER_NODE": "1",  # in place of a GPU each
        "PET_MAX_RESTARTS": str(elastic["maxRestarts"]),
    }
    ours = [f"--trainer.num_nodes={NODES}", "--trainer.devices=1", f"--trainer.default_root_dir={folder}/runs"]
    run_nodes(folder, [*container["command"], *FOUR_STEPS, *ours], [environment] * NODES)
    (path,) = folder.glob("runs/*/*/last.ckpt")
    assert_close(weights(path), alone(monkeypatch, tmp_path / "one", 4))


def find(mounted: Mapping[str, str], path: str) -> str:
    (name,) = (name for name, where in mounted.items() if where == path)
    return name


def test_skypilots_task() -> None:
    """Spot machines, a bucket that outlives them, and the id that stays the same as the name of the job."""
    task = yaml.safe_load((CONFIGS / "skypilot.yaml").read_text())
    assert task["resources"]["use_spot"] is True and task["resources"]["job_recovery"]
    assert "JOB=$SKYPILOT_TASK_ID" in task["run"] and task["workdir"] == "."
    *_, command = task["run"].strip().splitlines()
    assert command.split()[:2] == ["bash", "configs/cluster/torchrun.sh"]
    given = command.replace("torchrun.sh", "torchrun.sh -m gan_lightning.fit")
    trainer = checked(given, ARGS=task["envs"]["ARGS"]).trainer
    assert trainer.default_root_dir in task["file_mounts"]
    assert task["file_mounts"][trainer.default_root_dir]["mode"] == "MOUNT_CACHED"


def checked(command: str, **variables: str) -> Any:
    """The config that `fit` makes of the arguments of a command of a shell script, its variables replaced."""
    for name, value in variables.items():
        command = command.replace(f'"${name}"', value).replace(f"${name}", value)
    words = shlex.split(command.replace("\\\n", " ").replace('"$@"', ""))
    arguments = words[words.index("gan_lightning.fit") + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(CONFIGS.parents[1])
        return parse(*arguments).config
