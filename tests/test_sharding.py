"""Sharded players: two gloo processes under FSDP2 train what one process trains, and write the files that it writes.

Two processes train everything once; the tests below compare what they found with runs of one process.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    Noisy,
    adam,
    assert_same,
    game,
    gap,
    in_two_processes,
    own_networks,
    quiet,
    tensors,
    tiny,
    translator,
    without_batch_norm,
)
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from test_scores import Pixels
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torchvision.io import read_image

from gan_lightning.callbacks import FID, Checkpoint, SampleGrid, Watch, When, checkpoint, tracking
from gan_lightning.core import AdversarialModule, ImageStep, batch_norm
from gan_lightning.loading import load_model
from gan_lightning.runtime import sharding
from gan_lightning.runtime.checkpoint_io import read
from gan_lightning.runtime.signals import Stopped
from gan_lightning.scoring import Protocol

SMALL = (1, 8, 8)
STEPS, AT = 5, 3  # generator steps of a run, and those after which it is saved
CASES: dict[str, Callable[[], AdversarialModule]] = {
    # Spectral norm in both players, attention with a scalar, a penalty on weights, two turns of the critic.
    "BigGAN": lambda: without_batch_norm(tiny("BigGAN", adam(1e-3))),
    "BigGAN, batch norm": lambda: tiny("BigGAN", adam(1e-3)),  # over both processes
    # Parts that are called by themselves, penalties with double backward in both players, both forms of Adam.
    "StyleGAN2": lambda: tiny(
        "StyleGAN2",
        adam(1e-3),
        image_shape=SMALL,
        generator_optimizer=partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99), foreach=True),
        step=ImageStep(micro_batches=2, gradient_clip=0.5, ema_rampup=None),
        path_interval=2,
        r1_interval=2,
    ),
}
# How near to one process; statistics of two halves round otherwise than those of the whole.
CLOSE = {"BigGAN": 1e-9, "BigGAN, batch norm": 1e-8, "StyleGAN2": 1e-9}


class Saving(Callback):
    """Saves after `AT` generator steps, and counts what this process keeps between two steps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes: dict[str, int] = {}

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: Any) -> None:
        if trainer.global_step == AT and not self.bytes:
            moments = [t for o in trainer.optimizers for s in o.state.values() for t in s.values() if t.ndim]
            kept = {"parameters": [*model.parameters()], "moments": moments}
            self.bytes = {name: sum(sharding.local(t).nbytes for t in those) for name, those in kept.items()}
            trainer.save_checkpoint(self.path)


def train(case: str, path: Path | None = None, resume: Path | None = None, **options: Any) -> dict[str, Any]:
    """The tensors and optimizers of a run in float64, saved at `path` on the way, or gone on with from `resume`."""
    model = CASES[case]()
    callbacks = [] if path is None else [Saving(path)]
    trainer = quiet(max_steps=STEPS, precision="64-true", callbacks=callbacks, **options)
    trainer.fit(model, Noisy(model.image_shape, floating=True), ckpt_path=resume)
    sampled = model.sample(4)  # of networks that are whole again
    state = {name: value for name, value in model.state_dict().items() if torch.is_tensor(value)}
    found = sharding.gathered([state, [one.state_dict()["state"] for one in trainer.optimizers]], True)
    found = dict(zip(("tensors", "moments"), found, strict=True), sampled=sampled)
    return found if path is None else {**found, "bytes": callbacks[0].bytes}


class Between(Callback):
    """Uses a network between turns."""

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: Any) -> None:
        model.generator(torch.zeros(2, model.generator.latent_dim))


class Ended(Callback):
    """A signal to the second process after three generator steps."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == AT and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def watched(folder: Path, steps: int, *more: Callback, **options: Any) -> FID:
    """The score of a run with grids and checkpoints."""
    fid = FID(Pixels(), Protocol(n_fake=25, batch_size=5), When(every_n_steps=2, at_end=False))
    callbacks = [fid, SampleGrid(2, 2, str(folder)), *more, Checkpoint(str(folder))]
    trainer = quiet(max_steps=steps, callbacks=callbacks, enable_checkpointing=True, **options)
    trainer.fit(tiny("StyleGAN2", adam(1e-3), image_shape=SMALL), Noisy(SMALL))
    return fid


def main(folder: Path) -> dict[str, Any]:
    """What each process does."""
    checkpoint.AGREE_EVERY = 1  # batches: processes tell each other of a signal after each
    sharding.BLOCK = 200  # parameters: tiny networks have blocks too
    rank = int(os.environ.get("LOCAL_RANK", 0))
    several = {"devices": 2, "strategy": "fsdp2"}
    found: dict[str, Any] = {case: train(case, folder / f"{case}.ckpt", **several) for case in CASES}
    found["resumed"] = train("BigGAN", resume=folder / "BigGAN.ckpt", **several)
    found["from one"] = train("StyleGAN2", resume=folder / "one.ckpt", **several)
    try:
        quiet(max_steps=1, callbacks=[Between()], **several).fit(tiny("DCGAN", adam(1e-3)), Noisy())
    except ValueError as error:
        found["refused"] = str(error)
    with torch.no_grad():
        model = tiny("BigGAN", adam(1e-3))  # scalars, and buffers of spectral norm
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(rank)
    quiet(max_steps=1, **several).fit(model, Noisy())
    state = {name: value for name, value in model.state_dict().items() if torch.is_tensor(value)}
    found["begun alike"] = sharding.gathered(state, True)
    scored = tiny("DCGAN", own_networks("DCGAN"), adam(1e-3))
    fid = FID(Pixels(), Protocol(n_fake=20, batch_size=5, standing=2), When(every_n_steps=2, at_end=False))
    quiet(max_steps=2, callbacks=[fid], **several).fit(scored, Noisy())
    found["scored"] = fid.scores
    try:
        watched(folder / "ended", 10 * AT, Ended(), devices=2, strategy=ModelParallelStrategy())
    except Stopped as stopped:
        found["ended"] = stopped.code
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same runs on one process, without shards."""
    folder = tmp_path_factory.mktemp("one")
    return {"folder": folder} | {case: train(case, folder / f"{case}.ckpt") for case in CASES}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, one: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the two processes."""
    folder = tmp_path_factory.mktemp("two")
    os.link(one["folder"] / "StyleGAN2.ckpt", folder / "one.ckpt")
    return [found | {"folder": folder} for found in in_two_processes(main, folder)]


def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of two numbers at one place."""
    assert a.keys() == b.keys() and all(a[name].shape == b[name].shape for name in a)
    return max(float((a[name] - b[name]).abs().max()) for name in a if a[name].numel())


@pytest.mark.parametrize("case", CASES)
def test_bar_06_sharded_players_train_what_one_process_trains(case, one, two):
    """Weights, averages and statistics after both players' turns; the same on both processes."""
    for found in two:
        assert worst(found[case]["tensors"], one[case]["tensors"]) < CLOSE[case]
        assert worst({"": found[case]["sampled"]}, {"": one[case]["sampled"]}) < 1e-6
    assert_same(two[0][case]["tensors"], two[1][case]["tensors"])


@pytest.mark.parametrize("case", CASES)
def test_bar_06_the_file_is_the_one_that_one_process_writes(case, one, two):
    """Every tensor under its name, whole, those of the optimizers too, and nothing but tensors and plain values."""
    sharded, plain = (read(found["folder"] / f"{case}.ckpt") for found in (two[0], one))
    states = [{k: v for k, v in file["state_dict"].items() if torch.is_tensor(v)} for file in (sharded, plain)]
    assert worst(*states) < CLOSE[case]
    for mine, theirs in zip(sharded["optimizer_states"], plain["optimizer_states"], strict=True):
        assert mine["param_groups"] == theirs["param_groups"]
        flat = [{f"{n}.{k}": v for n, s in o["state"].items() for k, v in s.items()} for o in (mine, theirs)]
        assert worst(*flat) < CLOSE[case]


def test_bar_06_a_sharded_run_goes_on_bit_for_bit(two):
    for found in two:
        for what in ("tensors", "moments"):
            assert_same(found["resumed"][what], found["BigGAN"][what])


def test_bar_06_a_run_goes_on_with_shards_and_without(one, two):
    for found in two:
        assert worst(found["from one"]["tensors"], one["StyleGAN2"]["tensors"]) < 1e-9
    resumed = train("StyleGAN2", resume=two[0]["folder"] / "StyleGAN2.ckpt")
    assert worst(resumed["tensors"], one["StyleGAN2"]["tensors"]) < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_each_process_keeps_its_share(case, one, two):
    for what in ("parameters", "moments"):
        whole = one[case]["bytes"][what]
        kept = [found[case]["bytes"][what] for found in two]
        assert sum(kept) == pytest.approx(whole, rel=0.01)  # scalars stand on both
        assert max(kept) < 0.7 * whole  # three rows are two and one, the most of tiny networks


def test_bar_06_signals_scores_and_grids_of_sharded_players(two, tmp_path, monkeypatch):
    """A run of Lightning's own strategy that a signal to one process ends, with one file for all."""
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    assert [found["ended"] for found in two] == [128 + signal.SIGTERM] * 2
    folder = two[0]["folder"] / "ended"
    fid = watched(tmp_path, AT)
    file, plain = read(folder / "last.ckpt"), read(tmp_path / "last.ckpt")
    assert file["global_step"] == AT
    (score,) = (state["scores"] for name, state in file["callbacks"].items() if name.startswith("FID"))
    assert score == pytest.approx(fid.scores, rel=1e-3)
    grids = [read_image(str(there / "samples" / "step-000002.png")).int() for there in (folder, tmp_path)]
    assert (grids[0] - grids[1]).abs().max() <= 1
    states = [{k: v for k, v in one["state_dict"].items() if torch.is_tensor(v)} for one in (file, plain)]
    assert gap(*states) < 1e-5
    drawn = load_model(folder / "last.ckpt").sample(3)
    assert torch.allclose(drawn, load_model(tmp_path / "last.ckpt").sample(3), atol=1e-4)


# What is refused.


def test_batch_norms_are_common_ones_again(monkeypatch):
    """As after DDP: of BigGAN they are over all processes while it trains."""
    monkeypatch.setattr(batch_norm, "place", lambda: (0, 2))
    model, strategy = tiny("DCGAN", own_networks("DCGAN")), quiet(strategy="fsdp2").strategy
    kinds = [type(module) for module in model.modules()]
    strategy.connect(model)
    batch_norm.synchronise(model, strategy, True)
    assert [type(module) for module in model.modules()] != kinds
    strategy.teardown()
    assert [type(module) for module in model.modules()] == kinds


def test_a_model_that_draws_outside_of_turns_is_refused(two):
    for found in two:
        assert "uses DCGANGenerator outside of a player's turn, use ddp" in found["refused"]


def test_processes_begin_with_the_numbers_of_the_first(two):
    """Scalars and buffers too, which are not sharded; here the second's were all greater by 1."""
    assert_same(two[0]["begun alike"], two[1]["begun alike"])


def test_a_score_of_a_sharded_generator_with_batch_norm(two):
    """Whose standing statistics are gathered, and then put back."""
    for found in two:
        assert found["scored"] and all(math.isfinite(score) for score in found["scored"].values())
    assert two[0]["scored"] == two[1]["scored"]


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (lambda: ModelParallelStrategy(tensor_parallel_size=2), "tensor_parallel_size"),
        (lambda: FSDPStrategy(), "use --trainer.strategy fsdp2"),
    ],
)
def test_other_ways_to_shard_are_refused(strategy, said):
    with pytest.raises(ValueError, match=said):
        sharding.adopt(strategy())


def test_what_does_not_work_with_shards_is_refused():
    several = [game("SeqGAN"), *map(translator, ("CycleGAN", "SimGAN")), tiny("ImprovedGAN", historical_weight=1.0)]
    for model in several:
        with pytest.raises(ValueError, match=f"{type(model).__name__} cannot be sharded, use ddp"):
            sharding.refuse(model, quiet())
    sharding.refuse(tiny("ImprovedGAN"), quiet())
    trainer = quiet()
    with pytest.raises(ValueError, match="leave --model.step.compile out"):
        sharding.refuse(tiny("GAN", step=ImageStep(compile=True)), trainer)
    with pytest.raises(ValueError, match="leave --model.step.channels_last out"):
        sharding.refuse(tiny("GAN", step=ImageStep(channels_last=True)), trainer)
    trainer.strategy.precision_plugin = MixedPrecision("16-mixed", device="cpu")
    with pytest.raises(ValueError, match="use bf16-mixed"):
        sharding.refuse(tiny("GAN"), trainer)


def test_watch_is_refused(monkeypatch):
    """It would hear of no gradient, and say nothing."""
    monkeypatch.setattr(tracking, "wandb_loggers", lambda trainer: [None])
    with pytest.raises(ValueError, match="leave Watch out"):
        Watch().setup(quiet(strategy="fsdp2"), tiny("GAN"), "fit")


def test_other_strategies_shard_nothing():
    model = tiny("BigGAN")
    model.configure_model()
    model.trainer = quiet()
    before = tensors(model)
    model.configure_model()
    assert not any(isinstance(module, FSDPModule) for module in model.modules())
    assert_same(tensors(model), before)
