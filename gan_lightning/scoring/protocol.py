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
        n_fake: generated images; more than the extractor has features, or FID is mostly bias.
        n_real: real images, drawn without replacement; None for all of them (for KID and PRDC as many as there are
            fakes, if there are).
        split: of the data that the real images are of: "train" or "val".
        weights: the generator's average, or the weights that are trained.
        seed: of the latents; of a folder of fakes, of the choice among them.
        batch_size: of images looked at at once; it moves a score by rounding errors only.
        stats: file of the real set's statistics (of `evaluate stats`, or of pytorch-fid's form); None to find
            them in the cache, or make them.
        device: where the extractor runs: with the model, or on the CPU.
        standing: batches of samples whose batch statistics the generator takes; 0 for the averages that training
            gathered. See :meth:`ImageGenerator.standing_statistics`.
        truncation: of the latents, see :meth:`ImageGenerator.truncate`; None for none.
    """

    n_fake: int = 10_000
    n_real: int | None = None
    split: str = "train"
    weights: Literal["ema", "live"] = "ema"
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


Source = Any  # numbered images, with __len__ and __getitems__(list of int) -> Labeled: an Examples, or Samples


class ScoreRequest(NamedTuple):
    """One score that is asked for."""

    kind: type[FeatureMetric]
    make: Callable[[Extractor, Reference | None], FeatureMetric]  # the metric, with the real set's side
    protocol: Protocol
    fewest: int = 2  # images of each kind that it needs
    fitting: Callable[[int], str] = lambda n: ""  # the argument that makes it do with n
    flags: str = "--trainer.callbacks."  # where that is said

    def real_count(self, reals: Source | None) -> int | None:
        """How many real images it compares with; None where these are a file of statistics."""
        if reals is None or self.protocol.n_real is not None:
            return self.protocol.n_real
        return min(len(reals), self.protocol.n_fake) if self.kind.balanced else len(reals)
