"""Scores over features: against closed forms, other libraries and double loops, on any batches and processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.distributed as dist
from conftest import draw, in_two_processes
from torch import Tensor

from gan_lightning.metrics import (
    FID,
    KID,
    PRDC,
    Features,
    Gaussian,
    InceptionScore,
    LabelAccuracy,
    MemorisationDistance,
    ModeCoverage,
    Reference,
    frechet_distance,
    linear_probe,
    load_reference,
    save_reference,
    to_uint8,
)
from gan_lightning.metrics import kid as kid_module
from gan_lightning.metrics.base import FeatureMetric


def distance_of(real: Tensor, fake: Tensor, batch: int = 64) -> float:
    metric = FID(real.shape[1])
    for part in real.split(batch):
        metric.update(Features(part), real=True)
    for part in fake.split(batch):
        metric.update(Features(part), real=False)
    return metric.compute().item()


# Images as bytes.


def test_bar_22_bytes_are_rounded_and_clamped_never_wrapped() -> None:
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
def test_bar_21_distance_is_that_of_the_matrix_square_root(dim: int) -> None:
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
    seen = FID(4)
    seen.update(Features(real), real=True)
    given = FID(4, real=seen.statistics(real=True))
    for metric in (seen, given):
        metric.update(Features(fake), real=False)
    assert given.compute().equal(seen.compute())
    assert given.statistics(real=True).n == 50
    with pytest.raises(ValueError, match="were given"):
        given.update(Features(real), real=True)
    with pytest.raises(ValueError, match="of 3 numbers, the features have 4"):
        FID(4, real=Gaussian(torch.zeros(3), torch.eye(3), 9))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    metric = FID(4)
    features = draw(7, 4)
    features[5, 2] = bad
    with pytest.raises(ValueError, match="1 of 7 fake features are not finite"):
        metric.update(Features(features), real=False)
    assert metric.fake_n == 0


def test_unusable_sets_are_refused() -> None:
    metric = FID(4)
    with pytest.raises(ValueError, match=r"must be \(B, 4\)"):
        metric.update(Features(draw(7, 5)), real=True)
    metric.update(Features(draw(7, 4)), real=True)
    metric.update(Features(draw(1, 4)), real=False)
    with pytest.raises(ValueError, match="at least 2 fake features, there are 1"):
        metric.compute()


def test_memory_is_flat_and_sums_stay_float64() -> None:
    metric = FID(4).half().float()
    held = {name: (state.shape, state.dtype) for name, state in metric.metric_state.items()}
    for _ in range(3):
        metric.update(Features(draw(1000, 4)), real=True)
    assert {name: (state.shape, state.dtype) for name, state in metric.metric_state.items()} == held
    assert metric.real_outer.dtype == torch.float64


# The other scores, against other programs.


def shown(metric: FeatureMetric, real: Tensor | None, fake: Tensor, logits: bool = False, batch: int = 64) -> tuple:
    """The figures of a metric that has seen these features (or logits)."""
    for kind, rows in (("real", real), ("fake", fake)):
        for part in () if rows is None else rows.split(batch):
            seen = Features(part, part) if logits else Features(part)
            metric.update(seen, real=kind == "real")
    values = metric.compute()
    return tuple(float(v) for v in (values if isinstance(values, tuple) else (values,)))


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    """Real and fake features that overlap in part."""
    return draw(150, 12), draw(130, 12, seed=1) * 0.8 + 0.5


def fidelity(name: str) -> object:
    return pytest.importorskip(f"torch_fidelity.metric_{name}")


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("splits", [1, 7, 10])
def test_bar_21_inception_score_is_that_of_torch_fidelity(splits: int, shuffle: bool) -> None:
    logits = draw(203, 20) * 3
    expected = fidelity("isc").isc_features_to_metric(logits, splits, shuffle)
    metric = InceptionScore(20, 203, splits, seed=2020 if shuffle else None)
    mean, deviation = shown(metric, None, logits, logits=True)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert deviation == pytest.approx(expected["inception_score_std"], rel=1e-7, abs=1e-12)


def test_inception_score_of_sure_and_even_predictions_is_the_number_of_classes() -> None:
    logits = 100 * torch.eye(5).repeat(20, 1)
    assert shown(InceptionScore(5, 100, 1), None, logits, logits=True)[0] == pytest.approx(5)
    assert shown(InceptionScore(5, 100, 4), None, torch.zeros(100, 5), logits=True)[0] == pytest.approx(1)


def test_inception_score_needs_its_images() -> None:
    with pytest.raises(ValueError, match="at least 20 images, not 19"):
        InceptionScore(3, 19)
    metric = InceptionScore(3, 20)
    with pytest.raises(ValueError, match="gives no logits"):
        metric.update(Features(draw(4, 3)), real=False)
    metric.update(Features(draw(15, 3), draw(15, 3)), real=False)
    with pytest.raises(ValueError, match="was to see 20 images, and saw 15"):
        metric.compute()
    with pytest.raises(ValueError, match="is shown number 20"):
        metric.update(Features(draw(6, 3), draw(6, 3)), real=False)


@pytest.mark.parametrize(("subsets", "size"), [(5, 100), (3, 7), (40, 120)])
def test_kid_is_that_of_torch_fidelity(sets: tuple[Tensor, Tensor], subsets: int, size: int) -> None:
    real, fake = sets
    settings = {"kid_subsets": subsets, "kid_subset_size": size, "verbose": False, "rng_seed": 2020}
    expected = fidelity("kid").kid_features_to_metric(fake.double(), real.double(), **settings)
    mean, deviation = shown(KID(12, subsets=subsets, subset_size=size), real, fake)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)
    assert deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-7)


def test_kid_needs_no_whole_kernel(sets: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown(KID(12, subsets=9, subset_size=100), *sets)
    monkeypatch.setattr(kid_module, "BLOCK", 17)
    assert shown(KID(12, subsets=9, subset_size=100), *sets) == pytest.approx(whole, rel=1e-12)


def test_kid_with_one_subset_of_all_is_the_unbiased_estimate() -> None:
    real, fake = draw(40, 3).double(), draw(40, 3, seed=1).double() + 1

    def kernel(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    pairs = [(i, j) for i in range(40) for j in range(40)]
    within = sum(kernel(s[i], s[j]) for s in (real, fake) for i, j in pairs if i != j) / (40 * 39)
    across = sum(kernel(real[i], fake[j]) for i, j in pairs) / 40**2
    mean, deviation = shown(KID(3, subsets=1, subset_size=40), real, fake)
    assert mean == pytest.approx(within - 2 * across, rel=1e-5)  # rows are kept in float32
    assert deviation == 0


def double_loop(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage by their definitions, one pair of images at a time."""
    real, fake = real.double(), fake.double()

    def radius(rows: Tensor, i: int) -> float:
        return sorted(float((rows[i] - rows[j]).norm()) for j in range(len(rows)) if j != i)[k - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    fake_radius = [radius(fake, j) for j in range(len(fake))]
    distance = [[float((r - f).norm()) for f in fake] for r in real]
    rows, columns = range(len(real)), range(len(fake))
    precision = sum(any(distance[i][j] <= real_radius[i] for i in rows) for j in columns) / len(fake)
    recall = sum(any(distance[i][j] <= fake_radius[j] for j in columns) for i in rows) / len(real)
    density = sum(distance[i][j] <= real_radius[i] for i in rows for j in columns) / (k * len(fake))
    coverage = sum(any(distance[i][j] <= real_radius[i] for j in columns) for i in rows) / len(real)
    return precision, recall, density, coverage


@pytest.mark.parametrize("k", [1, 3, 5])
def test_prdc_is_that_of_a_double_loop(k: int) -> None:
    real, fake = draw(40, 3), draw(31, 3, seed=1) + 0.7
    figures = shown(PRDC(3, k=k), real, fake)
    assert figures == pytest.approx(double_loop(real, fake, k), rel=1e-12)
    assert 0 < figures[0] < 1 and 0 < figures[1] < 1


def test_precision_and_recall_are_those_of_torch_fidelity(sets: tuple[Tensor, Tensor]) -> None:
    real, fake = sets
    settings = {"prc_neighborhood": 3, "prc_batch_size": 50, "save_cpu_ram": False, "verbose": False}
    expected = fidelity("prc").prc_features_to_metric(fake, real, **settings)
    precision, recall, *_ = shown(PRDC(12, k=3), real, fake)
    assert precision == pytest.approx(expected["precision"], abs=1e-4)
    assert recall == pytest.approx(expected["recall"], abs=1e-4)


def test_prdc_of_a_set_with_itself_and_with_a_far_one() -> None:
    real = draw(60, 4)
    precision, recall, density, coverage = shown(PRDC(4), real, real)
    assert (precision, recall, coverage) == (1, 1, 1) and density >= 1
    assert shown(PRDC(4), real, real + 1000) == (0, 0, 0, 0)
    same = torch.ones(20, 4)
    assert shown(PRDC(4), same, same)[:2] == (1, 1)
    with pytest.raises(ValueError, match="k=5 needs more than 5 fake images, there are 4"):
        shown(PRDC(4), real, real[:4])


def test_memorisation_is_the_least_cosine_distance(sets: tuple[Tensor, Tensor]) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    real, fake = sets
    expected = 1 - np.abs(cosine_similarity(fake.double().numpy(), real.double().numpy())).max(1)
    assert shown(MemorisationDistance(12), real, fake)[0] == pytest.approx(expected.mean(), rel=1e-6)
    metric = MemorisationDistance(12, real)
    metric.update(Features(real[[7, 3]]), real=False)
    distance, nearest = metric.nearest()
    assert nearest.tolist() == [7, 3]
    assert distance.abs().max() < 1e-7


def test_modes_and_their_evenness() -> None:
    logits = 9.0 * torch.eye(4)[torch.tensor([0, 0, 1, 2])]
    modes, divergence = shown(ModeCoverage(4), None, logits, logits=True)
    share = np.array([0.5, 0.25, 0.25])
    assert modes == 3
    assert divergence == pytest.approx((share * np.log(share * 4)).sum())
    assert shown(ModeCoverage(4), None, torch.eye(4), logits=True)[1] == pytest.approx(0, abs=1e-12)


def test_label_accuracy_is_the_share_of_labels_that_were_asked_for() -> None:
    metric = LabelAccuracy()
    logits = torch.eye(3)[torch.tensor([0, 1, 2, 2])]
    metric.update(Features(logits, logits, torch.tensor([0, 1, 1, 2])), real=False)
    assert metric.compute().item() == 0.75
    with pytest.raises(ValueError, match="no class was asked for"):
        metric.update(Features(logits, logits), real=False)


def test_a_linear_probe_finds_what_is_linear_and_nothing_else() -> None:
    features = draw(2000, 10)
    label = (features @ draw(10, 3, seed=1)).argmax(1)
    (x, test_x), (y, test_y) = features.split([1500, 500]), label.split([1500, 500])
    assert linear_probe(x, y, test_x, test_y)[0] > 0.9
    assert linear_probe(x, y.flip(0), test_x, test_y)[0] < 0.6
    order = y.argsort()  # a set sorted by class
    assert linear_probe(x[order], y[order], test_x, test_y)[0] > 0.9


@pytest.mark.parametrize("metric", [KID(12, subset_size=50), PRDC(12), MemorisationDistance(12)])
def test_rows_stand_in_the_order_of_their_numbers(metric: FeatureMetric, sets: tuple[Tensor, Tensor]) -> None:
    expected = shown(metric, *sets)
    metric.reset()
    for kind, rows in zip(("real", "fake"), sets, strict=True):
        for index in torch.randperm(len(rows)).split(40):
            metric.update(Features(rows[index]), kind == "real", index)
    values = metric.compute()
    assert [float(v) for v in (values if isinstance(values, tuple) else (values,))] == pytest.approx(
        expected, rel=1e-12
    )
    metric.reset()
    with pytest.raises(ValueError, match="at least 2 real features, there are 0"):
        metric.compute()


def test_rows_are_copies_of_what_they_are_made_of() -> None:
    """One token of a transformer's output is a view, which would keep all tokens in memory."""
    metric = PRDC(8)
    metric.update(Features(torch.zeros(10, 257, 8)[:, 0]), real=True)
    (kept,) = metric.real_rows
    assert kept.untyped_storage().nbytes() == 10 * 8 * 4


# The real side on disk.


def test_a_reference_survives_its_file(tmp_path: Path, sets: tuple[Tensor, Tensor]) -> None:
    metric = FID(12)
    metric.update(Features(sets[0]), real=True)
    made = Reference(metric.statistics(real=True), sets[0], {"data": "x", "n_real": 150})
    save_reference(tmp_path / "deep" / "x.npz", made)
    read = load_reference(tmp_path / "deep" / "x.npz")
    assert read.protocol == made.protocol and read.gaussian.n == 150
    assert read.features.equal(sets[0]) and read.gaussian.covariance.equal(made.gaussian.covariance)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.npz"]


def test_files_of_pytorch_fid_are_read_and_read_ours(tmp_path: Path, sets: tuple[Tensor, Tensor]) -> None:
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    real, fake = (rows.double().numpy() for rows in sets)
    np.savez(tmp_path / "theirs.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    metric = FID(12, load_reference(tmp_path / "theirs.npz").gaussian)
    metric.update(Features(sets[1]), real=False)
    expected = fid_score.calculate_frechet_distance(
        real.mean(0), np.cov(real, rowvar=False), fake.mean(0), np.cov(fake, rowvar=False)
    )
    assert metric.compute().item() == pytest.approx(expected, rel=1e-6)
    assert load_reference(tmp_path / "theirs.npz").gaussian.n is None
    save_reference(tmp_path / "ours.npz", Reference(metric.statistics(real=False)))
    mean, covariance = fid_score.compute_statistics_of_path(str(tmp_path / "ours.npz"), None, 1, 12, "cpu")
    np.testing.assert_allclose(mean, fake.mean(0), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(fake, rowvar=False), rtol=1e-6)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file of real statistics"):
        load_reference(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "odd.npz", mu=np.zeros(3), sigma=np.zeros((2, 2)))
    good = (tmp_path / "other.npz").read_bytes()
    (tmp_path / "locked.npz").write_bytes(good[:6] + b"\x01" + good[7:])  # the bit that says: encrypted
    for name in ("text", "other", "odd", "locked"):
        with pytest.raises(ValueError, match=f"{name}.npz"):
            load_reference(tmp_path / f"{name}.npz")


# Several processes.


def parts_of(rank: int, world: int) -> dict[str, FeatureMetric]:
    """Every score, having seen every `world`-th feature from `rank` on; one process sees but one of the reals."""
    real, fake, logits = draw(13, 4), draw(11, 4, seed=1) + 0.5, draw(11, 4, seed=2)
    made = {
        "FID": FID(4),
        "IS": InceptionScore(4, 11, 3),
        "KID": KID(4, subsets=5, subset_size=9),
        "PRDC": PRDC(4, k=2),
        "memorisation": MemorisationDistance(4),
        "modes": ModeCoverage(4),
        "labels": LabelAccuracy(),
    }
    for metric in made.values():
        if metric.needs:
            index = torch.arange(13) if world == 1 else torch.arange(12 * rank, 12 * rank + (1 if rank else 12))
            metric.update(Features(real[index]), True, index)
        index = torch.arange(rank, 11, world)
        metric.update(Features(fake[index], logits[index], index % 4), False, index)
    return made


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes found."""
    return in_two_processes(one_of_two, tmp_path_factory.mktemp("two"))


def one_of_two(folder: Path) -> dict[str, Any]:
    """What each process does."""
    rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=2)
    metrics = parts_of(rank, 2)
    found = {name: metric.compute() for name, metric in metrics.items()}
    found |= {"statistics": list(metrics["FID"].statistics(real=True)), "held": int(metrics["FID"].real_n)}
    empty = PRDC(4, k=1)  # a process that has seen nothing
    if rank == 0:
        empty.update(Features(draw(5, 4)), real=True)
        empty.update(Features(draw(6, 4, seed=1)), real=False)
    found["with an empty process"] = empty.compute()
    dist.destroy_process_group()
    return found


def test_bar_21_two_processes_find_what_one_finds(two_processes: list[dict]) -> None:
    for name, metric in parts_of(0, 1).items():
        for found in two_processes:
            torch.testing.assert_close(found[name], metric.compute(), rtol=1e-9, atol=1e-12)
    for found, own in zip(two_processes, (12, 1), strict=True):
        mean, _, n = found["statistics"]
        assert n == 13
        assert found["held"] == own  # each process still has its own part, to go on with
        torch.testing.assert_close(mean, draw(13, 4).double().mean(0))


def test_a_process_that_saw_nothing_takes_part(two_processes: list[dict]) -> None:
    alone = PRDC(4, k=1)
    alone.update(Features(draw(5, 4)), real=True)
    alone.update(Features(draw(6, 4, seed=1)), real=False)
    for found in two_processes:
        assert found["with an empty process"] == alone.compute()
