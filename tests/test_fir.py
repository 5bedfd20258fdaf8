"""Resampling by filters, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import draw
from scipy import signal
from torch import Tensor

from gan_lightning.networks import fir

ASYMMETRIC = (1.0, 2.0, 4.0, 5.0)


@pytest.fixture(params=[128, 0], ids=["matrices", "convolutions"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way to compute the same."""
    monkeypatch.setattr(fir, "MATRIX", request.param)


def by_scipy(x: Tensor, taps: tuple[float, ...], up: int, down: int, first: int, sides: tuple[int, int]) -> Tensor:
    """`scipy.signal.upfirdn` along both sides, its full answer from `first` on, every `down`-th of it."""
    y, line = x.numpy(), np.array(taps) / sum(taps) * up
    for axis, side in zip((2, 3), sides, strict=True):
        full = signal.upfirdn(line, y, up=up, axis=axis)
        full = np.concatenate([full, np.zeros_like(full)], axis)  # as much beyond the end as is asked for
        y = np.take(full, range(first, first + side * down, down), axis)
    return torch.from_numpy(y)


@pytest.mark.parametrize("taps", [fir.BILINEAR, ASYMMETRIC, (1.0, 2.0, 1.0)])
def test_resampling_is_scipys(taps):
    """The full answer begins len(taps) - 1 before the first pixel, less the zeros that are put there."""
    x, k = draw(2, 3, 6, 10).double(), len(taps)
    torch.testing.assert_close(fir.upsample(x, taps), by_scipy(x, taps, 2, 1, k - 1 - (k + 1) // 2, (12, 20)))
    torch.testing.assert_close(fir.downsample(x, taps), by_scipy(x, taps, 1, 2, k - 1 - (k - 1) // 2, (3, 5)))
    if k % 2:
        torch.testing.assert_close(fir.blur(x, taps), by_scipy(x, taps, 1, 1, k // 2, (6, 10)))


@pytest.mark.parametrize(("up", "down", "before", "after"), [(3, 1, 2, 2), (2, 1, -1, 4), (1, 3, 3, 0), (1, 1, -1, 3)])
def test_padding_and_cropping_are_scipys(up, down, before, after):
    x, k = draw(1, 2, 7, 5).double(), len(ASYMMETRIC)
    sides = tuple((side * up + before + after - k) // down + 1 for side in (7, 5))
    expected = by_scipy(x, ASYMMETRIC, up, down, k - 1 - before, sides)
    torch.testing.assert_close(fir.resample(x, ASYMMETRIC, up, down, before, after), expected)


def test_a_constant_image_stays_what_it_is_within():
    x = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(fir.upsample(x)[..., 2:-2, 2:-2], torch.ones(1, 1, 12, 12))
    torch.testing.assert_close(fir.downsample(x)[..., 1:-1, 1:-1], torch.ones(1, 1, 2, 2))
    assert fir.upsample(x)[0, 0, 0, 0] == 0.75**2  # outside of the image everything is 0


def test_convolutions_come_before_the_filter_going_up_and_after_it_going_down():
    """The definition: zeros between pixels, the filter, a convolution; and the filter, a convolution, every other."""
    x, weight, bias = draw(2, 3, 6, 10).double(), draw(4, 3, 3, 3, seed=1).double(), draw(4, seed=2).double()
    spread = fir.resample(x, ASYMMETRIC, up=2, before=3, after=2)  # one pixel more on each side for the convolution
    expected = F.conv2d(spread, weight.flip(2, 3))
    torch.testing.assert_close(fir.upsampling_conv2d(x, weight, ASYMMETRIC), expected)
    dense = F.conv2d(fir.resample(x, ASYMMETRIC, before=2, after=2), weight, bias)[..., ::2, ::2]
    torch.testing.assert_close(fir.downsampling_conv2d(x, weight, bias, ASYMMETRIC), dense)
    pixel = weight[..., :1, :1]
    expected = F.conv2d(fir.downsample(x, ASYMMETRIC), pixel)
    torch.testing.assert_close(fir.downsampling_conv2d(x, pixel, taps=ASYMMETRIC), expected)


@pytest.mark.parametrize("run", [fir.upsample, fir.downsample, fir.blur, fir.upsampling_conv2d])
def test_double_backward(run):
    x = draw(1, 2, 4, 4).double().requires_grad_()
    weight = [draw(2, 2, 3, 3).double().requires_grad_()] if run is fir.upsampling_conv2d else []
    assert torch.autograd.gradcheck(run, (x, *weight)) and torch.autograd.gradgradcheck(run, (x, *weight))


def test_kernels_that_were_made_in_inference_train_too():
    fir._MADE.clear()
    with torch.inference_mode():
        fir.upsample(torch.ones(1, 1, 4, 4))
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    fir.upsample(x).sum().backward()
    assert x.grad.any()
