"""BigGAN (arXiv:1809.11096): what reproductions lose."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import SHAPE, Noisy, quiet, tiny, trained, within_turn
from scipy import stats
from torch import Tensor

from gan_lightning import losses
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep
from gan_lightning.noise import truncated_normal


def test_penalty_is_on_the_off_diagonal_only():
    """Rows of any length that are orthogonal cost nothing; written out as a double loop otherwise."""
    orthogonal = torch.linalg.qr(torch.randn(6, 6))[0] * torch.arange(1.0, 7.0)[:, None]
    assert losses.off_diagonal_penalty([orthogonal.view(6, 3, 2)]).item() < 1e-8
    weights = [torch.randn(3, 2, 2), torch.randn(4, 5)]
    expected = 0.0
    for rows in (weight.flatten(1) for weight in weights):
        expected += sum(float(rows[i] @ rows[j]) ** 2 for i in range(len(rows)) for j in range(len(rows)) if i != j)
    assert losses.off_diagonal_penalty(weights).item() == pytest.approx(expected, rel=1e-5)


def test_penalty_is_the_generators_without_its_embedding():
    model = tiny("BigGAN", orthogonal_weight=0.5)
    model.trainer = quiet()
    batch = Labeled(torch.zeros(4, *SHAPE), torch.zeros(4, dtype=torch.int64))

    def penalty(player: str) -> Tensor | None:
        with within_turn(model):
            return getattr(model, f"{player}_loss")(batch).get("orthogonal")

    assert penalty("discriminator") is None
    before = penalty("generator").detach()
    filters = [m.parametrizations.weight.original for m in model.generator.modules() if hasattr(m, "parametrizations")]
    torch.testing.assert_close(before, 0.5 * losses.off_diagonal_penalty(filters).detach())
    with torch.no_grad():
        model.generator.embedding.weight.normal_()
        model.discriminator.linear.parametrizations.weight.original.normal_()
    torch.testing.assert_close(penalty("generator").detach(), before)


def test_penalty_is_exact_under_bfloat16():
    weight = torch.randn(16, 64)
    with torch.autocast("cpu", torch.bfloat16):
        value = losses.off_diagonal_penalty([weight])
    torch.testing.assert_close(value, losses.off_diagonal_penalty([weight]), rtol=0, atol=0)


@pytest.mark.parametrize("limit", [0.1, 0.5, 2.0])
def test_truncated_latents_have_the_truncated_distribution(limit):
    """Kolmogorov-Smirnov against scipy's; each number keeps its quantile, so that it moves continuously."""
    z = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    truncated = truncated_normal(z, limit)
    assert truncated.abs().max() <= limit and truncated.dtype == z.dtype
    assert stats.kstest(truncated.numpy(), stats.truncnorm(-limit, limit).cdf).pvalue > 0.01
    assert torch.equal(truncated.argsort(), z.argsort())
    torch.testing.assert_close(truncated_normal(z, 30.0), z)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_truncation_must_be_positive(limit):
    with pytest.raises(ValueError, match="truncation must be positive"):
        tiny("BigGAN").truncate(torch.zeros(1, 6), limit)


def test_average_begins_when_it_is_told_to():
    """`ema_start` of the published settings: until then sampling shows the trained weights."""
    model = tiny("BigGAN", n_critic=1, step=ImageStep(ema_start=2, ema_half_life=1e6, ema_rampup=None))

    def apart() -> bool:
        pairs = zip(model.generator.parameters(), model.ema.network.parameters(), strict=True)
        return any(not torch.equal(a, b) for a, b in pairs)

    trained(model, 2, Noisy())
    assert not apart()
    trained(model, 1, Noisy())
    assert apart()
