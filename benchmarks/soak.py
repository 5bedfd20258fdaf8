"""Does a long run stay as it is? `python benchmarks/soak.py [--steps 20000] [--every 500]`

A tiny DCGAN learns the digits with all that a run has beside it: a logger, a loader's worker, and, every so many
steps, a score, a checkpoint and a grid of samples. Five times between two scores this process is read: resident memory,
open files, threads, shared memory (mappings of /dev/shm, and files there that bear its number or a child's), and child
processes. The readings after two scores, when all has happened twice, are cut into two halves; something grows where
the greatest of the second half is above the greatest of the first, for memory by more than 2%. Prints a table, and
exits with code 1 where something grows. Linux only: what it reads stands in /proc.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from gan_lightning.callbacks import FID, Checkpoint, Health, SampleGrid, When
from gan_lightning.data import Digits
from gan_lightning.models import DCGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator
from gan_lightning.scoring import Protocol

READINGS = 5  # between two scores
WARM_UP = 2  # scores
SHM = "/dev/shm"


class Reading(NamedTuple):
    """What this process holds; memory in MiB."""

    step: int
    memory: float
    files: int
    threads: int
    shared: int
    children: int


LIMITS = {"memory": 1.02, "files": 1.0, "threads": 1.0, "shared": 1.0, "children": 1.0}  # of the halves' ratio


def reading(step: int) -> Reading:
    own = Path("/proc/self")
    pages = int((own / "statm").read_text().split()[1])
    files = sum(1 for _ in (own / "fd").iterdir()) - 1  # the folder itself is open while it is read
    children = child_processes()
    marks = [f"_{number}_" for number in (os.getpid(), *children)]  # as torch names its files
    shared = sum(SHM in line for line in (own / "maps").read_text().splitlines())
    shared += sum(any(mark in path.name for mark in marks) for path in Path(SHM).glob("*"))
    threads = sum(1 for _ in (own / "task").iterdir())
    return Reading(step, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, threads, shared, len(children))


def child_processes() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == os.getpid():
            found.append(int(stat.parent.name))
    return found


class Watch(Callback):
    """Takes readings, five to each score.

    Args:
        every: generator steps between two scores.
    """

    def __init__(self, every: int) -> None:
        self.between, self.readings = max(every // READINGS, 1), [reading(0)]

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:  # scores come at ends
        if trainer.global_step % self.between == 0 and trainer.global_step > self.readings[-1].step:
            self.readings.append(reading(trainer.global_step))


class Halves(NamedTuple):
    """The greatest reading of each half, and whether the second is too much above the first."""

    first: float
    second: float
    grows: bool


def halves(readings: list[Reading], every: int) -> dict[str, Halves]:
    """By what was read, the readings after the warm-up in two halves.

    Raises:
        ValueError: there are fewer than two of them.
    """
    settled = [row for row in readings if row.step > WARM_UP * every]
    if len(settled) < 2:
        raise ValueError(f"--steps must go beyond {WARM_UP + 1} scores, {(WARM_UP + 1) * every} steps")
    middle, found = len(settled) // 2, {}
    for name, limit in LIMITS.items():
        values = [getattr(row, name) for row in settled]
        first, second = max(values[:middle]), max(values[middle:])
        found[name] = Halves(first, second, second > limit * first)
    return found


def soak(steps: int, every: int, images: int, workers: int, *more: Callback) -> list[Reading]:
    """Train so many generator steps; the readings.

    Args:
        steps: generator steps.
        every: of them between two scores, checkpoints and grids.
        images: fakes that a score looks at.
        workers: of the loader.
        more: callbacks beside those of a run.
    """
    seed_everything(0, verbose=False)
    model = DCGAN(
        (1, 16, 16),
        partial(DCGANGenerator, latent_dim=16, width=4),
        partial(DCGANDiscriminator, width=4),
    )
    data, watch = Digits(size=16, batch_size=16, num_workers=workers), Watch(every)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=steps + 1,  # the last reading is taken when the next step begins
            max_epochs=-1,
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(folder, flush_logs_every_n_steps=1),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[
                FID(protocol=Protocol(n_fake=images), when=When(every_n_steps=every, at_end=False)),
                SampleGrid(every_n_steps=every),
                Health(),
                Checkpoint(every_n_steps=every),
                *more,
                watch,
            ],
        )
        trainer.fit(model, data)
    assert trainer.global_step == steps + 1
    return watch.readings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="generator steps (default %(default)s)")
    parser.add_argument("--every", type=int, default=500, help="steps between two scores (default %(default)s)")
    parser.add_argument("--images", type=int, default=500, help="fakes of a score (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of the loader (default %(default)s)")
    parser.add_argument("--out", help="a JSON file of the readings")
    options = parser.parse_args()
    if options.steps < (WARM_UP + 1) * options.every:
        parser.error(f"--steps must be at least {WARM_UP + 1} times --every")
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    begun = time.monotonic()
    readings = soak(options.steps, options.every, options.images, options.workers)
    print("| step | memory, MiB | open files | threads | shared memory | child processes |\n" + "|---" * 6 + "|")
    for row in readings:
        if row.step % options.every == 0:
            print(f"| {row.step:,} | {row.memory:.1f} | {' | '.join(map(str, row[2:]))} |")
    print(f"\n{time.monotonic() - begun:.0f} s; the greatest after step {WARM_UP * options.every:,}, by halves:\n")
    print("| | first half | second half | |\n|---|---|---|---|")
    found = halves(readings, options.every)
    for name, (first, second, grows) in found.items():
        print(f"| {name} | {first:.6g} | {second:.6g} | {'grows' if grows else 'flat'} |")
    if options.out:
        Path(options.out).write_text(json.dumps([row._asdict() for row in readings], indent=1) + "\n")
    return int(any(half.grows for half in found.values()))


if __name__ == "__main__":
    sys.exit(main())
