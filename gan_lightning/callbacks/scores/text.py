"""Scores of a generator of sequences while it trains: how likely, how like real ones, and how diverse they are."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from gan_lightning import metrics
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When, held_out
from gan_lightning.core import SequenceGenerator
from gan_lightning.runtime.processes import from_first, together
from gan_lightning.text import words


class TextScores(ScheduledScore):
    """What is said of generators of text, of a model's own sequences and of the data's held-out ones.

    Figures, in this order:

    - `NLL_oracle`, where the data has an `oracle` that its sequences are drawn from: the mean negative log-likelihood
      under it of a token that the model generates, in nats. It falls just as well when all sequences become alike.
    - `NLL_generator`: the mean negative log-likelihood of a held-out token under the model, in nats, which rises then.
      Both are means over sequences of each one's own mean.
    - `BLEU-2` to `BLEU-5`, where the data has no oracle: see :func:`metrics.bleu`, the mean over the sentences
      generated, with the held-out ones as references.
    - `self-BLEU-2` to `self-BLEU-5`: see :func:`metrics.self_bleu`, of the sentences generated.
    - `distinct`: the share of different ones among them.

    A sentence ends before its first padding; an oracle's sequences, in which every token is a word, do not. Logged as
    by every :class:`ScheduledScore`; every process computes all of it, and the first one's figures count.

    The model is a :class:`SequenceGenerator`. The oracle, a module or not, has an `nll` as such a model has.

    Args:
        n: sequences that the model generates.
        references: held-out sequences that are looked at, the first ones; None for all.
        bleu: compute BLEU and self-BLEU.
        order: the greatest n-grams of both, at least 2.
        seed: of the sequences generated, the same at every step.
        batch_size: of sequences looked at at once; it moves figures by rounding errors only.
        when: when the scores are taken.

    Raises:
        ValueError: at construction, numbers that make no score; in `setup`, a model that generates no sequences, data
            that has none, no or fewer than `references` held-out ones, or a second callback of this kind; in training,
            likelihoods that are not finite.
    """

    def __init__(
        self,
        n: int = 1000,
        references: int | None = None,
        bleu: bool = True,
        order: int = 5,
        seed: int = 0,
        batch_size: int = 100,
        when: When = When(),
    ) -> None:
        super().__init__(when)
        if n < 2 or order < 2:
            raise ValueError(f"TextScores compares at least 2 sequences by n-grams up to 2, not n={n}, order={order}")
        if batch_size < 1 or (references is not None and references < 1):
            raise ValueError(
                f"TextScores: batch_size ({batch_size}) and references ({references}; null takes all) must be positive"
            )
        self.n, self.references, self.bleu, self.order = n, references, bleu, order
        self.seed, self.batch_size = seed, batch_size

    def check(self, module: SequenceGenerator, data: Any) -> None:
        if not isinstance(module, SequenceGenerator):
            model = type(module).__name__
            raise ValueError(f"TextScores scores sequences, and {model} generates none: leave TextScores out")
        if getattr(data, "length", None) is None or not hasattr(data, "reference"):
            named = getattr(data, "name", type(data).__name__)
            raise ValueError(f"TextScores scores sequences, and {named} has none: use data such as TextLines")
        held = len(data.reference("val"))
        if held < (self.references or 1):
            raise ValueError(
                f"TextScores asks for {self.references or 'some'} held-out sequences, {data.name} has {held}"
            )

    @property
    def state_key(self) -> str:
        return self._generate_state_key(n=self.n, references=self.references, order=self.order, seed=self.seed)

    def compute(self, module: SequenceGenerator, data: LightningDataModule) -> Measured:
        held = data.reference("val")
        count = self.references or len(held)
        with together():
            real = held.__getitems__(list(range(count))).token
        figures = self._figures(module, getattr(data, "oracle", None), real)
        how = {"n": self.n, "references": count, "length": data.length, "seed": self.seed}
        return from_first(figures), held_out(data) | how

    def _figures(self, module: SequenceGenerator, oracle: Any, real: Tensor) -> dict[str, float]:
        made = []
        for part in torch.arange(self.n).split(self.batch_size):
            with together():
                made.append(module.sample(part.tolist(), self.seed).cpu())
        fake = torch.cat(made)
        figures = {} if oracle is None else {"NLL_oracle": self._nll("NLL_oracle", oracle, fake)}
        figures["NLL_generator"] = self._nll("NLL_generator", module, real)
        sentences = [row if oracle is not None else words(row) for row in fake.tolist()]
        with together():
            if self.bleu:
                if oracle is None:
                    references = [words(row) for row in real.tolist()]
                    figures |= self._means("BLEU", metrics.bleu(sentences, references, self.order))
                figures |= self._means("self-BLEU", metrics.self_bleu(sentences, self.order))
            return figures | {"distinct": metrics.distinct(sentences)}

    def _means(self, kind: str, values: Tensor) -> dict[str, float]:
        """By order, from 2 on, of (n, order)."""
        return {f"{kind}-{k}": value for k, value in enumerate(values.mean(0).tolist(), 1) if k > 1}

    def _nll(self, name: str, judge: Any, token: Tensor) -> float:
        """The mean of what a module, on the device where it is, says of sequences.

        Raises:
            ValueError: it is not finite.
        """
        tensors = chain(judge.parameters(), judge.buffers()) if isinstance(judge, nn.Module) else iter(())
        device = next(tensors, token).device
        values = []
        for part in token.split(self.batch_size):
            with together():
                values.append(judge.nll(part.to(device)).double())
        value = torch.cat(values).mean().item()
        if not abs(value) < float("inf"):
            raise ValueError(f"{name} is not finite: a token has no probability, or the weights hold NaN or infinity")
        return value
