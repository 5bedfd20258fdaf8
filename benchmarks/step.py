"""What a training step costs against a bare loop that is written by hand.

    python benchmarks/step.py [--only mlp,8,32,128]

- mlp: GAN on points in the plane, with the tiniest multi-layer perceptrons, one thread.
- 8, 32, 128: DCGAN of this width on digits of 32x32 pixels, two threads.

Ours trains with a CSV logger, the progress bar and the generator's average, as Trainer logs by default. The bare loop
has the same networks and images, torch's default Adam, and nothing of these. Batches have 64 images. Both take turns
inside one process, a block of steps each, so that what else runs on the machine hits both; of each block of ours the
ratio to its two neighbours is taken, and the medians over blocks are printed, of CPU time and of wall time. The bars
are for CPU time. Ends with exit code 1 if a ratio is above its bar.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stdout
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from gan_lightning.callbacks import GANProgressBar, Health
from gan_lightning.core import TwoPlayerGAN
from gan_lightning.data import Digits, Gaussians
from gan_lightning.data.base import ImageData
from gan_lightning.models import DCGAN, GAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator, MaxoutDiscriminator, MLPGenerator

BATCH = 64


class Case(NamedTuple):
    threads: int
    bar: float  # the greatest ratio of CPU times that passes
    steps: int  # in a block; log lines are 50 apart
    blocks: int


CASES = {
    "mlp": Case(threads=1, bar=1.35, steps=50, blocks=20),
    "8": Case(threads=2, bar=1.00, steps=50, blocks=10),
    "32": Case(threads=2, bar=0.97, steps=25, blocks=10),
    "128": Case(threads=2, bar=0.97, steps=5, blocks=6),
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


class BareLoop:
    """A model's networks, and a loop as one would write it for them alone."""

    def __init__(self, model: TwoPlayerGAN, images: Tensor) -> None:
        self.G, self.D, self.images = copy.deepcopy(model.generator), copy.deepcopy(model.discriminator), images
        self.adam_g, self.adam_d = (
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (self.G, self.D)
        )

    def fake(self) -> Tensor:
        return self.G(torch.rand(BATCH, self.G.latent_dim) * 2 - 1)

    def step(self) -> None:
        real = self.images[torch.randint(len(self.images), (BATCH,))]
        if real.dtype == torch.uint8:
            real = real.float() / 127.5 - 1
        self.adam_d.zero_grad()
        (F.softplus(-self.D(real)).mean() + F.softplus(self.D(self.fake().detach())).mean()).backward()
        self.adam_d.step()
        self.D.requires_grad_(False)
        self.adam_g.zero_grad()
        F.softplus(-self.D(self.fake())).mean().backward()
        self.adam_g.step()
        self.D.requires_grad_(True)


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
    if name == "mlp":
        generator = partial(MLPGenerator, latent_dim=2, width=8)
        discriminator = partial(MaxoutDiscriminator, units=8, pieces=2)
        return GAN(image_shape=(2, 1, 1), generator=generator, discriminator=discriminator), Gaussians(batch_size=BATCH)
    generator = partial(DCGANGenerator, latent_dim=100, width=int(name))
    discriminator = partial(DCGANDiscriminator, width=int(name))
    return DCGAN(image_shape=(1, 32, 32), generator=generator, discriminator=discriminator), Digits(batch_size=BATCH)


def measure(name: str, blocks: int, steps: int) -> list[Times]:
    """The medians over a case's blocks: of the bare loop's times, of ours, and of the ratios."""
    torch.set_num_threads(CASES[name].threads)
    seed_everything(0, verbose=False)
    model, data = made(name)
    turns = TakeTurns(BareLoop(model, data.reference("train").image), steps)
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
        ratios = f"{ratio.cpu:.3f} | {ratio.wall:.3f} | {case.bar:.2f} | {'fail' if missed else 'pass'}"
        print(f"| {name} | {case.threads} | {times} | {ratios} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
