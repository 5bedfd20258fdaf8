"""Runs that are killed (-9) at random moments, and go on: do they end where a run ends that nobody touched?

    python benchmarks/kills.py [--models CycleGAN,BEGAN] [--processes 1,2] [--kills 10] [--strategy fsdp2] [--out FILE]

Each run is `fit`, then `fit --ckpt_path last`, at a tiny width, with a checkpoint at each generator step, so that many
kills fall into a save. $TMPDIR lies on another file system (--elsewhere), where libraries would stage files that they
then cannot move in one operation. Kills come, in turns, at random moments of a start, of training, and of a save, while
its file is being written; a half written file that is left tells that this was so. Of two processes one is killed or
both, and the other a moment later, as torchrun and a node that goes away do.

After the kills the run goes on for three steps and ends; another run trains as many steps, untouched. Everything in
their checkpoints is compared bit for bit: weights, averages, pools, moments, counters; not the config, which says where
a run ends, the hours that it took, and how often Lightning has begun an epoch. Left files are what neither the run's
folder nor $TMPDIR should hold. A line a model; exit code 1 where anything differs or is left.

A start that imports everything takes seconds, so this process imports once and forks: to the file system a copy that is
killed is any process. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sklearn.datasets  # noqa: F401  # imported once for all copies
import torch
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning import fit
from gan_lightning.cli import fit_cli  # noqa: F401  # the same
from gan_lightning.runtime.checkpoint_io import read

DIGITS = {"class_path": "Digits", "init_args": {"size": 16, "batch_size": 8}}
MAPS = {"base": 64, "widest": 8}


def tiny(name: str, generator: dict, discriminator: dict, data: dict = DIGITS, **arguments: Any) -> dict[str, Any]:
    """The config of a model with networks of these arguments."""
    given = {"generator": generator, "discriminator": discriminator}
    parts = {part: {"class_path": own.pop("class"), "init_args": own} for part, own in given.items()}
    return {"model": {"class_path": name, "init_args": parts | arguments}, "data": data}


MODELS = {
    "CycleGAN": tiny(  # two pools
        "CycleGAN",
        {"class": "ResNetTranslator", "width": 4, "blocks": 1},
        {"class": "PatchDiscriminator", "layers": 1, "width": 4, "affine": False},
        {"class_path": "ShapeDomains", "init_args": {"n": 40, "size": 16, "batch_size": 4}},
        pool=12,
    ),
    "ProGAN": tiny(  # stages
        "ProGAN",
        {"class": "ProGANGenerator", "latent_dim": 8, **MAPS},
        {"class": "ProGANDiscriminator", **MAPS},
        growth={"stabilise": 40, "fade": 80},
    ),
    "StyleGAN2": tiny(  # ADA's p, the mean path length, the mean style
        "StyleGAN2",
        {"class": "StyleGAN2Generator", "latent_dim": 8, "style_dim": 8, "mapping_layers": 2, **MAPS},
        {"class": "StyleGAN2Discriminator", **MAPS},
        step={"augment": {"class_path": "ADA", "init_args": {"target": 0.0, "speed": 1000, "interval": 1}}},
    ),
    "BEGAN": tiny(  # k
        "BEGAN",
        {"class": "BEGANGenerator", "latent_dim": 8, "width": 4},
        {"class": "BEGANDiscriminator", "hidden": 8, "width": 4},
        lambda_k=0.05,
    ),
    "DCGAN": tiny(  # batch norm, three averages, a schedule, two critic turns a step
        "DCGAN",
        {"class": "DCGANGenerator", "latent_dim": 8, "width": 4},
        {"class": "DCGANDiscriminator", "width": 4},
        n_critic=2,
        step={
            "ema_half_life": [10.0, 100.0, 1000.0],
            "scheduler": {"class_path": "LinearDecay", "init_args": {"end": 10_000}},
        },
    ),
}
ALIKE = {
    "trainer": {"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
    "checkpoint": {"every_n_steps": 1},
}
MORE = 3  # generator steps that a run goes on for after its last kill
ABSENT = object()
EPOCHS = "/loops/fit_loop/epoch_progress"  # a run that goes on after an epoch's last batch begins that epoch once more
NOT_COMPARED = {
    "/config",
    "/callbacks/Health/hours",
    *(f"{EPOCHS}/{which}/{count}" for which in ("current", "total") for count in ("ready", "started")),
}


PART = ".last.ckpt.part"  # how the name of a half written file begins
MOMENTS = ("start", "training", "save")


class Killed(NamedTuple):
    """What came of a run and its kills.

    Attributes:
        kills, in_a_save: all of them, and those that left a half written file behind.
        steps: generator steps of the run.
        tensors, differ: those of its checkpoint, and the names of what is not the same in that of the untouched run.
        left: names of files.
    """

    model: str
    processes: int
    kills: int
    in_a_save: int
    steps: int
    tensors: int
    differ: list[str]
    left: list[str]


class Runs:
    """Starts copies of this process that train in a folder.

    Args:
        folder: of the runs.
        config: of the model and its data.
        processes: of each run.
        elsewhere: $TMPDIR of the runs.
        strategy: the trainer's.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], processes: int, elsewhere: Path, strategy: str = "auto"
    ) -> None:
        self.folder, self.processes, self.elsewhere = folder, processes, elsewhere
        self.log, self.known = folder / "log", 0  # the newest checkpoint when a run was started
        folder.mkdir(parents=True)
        trainer = {**ALIKE["trainer"], "devices": processes, "strategy": strategy}
        config = config | {"trainer": trainer, "checkpoint": ALIKE["checkpoint"]}
        self.arguments = ["--config", json.dumps(config)]

    def start(self, steps: int | None = None) -> list[int]:
        """The process ids of a run to so many generator steps, or without an end; it goes on from what there is."""
        last = ["--ckpt_path=last"] if self.checkpoints() else self.arguments
        arguments = [*last, f"--trainer.max_steps={steps or 10**9}"]
        port = free_port()
        return [self._copy(arguments, rank, port) for rank in range(self.processes)]

    def _copy(self, arguments: list[str], rank: int, port: int) -> int:
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a run without an end ends with this process
            os.chdir(self.folder)
            for stream in (1, 2):
                os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            os.environ |= {"TMPDIR": str(self.elsewhere)}
            tempfile.tempdir = None  # it was looked up in the parent
            if self.processes > 1:
                os.environ |= as_torchrun(rank, self.processes, port)
                rank_zero_only.rank = rank  # read from the environment when Lightning was imported
            fit.main(arguments, own_process=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def finish(self, steps: int) -> None:
        """Train to so many steps."""
        for child in self.start(steps):
            if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                self.fail(f"a run to step {steps} ended with code {code}")

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("runs/*/*/last.ckpt"))

    def wait(self, moment: str, first: float, children: list[int], chance: random.Random) -> None:
        """Until a random moment of the kind that is asked for.

        Args:
            moment: of MOMENTS.
            first: seconds that a start takes to its first file, about.
            children: the processes of the run.
        """
        if moment == "start":
            time.sleep(chance.uniform(0, first))
            return self.there(children)
        while self.newest() == self.known:
            self.there(children)
            time.sleep(0.01)
        if moment == "training":
            time.sleep(chance.uniform(0, first / 2))
        else:
            folder, before = self.checkpoints()[0].parent, {path.name for path in self.parts()}
            while not any(name.startswith(PART) and name not in before for name in os.listdir(folder)):
                time.sleep(0.0005)
            time.sleep(chance.uniform(0, 0.003))
        self.there(children)

    def newest(self) -> int:
        """When the checkpoint was written, in ns; 0 where there is none."""
        return max((path.stat().st_mtime_ns for path in self.checkpoints()), default=0)

    def there(self, children: list[int]) -> None:
        """Stop where a process has ended by itself."""
        for child in children:
            if os.waitpid(child, os.WNOHANG)[0]:
                for other in set(children) - {child}:
                    os.kill(other, signal.SIGKILL)
                self.fail("a run ended by itself")

    def content(self) -> dict[str, Any]:
        """The newest checkpoint.

        Raises:
            ValueError: it cannot be read.
        """
        return read(self.checkpoints()[-1])

    def parts(self) -> list[Path]:
        """Files that are half written."""
        return list(self.folder.rglob(f"{PART}*"))

    def left(self) -> list[str]:
        """What a run should not leave: half written files, a second run's folder, anything in $TMPDIR."""
        others = self.checkpoints()[1:]
        return sorted(str(path) for path in (*self.parts(), *others, *self.elsewhere.rglob("*")))

    def fail(self, why: str) -> None:
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        raise SystemExit("\n".join([f"{why}; its last lines:", *lines]))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def as_torchrun(rank: int, processes: int, port: int) -> dict[str, str]:
    """The environment in which torchrun starts a process, on one machine."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "ROLE_RANK": rank, "MASTER_PORT": port}
    all_ = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"), processes)
    return {name: str(value) for name, value in (own | all_).items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "TORCHELASTIC_RUN_ID": "kills",
    }


def kill(children: list[int], chance: random.Random) -> None:
    """End one of the processes or all of them at once; what is left of them ends a moment later."""
    order = chance.sample(children, len(children))
    together = chance.random() < 0.5
    for number, child in enumerate(order):
        if number and not together:
            time.sleep(chance.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """What containers hold, each with its path."""
    if isinstance(value, (dict, list, tuple)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{where}/{name}")
    else:
        yield where, value


def differences(a: dict[str, Any], b: dict[str, Any]) -> tuple[int, list[str]]:
    """How many tensors a checkpoint holds, and the paths of all that is not the same in another."""
    mine, theirs = (dict(leaves(content)) for content in (a, b))
    compared = sorted({*mine, *theirs} - NOT_COMPARED)
    differ = [where for where in compared if not same(mine.get(where, ABSENT), theirs.get(where, ABSENT))]
    return sum(isinstance(value, torch.Tensor) for value in mine.values()), differ


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b


def measure(
    name: str, processes: int, kills: int, folder: Path, elsewhere: Path, seed: int = 0, strategy: str = "auto"
) -> Killed:
    """Kill a run of a model so many times; then let it end, and another one train as far.

    Raises:
        SystemExit: a run ended by itself; the message says where.
    """
    chance = random.Random(f"{name} {processes} {seed}")
    how = MODELS[name], processes, elsewhere, strategy
    broken, whole = (Runs(folder / kind, *how) for kind in ("broken", "whole"))
    begun, first, in_a_save = time.monotonic(), 0.0, 0
    for number in range(kills):
        broken.known, before = broken.newest(), len(broken.parts())
        children = broken.start()
        # Without a file there is nothing to go on from: the first kill comes after it.
        broken.wait(MOMENTS[number % 3] if number else "save", first, children, chance)
        first = first or time.monotonic() - begun
        kill(children, chance)
        in_a_save += len(broken.parts()) > before
        broken.content()  # whatever the moment was, there is a whole file
    steps = broken.content()["global_step"] + MORE
    for runs in (broken, whole):
        runs.finish(steps)
    tensors, differ = differences(broken.content(), whole.content())
    return Killed(name, processes, kills, in_a_save, steps, tensors, differ, broken.left())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="default %(default)s")
    parser.add_argument("--processes", default="1,2", help="of a run (default %(default)s)")
    parser.add_argument("--kills", type=int, default=10, help="of each model and number of processes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default %(default)s)")
    parser.add_argument("--strategy", default="auto", help="the trainer's (default %(default)s)")
    parser.add_argument("--elsewhere", default="/dev/shm", help="of $TMPDIR, another file system (default %(default)s)")
    parser.add_argument("--out", help="a JSON file of the rows")
    options = parser.parse_args()
    names = options.models.split(",")
    if unknown := set(names) - set(MODELS):
        parser.error(f"--models: there is no {', '.join(sorted(unknown))}, but {', '.join(MODELS)}")
    if options.kills < 1:
        parser.error("--kills must be at least 1")
    torch.set_num_threads(1)
    print(
        "| model | processes | kills | within a save | steps | tensors | differ | files left | seconds |\n"
        + "|---" * 9
        + "|"
    )
    rows = []
    for name, processes in ((name, int(count)) for count in options.processes.split(",") for name in names):
        with contextlib.ExitStack() as own:
            folder, elsewhere = (
                Path(own.enter_context(tempfile.TemporaryDirectory(prefix="kills-", dir=where)))
                for where in (None, options.elsewhere)
            )
            begun = time.monotonic()
            found = measure(name, processes, options.kills, folder / "runs", elsewhere, options.seed, options.strategy)
        rows.append(found._asdict() | {"seconds": round(time.monotonic() - begun)})
        cells = [*found[:6], len(found.differ), len(found.left), rows[-1]["seconds"]]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        for what in (*found.differ[:5], *found.left[:5]):
            print(f"  {what}", flush=True)
    print(f"{sum(row['kills'] for row in rows)} kills, {sum(row['in_a_save'] for row in rows)} within a save")
    if options.out:
        Path(options.out).write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")
    return int(any(row["differ"] or row["left"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
