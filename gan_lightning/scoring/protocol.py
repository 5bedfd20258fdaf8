"""Which images a score compares, and what is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gan_lightning.metrics import Extractor, Reference
from gan_lightning.metrics.base import FeatureMetric


@dataclass(frozen=True)
class Protocol:
    """Which images a score compares.

    Attributes:
        n_fake: number of generated images. If it is not above the number of features, FID is mostly bias.
        n_real: number of real images, drawn without replacement; None for all of them, for KID and PRDC at most
            `n_fake`.
        split: the split of the data that the real images come from, "train" or "val".
        weights: "ema" for the generator's first average, the name of another that the model keeps, or "live" for the
            weights that are trained.
        seed: of the latents; for a folder of fakes, of the choice among its images.
        batch_size: images in a batch of the extractor; it changes a score by rounding errors only.
        stats: a file with statistics of the real images, from `evaluate stats` or in pytorch-fid's form; None for
            statistics from the cache, or from a pass over the real images.
        device: "model" if the extractor runs on the model's device, "cpu" for the CPU.
        standing: number of batches for the generator's standing statistics, see
            :meth:`ImageGenerator.standing_statistics`; 0 for the running averages of training.
        truncation: limit of the latents, see :meth:`ImageGenerator.truncate`; None for no truncation.

    Raises:
        ValueError: a number that makes no score.
    """

    n_fake: int = 10_000
    n_real: int | None = None
    split: str = "train"
    weights: str = "ema"
    seed: int = 0
    batch_size: int = 100
    stats: str | None = None
    device: Literal["model", "cpu"] = "model"
    standing: int = 0
    truncation: float | None = None

    def __post_init__(self) -> None:
        if self.n_fake < 2 or (self.n_real is not None and self.n_real < 2):
            raise ValueError(
                f"a score needs at least 2 images of each kind, not n_real={self.n_real} and n_fake={self.n_fake}"
            )
        if self.batch_size < 1:
            raise ValueError(f"the batch_size of a score must be positive, not {self.batch_size}")
        if self.standing < 0:
            raise ValueError(f"standing must be a number of batches, 0 for none, not {self.standing}")
        if self.truncation is not None and not 0 < self.truncation < math.inf:
            raise ValueError(f"truncation must be a number above 0, not {self.truncation}")

    def which_weights(self) -> dict[str, Any]:
        """The arguments of :meth:`ImageGenerator.weights`."""
        return {"live": self.weights == "live", "average": None if self.weights in ("ema", "live") else self.weights}


Source = Any  # numbered images, with __len__ and __getitems__(list of int) -> Labeled: an Examples, or Samples


class ScoreRequest(NamedTuple):
    """A score that :func:`scores_of` is to compute.

    Attributes:
        kind: the class of the metric.
        make: builds the metric from the extractor and the statistics of the real images (None where it needs none).
        protocol: which images are compared.
        fewest: the least number of real and of fake images.
        fitting: says, as a flag does, with which argument n images suffice; empty where there is none.
        flags: what stands before that argument on the command line.
    """

    kind: type[FeatureMetric]
    make: Callable[[Extractor, Reference | None], FeatureMetric]
    protocol: Protocol
    fewest: int = 2
    fitting: Callable[[int], str] = lambda n: ""
    flags: str = "--trainer.callbacks."

    def real_count(self, reals: Source | None) -> int | None:
        """The number of real images; None for all those of a file of statistics."""
        if reals is None or self.protocol.n_real is not None:
            return self.protocol.n_real
        return min(len(reals), self.protocol.n_fake) if self.kind.balanced else len(reals)
