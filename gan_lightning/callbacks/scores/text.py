"""Scores of a generator of sequences: likelihood, likeness to real sentences, and diversity."""

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
    """Scores of a :class:`SequenceGenerator`, from sequences that it generates and from held-out sequences of the data.

    The figures, in this order:

    - `NLL_oracle`, only where the data has an `oracle`, the model that drew the data's sequences: the mean negative
      log-likelihood, in nats, of the generated tokens under the oracle. This figure also falls if the generator always
      generates the same few likely sequences.
    - `NLL_generator`: the mean negative log-likelihood, in nats, of the held-out tokens under the generator. This
      figure rises in that case.
    - `BLEU-2` to `BLEU-5`, only where the data has no oracle: the mean of :func:`metrics.bleu` over the generated
      sentences; the held-out sentences are the references.
    - `self-BLEU-2` to `self-BLEU-5`: the mean of :func:`metrics.self_bleu` over the generated sentences.
    - `distinct`: the number of different generated sentences, divided by the number of generated sentences.

    A likelihood is first averaged within each sequence, then over the sequences. A sentence ends before its first
    padding token; in the sequences of an oracle every token is a word. Every process computes all figures, and the
    figures of the first process count.

    Args:
        n: number of generated sequences.
        references: number of held-out sequences, from the first on; None for all.
        bleu: whether BLEU and self-BLEU are computed.
        order: the greatest n of the n-grams in BLEU and self-BLEU, at least 2.
        seed: of the generated sequences, the same at every step.
        batch_size: sequences that are computed at a time; it changes figures by rounding errors only.
        when: when the scores are taken.

    Raises:
        ValueError: at construction, numbers that make no score; in `check`, a model that generates no sequences, data
            without sequences, or fewer held-out sequences than `references`; in `setup`, a second callback of this
            kind; in `measure` and in training, a likelihood that is not finite.
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
        """The mean over sentences for each order from 2 on, of values (n, order)."""
        return {f"{kind}-{k}": value for k, value in enumerate(values.mean(0).tolist(), 1) if k > 1}

    def _nll(self, name: str, judge: Any, token: Tensor) -> float:
        """The mean negative log-likelihood, in nats, of sequences (n, length) under a module, on the module's device.

        Raises:
            ValueError: the mean is not finite.
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
