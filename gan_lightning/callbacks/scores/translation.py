"""Scores of a translator: the distance to the wanted images, and the likeness to the images of the other domain."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from gan_lightning import metrics
from gan_lightning.callbacks.sample_grid import columns_of
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When, held_out
from gan_lightning.core import Translator
from gan_lightning.metrics import Extractor, Features, PairScores
from gan_lightning.metrics.extractor import full_float32
from gan_lightning.runtime.processes import from_first, greatest, place, together
from gan_lightning.scoring import Protocol, ScoreRequest, check_request, extractor_named, keeper


class TranslationScores(ScheduledScore):
    """Scores of a :class:`Translator`, from its translations of the first `n` validation samples.

    The figures:

    - For each of the model's `pairs`: `<pair>/l1`, `<pair>/psnr`, `<pair>/ssim` and `<pair>/features-<extractor>` (see
      :class:`metrics.PairScores`). If the name of the pair is "", there is no `<pair>/`.
    - For each of the model's `domains`: `fid/<domain>-<extractor>`, the Fréchet distance between the translated and
      the real images of the validation set.

    Without an extractor there are no features, hence no Fréchet distances. Several processes share the same batches.
    Each batch begins with its own random state, so that a model that draws noise in evaluation draws the same numbers
    at every step and on any number of processes.

    Args:
        extractor: computes the features. "data" is the extractor that the data names, or no extractor if it has no
            weights; None is no extractor.
        n: number of samples; None for the whole validation set.
        batch_size: samples that are translated at a time. It changes figures by rounding errors only, except for models
            that draw noise, and for StarGAN, which takes the wanted attributes from other samples of the batch.
        when: when the scores are taken.

    Raises:
        ValueError: at construction, numbers that make no score; in `check`, a model that is no translator, data that is
            of no data module of this package, fewer validation samples than `n`, or fewer than 2 for a Fréchet
            distance; in `setup`, a second callback of this kind; in `measure` and in training, images that are not
            finite.
    """

    def __init__(
        self,
        extractor: Extractor | Literal["data"] | None = "data",
        n: int | None = None,
        batch_size: int = 16,
        when: When = When(),
    ) -> None:
        super().__init__(when)
        if isinstance(extractor, str) and extractor != "data":
            raise ValueError(
                f'an extractor, "data" for the one that the data names, or null for none: not {extractor!r}'
            )
        if batch_size < 1 or (n is not None and n < 1):
            raise ValueError(
                f"TranslationScores: n ({n}; null takes all) and batch_size ({batch_size}) must be at least 1"
            )
        self.given, self.n, self.batch_size = extractor, n, batch_size
        self.extractor = extractor if isinstance(extractor, Extractor) else None

    def check(self, module: Translator, data: Any) -> None:
        super().check(module, data)
        model = type(module).__name__
        if not isinstance(module, Translator):
            raise ValueError(f"TranslationScores scores translators, and {model} is none: leave it out")
        if self.given == "data":
            self.extractor = self._named_by(data, module.device)
        if self.extractor is not None:
            self.extractor.require(data.image_shape[0])
        held = len(data.reference("val"))
        if held < (self.n or 1):
            raise ValueError(
                f"TranslationScores asks for {self.n or 'some'} validation samples, {data.name} has {held}"
            )
        count = self.n or held
        if module.domains and self.extractor is not None:
            if count < 2:
                raise ValueError(f"a Fréchet distance needs at least 2 validation samples of {data.name}, not 1")
            request = ScoreRequest(metrics.FID, lambda *_: self._distance(), Protocol(n_fake=count))
            check_request(request, self.extractor, range(count), range(count), data.name)
        elif not module.pairs:
            rank_zero_warn(f"there is nothing that TranslationScores can say of {model} without an extractor")

    @property
    def state_key(self) -> str:
        given = self.given.name if isinstance(self.given, Extractor) else self.given
        return self._generate_state_key(extractor=given, n=self.n)

    def compute(self, module: Translator, data: LightningDataModule) -> Measured:
        kept = keeper(module.device)
        pairs = {name: PairScores().to(kept) for name in module.pairs}
        domains = {name: self._distance().to(kept) for name in module.domains if self.extractor is not None}
        if self.extractor is not None:
            self.extractor.to(module.device)
        count = self.n or len(data.reference("val"))
        batches = torch.arange(count).split(self.batch_size) if pairs or domains else ()
        rank, world = place()
        for first in range(0, len(batches), world):
            with together(), full_float32():
                if first + rank < len(batches):
                    self._show(module, data, batches[first + rank].tolist(), pairs, domains)
        figures: dict[str, Tensor] = {}
        suffix = "" if self.extractor is None else f"-{self.extractor.name}"
        for pair, metric in pairs.items():
            for figure, value in metric.compute().items():
                name = f"{pair}/{figure}" if pair else figure
                figures[name + suffix if figure == "features" else name] = value
        for domain, metric in domains.items():
            figures[(f"fid/{domain}" if domain else "fid") + suffix] = metric.compute()
        how = {"n": count, "batch_size": self.batch_size, "extractor": "none"}
        if self.extractor is not None:
            seen = self.extractor
            how |= {"extractor": seen.name, "hash": seen.hash[:12], "resizer": seen.resizer}
        return from_first({name: float(value) for name, value in figures.items()}), held_out(data) | how

    def _distance(self) -> metrics.FID:
        return metrics.FID(self.extractor.feature_dim)

    def _named_by(self, data: Any, device: torch.device) -> Extractor | None:
        """The extractor that the data names; None where any process lacks its weights."""
        if self.extractor is not None and type(self.extractor).__name__ == data.extractor.rpartition(".")[2]:
            return self.extractor
        found, why = None, "another process lacks them"
        try:
            found = extractor_named(data.extractor)
        except FileNotFoundError as error:
            why = str(error)
        if greatest([found is None], device) == [0]:
            return found
        rank_zero_warn(f"TranslationScores leaves features out: the weights of {data.extractor} cannot be had ({why})")
        return None

    def _show(
        self,
        module: Translator,
        data: LightningDataModule,
        index: list[int],
        pairs: dict[str, PairScores],
        domains: dict[str, metrics.FID],
    ) -> None:
        """Show all metrics one batch: what the model makes of the samples of these numbers."""
        torch.manual_seed(index[0])
        columns = columns_of(data, module, index)
        seen: dict[str, Features] = {}

        def look(column: str) -> Features:
            if column not in seen:
                seen[column] = self.extractor(columns[column])
            return seen[column]

        for pair, metric in pairs.items():
            both = module.pairs[pair]
            features = None if self.extractor is None else tuple(look(column).pooled for column in both)
            metric.update(*(columns[column] for column in both), features)
        for domain, metric in domains.items():
            for column, real in zip(module.domains[domain], (False, True), strict=True):
                metric.update(look(column), real)
