"""How fast models train on a GPU, and how fast the same networks train in a loop that is written by hand.

    python benchmarks/gpu.py [--only dcgan,r3gan] [--minutes 9] [--compile] [--channels_last] [--out gpu.json]

- dcgan: 64 px, batch 128, the paper's networks.
- sngan, biggan: the presets of CIFAR-10, batches of 64 and 50, five and four turns of the discriminator a step.
- cyclegan, pix2pix: the papers' networks at 256 px, batch 1.
- seqgan: the paper's networks, 5,000 words, 20 tokens, batch 64: a turn of the policy with 16 roll-outs of each prefix,
  and one of the discriminator. Its rate is in sequences.
- stylegan2: 256 px with the authors' `auto` preset, batch 16. r3gan: the preset of CIFAR-10, batch 64; a step takes two
  batches, and images are counted as the paper counts them, one batch a step. Both without ADA.

Each in float32 with TF32 and in bf16-mixed. The bare loop (bare.py) has the same networks, losses, optimizers and
average of the generator, and neither logs nor checks nor saves; it is never compiled, and its memory is contiguous.
Both take turns inside one process, a block of steps each; rates are medians over blocks, and the ratio is that of the
times of our blocks to those of their neighbours. Memory is the peak within the own blocks, without what the other
holds. Kernels and waits (of the host for the device) a step are counted by the profiler; on a CPU operators in place of
kernels. Arithmetic is counted in the bare loop, backward passes and penalties too but for recurrent layers, and the
peak is the greatest rate of matrix products of the same type that is measured on the spot.

No row is begun in the last minute of `--minutes`. Ends with exit code 1 if a ratio of an uncompiled row is above 1.03.
`--device cpu --tiny` runs everything small, which says nothing but that it runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from bare import (
    BareBigGAN,
    BareCycleGAN,
    BareHinge,
    BareLoop,
    BarePix2Pix,
    BareR3GAN,
    BareSeqGAN,
    BareStyleGAN2,
)
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import Tensor
from torch.autograd import DeviceType
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gan_lightning.batches import Paired, Unpaired
from gan_lightning.core import AdversarialModule
from gan_lightning.data import OracleSequences
from gan_lightning.data.base import Data, ImageData
from gan_lightning.data.sets import InMemory, Rows
from gan_lightning.loading import build

CONFIGS = Path(__file__).parents[1] / "configs"
BAR = 1.03  # the greatest ratio that passes


class Case(NamedTuple):
    model: str
    bare: type[BareLoop]
    size: int
    batch: int
    config: str = ""  # whose arguments the model has; else its own defaults
    tiny: dict[str, Any] = {}  # arguments of both networks with --tiny
    block: int = 16  # steps
    half: str = ""  # an argument of both networks: their own half precision, off in float32


NARROW = {"width": 8}
CASES = {
    "dcgan": Case("DCGAN", BareLoop, 64, 128, tiny=NARROW),
    "sngan": Case("SNGAN", BareHinge, 32, 64, "sngan/cifar10.yaml", NARROW, 8),
    "biggan": Case("BigGAN", BareBigGAN, 32, 50, "biggan/cifar10.yaml", NARROW, 8),
    "cyclegan": Case("CycleGAN", BareCycleGAN, 256, 1, tiny={"width": 4}),
    "pix2pix": Case("Pix2Pix", BarePix2Pix, 256, 1, tiny={"width": 4}),
    "seqgan": Case("SeqGAN", BareSeqGAN, 0, 64, tiny={}, block=4),
    "stylegan2": Case(
        "StyleGAN2", BareStyleGAN2, 256, 16, "stylegan2/auto256.yaml", {"base": 64, "widest": 8}, 16, "half_resolutions"
    ),
    "r3gan": Case("R3GAN", BareR3GAN, 32, 64, "r3gan/cifar10.yaml", {"width": 16}, 4, "bf16_stages"),
}
NETWORKS = {  # of a model without a config, whose widths --tiny changes
    "DCGAN": ("DCGANGenerator", "DCGANDiscriminator"),
    "SNGAN": ("ResNetGenerator", "ResNetDiscriminator"),
    "CycleGAN": ("ResNetTranslator", "PatchDiscriminator"),
    "Pix2Pix": ("UNetGenerator", "PatchDiscriminator"),
}


class Random(ImageData):
    """Random images, of ten classes, in pairs or in two domains."""

    def __init__(self, kind: str, size: int, batch_size: int) -> None:
        super().__init__("Random", (3, size, size), 10, batch_size, 0)
        self.rows = self.images(), torch.arange(len(self.images())) % 10
        self.kind = {"CycleGAN": Unpaired, "Pix2Pix": Paired}.get(kind)
        if self.kind:
            self.rows = self.images(), self.images()

    def images(self) -> Tensor:
        return torch.randint(256, (8 * self.batch_size, *self.image_shape), dtype=torch.uint8)

    def load(self, split: str) -> InMemory | Rows:
        return Rows(self.kind(*self.rows)) if self.kind else InMemory(*self.rows)


class Sequences(OracleSequences):
    """Of an oracle, as SeqGAN has them."""

    @property
    def rows(self) -> tuple[Tensor, ...]:
        return (self.reference("train").every.token,)


def made(name: str, options: argparse.Namespace, precision: str, compiled: bool, last: bool) -> tuple[Any, Any]:
    """The model of a case, and its data."""
    case = CASES[name]
    arguments: dict[str, Any] = {}
    if case.config:
        arguments = dict(yaml.safe_load((CONFIGS / case.config).read_text())["model"]["init_args"])
    size, batch = (32 if case.size == 256 else min(case.size, 32), min(case.batch, 4)) if options.tiny else case[2:4]
    for player, kind in zip(("generator", "discriminator"), NETWORKS.get(case.model, ("", "")), strict=True):
        if options.tiny and case.tiny:
            known = arguments.get(player, {"class_path": kind})
            arguments[player] = known | {"init_args": known.get("init_args", {}) | case.tiny}
            if case.half:
                arguments[player]["init_args"][case.half] = 2
        if case.half and precision == "32-true":  # without the preset's own half precision
            arguments[player]["init_args"][case.half] = 0
    step = {**(arguments.get("step") or {}), "compile": compiled, "channels_last": last}
    for left_out in ("augment", "scheduler"):
        step.pop(left_out, None)
    if case.model == "SeqGAN":
        data: Data = Sequences(*((12, 5, 64) if options.tiny else (5000, 20, 640)), batch_size=batch)
        facts = {"vocabulary": data.vocabulary, "length": data.length}
        arguments = {"pretraining": 0, "discriminator_pretraining": 0, "discriminator_turns": 1}
        step["gradient_clip"] = 5.0
    else:
        data = Random(case.model, size, batch)
        facts = {"image_shape": data.image_shape}
        if case.model not in ("CycleGAN", "Pix2Pix", "DCGAN"):
            facts["num_classes"] = 10
    return build(case.model, **facts, **(arguments | {"step": step})), data


class Arithmetic(TorchDispatchMode):
    """Counts floating-point operations; torch's own FlopCounterMode refuses a gradient within a step."""

    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if (count := flop_registry.get(function._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


class Side(NamedTuple):
    """Blocks of steps of ours, or of the bare loop."""

    seconds: list[float]
    bytes: list[int]  # the peak of each block
    counts: dict[str, float]  # a step

    def rate(self, examples: int) -> float:
        return examples / statistics.median(self.seconds)


class TakeTurns(Callback):
    """A block of the bare loop before each block of ours, and after the last; then one of each is counted."""

    def __init__(self, case: Case, rows: tuple[Tensor, ...], batch: int, half: bool, options: argparse.Namespace):
        self.case, self.rows, self.batch, self.half = case, rows, batch, half
        self.cuda, self.budget = options.device == "cuda", options.seconds
        self.steps = 1 if options.tiny else case.block
        self.ours, self.theirs = Side([], [], {}), Side([], [], {})
        self.blocks = 0  # of ours, after one that warms up

    def now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def allocated(self) -> int:
        return torch.cuda.memory_allocated() if self.cuda else 0

    def on_train_start(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        before = self.allocated()
        device = "cuda" if self.cuda else "cpu"
        self.bare = self.case.bare(pl_module, self.rows, self.batch, device, self.half, own=True)
        with Arithmetic() as counted:
            self.bare_steps()
        self.flops = counted.total / self.steps
        self.held = self.allocated() - before  # by the bare loop
        self.bare_block()

    def bare_steps(self) -> None:
        for _ in range(self.steps):
            self.bare.step()

    def bare_block(self) -> None:
        self.begin()
        mine = self.allocated() - self.held  # of ours, between its blocks
        self.bare_steps()
        self.end(self.theirs, mine)
        self.begin()

    def begin(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        self.begun = self.now()

    def end(self, side: Side, of_other: int) -> None:
        side.seconds.append(self.now() - self.begun)
        side.bytes.append(torch.cuda.max_memory_allocated() - of_other if self.cuda else 0)

    def on_train_batch_end(self, trainer: Trainer, pl_module: AdversarialModule, *_: object) -> None:
        at_end = trainer.global_step % self.steps == 0 and trainer.global_step > self.steps * self.blocks
        if not at_end or self.unfinished(pl_module):
            return
        self.blocks += 1
        if hasattr(self, "profiler"):
            self.profiler.stop()
            self.ours.counts.update(self.counted(self.profiler))
            with self.profile() as profiler:
                self.bare_steps()
            self.theirs.counts.update(self.counted(profiler))
            trainer.should_stop = True
            return
        self.end(self.ours, self.held)
        self.bare_block()
        took = sum(self.ours.seconds[1:] + self.theirs.seconds[1:])
        if len(self.ours.seconds) > 1 and took >= self.budget:
            self.profiler = self.profile()
            self.profiler.start()

    def unfinished(self, pl_module: AdversarialModule) -> bool:
        """Whether a turn of the discriminator belongs to this step yet: SeqGAN's comes in the batch after."""
        return self.case.model == "SeqGAN" and pl_module.iteration % 2 == 1

    def profile(self) -> torch.profiler.profile:
        kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * self.cuda
        return torch.profiler.profile(activities=kinds)

    def counted(self, profiler: torch.profiler.profile) -> dict[str, float]:
        """Kernels, or on a CPU operators that no other one called, and waits for the device, a step."""
        events = profiler.events()
        if not self.cuda:
            own = (e for e in events if e.name.startswith("aten::"))
            called = (e.cpu_parent is not None and e.cpu_parent.name.startswith("aten::") for e in own)
            return {"kernels": sum(not by_another for by_another in called) / self.steps, "waits": 0.0}
        on_device = (
            e for e in events if e.device_type == DeviceType.CUDA and not getattr(e, "is_user_annotation", False)
        )
        kernels = sum(not (e.is_user_annotation or e.name.startswith("Mem")) for e in on_device)
        waits = sum(e.name in ("cudaStreamSynchronize", "cudaEventSynchronize") for e in events)
        return {"kernels": kernels / self.steps, "waits": waits / self.steps}


def peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of large products of matrices."""
    n = 8192 if device == "cuda" else 512
    a = torch.randn(n, n, device=device, dtype=dtype)
    for _ in range(3):
        a @ a
    if device == "cuda":
        torch.cuda.synchronize()
    begun, count = time.perf_counter(), 20
    for _ in range(count):
        a @ a
    if device == "cuda":
        torch.cuda.synchronize()
    return 2 * n**3 * count / (time.perf_counter() - begun)


def measure(name: str, precision: str, compiled: bool, last: bool, options: argparse.Namespace) -> dict[str, Any]:
    """A row."""
    seed_everything(0, verbose=False)
    model, data = made(name, options, precision, compiled, last)
    batch = data.batch_size
    turns = TakeTurns(CASES[name], data.rows, batch, precision == "bf16-mixed", options)
    Trainer(
        max_steps=10**6,
        max_epochs=-1,
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        precision=precision,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[turns],
    ).fit(model, data)
    # The first block of ours and the first two of the bare loop warm up.
    ours, theirs = turns.ours.seconds[1:], turns.theirs.seconds[1:]
    neighbours = zip(ours, theirs, theirs[1:], strict=False)
    ratio = statistics.median(2 * own / (before + after) for own, before, after in neighbours)
    examples = batch * turns.steps * turns.bare.n_critic
    row = {"model": name, "precision": precision, "compiled": compiled, "channels_last": last, "batch": batch}
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    own = Side(ours, turns.ours.bytes[1:], turns.ours.counts)
    other = Side(theirs, turns.theirs.bytes[1:], turns.theirs.counts)
    for side, prefix in ((own, ""), (other, "bare_")):
        row[f"{prefix}images_per_second"] = side.rate(examples)
        row[f"{prefix}gib"] = max(side.bytes) / 2**30
        row |= {f"{prefix}{what}_per_step": value for what, value in side.counts.items()}
    row["share_of_peak"] = turns.flops * turns.steps / statistics.median(ours) / peak(options.device, dtype)
    return row | {"ratio": ratio, "blocks": len(ours)}


COLUMNS = (
    "images_per_second",
    "bare_images_per_second",
    "ratio",
    "gib",
    "bare_gib",
    "kernels_per_step",
    "bare_kernels_per_step",
    "waits_per_step",
    "share_of_peak",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES), help="models (default: all)")
    parser.add_argument("--precisions", default="32-true,bf16-mixed", help="default %(default)s")
    parser.add_argument("--compile", action="store_true", help="compiled rows too")
    parser.add_argument("--channels_last", action="store_true", help="rows with channels last too")
    parser.add_argument("--seconds", type=float, default=12.0, help="that a row is timed (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=9.0, help="in all (default %(default)s)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and images, to see that it runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="rows as JSON, written anew after each")
    options = parser.parse_args()
    names, precisions = options.only.split(","), options.precisions.split(",")
    for flag, given, known in (("only", names, CASES), ("precisions", precisions, ("32-true", "bf16-mixed"))):
        if unknown := set(given) - set(known):
            parser.error(f"--{flag}: there is no {', '.join(sorted(unknown))}, but {', '.join(known)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --tiny shows that the rest runs")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_float32_matmul_precision("high")
    end, rows, failed = time.monotonic() + 60 * options.minutes, [], False
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{device}, torch {torch.__version__}")
    heads = ["model", "precision", "compiled", "channels_last", *COLUMNS]
    print(f"| {' | '.join(head.replace('_', ' ') for head in heads)} |\n|{'---|' * len(heads)}")
    ways = itertools.product((False, True)[: 1 + options.compile], (False, True)[: 1 + options.channels_last])
    for (compiled, last), precision, name in itertools.product(list(ways), precisions, names):
        how = f"| {name} | {precision} | {compiled} | {last} |"
        if end - time.monotonic() < min(60, 20 * options.minutes):
            print(f"{how} no time left |", flush=True)
            continue
        try:
            row = measure(name, precision, compiled, last, options)
        except RuntimeError as error:
            row = {"model": name, "precision": precision, "compiled": compiled, "channels_last": last}
            row["error"] = str(error).splitlines()[0][:120]
            failed = True
        rows.append(row)
        failed |= not compiled and row.get("ratio", 0) > BAR
        found = [row["error"]] if "error" in row else [f"{row[column]:.4g}" for column in COLUMNS]
        print(f"{how} {' | '.join(found)} |", flush=True)
        if options.out:
            facts = {"device": device, "torch": torch.__version__, "tf32": True, "rows": rows}
            options.out.write_text(json.dumps(facts, indent=1))
        if options.device == "cuda":
            torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
