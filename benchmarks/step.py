"""What a training step costs against a bare hand-written loop: `python benchmarks/step.py [--width 32] [--blocks 12]`.

DCGAN, 32x32, batch 64, CPU, logging and progress bar on. Three arms take turns inside one process, a block of steps
each, so that the machine's moods hit all alike: the bare loop, ours without the average of the generator, ours with it.
Prints the medians over blocks of the ratios to the bare loop's neighbouring blocks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from gan_lightning.callbacks import GANProgressBar, Health
from gan_lightning.data import Digits
from gan_lightning.models import DCGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator

BATCH, LATENT = 64, 100


class BareLoop:
    """The same networks, optimizers and batch, with nothing around them."""

    def __init__(self, model: DCGAN, images: torch.Tensor) -> None:
        self.G = DCGANGenerator((1, 32, 32), latent_dim=LATENT, width=model.generator.layers[-2].in_channels)
        self.G.load_state_dict(model.generator.state_dict())
        self.D = DCGANDiscriminator((1, 32, 32), width=model.discriminator.layers[0].out_channels)
        self.D.load_state_dict(model.discriminator.state_dict())
        self.adam_g = torch.optim.Adam(self.G.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.adam_d = torch.optim.Adam(self.D.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.images = images

    def step(self) -> None:
        real = self.images[torch.randint(len(self.images), (BATCH,))].float() / 127.5 - 1
        fake = self.G(torch.rand(BATCH, LATENT) * 2 - 1)
        self.adam_d.zero_grad()
        (F.softplus(-self.D(real)).mean() + F.softplus(self.D(fake.detach())).mean()).backward()
        self.adam_d.step()
        self.D.requires_grad_(False)
        fake = self.G(torch.rand(BATCH, LATENT) * 2 - 1)
        self.adam_g.zero_grad()
        F.softplus(-self.D(fake)).mean().backward()
        self.adam_g.step()
        self.D.requires_grad_(True)


class Interleave(Callback):
    """After each block of ours, a block of the bare loop; every other block of ours is without the average."""

    def __init__(self, bare: BareLoop, steps: int) -> None:
        self.bare, self.steps = bare, steps
        self.ours: list[tuple[str, float]] = []  # arm and seconds, block by block
        self.theirs: list[float] = []  # seconds of the bare block after each of ours
        self.arm, self.done, self.start, self.ema = "averaged", 0, 0.0, None

    def on_train_start(self, trainer: Trainer, pl_module: DCGAN) -> None:
        self.ema = pl_module.ema
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: DCGAN, *_: object) -> None:
        self.done += 1
        if self.done % self.steps:
            return
        self.ours.append((self.arm, time.perf_counter() - self.start))
        start = time.perf_counter()
        for _ in range(self.steps):
            self.bare.step()
        self.theirs.append(time.perf_counter() - start)
        self.arm = "plain" if self.arm == "averaged" else "averaged"
        pl_module.ema = self.ema if self.arm == "averaged" else None
        self.start = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=12, help="of each of our two arms")
    parser.add_argument("--steps", type=int, default=25, help="in a block")
    args = parser.parse_args()
    seed_everything(0)
    data = Digits(batch_size=BATCH)
    model = DCGAN(
        (1, 32, 32),
        generator=lambda shape: DCGANGenerator(shape, latent_dim=LATENT, width=args.width),
        discriminator=lambda shape: DCGANDiscriminator(shape, width=args.width),
    )
    images = data.reference("train").__getitems__(list(range(len(data.reference("train"))))).image
    interleave = Interleave(BareLoop(model, images), args.steps)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=2 * (args.blocks + 1) * args.steps,
            max_epochs=-1,
            accelerator="cpu",
            logger=CSVLogger(folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[GANProgressBar(), Health(), interleave],
        )
        trainer.fit(model, data)
    ratios: dict[str, list[float]] = {"plain": [], "averaged": []}
    for i, (arm, seconds) in enumerate(interleave.ours[2:], start=2):  # the first block of each arm warms up
        ratios[arm].append(seconds / statistics.mean(interleave.theirs[i - 1 : i + 1]))
    plain, averaged = statistics.median(ratios["plain"]), statistics.median(ratios["averaged"])
    print(f"bare loop        {statistics.median(interleave.theirs) / args.steps * 1e3:6.1f} ms a step")
    print(f"ours, no EMA     {plain:6.3f} times the bare loop (bar: 1.10)")
    print(f"ours, with EMA   {averaged:6.3f} times the bare loop, {averaged / plain:.3f} times no EMA (bar: 1.03)")


if __name__ == "__main__":
    main()
