"""How fast the large models train on a GPU: images per second, memory, and the share of the device's peak.

    python benchmarks/gpu.py [--only stylegan2,r3gan] [--seconds 20]

- stylegan2: StyleGAN2 at 256 px with the authors' `auto` preset, batch 16.
- r3gan: R3GAN with its CIFAR-10 preset, batch 64; each player sees a batch of its own in a step, and images are counted
  as the paper counts them, those of one player.

Each in float32 with TF32 and in bf16-mixed, eager and compiled, with contiguous and channels-last memory. Images are
random, and stay on the device. A row is one model: after a warm-up of some steps the time is taken over `--seconds`.
The peak is the greatest rate of matrix products of the same type that is measured on the spot. `--device cpu --tiny`
runs everything small, which says nothing but that it runs.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
import warnings
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.flop_counter import FlopCounterMode

from gan_lightning.core import TwoPlayerGAN
from gan_lightning.data.base import ImageData
from gan_lightning.data.sets import InMemory
from gan_lightning.loading import build
from gan_lightning.noise import PartNoise, drawn_by_layers

CONFIGS = Path(__file__).parents[1] / "configs"
CASES = {
    "stylegan2": ("StyleGAN2", "stylegan2/auto256.yaml", 256, 16),
    "r3gan": ("R3GAN", "r3gan/cifar10.yaml", 32, 64),
}
HALF = {"stylegan2": "half_resolutions", "r3gan": "bf16_stages"}  # arguments of both networks
TINY = {"stylegan2": 16, "r3gan": 16}  # pixels
WARM_UP = 20  # steps: the lazy penalties come every 16, and compiling takes the first ones


class Random(ImageData):
    """Random images, of ten classes."""

    def __init__(self, size: int, batch_size: int) -> None:
        super().__init__("Random", (3, size, size), 10, batch_size, 0)

    def load(self, split: str) -> InMemory:
        n = 8 * self.batch_size
        return InMemory(torch.randint(256, (n, *self.image_shape), dtype=torch.uint8), torch.arange(n) % 10)


class Clock(Callback):
    """Times steps after a warm-up, and counts the arithmetic of the last ones."""

    def __init__(self, seconds: float, warm_up: int) -> None:
        self.seconds, self.warm_up = seconds, warm_up
        self.begun, self.steps, self.took, self.images = 0.0, 0, 0.0, 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step < self.warm_up:
            return
        if pl_module.device.type == "cuda":
            if self.begun and trainer.global_step % 16:  # a look waits for the device
                return
            torch.cuda.synchronize()
        now, images = time.perf_counter(), pl_module.images_seen // pl_module.batches_per_step
        if not self.begun:
            self.begun, self.first = now, images
            if pl_module.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
        self.took, self.images = now - self.begun, images - self.first
        if self.took >= self.seconds and self.images:
            trainer.should_stop = True


def peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of large products of matrices."""
    n = 8192 if device == "cuda" else 512
    a = torch.randn(n, n, device=device, dtype=dtype)
    for _ in range(3):
        a @ a
    begun, count = time.perf_counter(), 20
    for _ in range(count):
        a @ a
    if device == "cuda":
        torch.cuda.synchronize()
    return 2 * n**3 * count / (time.perf_counter() - begun)


def made(name: str, tiny: bool, precision: str, compiled: bool, last: bool) -> tuple[TwoPlayerGAN, Random]:
    """The model of a preset, and its data."""
    kind, file, size, batch = CASES[name]
    arguments = dict(yaml.safe_load((CONFIGS / file).read_text())["model"]["init_args"])
    if tiny:
        size, batch = TINY[name], 4
        small = {"base": 64, "widest": 8} if name == "stylegan2" else {"width": 16}
        arguments |= {
            p: {"class_path": f"{kind}{p.capitalize()}", "init_args": small} for p in ("generator", "discriminator")
        }
    elif precision == "32-true":  # without the presets' own half precision
        for player in ("generator", "discriminator"):
            arguments[player]["init_args"][HALF[name]] = 0
    data = Random(size, batch)
    arguments["step"] = {**(arguments.get("step") or {}), "compile": compiled}
    model = build(kind, image_shape=data.image_shape, num_classes=10, **arguments)
    return model.to(memory_format=torch.channels_last) if last else model, data


def arithmetic(model: TwoPlayerGAN, batch: int) -> float:
    """FLOP of one player's images in one step, from those of forward passes; backward costs about twice as much.

    The generator is passed for both players and trained by one, the discriminator trained on reals and fakes and passed
    for the generator. What penalties cost beside is left out: the share of peak is a lower bound.
    """
    z, label = torch.randn(2, model.generator.latent_dim), torch.zeros(2, dtype=torch.int64)
    inputs = (z, label) if model.num_classes else (z,)
    model = model.cpu().float().eval()
    with FlopCounterMode(display=False) as g, drawn_by_layers(PartNoise(0, 0, 1, torch.device("cpu"))):
        image = model.generator(*inputs)
    with FlopCounterMode(display=False) as d:
        model.discriminator(image, *inputs[1:])
    each = (g.get_total_flops() * (1 + 3) + d.get_total_flops() * (2 * 3 + 3)) / 2
    return each * batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES), help="models (default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that each row is timed (default %(default)s)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and images, to see that it runs")
    parser.add_argument("--eager", action="store_true", help="leave the compiled rows out")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(CASES):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(CASES)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --tiny shows that the rest runs")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    print(torch.cuda.get_device_name() if options.device == "cuda" else "CPU", "torch", torch.__version__)
    print("| model | precision | compiled | memory | images/s | GiB | share of peak |\n|" + "---|" * 7)
    ways = itertools.product(
        names, ("32-true", "bf16-mixed"), (False,) if options.eager else (False, True), (False, True)
    )
    for name, precision, compiled, last in ways:
        seed_everything(0, verbose=False)
        torch.set_float32_matmul_precision("high")
        model, data = made(name, options.tiny, precision, compiled, last)
        clock = Clock(options.seconds, 2 if options.tiny else WARM_UP)
        try:
            Trainer(
                max_steps=100_000,
                max_epochs=-1,
                accelerator="gpu" if options.device == "cuda" else "cpu",
                devices=1,
                precision=precision,
                logger=False,
                enable_progress_bar=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                limit_val_batches=0,
                callbacks=[clock],
            ).fit(model, data)
        except RuntimeError as error:
            print(f"| {name} | {precision} | {compiled} | {last} | {str(error).splitlines()[0][:80]} | | |", flush=True)
            continue
        rate = clock.images / clock.took
        gib = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else float("nan")
        dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
        share = rate * arithmetic(model, 1) / peak(options.device, dtype)
        memory = "channels last" if last else "contiguous"
        print(f"| {name} | {precision} | {compiled} | {memory} | {rate:.1f} | {gib:.1f} | {share:.2g} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
