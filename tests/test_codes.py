"""Scores of binary codes, against brute force and scikit-learn; the sets of patterns and patches they are taken of."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import Noisy, quiet
from sklearn.metrics import mutual_info_score
from torch import Tensor, nn

from gan_lightning import metrics
from gan_lightning.callbacks import CodeScores
from gan_lightning.core import Step
from gan_lightning.data import DigitPatches, FactorialPatterns
from gan_lightning.data.digits import Digits
from gan_lightning.data.patches import cut
from gan_lightning.models import DCGAN, PredictabilityMinimization


def some_bits(n: int = 500, units: int = 5) -> Tensor:
    """Dependent ones of unequal frequencies, one of them constant."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.rand(n, units, generator=generator) < torch.linspace(0.2, 0.7, units)
    bits[:, 1] ^= bits[:, 0] & bits[:, 2]
    bits[:, -1] = True
    return bits


def entropy_by_hand(rows: Tensor) -> float:
    counts: dict[tuple, int] = {}
    for row in rows.tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    return -sum(c / len(rows) * math.log2(c / len(rows)) for c in counts.values())


# Metrics


def test_pairwise_information_is_scikit_learns():
    bits = some_bits()
    found = metrics.mutual_information(bits)
    for i, j in itertools.product(range(bits.shape[1]), repeat=2):
        expected = mutual_info_score(bits[:, i].numpy(), bits[:, j].numpy()) / math.log(2)
        assert float(found[i, j]) == pytest.approx(expected, abs=1e-12)
    pairs = [float(found[i, j]) for i, j in itertools.combinations(range(bits.shape[1]), 2)]
    assert metrics.pairwise_information(bits) == pytest.approx((sum(pairs) / len(pairs), max(pairs)))
    assert max(pairs) > 0.02
    with pytest.raises(ValueError, match="at least two units"):
        metrics.pairwise_information(bits[:, :1])


def test_entropies_are_those_counted_by_hand():
    bits = some_bits()
    assert metrics.entropy(bits) == pytest.approx(entropy_by_hand(bits))
    singles = sum(entropy_by_hand(bits[:, [i]]) for i in range(bits.shape[1]))
    assert metrics.total_correlation(bits) == pytest.approx(singles - entropy_by_hand(bits))
    expected = entropy_by_hand(bits) - entropy_by_hand(bits[:, :2])
    assert metrics.conditional_entropy(bits, bits[:, :2]) == pytest.approx(expected)
    assert metrics.conditional_entropy(bits[:, :2], bits) == 0


def test_closed_forms_of_whole_and_copied_codes():
    every = torch.tensor(list(itertools.product([False, True], repeat=4)))
    assert metrics.entropy(every) == pytest.approx(4)
    assert metrics.total_correlation(every) == pytest.approx(0, abs=1e-12)
    copied = every[:, [0, 0, 1]]
    assert metrics.mutual_information(copied)[0, 1] == pytest.approx(1)
    assert metrics.total_correlation(copied) == pytest.approx(1)
    parity = torch.cat([every[:, :2], every[:, :1] ^ every[:, 1:2]], 1)  # no pair of them is dependent, all three are
    assert metrics.pairwise_information(parity) == pytest.approx((0, 0), abs=1e-12)
    assert metrics.total_correlation(parity) == pytest.approx(1)


def test_the_bias_is_what_is_said():
    """Of independent bits: the mean of many estimates against 1 / (2 n ln 2), and the same for total correlation."""
    n, units, generator = 1000, 4, torch.Generator().manual_seed(1)
    drawn = [torch.rand(n, units, generator=generator) < 0.5 for _ in range(200)]
    pairs = np.mean([metrics.pairwise_information(bits)[0] for bits in drawn])
    assert pairs == pytest.approx(1 / (2 * n * math.log(2)), rel=0.15)
    whole = np.mean([metrics.total_correlation(bits) for bits in drawn])
    assert whole == pytest.approx((2**units - units - 1) / (2 * n * math.log(2)), rel=0.15)


def test_recovery_is_a_table_of_the_even_examples_asked_for_the_odd():
    causes = torch.tensor([[0, 1], [0, 1], [1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 1]]).bool()
    bits = torch.tensor([[0], [0], [1], [1], [0], [0], [0], [1]]).bool()
    # Even ones: 0 -> 01 twice, 00 once; 1 -> 10. Odd ones: 0, 01 and 1, 10 are right; 0, 11 and 1, 11 are not.
    assert metrics.recovered(bits, causes) == 0.5
    assert metrics.recovered(~causes[:, [1, 0]][:4], causes[:4]) == 1
    assert metrics.recovered(causes[[0, 2]], causes[[0, 2]]) == 0  # a word that the table has not seen


def test_the_readout_against_a_loop():
    bits, image = some_bits(60, 3), torch.randn(60, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    x = np.c_[bits.numpy(), np.ones(60)].astype(float)
    target = image.flatten(1).double().numpy()
    affine = x @ np.linalg.lstsq(x[::2], target[::2], rcond=None)[0]
    errors = []
    for i in range(1, 60, 2):
        same = [target[j] for j in range(0, 60, 2) if bits[j].equal(bits[i])]
        errors.append((sum(same, affine[i]) / (len(same) + 1) - target[i]) ** 2)
    assert metrics.readout_error(bits, image) == pytest.approx(float(np.mean(errors)))


def test_fast_ica_undoes_a_linear_mixing_and_pca_does_not():
    data = FactorialPatterns(6, "linear", n=50_000)
    train, val = data.load("train").image, data.load("val")
    ica, pca = (metrics.linear_code(kind, train, val.image, 6) for kind in ("ica", "pca"))
    causes = data.bits(val.label)
    assert metrics.recovered(ica, causes) == 1 and metrics.recovered(pca, causes) < 0.95
    assert metrics.pairwise_information(pca)[0] > 10 * metrics.pairwise_information(ica)[0]
    assert metrics.linear_code("pca", train[:50, :3], val.image[:, :3], 6).shape == (5000, 3)  # no more than there are


def test_linear_codes_have_no_units_of_rounding():
    """Numbers that never vary, a first one too, and fewer dimensions than units: scikit-learn's NaN and noise."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(200, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    flat[:, [0, 3]] = torch.tensor([1.0, -1.0])
    for kind in ("pca", "ica"):
        code = metrics.linear_code(kind, flat, flat, 5)
        assert code.shape == (200, 2) and metrics.total_correlation(code) < 0.2
    assert metrics.linear_code("pca", torch.ones(9, 3), torch.ones(9, 3), 2).shape == (9, 0)


# Data


@pytest.mark.parametrize("mixing", ["linear", "nonlinear", "local"])
@pytest.mark.parametrize("causes", [4, 5, 6])
def test_patterns_are_invertible_and_within_range(mixing, causes):
    data = FactorialPatterns(causes, mixing, n=1000)
    every = data.patterns(torch.arange(2**causes)).flatten(1)
    assert every.shape[1] == data.image_shape[0] and every.abs().max() <= 1
    assert torch.pdist(every).min() > 0.1


def test_mixings_are_what_is_said():
    data, labels = FactorialPatterns(5, "linear"), torch.arange(32)
    signs = 2 * data.bits(labels).double() - 1
    x = data.patterns(labels).flatten(1).double()
    solution = torch.linalg.lstsq(signs, x)
    torch.testing.assert_close(signs @ solution.solution, x, rtol=0, atol=1e-6)
    torch.testing.assert_close(solution.solution.abs().sum(0), torch.ones(10).double())  # rows of A
    x = FactorialPatterns(5, "nonlinear").patterns(labels).flatten(1).double()
    assert (signs @ torch.linalg.lstsq(signs, x).solution - x).square().mean() > 1e-3  # not linear
    assert torch.linalg.matrix_rank(x, rtol=1e-5) == 5  # but as many dimensions
    local = FactorialPatterns(3, "local").patterns(torch.arange(8)).flatten(1)
    assert local.equal(2 * torch.eye(8) - 1)


def test_causes_are_independent_and_have_their_probabilities():
    data = FactorialPatterns(3, probability=[0.2, 0.5, 0.7], n=100_000)
    train, val = data.load("train"), data.load("val")
    bits = data.bits(train.label)
    torch.testing.assert_close(bits.double().mean(0), data.probability, rtol=0, atol=0.006)  # four deviations
    assert metrics.total_correlation(bits) < 1e-3
    assert len(val) == 10_000 and train.image.equal(FactorialPatterns(3, n=100_000).patterns(train.label))
    assert data.bits(torch.tensor([6])).tolist() == [[False, True, True]]


def test_noise_stays_within_range():
    noisy = FactorialPatterns(3, "linear", n=2000, noise=0.3).load("train")
    clean = FactorialPatterns(3, "linear", n=2000).load("train")
    assert noisy.label.equal(clean.label) and noisy.image.abs().max() <= 1
    inner = clean.image.abs() < 0.1  # never clamped
    assert (noisy.image - clean.image)[inner].std() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"causes": 17}, "1 to 16 causes"),
        ({"causes": 4, "dim": 3}, "at least 4"),
        ({"causes": 3, "mixing": "local", "dim": 9}, "must be 8"),
        ({"causes": 3, "probability": [0.5, 0.5]}, "3 causes need a probability"),
        ({"causes": 2, "probability": 1.0}, "probability in"),
        ({"causes": 2, "mixing": "quadratic"}, "mixing is"),
    ],
)
def test_patterns_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        FactorialPatterns(**arguments)


def test_patches_are_pieces_of_the_digits():
    data, digits = DigitPatches(size=5, image_size=8, n=200), Digits(8)
    found, images = data.load("val"), digits.load("val")
    assert found.image.shape == (20, 1, 5, 5) and found.image.dtype == torch.uint8
    windows = images.image.unfold(2, 5, 1).unfold(3, 5, 1)[:, 0]  # (N, 4, 4, 5, 5)
    for patch, label in zip(found.image[:, 0], found.label, strict=True):
        where = (windows == patch).flatten(3).all(3).flatten(1).any(1)
        assert where.any() and label in images.label[where]
    _, row = cut(images.image, 3000, 5, seed=0)
    assert len(row.unique()) == len(images)  # all digits take part
    assert data.load("val").image.equal(found.image)
    with pytest.raises(ValueError, match="size"):
        DigitPatches(size=9, image_size=8)


# The callback


class TrueCode(PredictabilityMinimization):
    """Knows the causes: its code is their bits, and its decoder gives back the pattern; to be measured, not trained."""

    def __init__(self, data: FactorialPatterns) -> None:
        super().__init__(data.image_shape, step=Step())
        self.data, self.patterns = data, data.patterns(torch.arange(2**data.causes)).flatten(1)

    def encode(self, image: Tensor) -> Tensor:
        return self.data.bits(torch.cdist(image.flatten(1), self.patterns).argmin(1)).float()


def test_scores_of_the_true_code():
    data = FactorialPatterns(5, n=20_000, batch_size=100)
    model, score = TrueCode(data), CodeScores(linear_examples=2000)
    quiet(max_steps=1, callbacks=[score]).fit(model, data)
    found, val = score.scores, data.load("val")
    causes = data.bits(val.label)
    assert found["recovered"] == 1 and found["unexplained"] == 0
    assert found["reconstruction"] < 1e-4  # but for the one example more
    assert found["code_entropy"] == pytest.approx(entropy_by_hand(causes))
    assert found["pairwise_mi"] == pytest.approx(metrics.pairwise_information(causes)[0])
    assert found["recovered/pca"] < 0.95 and found["total_correlation/pca"] > 10 * found["total_correlation"]
    assert found.keys() >= {"pairwise_mi/ica", "pairwise_mi_max/ica", "code_entropy/ica", "reconstruction/ica"}
    assert score.card["data_entropy"] == pytest.approx(entropy_by_hand(causes))
    assert score.card["bias"] == pytest.approx(1 / (2 * 2000 * math.log(2)))
    again = score.measure(model, data)[0]
    assert again == found  # deterministic


def test_scores_without_causes_have_the_decoders_error():
    data = DigitPatches(size=4, image_size=8, n=1000, batch_size=50)
    score = CodeScores(linear_examples=100)
    model = PredictabilityMinimization(data.image_shape, reconstruction_weight=1.0)
    quiet(max_steps=1, callbacks=[score]).fit(model, data)
    assert "recovered" not in score.scores and "reconstruction/ica" in score.scores
    image = data.on_after_batch_transfer(data.load("val").every, 0).image
    expected = nn.functional.mse_loss(model.reconstruct(image), image)
    assert score.scores["reconstruction/decoder"] == pytest.approx(float(expected), rel=1e-5)


def test_what_the_callback_refuses():
    with pytest.raises(ValueError, match="must not be negative"):
        CodeScores(linear_examples=-1)
    trainer = quiet(max_steps=1, callbacks=[CodeScores()])
    with pytest.raises(ValueError, match="model that makes codes"):
        trainer.fit(DCGAN((1, 16, 16)), Noisy())
