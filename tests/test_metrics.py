"""Scores against closed forms, against scipy, and against themselves on other batches and processes."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.distributed as dist
import torch.multiprocessing
from conftest import SHAPE, adam, assert_same, plain_networks, tensors, tiny, trained
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from gan_lightning.callbacks import FID
from gan_lightning.core import TwoPlayerGAN
from gan_lightning.data import MNIST, Digits, Gaussians
from gan_lightning.metrics import DigitFeatures, FrechetDistance, Gaussian, frechet_distance, to_uint8
from gan_lightning.metrics.digits import WEIGHTS


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance_of(real: Tensor, fake: Tensor, batch: int = 64) -> float:
    metric = FrechetDistance(real.shape[1])
    for part in real.split(batch):
        metric.update(part, real=True)
    for part in fake.split(batch):
        metric.update(part, real=False)
    return metric.compute().item()


# Images as bytes.


def test_bytes_are_rounded_and_clamped_never_wrapped() -> None:
    unit = torch.tensor([-0.01, 0.0, 0.5, 1.0, 1.004])
    assert to_uint8(unit * 2 - 1).tolist() == [0, 0, 128, 255, 255]
    levels = torch.arange(256, dtype=torch.uint8)
    assert to_uint8(levels).equal(levels)
    assert to_uint8(levels / 127.5 - 1).equal(levels)


@pytest.mark.parametrize("bad", [torch.tensor([0.0, float("nan")]), torch.tensor([float("inf")]), torch.tensor([3])])
def test_what_is_no_image_is_refused(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="images"):
        to_uint8(bad)


# The distance.


@pytest.mark.parametrize(("least", "error"), [(0.5, 1e-12), (0.0, 1e-7)])
def test_distance_of_two_gaussians_is_the_closed_form(least: float, error: float) -> None:
    rotation = torch.linalg.qr(draw(5, 5).double()).Q
    first = torch.tensor([1.0, 2.0, 3.0, 4.0, least]).double()
    second = torch.tensor([4.0, 0.7, 3.0, least, 2.0]).double()
    covariances = [rotation * variances @ rotation.T for variances in (first, second)]  # these two commute
    shift = draw(5, seed=1).double()
    distance = frechet_distance(torch.zeros(5), covariances[0], shift, covariances[1])
    expected = shift.square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    assert distance.item() == pytest.approx(expected.item(), rel=error)


@pytest.mark.parametrize("dim", [1, 3, 64])
def test_distance_is_that_of_the_matrix_square_root(dim: int) -> None:
    real = draw(500, dim).double() @ draw(dim, dim, seed=1).double() + 3
    fake = (draw(400, dim, seed=2).double() @ draw(dim, dim, seed=3).double()).relu()
    covariances = [np.atleast_2d(np.cov(x.numpy(), rowvar=False)) for x in (real, fake)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    gap = (real.mean(0) - fake.mean(0)).square().sum().item()
    expected = gap + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert distance_of(real, fake) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("n", [20, 1000])
@pytest.mark.parametrize("kind", ["normal", "constant", "rectified"])
def test_equal_sets_have_no_distance(kind: str, n: int) -> None:
    x = draw(n, 64) * torch.logspace(-4, 0, 64)
    x = {"normal": x, "constant": torch.full_like(x, 7.0), "rectified": x.relu()}[kind]
    assert 0 <= distance_of(x, x) < 1e-6


def test_distance_does_not_depend_on_the_batches() -> None:
    real, fake = draw(130, 8) + 100, draw(150, 8, seed=1) * 2 + 100
    whole = distance_of(real, fake, batch=150)
    for batch in (1, 7, 64):
        assert distance_of(real, fake, batch) == pytest.approx(whole, rel=1e-9)


def test_large_means_cost_no_digits() -> None:
    real, fake = draw(2000, 8), draw(2000, 8, seed=1) * 1.1
    near = distance_of(real.double(), fake.double())
    assert distance_of(real.double() + 1e4, fake.double() + 1e4) == pytest.approx(near, rel=1e-5)


def test_known_statistics_stand_for_the_real_set() -> None:
    real, fake = draw(50, 4), draw(60, 4, seed=1)
    seen = FrechetDistance(4)
    seen.update(real, real=True)
    given = FrechetDistance(4, real=seen.statistics(real=True))
    for metric in (seen, given):
        metric.update(fake, real=False)
    assert given.compute().equal(seen.compute())
    assert given.statistics(real=True).n == 50
    with pytest.raises(ValueError, match="were given"):
        given.update(real, real=True)
    with pytest.raises(ValueError, match="of 3 numbers, the features have 4"):
        FrechetDistance(4, real=Gaussian(torch.zeros(3), torch.eye(3), 9))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    metric = FrechetDistance(4)
    features = draw(7, 4)
    features[5, 2] = bad
    with pytest.raises(ValueError, match="1 of 7 fake features are not finite"):
        metric.update(features, real=False)
    assert metric.fake_n == 0


def test_unusable_sets_are_refused() -> None:
    metric = FrechetDistance(4)
    with pytest.raises(ValueError, match=r"must be \(B, 4\)"):
        metric.update(draw(7, 5), real=True)
    metric.update(draw(7, 4), real=True)
    metric.update(draw(1, 4), real=False)
    with pytest.raises(ValueError, match="at least 2 fake features, there are 1"):
        metric.compute()


def test_memory_is_flat_and_sums_stay_float64() -> None:
    metric = FrechetDistance(4).half().float()
    held = {name: (state.shape, state.dtype) for name, state in metric.metric_state.items()}
    for _ in range(3):
        metric.update(draw(1000, 4), real=True)
    assert {name: (state.shape, state.dtype) for name, state in metric.metric_state.items()} == held
    assert metric.real_outer.dtype == torch.float64


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes found, started once for all tests because each imports everything anew."""
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    metric = FrechetDistance(4)
    metric.update(draw(13, 4)[rank::2], real=True)
    metric.update(draw(11, 4, seed=1)[rank::2], real=False)
    several = {"devices": 2, "strategy": "ddp"}
    fid = part_score()
    found = {
        "distance": metric.compute().item(),
        "statistics": list(metric.statistics(real=True)),
        "held": int(metric.real_n),
        "logged": trained(plain(), 3, digits(), callbacks=[fid], **several).callback_metrics["FID-pixels"].item(),
        "n": [fid.cards["FID-pixels"]["n_real"], fid.cards["FID-pixels"]["n_fake"]],
        "plain": weights_after([], several),
        "scored": weights_after([FID(Pixels(), n_fake=20, every_n_steps=1)], several),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_find_what_one_finds(two_processes: list[dict]) -> None:
    expected = distance_of(draw(13, 4), draw(11, 4, seed=1))
    for found, own in zip(two_processes, (7, 6), strict=True):
        assert found["distance"] == pytest.approx(expected, rel=1e-9)
        mean, _, n = found["statistics"]
        assert n == 13
        assert found["held"] == own  # each process still has its own part, to go on with
        torch.testing.assert_close(mean, draw(13, 4).double().mean(0))


# The digit classifier.


@pytest.fixture(scope="module")
def extractor() -> DigitFeatures:
    return DigitFeatures()


def share_right(extractor: DigitFeatures, data: MNIST | Digits) -> float:
    held_out = data.reference("val")
    seen = torch.cat([extractor.classify(part) for part in held_out.image.split(500)])
    return (seen == held_out.label).double().mean().item()


def test_shipped_weights_are_small_and_named_by_their_hash(extractor: DigitFeatures) -> None:
    data = WEIGHTS.read_bytes()
    assert len(data) < 2**20
    assert hashlib.sha256(data).hexdigest() == extractor.hash
    assert extractor.name == "digits"


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights are missing"):
        DigitFeatures(tmp_path / "none.pt")
    cut = tmp_path / "digits.pt"
    cut.write_bytes(WEIGHTS.read_bytes()[:-1])
    with pytest.raises(ValueError, match="SHA-256 differs"):
        DigitFeatures(cut)


@pytest.mark.parametrize("size", [28, 32, 64])
def test_classifier_reads_held_out_digits(extractor: DigitFeatures, size: int) -> None:
    assert share_right(extractor, Digits(size=size)) >= 0.97


@pytest.mark.skipif("GAN_LIGHTNING_DATA" not in os.environ, reason="needs MNIST's files under GAN_LIGHTNING_DATA")
@pytest.mark.parametrize("size", [28, 32, 64])
def test_classifier_reads_held_out_mnist(extractor: DigitFeatures, size: int) -> None:
    assert share_right(extractor, MNIST(size=size)) >= 0.99


def test_extractor_takes_any_image_and_is_never_trained(extractor: DigitFeatures) -> None:
    for shape in ((1, 28, 28), (3, 32, 32), (1, 64, 48), (3, 7, 7)):
        features = extractor(draw(5, *shape).clamp(-1, 1))
        assert features.shape == (5, extractor.feature_dim)
        assert features.dtype == torch.float32
    image = to_uint8(draw(5, 1, 32, 32))
    expected = extractor(image)
    assert extractor(image / 127.5 - 1).equal(expected)
    torch.testing.assert_close(extractor(image.expand(-1, 3, -1, -1)), expected)
    assert not extractor.train().training
    assert not any(p.requires_grad for p in extractor.parameters())
    with pytest.raises(ValueError, match="1 or 3"):
        extractor(draw(5, 2, 28, 28))


def test_extractor_ignores_autocast(extractor: DigitFeatures) -> None:
    image = draw(5, 1, 28, 28).clamp(-1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = extractor(image)
    assert features.equal(extractor(image))


def test_distance_grows_with_damage(extractor: DigitFeatures) -> None:
    """Held-out digits are nearest; noise, a missing class and one class alone are farther, in this order."""
    data = Digits(size=28)
    train, held_out = data.reference("train"), data.reference("val")
    real = extractor(train.image)
    fakes = [
        held_out.image,
        to_uint8(held_out.image / 127.5 - 1 + 0.3 * draw(*held_out.image.shape)),
        held_out.image[held_out.label != 3],
        held_out.image[held_out.label == 3],
    ]
    near, *far = (distance_of(real, extractor(fake)) for fake in fakes)
    assert all(2 * near < distance for distance in far)
    assert far[-1] == max(far)


# The callback.


class Pixels(nn.Module):
    """An extractor of eight grey levels, the means of as many fields."""

    name, feature_dim, hash, resizer = "pixels", 8, "0123456789", "none"

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(to_uint8(images).float(), (2, 4)).flatten(1)


class Witness(Callback):
    """Notes what a checkpoint callback would read after each batch, and the random state that training goes on from."""

    def __init__(self) -> None:
        self.read: list[tuple[int, float | None]] = []
        self.random: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        value = trainer.callback_metrics.get("FID-pixels")
        self.read.append((trainer.global_step, None if value is None else value.item()))
        self.random.append(torch.get_rng_state())


def digits(batch_size: int = 64) -> Digits:
    return Digits(size=SHAPE[1], batch_size=batch_size)


def plain() -> TwoPlayerGAN:
    return tiny("LSGAN", plain_networks(), adam())


def part_score() -> FID:
    return FID(Pixels(), n_fake=70, n_real=90, batch_size=16)


def weights_after(callbacks: list[Callback], several: dict) -> dict[str, Tensor]:
    model = tiny("DCGAN")  # with batch norm
    trained(model, 3, digits(), callbacks=callbacks, **several)
    return tensors(model)


def test_score_is_the_distance_of_the_samples_to_the_training_split() -> None:
    fid, model = FID(Pixels(), n_fake=70, batch_size=32, seed=5), tiny("DCGAN")
    trainer = trained(model, 6, digits(batch_size=16), callbacks=[fid])
    real = digits().reference("train").image
    expected = distance_of(Pixels()(real), Pixels()(model.sample(70, seed=5)))
    assert fid.scores["FID-pixels"] == pytest.approx(expected, rel=1e-6)
    assert trainer.callback_metrics["FID-pixels"].item() == fid.scores["FID-pixels"]
    assert fid.cards["FID-pixels"] == {
        "data": "Digits",
        "split": "train",
        "n_real": 1500,
        "n_fake": 70,
        "extractor": "pixels",
        "hash": "01234567",
        "resizer": "none",
        "weights": "ema",
        "precision": "float32",
        "seed": 5,
        "step": 6,
        "images_seen": 96,
    }


def test_live_weights_and_a_part_of_the_real_images_can_be_scored() -> None:
    fid, model = FID(Pixels(), n_fake=40, n_real=30, ema=False), plain()
    trained(model, 3, digits(), callbacks=[fid])
    rows = torch.randperm(1500, generator=torch.Generator().manual_seed(0))[:30]
    real = digits().reference("train").image[rows]
    expected = distance_of(Pixels()(real), Pixels()(model.sample(40, live=True)))
    assert fid.scores["FID-pixels"] == pytest.approx(expected, rel=1e-6)
    assert (fid.cards["FID-pixels"]["weights"], fid.cards["FID-pixels"]["n_real"]) == ("live", 30)


def test_scores_come_once_for_each_multiple_of_generator_steps(tmp_path: Path) -> None:
    fid, witness, logger = FID(Pixels(), n_fake=40, every_n_steps=2), Witness(), CSVLogger(tmp_path)
    model = tiny("LSGAN", plain_networks(), adam(), n_critic=3)
    trained(model, 5, digits(), callbacks=[fid, witness], logger=logger)
    assert [step for step, _ in witness.read] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5]
    values = [value for _, value in witness.read]
    assert values[:5] == [None] * 5
    assert len(set(values[5:11])) == 1 and len(set(values[11:])) == 1 and values[5] != values[11]
    with open(Path(logger.log_dir, "metrics.csv")) as file:
        rows = [row for row in csv.DictReader(file) if row["FID-pixels"]]
    assert [int(row["step"]) for row in rows] == [2, 4, 5]
    assert float(rows[-1]["FID-pixels"]) == fid.scores["FID-pixels"]


def test_real_images_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = digits(), []
    images = data.reference("train")
    fetch = type(images).__getitems__
    monkeypatch.setattr(
        type(images), "__getitems__", lambda self, index: (read.append(len(index)), fetch(self, index))[1]
    )
    trained(plain(), 4, data, callbacks=[FID(Pixels(), n_fake=20, every_n_steps=1)])
    assert sum(n for n in read if n != 64) == 1500  # the others are training batches


def test_training_is_the_same_with_and_without_scores() -> None:
    witnesses = Witness(), Witness()
    without = weights_after([witnesses[0]], {})
    scored = weights_after([FID(every_n_steps=1, n_fake=100), witnesses[1]], {})
    assert_same(scored, without)
    assert_same(witnesses[1].random, witnesses[0].random)


def test_two_processes_score_what_one_scores(two_processes: list[dict]) -> None:
    fid = part_score()
    trained(plain(), 3, digits(), callbacks=[fid])
    for found in two_processes:
        assert found["logged"] == pytest.approx(fid.scores["FID-pixels"], rel=1e-5)
        assert found["n"] == [90, 70]
        assert_same(found["scored"], found["plain"])  # the batch statistics of each process too
    assert two_processes[0]["logged"] == two_processes[1]["logged"]


def test_what_cannot_be_scored_is_refused_before_training() -> None:
    for numbers in ({"n_fake": 1}, {"n_real": 1}, {"batch_size": 0}, {"every_n_steps": 0}):
        with pytest.raises(ValueError, match="FID"):
            FID(Pixels(), **numbers)
    with pytest.raises(ValueError, match="n_real=2000, Digits trains on 1500 images"):
        trained(plain(), 1, digits(), callbacks=[FID(Pixels(), n_real=2000)])
    points = Gaussians()
    with pytest.raises(ValueError, match="has points"):
        trained(tiny("LSGAN", plain_networks(), image_shape=points.image_shape), 1, points, callbacks=[FID(Pixels())])


def test_fewer_images_than_features_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="FID-pixels of 8 images: .* lacks full rank"):
        trained(plain(), 1, digits(), callbacks=[FID(Pixels(), n_fake=8)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lacks full rank")
        trained(plain(), 1, digits(), callbacks=[FID(Pixels(), n_fake=9)])
