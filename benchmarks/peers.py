"""Our DCGAN, WGAN-GP and CGAN beside those of PyTorch-GAN, a well-known collection: equal data, batch and minutes.

    git clone https://github.com/eriklindernoren/PyTorch-GAN
    python benchmarks/peers.py PyTorch-GAN --budget 8m

Their code is not part of this package. Each script runs as it is, in a process and a folder of its own, on the images
of our MNIST module brought to 32 px by the script's own transforms, in batches of 64. Its clock starts with the first
image that it reads, as that of `--trainer.max_time` starts with training. When the time is up its `generator` draws
10,000 images the way the script draws its grids: in training mode, with the batch's statistics, in batches of 100, the
classes in turn where it takes labels. `evaluate` scores them as a folder of PNG files. Ours are measured by
`python -m gan_lightning.benchmark`. All rows go to `results/peers.json`.
"""

from __future__ import annotations

import argparse
import inspect
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.utils import save_image

from gan_lightning import benchmark, data
from gan_lightning.cli import evaluation, measuring, results
from gan_lightning.evaluate import scores_flags
from gan_lightning.runtime.errors import short_errors

INTO = "peers"
METRICS = "fid,is,prdc"
FLAGS = ["--batch_size=64", "--img_size=32", "--n_epochs=1000000"]  # theirs; the time ends it
SAME_DATA = "--data MNIST --data.size 32 --data.batch_size 64"
PEERS = {  # their script, and our command line
    "dcgan": "configs/dcgan/digits.yaml --model.generator_optimizer.lr 5e-4 --model.discriminator_optimizer.lr 5e-4",
    "wgan_gp": "configs/wgangp/digits.yaml",
    "cgan": "configs/cgan/digits.yaml",
}
TITLES = {"dcgan": "DCGAN", "wgan_gp": "WGANGP", "cgan": "CGAN"}


class TimeUp(Exception):
    """The script has had its time."""


class Digits(torch.utils.data.Dataset):
    """In the place of torchvision's MNIST: the images of our module, as PIL images; the first one starts the clock."""

    seconds = 0.0  # until time is up
    began: float | None = None
    read = 0  # images, so far

    def __init__(self, root: str, train: bool = True, download: bool = False, transform: Any = None) -> None:
        examples = data.MNIST().reference("train" if train else "val")
        batch = examples.__getitems__(range(len(examples)))
        self.images = batch.image[:, 0].numpy()  # uint8
        self.labels, self.transform = batch.label.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        if Digits.began is None:
            Digits.began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
        Digits.read += 1
        image = Image.fromarray(self.images[i])
        return (image if self.transform is None else self.transform(image)), self.labels[i]


class Ran(NamedTuple):
    """What a script has come to."""

    names: dict[str, Any]  # its variables
    seconds: float
    images: int


def run_script(script: Path, seconds: float, seed: int) -> Ran:
    """Run a script in this process, in the current folder, until its time is up.

    Raises:
        ValueError: it has no `generator` with the size of latents in `opt.latent_dim`.
    """

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    Digits.seconds, Digits.began, Digits.read = seconds, None, 0
    torch.manual_seed(seed)
    np.random.seed(seed)
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with (
            patch.object(torchvision.datasets, "MNIST", Digits),
            patch.object(sys, "argv", [str(script), *FLAGS]),
            redirect_stdout(io.StringIO()),
        ):
            exec(compile(script.read_text("utf-8"), str(script), "exec"), names)
    except TimeUp:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if "generator" not in names or not hasattr(names.get("opt"), "latent_dim"):
        raise ValueError(f"{script.name} has no `generator`, or no `opt.latent_dim`: it cannot be sampled")
    return Ran(names, time.monotonic() - (Digits.began or time.monotonic()), Digits.read)


@torch.no_grad()
def draw(ran: Ran, count: int, folder: Path) -> None:
    """Write images of a script's generator as PNG files, and the first 64 as a grid beside the folder."""
    generator, latent_dim = ran.names["generator"], ran.names["opt"].latent_dim
    device = next(generator.parameters()).device
    labelled = len(inspect.signature(generator.forward).parameters) > 1
    folder.mkdir()
    for start in range(0, count, 100):
        number = torch.arange(start, min(start + 100, count), device=device)
        z = torch.randn(len(number), latent_dim, device=device)
        images = generator(z, number % 10) if labelled else generator(z)
        levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        for i, image in zip(number.tolist(), levels, strict=True):
            Image.fromarray(image[0]).save(folder / f"{i:05}.png")
        if start == 0:
            save_image(images[:64], folder.with_name("samples.png"), nrow=8, normalize=True, value_range=(-1, 1))


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, empty of a folder that is none."""
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def measure_theirs(name: str, checkout: Path, given: argparse.Namespace) -> None:
    """Train by their script, score what it draws, and add the row.

    Raises:
        RuntimeError: the script failed, and said why.
        ValueError: no score can be had.
    """
    script = Path("implementations", name, f"{name}.py")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        began = time.monotonic()
        asked = [sys.executable, __file__, "--script", str(checkout.resolve() / script), "--out", str(folder)]
        asked += [f"--budget={given.budget}", f"--seed={given.seed}", f"--n={given.n}"]
        path = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))
        code = subprocess.run(asked, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
        if code != 0:
            raise RuntimeError(f"{script} ended with exit code {code}")
        seconds = time.monotonic() - began
        flags = [f"--fake={folder / 'fakes'}", *shlex.split("--data=MNIST --data.size=32"), f"--metrics={METRICS}"]
        device = measuring.device_named("auto")
        found, lost = evaluation.scores(*scores_flags(flags), device)
        if lost:
            raise ValueError("; ".join(lost))
        training = json.loads((folder / "cost.json").read_text())
        commit = commit_of(checkout)
        row = {
            "model": f"{TITLES[name]} of {checkout.resolve().name}",
            "config": script.as_posix(),
            "flags": FLAGS[:2],
            "budget": given.budget,
            "seed": given.seed,
            **({"commit": commit, "dirty": False} if commit else {}),
            "machine": measuring.machine(device.type == "cuda"),
            "date": date.today().isoformat(),
            "cost": {"seconds": round(seconds, 1), **training},
            **measuring.scores_and_cards(found),
        }
        rows = results.ROWS / f"{INTO}.json"
        row["picture"] = measuring.keep_picture(folder / "samples.png", measuring.picture_name(rows, row))
        results.add(rows, row)
        print(f"{row['model']}: FID-digits {row['scores']['FID-digits']:.4g}, {rows}")


@short_errors(RuntimeError)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, nargs="?", help="the folder of PyTorch-GAN")
    parser.add_argument("--budget", default="8m", help="of training each: 90s, 8m (default %(default)s)")
    parser.add_argument("--only", default=",".join(PEERS), help="of %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=10_000, help="images that are scored (default %(default)s)")
    parser.add_argument("--script", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.script is not None:
        ran = run_script(given.script, benchmark.seconds_of(given.budget), given.seed)
        draw(ran, given.n, given.out / "fakes")
        cost = {"training_seconds": round(ran.seconds, 1), "images": ran.images}
        return (given.out / "cost.json").write_text(json.dumps(cost)) and None
    if given.checkout is None:
        parser.error("give the folder of PyTorch-GAN")
    for name in given.only.split(","):
        if name not in PEERS or not (script := given.checkout / "implementations" / name / f"{name}.py").is_file():
            parser.error(f"--only {name}: there is no {script if name in PEERS else 'such script'}")
    for name in given.only.split(","):
        measure_theirs(name, given.checkout, given)
        config, *flags = shlex.split(f"{PEERS[name]} {SAME_DATA}")
        how = [f"--budget={given.budget}", f"--seeds={given.seed}", f"--n={given.n}", f"--metrics={METRICS}"]
        benchmark.main([config, *how, f"--into={INTO}", "--", *flags])


if __name__ == "__main__":
    main()
