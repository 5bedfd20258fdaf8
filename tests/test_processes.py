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
    WITH_BATCH_NORM,
    Noisy,
    NoisyBatches,
    NoisyCaptions,
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
    without_batch_norm,
)
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from gan_lightning import losses
from gan_lightning.augment import ADA
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import Checkpoint
from gan_lightning.core import AdversarialModule, ImageStep, TwoPlayerGAN
from gan_lightning.core.image_pools import ImagePool
from gan_lightning.core.translator import Translator
from gan_lightning.data.base import Data
from gan_lightning.models import DCGAN
from gan_lightning.networks import UNetGenerator
from gan_lightning.runtime.checkpoint_io import read
from gan_lightning.runtime.errors import NotFiniteError

STEPS = 10
RELATIVISTIC = {
    "RaLSGAN": losses.relativistic_average_least_squares,
    "RaHinge": losses.relativistic_average_hinge,
}

OF_IMAGES = [name for name in GANS if name != "BigBiGAN"]  # whose discriminator sees pairs
# Cases: a model's name, then what differs from tiny(name, plain_networks(), sgd(0.01)).
EXACT: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    **{name: (name, ({"n_critic": 2},)) for name in OF_IMAGES},
    **{case: ("RelativisticGAN", ({"loss": loss},)) for case, loss in RELATIVISTIC.items()},
    "WGANGP, Adam": ("WGANGP", (adam(1e-3), {"n_critic": 2})),
    "DCGAN, Adam": ("DCGAN", (adam(1e-3),)),
    "LAPGAN, one level after another": ("LAPGAN", (adam(1e-3), {"images_per_level": 32})),
    "WGANGP, clipped": ("WGANGP", ({"step": ImageStep(gradient_clip=0.5)},)),
    "DCGAN, scheduled": (
        "DCGAN",
        ({"step": ImageStep(scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=3))},),
    ),
    **{f"{name}, micro-batches": (name, ({"step": ImageStep(micro_batches=2), "n_critic": 2},)) for name in OF_IMAGES},
    "RaLSGAN, micro-batches": (
        "RelativisticGAN",
        ({"step": ImageStep(micro_batches=2), "loss": RELATIVISTIC["RaLSGAN"]},),
    ),
}


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


class AllReduces(Callback):
    """How many buckets of gradients were exchanged, by DDP's own hook."""

    count = 0

    def on_train_start(self, trainer: Trainer, model: TwoPlayerGAN) -> None:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        def counted(state, bucket):  # DDP checks annotations, and not as strings
            self.count += 1
            return allreduce_hook(state, bucket)

        trainer.strategy.model.register_comm_hook(None, counted)


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


def translated(name: str) -> Translator:
    quiet_networks = {"generator": partial(UNetGenerator, width=4, dropout=0.0)} if name == "Pix2Pix" else {}
    return translator(name, quiet_networks, sgd(1e-3))


def captioned() -> AdversarialModule:
    return without_batch_norm(text_to_image(sgd(1e-2)))


def train(
    devices: int, model: AdversarialModule, steps: int = STEPS, data: Data | None = None, **options: Any
) -> dict[str, Tensor]:
    trainer = quiet(devices=devices, max_steps=steps, **options)
    trainer.fit(model, data or Noisy())
    assert trainer.world_size == devices and trainer.global_step == steps
    return tensors(model)


plain = partial(tiny, "GAN", plain_networks(), adam())


def begun(devices: int) -> Trainer:
    """The trainer of a run of three steps."""
    trainer = quiet(devices=devices, max_steps=3)
    trainer.fit(plain(), Noisy())
    return trainer


def main(devices: int, folder: Path) -> None:
    """What each process does; its results go to a file of its own."""
    rank = int(os.environ.get("LOCAL_RANK", 0))
    results: dict[str, Any] = {"exact": {case: train(devices, exact(case)) for case in EXACT}}
    results["own"] = {}
    for name in GANS:  # the papers' kinds of networks
        results["own"][name] = train(devices, tiny(name, n_critic=2), 3)
    for name in TRANSLATORS:
        exactly = {} if name in WITH_BATCH_NORM else {"precision": "64-true"}
        results["own"][name] = train(devices, translated(name), 6, NoisyBatches(name), **exactly)
    for name in GAMES:
        results["own"][name] = train(devices, game(name), 6, played(name), precision="64-true")
    latents = Latents()
    results["own"]["StackGAN"] = train(devices, captioned(), 6, NoisyCaptions(), precision="64-true")
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

    path = folder / "resume.ckpt"
    unbroken = tiny("DCGAN", adam())
    train(devices, unbroken, 7)
    first = quiet(devices=devices, max_steps=3)
    first.fit(tiny("DCGAN", adam()), Noisy())
    first.save_checkpoint(path)
    resumed = tiny("DCGAN", adam(), seed=1)
    quiet(devices=devices, max_steps=7).fit(resumed, Noisy(), ckpt_path=path)
    results["unbroken"], results["resumed"] = tensors(unbroken), tensors(resumed)

    begun(devices).save_checkpoint(folder / "of two.ckpt")
    resumed = plain(seed=1)
    quiet(devices=devices, max_steps=7).fit(resumed, Noisy(), ckpt_path=folder / "of one.ckpt")
    results["two go on from one"] = tensors(resumed)

    results["all-reduces"] = []
    for count in (1, 2):
        counter = AllReduces()
        train(devices, tiny("WGANGP", plain_networks(), step=ImageStep(micro_batches=count)), 2, callbacks=[counter])
        results["all-reduces"].append(counter.count)

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
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert "NotFiniteError" in done.stderr.splitlines()[-1], done.stderr[-3000:]  # how it is meant to end
    about = {"folder": folder, "code": done.returncode}
    return [torch.load(folder / f"{rank}.pt", weights_only=True) | about for rank in (0, 1)]


@pytest.mark.parametrize("case", EXACT)
def test_two_halves_equal_the_whole(case, two):
    """Half the batch on each of two processes trains the weights, and the average, of the whole batch on one."""
    expected = train(1, exact(case))
    assert gap(two[0]["exact"][case], expected) <= 1e-5
    assert_same(two[1]["exact"][case], two[0]["exact"][case])  # bit for bit


@pytest.mark.parametrize("name", [name for name in TRANSLATORS if name not in WITH_BATCH_NORM])
def test_two_halves_of_a_translators_batch_equal_the_whole(name, two):
    """Pools of earlier fakes included, which belong to the whole batch."""
    expected = train(1, translated(name), 6, NoisyBatches(name), precision="64-true")
    assert gap(two[0]["own"][name], expected) <= 1e-9


@pytest.mark.parametrize("name", GAMES)
def test_two_halves_of_a_games_batch_equal_the_whole(name, two):
    """Through all of its stages: roll-outs, draws and baselines included, which are of the whole batch."""
    expected = train(1, game(name), 6, played(name), precision="64-true")
    assert gap(two[0]["own"][name], expected) <= 1e-9


def parameters_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if "running_" not in name and not name.endswith(("_u", "_v"))}


def test_two_halves_of_a_batch_with_captions_equal_the_whole(two):
    """Through the text encoder's phase, in which every caption is compared with every image, and both stages."""
    expected = train(1, captioned(), 6, NoisyCaptions(), precision="64-true")
    assert gap(two[0]["own"]["StackGAN"], expected) <= 1e-9


@pytest.mark.parametrize("name", [*GANS, *TRANSLATORS, *GAMES, *TEXT_TO_IMAGE])
def test_processes_hold_the_same_weights(name, two):
    """Batch norm included, of which each process has statistics of its own until they are averaged."""
    assert_same(parameters_of(two[1]["own"][name]), parameters_of(two[0]["own"][name]))


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
    for results in two:
        assert_same(parameters_of(results["resumed"]), parameters_of(results["unbroken"]))


def test_a_run_goes_on_with_another_number_of_processes(two):
    """Batches are the same ones; latents are of one stream for the whole batch, cut by process."""
    quiet(max_steps=7).fit(unbroken := plain(), Noisy())
    quiet(max_steps=7).fit(resumed := plain(seed=1), Noisy(), ckpt_path=two[0]["folder"] / "of two.ckpt")
    for found in (tensors(resumed), two[0]["two go on from one"], two[1]["two go on from one"]):
        assert gap(found, tensors(unbroken)) < 1e-5


def test_micro_batches_exchange_gradients_once(two):
    assert two[0]["all-reduces"][0] > 0
    assert two[0]["all-reduces"][0] == two[0]["all-reduces"][1]


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
