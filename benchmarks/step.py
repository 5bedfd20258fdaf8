"""What a training step costs against a bare loop that is written by hand.

    python benchmarks/step.py [--only mlp,8,32,128,r3gan,stylegan2]

- mlp: GAN on points in the plane, with the tiniest multi-layer perceptrons, one thread.
- 8, 32, 128: DCGAN of this width on digits of 32x32 pixels, two threads.
- r3gan, stylegan2: these at 64x64 pixels in batches of 8, small, with all their penalties, two threads.

Ours trains with a CSV logger, the progress bar and the generator's average, as Trainer logs by default. The bare loop
has the same networks and images, torch's default Adam, and nothing of these. Batches of the others have 64 images. Both
take turns inside one process, a block of steps each, so that what else runs on the machine hits both; of each block of
ours the ratio to its two neighbours is taken, and the medians over blocks are printed, of CPU time and of wall time.
The bars are for CPU time. Ends with exit code 1 if a ratio is above its bar.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stdout
from functools import partial
from typing import NamedTuple

import torch
from bare import BareLoop, BareR3GAN, BareStyleGAN2
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from gan_lightning.callbacks import GANProgressBar, Health
from gan_lightning.core import TwoPlayerGAN
from gan_lightning.data import Digits, Gaussians
from gan_lightning.data.base import ImageData
from gan_lightning.models import DCGAN, GAN, R3GAN, StyleGAN2
from gan_lightning.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MaxoutDiscriminator,
    MLPGenerator,
    R3GANDiscriminator,
    R3GANGenerator,
    StyleGAN2Discriminator,
    StyleGAN2Generator,
)
from gan_lightning.optim import PaperAdam


class Case(NamedTuple):
    threads: int
    bar: float  # the greatest ratio of CPU times that passes
    steps: int  # in a block; log lines are 50 apart
    blocks: int
    batch: int = 64


CASES = {
    "mlp": Case(threads=1, bar=1.35, steps=50, blocks=20),
    "8": Case(threads=2, bar=1.00, steps=50, blocks=10),
    "32": Case(threads=2, bar=0.97, steps=25, blocks=10),
    "128": Case(threads=2, bar=0.97, steps=5, blocks=6),
    "r3gan": Case(threads=2, bar=1.05, steps=16, blocks=8, batch=8),
    "stylegan2": Case(threads=2, bar=1.05, steps=16, blocks=8, batch=8),
}


class Times(NamedTuple):
    """Seconds."""

    cpu: float  # of all threads
    wall: float

    @classmethod
    def now(cls) -> Times:
        return cls(time.process_time(), time.perf_counter())

    def since(self) -> Times:
        now = Times.now()
        return Times(now.cpu - self.cpu, now.wall - self.wall)


BARE = {"r3gan": BareR3GAN, "stylegan2": BareStyleGAN2}


class TakeTurns(Callback):
    """A block of the bare loop before each block of ours, and after the last."""

    def __init__(self, bare: BareLoop, steps: int) -> None:
        self.bare, self.steps = bare, steps
        self.ours: list[Times] = []
        self.theirs: list[Times] = []
        self.begun = Times.now()

    def bare_block(self) -> None:
        begun = Times.now()
        for _ in range(self.steps):
            self.bare.step()
        self.theirs.append(begun.since())
        self.begun = Times.now()

    def on_train_start(self, trainer: Trainer, pl_module: TwoPlayerGAN) -> None:
        self.bare_block()

    def on_train_batch_end(self, trainer: Trainer, pl_module: TwoPlayerGAN, *_: object) -> None:
        if trainer.global_step % self.steps == 0:
            self.ours.append(self.begun.since())
            self.bare_block()


def made(name: str) -> tuple[TwoPlayerGAN, ImageData]:
    """The model of a case, and its data."""
    batch = CASES[name].batch
    if name == "r3gan":
        networks = partial(R3GANGenerator, latent_dim=64, width=32), partial(R3GANDiscriminator, width=32)
        optimizers = [partial(PaperAdam, lr=2e-4, beta1=0.0, beta2=0.9)] * 2
        return R3GAN((1, 64, 64), None, False, *networks, *optimizers, gamma=1.0), Digits(size=64, batch_size=batch)
    if name == "stylegan2":
        networks = (
            partial(StyleGAN2Generator, latent_dim=64, base=1024, widest=64),
            partial(StyleGAN2Discriminator, base=1024, widest=64),
        )
        return StyleGAN2((1, 64, 64), None, False, *networks, gamma=1.0), Digits(size=64, batch_size=batch)
    if name == "mlp":
        generator = partial(MLPGenerator, latent_dim=2, width=8)
        discriminator = partial(MaxoutDiscriminator, units=8, pieces=2)
        return GAN(image_shape=(2, 1, 1), generator=generator, discriminator=discriminator), Gaussians(batch_size=batch)
    generator = partial(DCGANGenerator, latent_dim=100, width=int(name))
    discriminator = partial(DCGANDiscriminator, width=int(name))
    return DCGAN(image_shape=(1, 32, 32), generator=generator, discriminator=discriminator), Digits(batch_size=batch)


def measure(name: str, blocks: int, steps: int) -> list[Times]:
    """The medians over a case's blocks: of the bare loop's times, of ours, and of the ratios."""
    torch.set_num_threads(CASES[name].threads)
    seed_everything(0, verbose=False)
    model, data = made(name)
    bare = BARE.get(name, BareLoop)(model, (data.reference("train").image,), CASES[name].batch)
    turns = TakeTurns(bare, steps)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):  # the progress bar is no result
        trainer = Trainer(
            max_steps=(blocks + 1) * steps,
            max_epochs=-1,
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[GANProgressBar(), Health(), turns],
        )
        trainer.fit(model, data)
    ours, theirs = turns.ours[1:], turns.theirs[1:]  # the first of each warm up
    ratios = [
        Times(*(2 * own / (before + after) for own, before, after in zip(*three, strict=True)))
        for three in zip(ours, theirs, theirs[1:], strict=False)
    ]
    return [Times(*map(statistics.median, zip(*times, strict=True))) for times in (theirs, ours, ratios)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES), help="cases (default: all)")
    parser.add_argument("--blocks", type=int, help="of ours, after one that warms up (default: by case)")
    parser.add_argument("--steps", type=int, help="in a block (default: by case)")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(CASES):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(CASES)}")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    failed = False
    print("| case | threads | bare loop, ms | ours, ms | ratio | ratio of wall time | bar | |\n|" + "---|" * 8)
    for name in names:
        case = CASES[name]
        steps = options.steps or case.steps
        bare, ours, ratio = measure(name, options.blocks or case.blocks, steps)
        times = " | ".join(f"{1e3 * block.cpu / steps:.2f}" for block in (bare, ours))
        missed = ratio.cpu > case.bar
        failed |= missed
        shown = math.ceil(1e3 * ratio.cpu) / 1e3  # up: what is above the bar is shown above it
        ratios = f"{shown:.3f} | {ratio.wall:.3f} | {case.bar:.2f} | {'fail' if missed else 'pass'}"
        print(f"| {name} | {case.threads} | {times} | {ratios} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
