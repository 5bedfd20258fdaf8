"""Scores while training: the right images, each once, in one pass, and without a trace in the training."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    SHAPE,
    adam,
    assert_same,
    finish_wandb,
    in_two_processes,
    plain_networks,
    quiet,
    tensors,
    tiny,
    trained,
)
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from gan_lightning import scoring
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import (
    FID,
    KID,
    PRDC,
    Checkpoint,
    InceptionScore,
    LabelAccuracy,
    MemorisationDistance,
    ModeCoverage,
    Score,
    When,
)
from gan_lightning.core import ImageStep, TwoPlayerGAN
from gan_lightning.data import CIFAR10, MNIST, Digits, FashionMNIST, Gaussians, StackedDigits
from gan_lightning.data.sets import InMemory
from gan_lightning.metrics import DigitFeatures, Extractor, Features, frechet_distance
from gan_lightning.models import DCGAN
from gan_lightning.noise import truncated_normal
from gan_lightning.scoring import Protocol

CPU = torch.device("cpu")


class Pixels(Extractor):
    """Eight grey levels, the means of as many fields; three of them are taken for the logits of a classifier."""

    name, resizer, feature_dim, num_classes = "pixels", "none", 8, 3

    def __init__(self) -> None:
        super().__init__(nn.Identity(), hash="0123456789abcdef")
        self.images = 0

    def look(self, images: Tensor) -> Features:
        self.images += len(images)
        pooled = nn.functional.adaptive_avg_pool2d(images.float(), (2, 4)).flatten(1)
        return Features(pooled, pooled[:, :3])


class Witness(Callback):
    """Notes what a checkpoint callback would read after each batch, and the random state that training goes on from."""

    def __init__(self) -> None:
        self.read: list[tuple[int, float | None]] = []
        self.random: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        value = trainer.callback_metrics.get("FID-pixels")
        self.read.append((trainer.global_step, None if value is None else value.item()))
        self.random.append(torch.get_rng_state())


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stats"


def digits(batch_size: int = 64) -> Digits:
    return Digits(size=SHAPE[1], batch_size=batch_size)


def plain() -> TwoPlayerGAN:
    return tiny("LSGAN", plain_networks(), adam())


def distance_of(real: Tensor, fake: Tensor) -> float:
    moments = [
        m for x in (Pixels()(real).pooled, Pixels()(fake).pooled) for m in (x.double().mean(0), x.double().T.cov())
    ]
    return frechet_distance(*moments).item()


def weights_after(callbacks: list[Callback], several: dict) -> dict[str, Tensor]:
    model = tiny("DCGAN")  # with batch norm
    trained(model, 3, digits(), callbacks=callbacks, **several)
    return tensors(model)


def every_score(**protocol: object) -> list[Score]:
    """Each kind, on the same protocol."""
    shared = {
        "extractor": Pixels(),
        "protocol": Protocol(**({"n_fake": 70, "n_real": 90, "batch_size": 16} | protocol)),
    }
    return [
        FID(**shared),
        InceptionScore(**shared, splits=3),
        KID(**shared, subsets=5, subset_size=20),
        PRDC(**shared, k=3),
        MemorisationDistance(**shared),
        ModeCoverage(**shared),
    ]


def figures_of(scores: list[Score]) -> dict[str, float]:
    return {name: value for score in scores for name, value in score.scores.items()}


# What a score is.


def test_score_is_the_distance_of_the_samples_to_the_training_split() -> None:
    fid, model = FID(Pixels(), Protocol(n_fake=70, batch_size=32, seed=5)), tiny("DCGAN")
    trainer = trained(model, 6, digits(batch_size=16), callbacks=[fid])
    real = digits().reference("train")
    expected = distance_of(real.image, model.sample(70, seed=5))
    assert fid.scores["FID-pixels"] == pytest.approx(expected, rel=1e-6)
    assert trainer.callback_metrics["FID-pixels"].item() == fid.scores["FID-pixels"]
    assert fid.card == {
        "data": "Digits",
        "data_hash": real.fingerprint[:12],
        "split": "train",
        "n_real": 1500,
        "n_fake": 70,
        "extractor": "pixels",
        "hash": "0123456789ab",
        "resizer": "none",
        "precision": "float32",
        "seed": 5,
        "model": "DCGAN",
        "weights": "ema",
        "batch_norm": "running averages",
        "generator": "float32",
        "image_shape": "1x16x16",
        "step": 6,
        "images_seen": 96,
    }


def test_a_model_is_measured_without_a_trainer() -> None:
    """The same figures as a run's, the same card but for what was scored, and the model stays as it is."""
    scored, alone, model = FID(Pixels(), Protocol(n_fake=70)), FID(Pixels(), Protocol(n_fake=70)), tiny("DCGAN")
    trained(model, 3, digits(), callbacks=[scored])
    before, random, mode = tensors(model), torch.get_rng_state(), model.training
    figures, card = alone.measure(model, digits())
    assert figures == scored.scores
    assert card | {"model": "DCGAN", "step": 3, "images_seen": 192} == scored.card and "step" not in card
    assert_same(tensors(model), before)
    assert torch.equal(torch.get_rng_state(), random) and model.training == mode
    with pytest.raises(ValueError, match="n_real=2000, Digits has 1500"):
        FID(Pixels(), Protocol(n_real=2000)).measure(model, digits())
    with pytest.raises(ValueError, match="FID needs a data module of gan_lightning: leave FID out"):
        alone.measure(model, None)


def test_a_score_follows_the_extractor_that_the_data_names() -> None:
    """One score, measured on data of two kinds: never by the extractor of the first."""
    score, found = ModeCoverage(protocol=Protocol(n_fake=30)), []
    for data in (digits(), StackedDigits(size=16, n=64, batch_size=64), digits()):
        model = tiny("LSGAN", plain_networks(), image_shape=data.image_shape)
        found += [next(iter(score.measure(model, data)[0]))]
    assert found == ["modes-digits", "modes-stacked-digits", "modes-digits"]


def test_live_weights_and_a_part_of_another_split_can_be_scored() -> None:
    fid, model = FID(Pixels(), Protocol(n_fake=40, n_real=30, weights="live", split="val")), plain()
    trained(model, 3, digits(), callbacks=[fid])
    rows = torch.randperm(297, generator=torch.Generator().manual_seed(0))[:30]
    real = digits().reference("val").image[rows]
    assert fid.scores["FID-pixels"] == pytest.approx(distance_of(real, model.sample(40, live=True)), rel=1e-6)
    assert (fid.card["weights"], fid.card["n_real"], fid.card["split"]) == ("live", 30, "val")


def test_all_scores_share_one_pass_and_say_how_they_were_made() -> None:
    scores = every_score()
    fid, *_ = scores
    trained(plain(), 4, digits(), callbacks=scores)
    assert fid.extractor.images == 90 + 70, "each image once, for all six scores"
    assert list(figures_of(scores)) == [
        "FID-pixels",
        "IS-pixels",
        "IS-pixels/std",
        "KID-pixels",
        "KID-pixels/std",
        "precision-pixels",
        "recall-pixels",
        "density-pixels",
        "coverage-pixels",
        "memorisation-pixels",
        "modes-pixels",
        "modes-pixels/KL",
    ]
    own = [set(score.card) - set(fid.card) for score in scores]
    assert own == [
        set(),
        {"is_splits", "is_shuffle_seed"},
        {"kid_subsets", "kid_subset_size", "kid_seed"},
        {"prdc_k"},
        set(),
        set(),
    ]
    assert "n_real" not in scores[1].card, "IS compares with no real image"


def test_scores_of_other_numbers_of_images_share_the_pass_too() -> None:
    extractor = Pixels()
    small = FID(extractor, Protocol(n_fake=30, n_real=50, batch_size=16))
    large = PRDC(extractor, Protocol(n_fake=70, n_real=90, batch_size=16))
    alone = FID(Pixels(), Protocol(n_fake=30, n_real=50, batch_size=16))
    trained(plain(), 2, digits(), callbacks=[small, large])
    assert extractor.images == 90 + 70
    trained(plain(), 2, digits(), callbacks=[alone])
    assert small.scores["FID-pixels"] == pytest.approx(alone.scores["FID-pixels"], rel=1e-9)
    assert (small.card["n_real"], large.card["n_real"], large.card["n_fake"]) == (50, 90, 70)


def test_scores_with_other_protocols_share_neither_pass_nor_name() -> None:
    extractor = Pixels()
    fid = FID(extractor, Protocol(n_fake=30, n_real=40))
    coverage = ModeCoverage(extractor, Protocol(n_fake=30, weights="live"))
    trained(plain(), 2, digits(), callbacks=[fid, coverage])
    assert extractor.images == 40 + 2 * 30
    assert (fid.card["weights"], coverage.card["weights"]) == ("ema", "live")
    live = FID(Pixels(), Protocol(n_fake=30, weights="live"))
    with pytest.raises(ValueError, match="two scores would be called FID-pixels"):
        trained(plain(), 2, digits(), callbacks=[fid, live])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_scores_do_not_depend_on_the_batch(batch_size: int) -> None:
    model = tiny("DCGAN")
    found = []
    for size in (batch_size, 500):
        scores = [FID, InceptionScore, PRDC, ModeCoverage]
        requests = [kind(protocol=Protocol(n_fake=120, n_real=100, batch_size=size)).request for kind in scores]
        samples = scoring.Samples(model, requests[0].protocol)
        made = scoring.scores_of(
            requests, DigitFeatures(), samples, digits().reference("train"), "x", {}, torch.device("cpu")
        )
        found.append({name: value for figures, _ in made for name, value in figures.items()})
        for file in Path(os.environ["GAN_LIGHTNING_CACHE"], "stats").iterdir():
            file.unlink()
    assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-9)


def test_real_counts_default_to_all_or_to_as_many_as_fakes() -> None:
    real = InMemory(torch.zeros(50, 1, 2, 2), torch.zeros(50))
    counts = {kind: kind(protocol=Protocol(n_fake=20)).request.real_count(real) for kind in (FID, KID, PRDC)}
    assert counts == {FID: 50, KID: 20, PRDC: 20}
    assert MemorisationDistance(protocol=Protocol(n_fake=20)).request.real_count(real) == 50
    assert PRDC(protocol=Protocol(n_fake=90)).request.real_count(real) == 50
    assert PRDC(protocol=Protocol(n_fake=20, n_real=33)).request.real_count(real) == 33


class Conditional(DCGAN):
    """Draws a bright field where its class says, of the three that :class:`Pixels` tells apart."""

    def __init__(self) -> None:
        super().__init__(SHAPE, **plain_networks())
        self.num_classes = 3

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        """Nothing is learned; a step is counted."""
        self.turn("generator", lambda batch: {"none": self.generator.layers[0].weight.sum()}, batch, advances_step=True)

    def generate(self, z: Tensor, live: bool = False, condition: Tensor | None = None, *more: object) -> Tensor:
        images = torch.full((len(z), *SHAPE), -0.5)
        for image, c, wrong in zip(images, condition.tolist(), z[:, 0] > 0.8, strict=True):
            image[:, :8, 4 * c if not wrong else 12 : 4 * c + 4 if not wrong else 16] = 1
        return images


def test_a_conditional_model_is_asked_for_each_class_in_turn() -> None:
    score = LabelAccuracy(Pixels(), Protocol(n_fake=60, batch_size=7))
    model = Conditional()
    trained(model, 1, digits(), callbacks=[score])
    z = model.latent(scoring_noise(60), 60)
    right = (z[:, 0] <= 0.8) | (torch.arange(60) % 3 == 0)  # with no bright field the first is as good as any
    assert score.scores == {"label_accuracy-pixels": pytest.approx(right.double().mean().item())}
    assert score.card["labels"] == "balanced"
    for score, message in (
        (LabelAccuracy(Pixels()), "no class was asked for"),
        (LabelAccuracy(), "the model has 3 classes, the extractor digits tells 10 apart"),
    ):
        model = plain() if type(score.given) is Pixels else Conditional()
        with pytest.raises(ValueError, match=message):
            trained(model, 1, digits(), callbacks=[score])
        assert model.iteration == 0, "before training"


# How the generator is set up for a score.


def test_standing_statistics_and_truncation_are_part_of_the_protocol() -> None:
    """Images of such a generator, a card that says so, passes of their own, and the same module afterwards."""
    model, extractor = tiny("BigGAN", adam(), num_classes=10), Pixels()
    ways = {"plain": {}, "standing": {"standing": 3}, "truncated": {"truncation": 0.4}}
    ways["both"] = ways["standing"] | ways["truncated"]
    trained(model, 2, digits(batch_size=16))
    model.eval()
    real, z = digits().reference("train").image, model.latent(scoring_noise(30), 30)
    before, found, expected = tensors(model), {}, {}
    momenta = [layer.momentum for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for name, way in ways.items():
        protocol = Protocol(n_fake=30, batch_size=16, **way)
        score, reals = FID(extractor, protocol), digits().reference("train")
        sides = scoring.Samples(model, protocol), reals, "x", scoring.card_of(model, protocol)
        ((figures, card),) = scoring.scores_of([score.request], extractor, *sides, CPU)
        found[name] = figures["FID-pixels"], card["batch_norm"], card.get("truncation")
        assert_same(tensors(model), before)
        assert [layer.momentum for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)] == momenta
        with model.standing_statistics(way.get("standing", 0)):
            fake = model.generate(truncated_normal(z, way.get("truncation", 100.0)), False, torch.arange(30) % 10)
        expected[name] = distance_of(real, fake)
    assert {name: value for name, (value, *_) in found.items()} == pytest.approx(expected, rel=1e-5)
    assert len(set(expected.values())) == 4
    cards = {name: card for name, (_, *card) in found.items()}
    assert cards == {
        "plain": ["running averages", None],
        "standing": ["standing, 3 batches", None],
        "truncated": ["running averages", 0.4],
        "both": ["standing, 3 batches", 0.4],
    }


def test_the_first_average_has_one_name_on_cards() -> None:
    model = tiny("DCGAN", step=ImageStep(ema_half_life=[100, 200]))
    cards = {
        name: scoring.card_of(model, Protocol(weights=name)) for name in ("ema", "generator", "generator_200", "live")
    }
    assert [card["weights"] for card in cards.values()] == ["ema", "ema", "generator_200", "live"]


def test_scores_of_standing_statistics_share_a_pass_with_their_like_alone() -> None:
    extractor, protocol = Pixels(), Protocol(n_fake=30, n_real=40, standing=2)
    fid, prdc = FID(extractor, protocol), PRDC(extractor, protocol, k=3)
    modes = ModeCoverage(extractor, Protocol(n_fake=30, n_real=40))
    model = tiny("DCGAN")
    trained(model, 2, digits(), callbacks=[fid, prdc, modes])
    assert extractor.images == 40 + 2 * 30
    assert [score.card["batch_norm"] for score in (fid, prdc, modes)] == 2 * ["standing, 2 batches"] + [
        "running averages"
    ]
    with model.standing_statistics(2):
        fake = model.sample(30)
    rows = torch.randperm(1500, generator=torch.Generator().manual_seed(0))[:40]
    assert fid.scores["FID-pixels"] == pytest.approx(distance_of(digits().reference("train").image[rows], fake), 1e-5)


@pytest.mark.parametrize("weights", ["ema", "live"])
def test_training_is_the_same_with_scores_of_standing_statistics(weights: str) -> None:
    score = FID(Pixels(), Protocol(n_fake=20, standing=2, weights=weights), when=When(every_n_steps=1))
    assert_same(weights_after([score], {}), weights_after([], {}))


def test_a_setup_that_cannot_be_is_refused() -> None:
    for numbers, message in (
        ({"standing": -1}, "standing must be a number of batches, 0 for none, not -1"),
        ({"truncation": 0.0}, "truncation must be a number above 0, not 0.0"),
        ({"truncation": float("nan")}, "truncation must be a number above 0, not nan"),
    ):
        with pytest.raises(ValueError, match=message):
            Protocol(**numbers)


def scoring_noise(n: int):
    from gan_lightning.noise import SampleNoise

    return SampleNoise(0, range(n), torch.device("cpu"))


# When.


def test_scores_come_once_for_each_multiple_of_generator_steps(tmp_path: Path) -> None:
    fid, witness, logger = (
        FID(Pixels(), Protocol(n_fake=40), when=When(every_n_steps=2)),
        Witness(),
        CSVLogger(tmp_path),
    )
    prdc = PRDC(fid.extractor, fid.protocol, when=When(every_n_steps=4))
    model = tiny("LSGAN", plain_networks(), adam(), n_critic=3)
    trained(model, 5, digits(), callbacks=[fid, prdc, witness], logger=logger)
    assert [step for step, _ in witness.read] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5]
    values = [value for _, value in witness.read]
    assert values[:5] == [None] * 5
    assert len(set(values[5:11])) == 1 and len(set(values[11:])) == 1 and values[5] != values[11]
    with open(Path(logger.log_dir, "metrics.csv")) as file:
        rows = [row for row in csv.DictReader(file) if row["FID-pixels"]]
    assert [int(row["step"]) for row in rows] == [2, 4, 5]
    assert [bool(row["density-pixels"]) for row in rows] == [False, True, True]
    assert float(rows[-1]["FID-pixels"]) == fid.scores["FID-pixels"]
    assert json.loads(rows[-1]["FID-pixels/card"]) == fid.card
    assert json.loads(rows[-1]["precision-pixels/card"]) == prdc.card


def test_scores_come_by_epochs_at_their_last_batch() -> None:
    fid, witness = FID(Pixels(), Protocol(n_fake=20), when=When(every_n_epochs=2, at_end=False)), Witness()
    trained(plain(), 14, digits(batch_size=500), callbacks=[fid, witness])  # 3 batches an epoch
    steps = [
        step for (step, value), (_, before) in zip(witness.read[1:], witness.read, strict=False) if value != before
    ]
    assert steps == [6, 12]


def test_wandb_keeps_the_card_in_its_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    finish_wandb()
    logger = WandbLogger(save_dir=tmp_path, project="test")
    fid = FID(Pixels(), Protocol(n_fake=20))
    trained(plain(), 1, digits(), callbacks=[fid], logger=logger)
    summary = logger.experiment.summary
    assert dict(summary["FID-pixels/card"]) == fid.card
    logger.experiment.finish()


def test_the_best_checkpoint_is_of_the_step_that_was_scored(tmp_path: Path) -> None:
    fid = FID(Pixels(), Protocol(n_fake=20), when=When(every_n_epochs=1))
    checkpoint, logger = Checkpoint(str(tmp_path)), CSVLogger(tmp_path)
    options = {"enable_checkpointing": True, "logger": logger}
    trained(plain(), 7, digits(batch_size=500), callbacks=[fid, checkpoint], **options)
    with open(Path(logger.log_dir, "metrics.csv")) as file:
        logged = {int(row["step"]): float(row["FID-pixels"]) for row in csv.DictReader(file) if row["FID-pixels"]}
    assert list(logged) == [3, 6, 7]
    assert checkpoint.best_step == min(logged, key=logged.get)
    assert torch.load(checkpoint.best_path, weights_only=True)["global_step"] == checkpoint.best_step


def test_bar_09_training_is_the_same_with_and_without_scores() -> None:
    witnesses = Witness(), Witness()
    without = weights_after([witnesses[0]], {})
    scores = [
        kind(protocol=Protocol(n_fake=100), when=When(every_n_steps=1), **own)
        for kind, own in ((FID, {}), (KID, {"subset_size": 50}), (InceptionScore, {}))
    ]
    scored = weights_after([*scores, witnesses[1]], {})
    assert_same(scored, without)
    assert_same(witnesses[1].random, witnesses[0].random)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_bar_21_the_trainers_precision_is_not_the_extractors(precision: str) -> None:
    seen = []

    class Spy(Pixels):
        def look(self, images: Tensor) -> Features:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().look(images)

    fid, model = FID(Spy(), Protocol(n_fake=40)), plain()
    trained(model, 2, digits(), callbacks=[fid], precision=precision)
    assert seen and not any(seen)
    expected = distance_of(digits().reference("train").image, model.sample(40))
    assert fid.scores["FID-pixels"] == pytest.approx(expected, rel=1e-6)


# Resume.


class Failing(Pixels):
    """Breaks in the middle of its first pass over fakes."""

    def look(self, images: Tensor) -> Features:
        if self.images >= 1500:
            raise KeyError("the machine was taken away")
        return super().look(images)


def resumable(folder: Path, fid: FID, stop: int, ckpt_path: Path | None = None) -> Trainer:
    """A run that keeps a checkpoint of every step, until it ends or breaks."""
    checkpoint = Checkpoint(str(folder), every_n_steps=1)
    trainer = quiet(max_steps=stop, callbacks=[fid, checkpoint], enable_checkpointing=True)
    with contextlib.suppress(KeyError):
        trainer.fit(plain(), digits(), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def test_a_resumed_run_does_not_repeat_a_score(tmp_path: Path) -> None:
    first, again = (FID(Pixels(), Protocol(n_fake=20), when=When(every_n_steps=2, at_end=False)) for _ in range(2))
    resumable(tmp_path, first, 4)
    resumable(tmp_path, again, 5, tmp_path / "last.ckpt")
    assert again.extractor.images == 0, "step 4 was scored before"
    assert again.scores == first.scores and again.card == first.card


def test_a_score_that_was_cut_off_is_made_up_for(tmp_path: Path) -> None:
    cut = FID(Failing(), Protocol(n_fake=20), when=When(every_n_steps=2, at_end=False))
    resumable(tmp_path, cut, 4)
    assert not cut.scores
    again = FID(Pixels(), Protocol(n_fake=20), when=When(every_n_steps=2, at_end=False))
    resumable(tmp_path, again, 3, tmp_path / "last.ckpt")
    assert again.card["step"] == 3


def test_a_run_that_ended_before_its_last_score_gets_it(tmp_path: Path) -> None:
    cut = FID(Failing(), Protocol(n_fake=20))
    resumable(tmp_path, cut, 3)
    assert not cut.scores
    again = FID(Pixels(), Protocol(n_fake=20))
    trainer = resumable(tmp_path, again, 3, tmp_path / "last.ckpt")
    assert trainer.global_step == 3 and again.card["step"] == 3


# The real side.


def test_real_images_are_seen_once_for_all_runs(own_cache: Path) -> None:
    extractors = Pixels(), Pixels()
    for extractor in extractors:
        scores = every_score()
        for score in scores:
            score.given, score.when = extractor, When(every_n_steps=1)
        trained(plain(), 2, digits(), callbacks=scores)
    assert [e.images for e in extractors] == [90 + 2 * 70, 2 * 70]
    assert len(list(own_cache.iterdir())) == 1


def test_the_cache_is_found_by_all_that_matters_and_nothing_else(own_cache: Path) -> None:
    def files_after(data: Digits, **protocol: object) -> int:
        trained(plain(), 1, data, callbacks=[FID(Pixels(), Protocol(**({"n_fake": 10, "n_real": 30} | protocol)))])
        return len(list(own_cache.iterdir()))

    assert files_after(digits()) == 1
    assert files_after(digits(batch_size=32), n_fake=20, batch_size=7, weights="live", seed=1) == 1
    assert files_after(digits(), split="val") == 2
    assert files_after(digits(), n_real=31) == 3
    changed = digits()
    changed.reference("train").image[0, 0, 0, 0] ^= 1
    assert files_after(changed) == 4


def test_a_damaged_cache_is_made_anew_and_a_full_disk_is_warned_of(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored() -> float:
        fid = FID(Pixels(), Protocol(n_fake=20))
        trained(plain(), 1, digits(), callbacks=[fid])
        return fid.scores["FID-pixels"]

    first = scored()
    (file,) = own_cache.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match="made anew"):
        assert scored() == first
    assert len(file.read_bytes()) > 100
    file.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gan_lightning.metrics.reference.np.savez", full)
    with pytest.warns(UserWarning, match="cannot be written .*No space left"):
        assert scored() == first
    assert not list(own_cache.iterdir())


def test_statistics_of_a_file_stand_for_the_real_images(own_cache: Path, tmp_path: Path) -> None:
    made = FID(Pixels(), Protocol(n_fake=20))
    trained(plain(), 1, digits(), callbacks=[made])
    (file,) = own_cache.iterdir()
    given = FID(Pixels(), Protocol(n_fake=20, stats=str(file)))
    trained(plain(), 1, digits(), callbacks=[given])
    assert given.scores == made.scores and given.extractor.images == 20
    assert given.card == made.card
    with pytest.raises(ValueError, match="holds no features"):
        trained(plain(), 1, digits(), callbacks=[PRDC(Pixels(), Protocol(n_fake=20, stats=str(file)))])
    with pytest.raises(ValueError, match="is of 8 features, the extractor digits has 64"):
        trained(plain(), 1, digits(), callbacks=[FID(protocol=Protocol(n_fake=20, stats=str(file)))])
    other = Pixels()
    other.hash = "another"
    with pytest.raises(ValueError, match="was made with hash 0123456789abcdef, and another is asked for"):
        trained(plain(), 1, digits(), callbacks=[FID(other, Protocol(n_fake=20, stats=str(file)))])


def test_data_names_the_extractor_that_sees_it_best() -> None:
    best = {kind.__name__: kind.extractor for kind in (Digits, MNIST, FashionMNIST, CIFAR10, StackedDigits)}
    assert best == {
        "Digits": "DigitFeatures",
        "MNIST": "DigitFeatures",
        "FashionMNIST": "Inception",
        "CIFAR10": "Inception",
        "StackedDigits": "StackedDigitFeatures",
    }
    data = StackedDigits(size=16, n=64, batch_size=64)
    scores = [ModeCoverage(protocol=Protocol(n_fake=30)), FID(protocol=Protocol(n_fake=30, n_real=40))]
    trained(tiny("LSGAN", plain_networks(), image_shape=(3, 16, 16)), 1, data, callbacks=scores)
    assert "modes-stacked-digits" in scores[0].scores and "FID-stacked-digits" in scores[1].scores
    assert scores[0].extractor is scores[1].extractor, "one copy of the network"


# What is refused.


def test_what_cannot_be_scored_is_refused_before_training() -> None:
    for numbers in ({"n_fake": 1}, {"n_real": 1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="score"):
            Protocol(**numbers)
    for when in ("every_n_steps", "every_n_epochs"):
        with pytest.raises(ValueError, match=f"{when} of a score must be at least 1, not 0"):
            When(**{when: 0})
    for make, message in {
        (lambda: InceptionScore(splits=0)): "IS with 0 splits",
        (lambda: KID(subsets=0)): "KID needs subsets",
        (lambda: KID(subset_size=1)): "at least 2 images, not 1",
        (lambda: PRDC(k=0)): "k must be at least 1, not 0",
    }.items():
        with pytest.raises(ValueError, match=message):
            make()
    refused = {
        "n_real=2000, Digits has 1500": FID(Pixels(), Protocol(n_real=2000)),
        "KID-pixels as it is set needs at least 1000 images, not n_fake=999: use "
        "--trainer.callbacks.subset_size 999 or less": KID(Pixels(), Protocol(n_fake=999)),
        "KID-pixels as it is set needs at least 1000 real images, not 999": KID(Pixels(), Protocol(n_real=999)),
        "precision-pixels as it is set needs at least 6 real images, not 5: use --trainer.callbacks.k 4 or less": PRDC(
            Pixels(), Protocol(n_real=5)
        ),
        "IS-pixels as it is set needs at least 20 images, not n_fake=19: use "
        "--trainer.callbacks.splits 9 or less": InceptionScore(Pixels(), Protocol(n_fake=19)),
    }
    for message, score in refused.items():
        model = plain()
        with pytest.raises(ValueError, match=message):
            trained(model, 1, digits(), callbacks=[score])
        assert model.iteration == 0, "before training"
    pixels = Pixels()
    pixels.num_classes = None
    with pytest.raises(ValueError, match="IS-pixels needs a classifier, and the extractor pixels gives no logits"):
        trained(plain(), 1, digits(), callbacks=[InceptionScore(pixels)])
    points = Gaussians()
    with pytest.raises(ValueError, match="has points"):
        trained(tiny("LSGAN", plain_networks(), image_shape=points.image_shape), 1, points, callbacks=[FID(Pixels())])
    with pytest.raises(ValueError, match="needs a data module"):
        quiet(max_steps=1, callbacks=[FID(Pixels())]).fit(plain(), digits().train_dataloader())


def test_fewer_images_than_features_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="FID-pixels of 8 images: .* lacks full rank"):
        trained(plain(), 1, digits(), callbacks=[FID(Pixels(), Protocol(n_fake=8))])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lacks full rank")
        trained(plain(), 1, digits(), callbacks=[FID(Pixels(), Protocol(n_fake=9))])


def test_bar_21_images_that_are_not_finite_are_refused() -> None:
    class Broken(DCGAN):
        def generate(self, z: Tensor, *more: object) -> Tensor:
            return super().generate(z, *more) * torch.where(z[:, :1, None, None] > 0.99, float("nan"), 1.0)

    with pytest.raises(ValueError, match="not finite"):
        trained(Broken(SHAPE, **plain_networks()), 1, digits(), callbacks=[FID(Pixels(), Protocol(n_fake=500))])


# Two processes.


def test_two_processes_score_what_one_scores(two: list[dict]) -> None:
    alone = every_score()
    trained(plain(), 3, digits(), callbacks=alone)
    for found in two:
        assert found["figures"] == pytest.approx(figures_of(alone), rel=1e-6)
        assert found["cards"] == [score.card for score in alone]
        assert_same(found["scored"], found["unscored"])  # the batch statistics of each process too
    assert two[0]["figures"] == two[1]["figures"]
    assert two[0]["seen"] + two[1]["seen"] == 90 + 70


def test_two_processes_score_one_generator(two: list[dict]) -> None:
    """Its batch statistics differ between processes while it trains, and are averaged for the score."""
    for found in two:
        assert found["batch norm"][0] == pytest.approx(found["batch norm"][1], rel=1e-6)
    assert two[0]["batch norm"] == two[1]["batch norm"]


def test_two_processes_score_one_generator_with_standing_statistics(two: list[dict]) -> None:
    """Each process finds the statistics by itself, and all find the same."""
    for found in two:
        assert found["standing"][0] == pytest.approx(found["standing"][1], rel=1e-6)
        assert found["statistics"].keys() == two[0]["statistics"].keys()
        assert_same(found["statistics"], two[0]["statistics"])
    assert two[0]["standing"] == two[1]["standing"]
    assert two[0]["standing"] != two[0]["batch norm"]


def test_a_process_without_a_batch_takes_part(two: list[dict]) -> None:
    alone = every_score(batch_size=100)
    trained(plain(), 3, digits(), callbacks=alone)
    for found in two:
        assert found["one batch"] == pytest.approx(figures_of(alone), rel=1e-6)


def test_an_error_of_one_process_ends_both_with_its_message(two: list[dict]) -> None:
    assert "the second process cannot see" in two[1]["error"]
    assert two[0]["error"] == "process 1 failed: the second process cannot see"
    assert max(found["seconds to fail"] for found in two) < 20, "though the first had a hundred seconds left to see"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes found."""
    return in_two_processes(main, tmp_path_factory.mktemp("two"))


class Blind(Pixels):
    """Sees nothing on the second process, and takes its time on the first."""

    def look(self, images: Tensor) -> Features:
        if int(os.environ.get("LOCAL_RANK", 0)) == 1:
            raise ValueError("the second process cannot see")
        time.sleep(1)
        return super().look(images)


def main(folder: Path) -> dict[str, Any]:
    """What each process does."""
    several = {"devices": 2, "strategy": "ddp"}
    scores = every_score()
    trained(plain(), 3, digits(), callbacks=scores, **several)
    found = {
        "figures": figures_of(scores),
        "cards": [score.card for score in scores],
        "seen": scores[0].extractor.images,
    }
    single = every_score(batch_size=100)
    trained(plain(), 3, digits(), callbacks=single, **several)
    found["one batch"] = figures_of(single)
    fid, model = FID(Pixels(), Protocol(n_fake=70)), tiny("DCGAN")  # with batch norm
    trained(model, 3, digits(), callbacks=[fid], **several)
    model.average_batch_statistics()
    expected = distance_of(digits().reference("train").image, model.sample(70))
    found["batch norm"] = [fid.scores["FID-pixels"], expected]
    with model.standing_statistics(3):
        expected = distance_of(digits().reference("train").image, model.sample(70))
        found["statistics"] = {name: value.clone() for name, value in model.ema.network.named_buffers()}
    standing = FID(Pixels(), Protocol(n_fake=70, standing=3))
    trained(tiny("DCGAN"), 3, digits(), callbacks=[standing], **several)
    found["standing"] = [standing.scores["FID-pixels"], expected]
    found["unscored"] = weights_after([], several)
    found["scored"] = weights_after([FID(Pixels(), Protocol(n_fake=20), when=When(every_n_steps=1))], several)
    start = time.monotonic()
    try:
        trained(plain(), 1, digits(), callbacks=[FID(Blind(), Protocol(n_fake=1000, batch_size=5))], **several)
    except (RuntimeError, ValueError) as error:
        found["error"] = str(error)
    return found | {"seconds to fail": time.monotonic() - start}
