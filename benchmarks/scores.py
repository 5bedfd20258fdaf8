"""What scores cost on a CPU, in time and memory, against other programs, a bare loop and fewer images.

    python benchmarks/scores.py [--only extract,frechet,cached,memory,prdc]

- extract: FID, IS and KID of random images in one call, against torch-fidelity and torchmetrics with the same made-up
  weights. Each call is timed whole: reading the weights, both sets' features, the figures.
- frechet: the Fréchet distance against the textbook formula with scipy's matrix root.
- cached: FID-digits and IS-digits with the real statistics in the cache, against generating and extracting alone.
- memory: how much memory FID takes for ten times the features, each time in a process of its own (Linux only).
- prdc: PRDC, which needs three distance matrices, against scipy making one of them; and its memory (Linux only).

Programs take turns, and medians are printed. Ends with exit code 1 if a bar is missed. Needs torch-fidelity.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import scipy.linalg
import scipy.spatial
import torch
from torch import nn
from torch.utils.data import Subset

from gan_lightning import callbacks, metrics, scoring
from gan_lightning.batches import Labeled
from gan_lightning.data import Digits
from gan_lightning.data.sets import InMemory
from gan_lightning.metrics import Features
from gan_lightning.models import DCGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator

CPU = torch.device("cpu")
BATCH = 64  # images in extract
T = TypeVar("T")


def interleaved(programs: dict[str, Callable[[], T]], rounds: int) -> tuple[dict[str, float], dict[str, T]]:
    """Median seconds of each program, taking turns, and what each gave last."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    given: dict[str, T] = {}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            given[name] = program()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}, given


def holds(what: str, value: float, least: float | None = None, most: float | None = None) -> bool:
    """Print a figure with its bar, and say whether it keeps to it."""
    bar = f"at least {least:g}" if most is None else f"at most {most:g}"
    good = value >= least if most is None else value <= most
    print(f"  {what}: {value:.4g} (bar: {bar}){'' if good else '  MISSED'}", flush=True)
    return good


def made_weights(path: str) -> None:
    """A file for the Inception of 2015 with random weights that keep features in a plausible range."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    kind = theirs.FeatureExtractorInceptionV3
    with patch.object(theirs, "load_state_dict_from_url"), patch.object(kind, "load_state_dict"):  # loads as it is made
        network = kind("inception-v3-compat", ["2048"])
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
    torch.save(network.state_dict(), path)


def extract(options: argparse.Namespace) -> bool:
    """Three programs on the same images, with the same weights."""
    import torch_fidelity  # here, because the other sections, and processes whose memory is measured, do without
    from torchmetrics import image as theirs
    from torchmetrics.image.fid import NoTrainInceptionV3

    half = options.images // 2
    splits, subset_size = min(10, half // 2), min(1000, half)
    torch.manual_seed(1)
    fake, real = torch.randint(0, 256, (2, half, 3, options.size, options.size), dtype=torch.uint8)

    def ours() -> float:
        protocol = scoring.Protocol(n_fake=half, batch_size=BATCH)
        fid, kid = callbacks.FID(protocol=protocol), callbacks.KID(protocol=protocol, subset_size=subset_size)
        requests = [fid.request, kid.request, callbacks.InceptionScore(protocol=protocol, splits=splits).request]
        fakes, reals = (InMemory(image, torch.zeros(half, dtype=torch.int64)) for image in (fake, real))
        with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, GAN_LIGHTNING_CACHE=cache):
            found = scoring.scores_of(requests, metrics.Inception(weights), fakes, reals, "random", {}, CPU)
        return next(iter(found[0][0].values()))  # FID, under the name of these weights

    def torch_fidelity_() -> float:
        images = {"input1": Subset(fake, range(half)), "input2": Subset(real, range(half))}
        which = {"isc": True, "fid": True, "kid": True, "isc_splits": splits, "kid_subset_size": subset_size}
        how = {"batch_size": BATCH, "feature_extractor_weights_path": weights}
        found = torch_fidelity.calculate_metrics(**images, **which, **how, cuda=False, cache=False, verbose=False)
        return found["frechet_inception_distance"]

    def torchmetrics_() -> float:
        pooled, logits = (
            NoTrainInceptionV3("inception-v3-compat", [layer], weights) for layer in ("2048", "logits_unbiased")
        )
        fid = theirs.FrechetInceptionDistance(feature_extractor_weights_path=weights)
        kid = theirs.KernelInceptionDistance(pooled, subset_size=subset_size)
        inception_score = theirs.InceptionScore(logits, splits=splits)
        for fakes, reals in zip(fake.split(BATCH), real.split(BATCH), strict=True):
            for metric in (fid, kid):
                metric.update(fakes, real=False)
                metric.update(reals, real=True)
            inception_score.update(fakes)
        inception_score.compute(), kid.compute()
        return float(fid.compute())

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all three: that so few images make no FID, that features are kept, ...
        weights = str(Path(folder, "inception.pth"))
        made_weights(weights)
        programs = {"ours": ours, "torch-fidelity": torch_fidelity_, "torchmetrics": torchmetrics_}
        seconds, fid = interleaved(programs, options.rounds)
    print(f"extract: FID, IS and KID of {half} and {half} images of {options.size} px")
    for name in programs:
        print(f"  {name:<15}{seconds[name]:8.1f} s, FID {fid[name]:.6g}")
    print("  (torchmetrics' FID is another: it resizes with antialiasing)")
    faster = holds("times faster than torchmetrics", seconds["torchmetrics"] / seconds["ours"], least=2.0)
    return holds("times faster than torch-fidelity", seconds["torch-fidelity"] / seconds["ours"], least=1.2) and faster


def frechet(options: argparse.Namespace) -> bool:
    """The distance alone, of covariances with full rank."""
    torch.manual_seed(0)
    sets = [(torch.randn(5000, options.dim, dtype=torch.float64) + shift).relu() for shift in (0.0, 0.1)]
    (mean1, cov1), (mean2, cov2) = ((rows.mean(0), rows.T.cov()) for rows in sets)

    def textbook() -> float:
        root = scipy.linalg.sqrtm((cov1 @ cov2).numpy())
        return float((mean1 - mean2).square().sum() + (cov1 + cov2).trace() - 2 * root.trace().real)

    programs = {"ours": lambda: float(metrics.frechet_distance(mean1, cov1, mean2, cov2)), "sqrtm": textbook}
    seconds, value = interleaved(programs, 3)
    print(f"frechet: {options.dim} features; ours {seconds['ours']:.3f} s, scipy's sqrtm {seconds['sqrtm']:.3f} s")
    same = holds("relative difference", abs(value["ours"] / value["sqrtm"] - 1), most=1e-6)
    return holds("times faster than sqrtm", seconds["sqrtm"] / seconds["ours"], least=3.0) and same


class Counted(InMemory):
    """Counts the calls that read images."""

    calls = 0

    def __getitems__(self, index: list[int]) -> Labeled:
        self.calls += 1
        return super().__getitems__(index)


def cached(options: argparse.Namespace) -> bool:
    """An evaluation whose real side is known."""
    torch.manual_seed(0)
    n, digits = options.fakes, Digits(size=32).reference("train")
    reals, extractor = Counted(digits.image, digits.label), metrics.DigitFeatures()
    module = DCGAN(
        image_shape=(1, 32, 32),
        generator=lambda shape: DCGANGenerator(shape, latent_dim=100, width=32),
        discriminator=lambda shape: DCGANDiscriminator(shape, width=32),
    )
    protocol = scoring.Protocol(n_fake=n)
    requests = [kind(protocol=protocol).request for kind in (callbacks.FID, callbacks.InceptionScore)]

    def ours() -> None:
        scoring.scores_of(requests, extractor, scoring.Samples(module, protocol), reals, "Digits", {}, CPU)

    def bare() -> None:
        for first in range(0, n, protocol.batch_size):
            extractor(module.sample(range(first, min(first + protocol.batch_size, n)), protocol.seed))

    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, GAN_LIGHTNING_CACHE=cache):
        ours(), bare()  # makes the cache, and warms up
        reals.calls, rounds = 0, 5
        seconds, _ = interleaved({"ours": ours, "bare": bare}, rounds)
    print(f"cached: {n} fakes; ours {seconds['ours']:.3f} s, the bare loop {seconds['bare']:.3f} s")
    # One image each time, for its shape.
    unread = holds("reads of real images beyond the first one", reals.calls - rounds, most=0)
    return holds("times the bare loop", seconds["ours"] / seconds["bare"], most=1.05) and unread


def peak() -> int:
    """Bytes that this process has had in memory at most.

    Not getrusage's ru_maxrss, which on Linux begins with the peak of the process that started this one.
    """
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])


def alone(kind: str, n: int, dim: int) -> dict[str, float]:
    """What a process of its own measures: FID shown n random rectified features, or PRDC of n and n, and cdist."""
    torch.manual_seed(0)
    metric = metrics.FID(dim) if kind == "fid" else metrics.PRDC(dim)
    for real in [False] if kind == "fid" else [False, True]:
        for first in range(0, n, 100):
            metric.update(Features(torch.randn(min(100, n - first), dim).relu()), real)
    if kind == "fid":
        return {"peak": peak()}
    ours, _ = interleaved({"ours": metric.compute}, 1)
    found = {"peak": peak(), **ours}  # before cdist takes more
    real, fake = (rows.double().numpy() for rows in metric.both())
    return found | interleaved({"cdist": lambda: scipy.spatial.distance.cdist(real, fake)}, 1)[0]


def in_own_process(kind: str, n: int, dim: int) -> dict[str, float]:
    """See :func:`alone`."""
    words = [sys.executable, __file__, "--alone", kind, str(n), str(dim)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def memory(options: argparse.Namespace) -> bool:
    """What FID keeps does not grow."""
    few, many = (in_own_process("fid", n, options.dim)["peak"] for n in (5_000, 50_000))
    print(f"memory: FID of {options.dim} features; {few / 2**20:.0f} MiB for 5,000, {many / 2**20:.0f} for 50,000")
    return holds("times the memory", many / few, most=1.05)


def prdc(options: argparse.Namespace) -> bool:
    """Three distance matrices, block by block, against one that is whole."""
    n, found = options.prdc, in_own_process("prdc", options.prdc, options.dim)
    print(f"prdc: {n} x {n} x {options.dim}; ours {found['ours']:.2f} s, scipy's cdist {found['cdist']:.2f} s")
    small = holds("GiB of memory at the peak", found["peak"] / 2**30, most=4.0)
    return holds("times one distance matrix", found["ours"] / found["cdist"], most=0.5) and small


SECTIONS = {section.__name__: section for section in (extract, frechet, cached, memory, prdc)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections (default: all)")
    for name, default, meaning in (
        ("images", 2048, "of extract, half of them fake"),
        ("size", 64, "of these images"),
        ("rounds", 1, "of extract"),
        ("fakes", 10_000, "of cached"),
        ("prdc", 10_000, "features of each kind in prdc"),
        ("dim", 2048, "of features in frechet, memory and prdc"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default %(default)s)")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)  # kind, n, dim: what a process of its own measures
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(alone(options.alone[0], *map(int, options.alone[1:]))))
        return 0
    names = options.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(SECTIONS)}")
    return int(not all([SECTIONS[name](options) for name in names]))  # a list: every section runs


if __name__ == "__main__":
    sys.exit(main())
