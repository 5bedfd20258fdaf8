"""Several processes train as one: two real gloo processes, started by `devices=2` alone, as a user would.

A process takes seconds to start, so one start trains everything and leaves its results in a file for each process;
the tests below compare those files with runs of one process. This file is also the script that is started.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from conftest import (
    GAMES,
    GANS,
    SHAPE,
    TEXT_TO_IMAGE,
    TRANSLATORS,
    Noisy,
    NoisyBatches,
    NoisyCaptions,
    SaveAt,
    adam,
    assert_same,
    game,
    gap,
    own_networks,
    plain_networks,
    played,
    quiet,
    sgd,
    tensors,
    text_to_image,
    tiny,
    translator,
    within_turn,
)
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from gan_lightning import losses, networks
from gan_lightning.augment import ADA
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import Checkpoint
from gan_lightning.core import AdversarialModule, ImageStep, Step, TwoPlayerGAN
from gan_lightning.core.image_pools import ImagePool
from gan_lightning.data.base import Data
from gan_lightning.models import DCGAN
from gan_lightning.runtime import processes
from gan_lightning.runtime.checkpoint_io import read
from gan_lightning.runtime.errors import NotFiniteError
from gan_lightning.runtime.strategy import PlayersStrategy

STEPS = 10
RELATIVISTIC = {
    "RaLSGAN": losses.relativistic_average_least_squares,
    "RaHinge": losses.relativistic_average_hinge,
}

PENALISED = "WGANGP, batch norm in both"  # whose penalty differentiates batch statistics twice
MODELS = [*GANS, *TRANSLATORS, *GAMES, *TEXT_TO_IMAGE, PENALISED]  # every one
# What differs from the tiny networks of conftest.py: batch norm and dropout are here as the papers have them.
AS_IN_PAPERS: dict[str, dict[str, Any]] = {
    "SeqGAN": {
        "discriminator": partial(networks.TextDiscriminator, embedding=4, kernels=(1, 2), maps=(4, 4), dropout=0.25)
    },
    "SinGAN": {
        "generator": partial(networks.SinGANGenerator, width=4),
        "discriminator": partial(networks.SinGANDiscriminators, width=4),
        **sgd(0.01),  # Adam divides the rounding errors of a bias before batch norm, whose gradient is 0, by themselves
    },
}

# Cases: a model's name, then what differs from tiny(name, plain_networks(), sgd(0.01)).
EXACT: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    **{case: ("RelativisticGAN", ({"loss": loss},)) for case, loss in RELATIVISTIC.items()},
    "WGANGP, Adam": ("WGANGP", (adam(1e-3), {"n_critic": 2})),
    "DCGAN, Adam": ("DCGAN", (adam(1e-3),)),
    "LAPGAN, one level after another": ("LAPGAN", (adam(1e-3), {"images_per_level": 32})),
    "WGANGP, clipped": ("WGANGP", ({"step": ImageStep(gradient_clip=0.5)},)),
    "DCGAN, scheduled": (
        "DCGAN",
        ({"step": ImageStep(scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=3))},),
    ),
    "RaLSGAN, micro-batches": (
        "RelativisticGAN",
        ({"step": ImageStep(micro_batches=2), "loss": RELATIVISTIC["RaLSGAN"]},),
    ),
    "BigGAN, frozen in part": ("BigGAN", ({"step": ImageStep(freeze=["discriminator.layers.1"])},)),
}


def every(name: str, micro_batches: int) -> tuple[AdversarialModule, Data, int]:
    """A model, its data, and its generator steps, which show all of its stages."""
    # Of batch norm that is penalised each step doubles a rounding.
    steps = 12 if micro_batches == 1 and name != PENALISED else 6
    if name in (*GANS, PENALISED):
        step, others = ImageStep(micro_batches=micro_batches), own_networks("DCGAN") if name == PENALISED else {}
        return tiny(name.split(",")[0], others, sgd(0.01), n_critic=2, step=step), Noisy(), steps
    own, pieces = AS_IN_PAPERS.get(name, {}), {"micro_batches": micro_batches}
    if name == "SinGAN":
        own = own | {"steps_per_scale": steps // 3}
    if name in TRANSLATORS:
        return translator(name, sgd(1e-3), own, step=Step(**pieces)), NoisyBatches(name), steps
    if name in GAMES:
        return game(name, own, step=Step(**pieces)), played(name), steps
    return text_to_image(sgd(1e-2), own, step=ImageStep(**pieces)), NoisyCaptions(), steps


class Latents(Callback):
    """The latents of one process, in order."""

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, model: TwoPlayerGAN) -> None:
        latent = type(model).latent

        def recorded(noise: Any, n: int) -> Tensor:
            z = latent(model, noise, n)
            self.drawn.append(z.detach().clone())
            return z

        model.latent = recorded


class Exchanged(Callback):
    """The gradients that turns exchange, as DDP's own hook sees them: bytes, and buckets, by player."""

    def on_train_start(self, trainer: Trainer, model: AdversarialModule) -> None:
        strategy = trainer.strategy
        self.bytes: dict[str, int] = dict.fromkeys(model._players, 0)
        self.turns: dict[str, int] = dict.fromkeys(model._players, 0)
        self.buckets = 0
        self.own = {name: gradient_bytes(player.network) for name, player in model._players.items()}
        if not isinstance(strategy, DDPStrategy):
            return  # one process
        several = strategy.engines.values() if isinstance(strategy, PlayersStrategy) else [strategy.model]
        turn = model.turn

        def named(name: str, *args: Any, **options: Any) -> None:
            self.player = name
            turn(name, *args, **options)

        def counted(state, bucket):  # DDP checks annotations, and not as strings
            self.bytes[self.player] += bucket.buffer().nbytes
            self.turns[self.player] += bucket.is_last()
            self.buckets += 1
            return allreduce_hook(state, bucket)

        model.turn = named
        for engine in set(several):
            engine.register_comm_hook(None, counted)

    def on_train_end(self, trainer: Trainer, model: AdversarialModule) -> None:
        model.__dict__.pop("turn", None)

    @property
    def shares(self) -> dict[str, float]:
        """By player that has moved: bytes of one of its turns, in shares of its own gradients."""
        return {name: self.bytes[name] / n / self.own[name] for name, n in self.turns.items() if n}


def gradient_bytes(network: nn.Module) -> int:
    return sum(p.nbytes for p in network.parameters() if p.requires_grad)


class Choices(Callback):
    """What each process makes of the same images: by augmentation, and by a pool of images that is full."""

    def on_train_start(self, trainer: Trainer, model: TwoPlayerGAN) -> None:
        ramp = torch.linspace(-1, 1, SHAPE[-1]).expand(8, *SHAPE)
        with within_turn(model):
            self.augmented = model.augment(ramp, model.noise)
        pool, rank = ImagePool(16, (1, 1, 1)), dist.get_rank()
        pool.exchange(torch.arange(8.0).add(8 * rank).reshape(8, 1, 1, 1), seed=0)  # of both: 0 to 15
        self.shown = pool.exchange(torch.full((8, 1, 1, 1), -1.0), seed=1).flatten()


class Evaluated(DCGAN):
    """With batch norm, and a look at its statistics as an evaluation begins."""

    gaps: list[float] = []

    def on_validation_start(self) -> None:
        before = statistics_gap(self)
        super().on_validation_start()
        self.gaps = [*self.gaps, before, statistics_gap(self)]

    def validation_step(self, batch: Labeled, batch_idx: int) -> None:
        torch.randn(1)


def statistics_gap(model: TwoPlayerGAN) -> float:
    """The greatest difference of any buffer between the two processes."""
    mine = torch.cat([buffer.double().flatten() for buffer in model.buffers()])
    theirs = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(theirs, mine)
    return float((theirs[0] - theirs[1]).abs().max())


def exact(case: str) -> TwoPlayerGAN:
    name, options = EXACT[case]
    return tiny(name, plain_networks(name), sgd(0.01), *options)


def train(
    devices: int, model: AdversarialModule, steps: int = STEPS, data: Data | None = None, **options: Any
) -> dict[str, Tensor]:
    trainer = quiet(devices=devices, max_steps=steps, **options)
    trainer.fit(model, data or Noisy())
    assert trainer.world_size == devices and trainer.global_step == steps
    return tensors(model)


plain = partial(tiny, "GAN", plain_networks(), adam())
WHOLE: dict[str, Any] = {"precision": "64-true", "sync_batchnorm": True}


def begun(devices: int) -> Trainer:
    """The trainer of a run of three steps."""
    trainer = quiet(devices=devices, max_steps=3)
    trainer.fit(plain(), Noisy())
    return trainer


def main(devices: int, folder: Path) -> None:
    """What each process does; its results go to a file of its own."""
    rank = int(os.environ.get("LOCAL_RANK", 0))
    results: dict[str, Any] = {"exact": {case: train(devices, exact(case)) for case in EXACT}}
    results["every"], results["shares"] = {}, {}
    for name in MODELS:
        for micro_batches in (1, 2):
            model, data, steps = every(name, micro_batches)
            exchanged = Exchanged()
            case = f"{name}, {micro_batches}"
            results["every"][case] = train(devices, model, steps, data, **WHOLE, callbacks=[exchanged])
            results["shares"][case] = exchanged.shares
    latents = Latents()
    results["again"] = train(devices, tiny("DCGAN", adam()), 3, callbacks=[latents])
    results["and again"] = train(devices, tiny("DCGAN", adam()), 3)
    results["latents"] = torch.stack(latents.drawn)
    choices = Choices()
    always = ImageStep(augment=partial(ADA, p=1.0, target=None))
    train(devices, tiny("DCGAN", adam(), step=always), 1, callbacks=[choices])
    results["choices"] = choices.augmented, choices.shown
    results["compute"] = train(devices, tiny("DCGAN", plain_networks(), adam()), 3, precision="bf16-mixed")

    torch.manual_seed(0)
    model = Evaluated((1, 16, 16), **own_networks("DCGAN"))
    checkpoint = Checkpoint(str(folder))
    options = {"callbacks": [checkpoint], "enable_checkpointing": True, "limit_val_batches": 1.0}
    train(devices, model, 6, val_check_interval=3, num_sanity_val_steps=0, **options)
    results["gaps"] = model.gaps
    results["evaluated"] = tensors(model)

    unbroken = tiny("DCGAN", own_networks("DCGAN"), adam())
    train(devices, unbroken, 7, callbacks=[SaveAt(folder, [3])])
    resumed = tiny("DCGAN", own_networks("DCGAN"), adam(), seed=1)
    quiet(devices=devices, max_steps=7).fit(resumed, Noisy(), ckpt_path=folder / "batch3.ckpt")
    results["unbroken"], results["resumed"] = tensors(unbroken), tensors(resumed)

    begun(devices).save_checkpoint(folder / "of two.ckpt")
    resumed = plain(seed=1)
    quiet(devices=devices, max_steps=7).fit(resumed, Noisy(), ckpt_path=folder / "of one.ckpt")
    results["two go on from one"] = tensors(resumed)

    results["buckets"] = []
    for count in (1, 2):
        exchanged = Exchanged()
        train(devices, tiny("WGANGP", plain_networks(), step=ImageStep(micro_batches=count)), 2, callbacks=[exchanged])
        results["buckets"].append(exchanged.buckets)
    exchanged, asked = Exchanged(), {"strategy": "ddp_find_unused_parameters_true"}
    results["whole module"] = train(devices, exact("DCGAN, Adam"), callbacks=[exchanged], **asked)
    results["shares of the whole module"] = exchanged.shares

    broken = tiny("DCGAN", plain_networks())  # last: what is left of it could disturb others
    original = broken.generator_loss

    def one_nan(batch: Labeled) -> dict[str, Tensor]:
        factor = float("nan") if rank == 1 and broken.iteration == 2 else 1.0
        return {term: factor * value for term, value in original(batch).items()}

    broken.generator_loss = one_nan
    options = {"callbacks": [Checkpoint(str(folder / "nan"), every_n_steps=1)], "enable_checkpointing": True}
    try:
        train(devices, broken, **options)
    except NotFiniteError as error:
        results |= {"error": str(error), "turns": dict(broken.turns), "time": time.time()}
        raise
    finally:
        torch.save(results, folder / f"{rank}.pt")


# The tests


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of the two processes."""
    folder = tmp_path_factory.mktemp("two")
    begun(1).save_checkpoint(folder / "of one.ckpt")
    command = [sys.executable, __file__, str(folder)]
    environment = {k: v for k, v in os.environ.items() if k != "PL_GLOBAL_SEED"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, env=environment)
    assert "NotFiniteError" in done.stderr.splitlines()[-1], done.stderr[-3000:]  # how it is meant to end
    about = {"folder": folder, "code": done.returncode}
    return [torch.load(folder / f"{rank}.pt", weights_only=True) | about for rank in (0, 1)]


@pytest.mark.parametrize("case", EXACT)
def test_two_halves_equal_the_whole(case, two):
    """Half the batch on each of two processes trains the weights, and the average, of the whole batch on one."""
    expected = train(1, exact(case))
    assert gap(two[0]["exact"][case], expected) <= 1e-5
    assert_same(two[1]["exact"][case], two[0]["exact"][case])  # bit for bit


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest relative difference of a tensor. Of one that is next to nothing, such as a bias before batch norm,
    rounding errors are all there is: as if it had a norm of 1e-4."""
    assert a.keys() == b.keys()
    pairs = ((a[name].double(), b[name].double()) for name in a)
    return max(float((one - other).norm() / other.norm().clamp(min=1e-4)) for one, other in pairs)


def require_equal_to_one(two: list[dict[str, Any]], name: str, micro_batches: int) -> None:
    model, data, steps = every(name, micro_batches)
    expected = train(1, model, steps, data, **WHOLE)
    difference = furthest(two[0]["every"][f"{name}, {micro_batches}"], expected)
    print(f"{name}, {micro_batches} in a batch: {difference:.0e}")  # `pytest -rP` shows it
    assert difference <= 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_bar_01_two_processes_train_as_one(name, two):
    """Batch norm over both processes and dropout as the papers have them, pools, draws, stages, averages included."""
    require_equal_to_one(two, name, 1)


@pytest.mark.parametrize("name", MODELS)
def test_bar_02_both_processes_hold_the_same_bits(name, two):
    """Weights, averages and batch statistics."""
    for micro_batches in (1, 2):
        case = f"{name}, {micro_batches}"
        assert_same(two[1]["every"][case], two[0]["every"][case])


@pytest.mark.parametrize("name", MODELS)
def test_bar_03_two_processes_accumulate_as_one(name, two):
    """A micro-batch has the same rows on one process and on two: its batch statistics are equal too."""
    require_equal_to_one(two, name, 2)


def test_bar_03_accumulation_exchanges_gradients_once(two):
    assert two[0]["buckets"][0] > 0
    assert two[0]["buckets"][0] == two[0]["buckets"][1]


@pytest.mark.parametrize("name", MODELS)
def test_a_turn_exchanges_the_gradients_of_its_player_alone(name, two):
    for micro_batches in (1, 2):
        shares = two[0]["shares"][f"{name}, {micro_batches}"]
        assert len(shares) > 1 and all(0.95 <= share <= 1.05 for share in shares.values()), shares


def test_a_strategy_that_is_asked_for_exchanges_the_gradients_of_all(two):
    """And trains the same weights."""
    assert_same(two[0]["whole module"], two[0]["exact"]["DCGAN, Adam"])
    assert min(two[0]["shares of the whole module"].values()) > 1.5


def test_bar_04_processes_draw_different_latents(two):
    a, b = (results["latents"].flatten(0, 1) for results in two)
    assert len(a) == 3 * 2 * 8  # three batches of two turns, 8 rows each
    rows = {tuple(row.tolist()) for row in torch.cat([a, b])}
    assert len(rows) == len(a) + len(b)


def test_bar_04_processes_augment_differently_and_take_other_images_of_a_pool(two):
    augmented = torch.cat([results["choices"][0] for results in two])
    assert len({tuple(image.flatten().tolist()) for image in augmented}) == 16
    one, other = (results["choices"][1].tolist() for results in two)
    assert one != other and all(len(set(shown)) > 2 for shown in (one, other))
    before = [image for image in (*one, *other) if image >= 0]
    assert len(set(before)) == len(before), "an image of before is shown to one process only"


def test_bar_04_same_seed_twice_is_the_same_run(two):
    for results in two:
        assert_same(results["again"], results["and again"])


def test_half_precision_on_two_processes(two):
    assert_same(two[0]["compute"], two[1]["compute"])
    expected = train(1, tiny("DCGAN", plain_networks(), adam()), 3, precision="bf16-mixed")
    assert gap(two[0]["compute"], expected) < 0.01


def test_bar_05_batch_statistics_are_averaged_for_evaluation_and_saving(two):
    before, after = two[0]["gaps"]
    assert before > 0 and after == 0
    assert_same(two[1]["evaluated"], two[0]["evaluated"])  # the run ended with a save
    saved = read(two[0]["folder"] / "last.ckpt")["state_dict"]
    assert any("running_" in name for name in saved)
    assert_same({name: value for name, value in saved.items() if torch.is_tensor(value)}, two[0]["evaluated"])


def test_bar_08_resume_on_two_processes(two):
    """Of the run that has saved: each process's own batch statistics, which a save averages, included."""
    for results in two:
        assert any("running_" in name for name in results["resumed"])
        assert_same(results["resumed"], results["unbroken"])
    assert gap(two[0]["unbroken"], two[1]["unbroken"]) > 0, "each has followed its own rows since"


def test_a_run_goes_on_with_another_number_of_processes(two):
    """Batches are the same ones; latents are of one stream for the whole batch, cut by process."""
    quiet(max_steps=7).fit(unbroken := plain(), Noisy())
    quiet(max_steps=7).fit(resumed := plain(seed=1), Noisy(), ckpt_path=two[0]["folder"] / "of two.ckpt")
    for found in (tensors(resumed), two[0]["two go on from one"], two[1]["two go on from one"]):
        assert gap(found, tensors(unbroken)) < 1e-5


def test_bar_24_nan_on_one_process_stops_both(two):
    """In the same turn and with an exit code; neither waits for the other, and the last file is the good one before."""
    assert "not finite on another process" in two[0]["error"]
    assert "generator/adversarial is not finite at iteration 2" in two[1]["error"]
    assert two[0]["turns"] == two[1]["turns"] == {"discriminator": 2, "generator": 1}
    assert two[0]["code"] == 1 and abs(two[0]["time"] - two[1]["time"]) < 15
    saved = read(two[0]["folder"] / "nan" / "last.ckpt")
    assert saved["global_step"] == 1
    assert all(value.isfinite().all() for value in saved["state_dict"].values() if torch.is_tensor(value))


if __name__ == "__main__":
    torch.manual_seed(0)
    main(2, Path(sys.argv[1]))


def test_nccl_exchanges_on_gpus_what_lies_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `setup`, before Lightning moves the model, and in scores after a fit; gloo exchanges it where it lies."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    backends = {"nccl": torch.device("cuda", 3), "gloo": torch.device("cpu")}
    for backend, expected in backends.items():
        monkeypatch.setattr(dist, "get_backend", lambda backend=backend: backend)
        assert processes.meeting_place(torch.device("cpu")) == expected
        assert processes.meeting_place(torch.device("cuda", 1)) == torch.device("cuda", 1)
