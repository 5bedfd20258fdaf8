"""How close images that a network made are to those that they should equal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from gan_lightning.metrics.base import total

WINDOW = 11  # side of SSIM's Gaussian window, as in the paper


class PairScores(Metric):
    """Means over pairs of images, which any number of processes may share.

    `l1` is mean |a - b| and `psnr` 10 log10(1 / mean (a - b)^2) dB, of images in [0, 1], all channels and pixels of a
    pair together. `ssim` is that of Wang et al. 2004 (doi:10.1109/TIP.2003.819861) as torchmetrics computes it, in a
    Gaussian window of 11 x 11 pixels (deviation 1.5), borders reflected; images smaller than the window have none,
    rather than one of another window that would not compare. `features` is the squared distance |u - v|^2, in [0, 4],
    of an extractor's features u and v of unit length: the idea of LPIPS (Zhang et al. 2018, arXiv:1801.03924) with one
    layer and no learned weights, and not its number.

    Each figure is the mean of the pairs' own figures, so one pair of equal images has, and gives, infinite `psnr`.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=total)
        self.add_state("n", torch.zeros((), dtype=torch.int64), "sum")
        for name in ("l1", "psnr", "ssim", "features"):
            self.add_state(f"{name}_sum", torch.zeros((), dtype=torch.float64), "sum")
        for name in ("ssim", "features"):
            self.add_state(f"{name}_n", torch.zeros((), dtype=torch.int64), "sum")

    def update(self, made: Tensor, wanted: Tensor, features: tuple[Tensor, Tensor] | None = None) -> None:
        """Add pairs.

        Args:
            made, wanted: (n, C, H, W) floats in [-1, 1]; values outside are clamped, as writing a file does.
            features: (n, D) of both; None for no distance of features.

        Raises:
            ValueError: the images are of different shapes, or not finite.
        """
        if made.shape != wanted.shape:
            raise ValueError(f"images of {tuple(made.shape[1:])} do not compare with {tuple(wanted.shape[1:])}")
        if not (made.isfinite().all() and wanted.isfinite().all()):
            raise ValueError("the images are not finite: they hold NaN or infinity")
        a, b = ((x.detach().to(self.device).double().clamp(-1, 1) + 1) / 2 for x in (made, wanted))
        self.n += len(a)
        self.l1_sum += (a - b).abs().flatten(1).mean(1).sum()
        self.psnr_sum += (-10 * (a - b).square().flatten(1).mean(1).log10()).sum()
        if min(a.shape[2:]) >= WINDOW:
            ssim = structural_similarity_index_measure(a, b, kernel_size=WINDOW, data_range=1.0, reduction="none")
            self.ssim_sum += ssim.sum()
            self.ssim_n += len(a)
        if features is not None:
            u, v = (F.normalize(x.detach().to(self.device).double(), dim=1) for x in features)
            self.features_sum += (u - v).square().sum()
            self.features_n += len(a)

    def compute(self) -> dict[str, Tensor]:
        """The figures that there are, float64 scalars, the same on every process (each must call).

        Raises:
            ValueError: no pairs at all.
        """
        if self.n == 0:
            raise ValueError("there are no pairs of images to compare")
        figures = {"l1": self.l1_sum / self.n, "psnr": self.psnr_sum / self.n}
        if self.ssim_n > 0:
            figures["ssim"] = self.ssim_sum / self.ssim_n
        if self.features_n > 0:
            figures["features"] = self.features_sum / self.features_n
        return figures
