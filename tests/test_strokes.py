"""Slant, thickness and width of bars that are drawn with known ones, and rank correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from gan_lightning.metrics import breadth, rank_correlation, slant, thickness


def bar(lean: float, wide: float, rows: range = range(8, 32), side: int = 40) -> Tensor:
    """(1, 1, side, side) in [-1, 1]: in each of the rows `wide` columns are white, moved by `lean` a row upwards; a
    pixel that is white in part is as bright."""
    image = torch.zeros(side, side)
    middle = sum(rows) / len(rows)
    for y in rows:
        centre = side / 2 + lean * (middle - y)
        x = torch.arange(side)
        covered = torch.minimum(x + 1.0, torch.tensor(centre + wide / 2)) - torch.maximum(
            x + 0.0, torch.tensor(centre - wide / 2)
        )
        image[y] = covered.clamp(0, 1)
    return 2 * image[None, None] - 1


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.3, 0.7])
@pytest.mark.parametrize("wide", [2.0, 5.0])
def test_slant_of_a_bar(lean, wide):
    assert slant(bar(lean, wide)).item() == pytest.approx(lean, abs=2e-3)
    assert slant(bar(lean, wide).flip(3)).item() == pytest.approx(-lean, abs=2e-3)


def test_measures_do_not_change_with_place_and_contrast():
    image = bar(0.3, 4.0)
    moved, grey = image.roll((3, -2), (2, 3)), (image + 1) / 2 - 1
    for measure in (slant, thickness, breadth):
        for other in (moved, grey):
            torch.testing.assert_close(measure(other), measure(image), rtol=0.01, atol=0.003)
    assert [f(-torch.ones(1, 1, 8, 8)).item() for f in (slant, thickness, breadth)] == [0, 0, 0]


@pytest.mark.parametrize("wide", [2, 4, 6])
def test_thickness_of_an_upright_bar(wide):
    """Area w l, perimeter 2 (w + l), less what the diagonal saves at one corner."""
    perimeter = 2 * (wide + 24) - 2 + math.sqrt(2)
    assert thickness(bar(0.0, wide)).item() == pytest.approx(2 * wide * 24 / perimeter, rel=1e-6)
    lying = bar(0.0, wide).transpose(2, 3)
    assert thickness(lying).item() == pytest.approx(2 * wide * 24 / perimeter, rel=1e-6)


@pytest.mark.parametrize("lean", [0.3, 0.7])
def test_thickness_of_a_leaning_bar_is_across_it(lean):
    long = math.hypot(1, lean)
    for wide in (3.0, 5.0):
        expected = wide * 24 / (wide + 24 * long)  # of a parallelogram: its area, and two and two equal sides
        assert thickness(bar(lean, wide)).item() == pytest.approx(expected, rel=0.1)
    assert thickness(bar(lean, 5.0)) > 1.4 * thickness(bar(lean, 3.0))


@pytest.mark.parametrize("wide", [2, 4, 8])
def test_width_is_the_deviation_of_columns(wide):
    assert breadth(bar(0.0, wide)).item() == pytest.approx(np.std(np.arange(wide)))


def test_rank_correlation_by_hand_and_by_scipy():
    """1 - 6 sum d^2 / (n (n^2 - 1)) without ties; a monotone function changes nothing; a constant follows nothing."""
    a = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]])
    b = torch.tensor([[1.0, 40.0], [3.0, 3.0], [2.0, 2.0], [4.0, 1.0]])
    expected = torch.tensor([[1 - 6 * 2 / (4 * 15), -1.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(rank_correlation(a, b), expected)
    x, y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).round(decimals=1).unbind(1)
    assert rank_correlation(x[:, None], y[:, None]).item() == pytest.approx(spearmanr(x, y).statistic)
