"""The spectrum of images: the peaks that an upsampling network leaves at the frequencies of its grid."""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = (2, 3, 4)  # bins beside a peak; the window spreads a line over one bin on each side
ROUNDING = (2 / 255) ** 2 / 12  # variance of the rounding of [-1, 1] to bytes: a line below it is in no file


def grid_peak(image: Tensor, period: int = 4) -> float:
    """How far a regular grid stands out of the spectrum of images, in decibels; about 0 without one.

    A chequerboard of upsampling by `period` (Odena et al. 2016, doi:10.23915/distill.00003) has its power at the
    multiples of 1/`period` cycles per pixel. The power spectra of all rows are averaged, and those of all columns, each
    under a Hann window, which keeps slow changes out of these frequencies. The figure is the greatest ratio, over the
    frequencies and both axes, of the power there to its mean two to four bins to either side.

    Args:
        image: (n, c, h, w) in [-1, 1].
        period: pixels after which a grid repeats.

    Raises:
        ValueError: a side below 8 periods: the bins beside two peaks would be the same.
    """
    if min(image.shape[2:]) < 8 * period or period < 2:
        raise ValueError(
            f"a grid of {period} pixels shows in images of at least {8 * period} pixels, not {tuple(image.shape[2:])}"
        )
    image = image.detach().double()
    return max(_line(image, period), _line(image.mT, period))


def _line(rows: Tensor, period: int) -> float:
    """The greatest ratio, in decibels, of the rows' (..., n) mean spectrum."""
    n = rows.shape[-1] // period * period  # the frequencies are then bins
    window = torch.hann_window(n, dtype=rows.dtype, device=rows.device)
    power = torch.fft.fft(rows[..., :n] * window).abs().square().flatten(0, -2).mean(0)
    power = power + ROUNDING * window.square().sum()
    offsets = torch.tensor([*NEIGHBOURS, *(-k for k in NEIGHBOURS)], device=rows.device)
    ratios = [power[bin] / power[(bin + offsets) % n].mean() for bin in range(n // period, n // 2 + 1, n // period)]
    return float(10 * torch.stack(ratios).max().log10())
