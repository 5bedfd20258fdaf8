"""How like real sentences generated ones are, and how like each other: BLEU and self-BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

Sentence = Sequence[Hashable]  # words or tokens

EPSILON = 0.1  # matches that an order without any is given


def bleu(sentences: Sequence[Sentence], references: Sequence[Sentence], order: int = 5) -> Tensor:
    """BLEU of each sentence with all the references (Papineni et al. 2002, doi:10.3115/1073083.1073135).

    BLEU-n is min(1, exp(1 - r / c)) (p_1 ... p_n)^(1/n): c is the sentence's length, r the reference's whose length is
    the closest (the shorter of two), and p_k the share of the sentence's k-grams that the references have too, each
    counted no more often than in the reference that has it most often. An order without a match counts 0.1 matches (the
    first smoothing of Chen and Cherry 2014, doi:10.3115/v1/W14-3346), of one where the sentence is shorter, so that of
    short ones BLEU-5 may exceed BLEU-4; but a sentence without any word of the references, an empty one too, has BLEU
    0. Equal to `sentence_bleu` of nltk with that smoothing, whose mean over the sentences is the figure of Texygen (Zhu
    et al. 2018, arXiv:1802.01886); the references are counted once here, not once for each sentence.

    Args:
        sentences: n of them.
        references: at least one.
        order: the greatest n.

    Returns:
        (n, order) float64 in [0, 1]: BLEU-1 to BLEU-`order`.

    Raises:
        ValueError: no references, or an order below 1.
    """
    if not len(references):
        raise ValueError("BLEU compares with reference sentences, and there are none")
    most = _Most(references, order)
    return torch.tensor([most.bleu(s) for s in sentences], dtype=torch.float64).reshape(-1, order)


def self_bleu(sentences: Sequence[Sentence], order: int = 5) -> Tensor:
    """BLEU of each sentence with all the others as references (Zhu et al. 2018, arXiv:1802.01886).

    The greater, the less diverse the sentences are. Empty ones have 0, with each other too.

    Args:
        sentences: n of them, at least two.
        order: the greatest n-grams.

    Returns:
        (n, order) float64 in [0, 1]; see :func:`bleu`.

    Raises:
        ValueError: fewer than two sentences, or an order below 1.
    """
    if len(sentences) < 2:
        raise ValueError(f"self-BLEU compares sentences with each other and needs 2, not {len(sentences)}")
    most = _Most(sentences, order)
    return torch.tensor([most.bleu(s, itself=True) for s in sentences], dtype=torch.float64)


def distinct(sentences: Sequence[Sentence]) -> float:
    """How many different sentences there are, as a share of all: 1 where none is repeated.

    Raises:
        ValueError: there are no sentences.
    """
    if not len(sentences):
        raise ValueError("there are no sentences to tell apart")
    return len(set(map(tuple, sentences))) / len(sentences)


def _ngrams(sentence: Sentence, n: int) -> Counter[tuple]:
    """How often each n-gram occurs."""
    return Counter(zip(*(sentence[k:] for k in range(n)), strict=False))


class _Most:
    """How often each n-gram occurs in the reference that has it most often, and in the one that comes next.

    The second of the two is what leaving out one reference leaves: if the sentence that is left out has an n-gram as
    often as any, the next has it most often among the others.
    """

    def __init__(self, references: Sequence[Sentence], order: int) -> None:
        if order < 1:
            raise ValueError(f"BLEU is of n-grams of at least 1 word, not {order}")
        self.order = order
        self.most: dict[tuple, int] = {}
        self.next: dict[tuple, int] = {}
        self.lengths = Counter(map(len, references))
        for reference in references:
            for n in range(1, order + 1):
                for gram, count in _ngrams(reference, n).items():
                    if count > self.most.get(gram, 0):
                        self.next[gram], self.most[gram] = self.most.get(gram, 0), count
                    elif count > self.next[gram]:
                        self.next[gram] = count

    def bleu(self, sentence: Sentence, itself: bool = False) -> list[float]:
        """BLEU-1 to BLEU-`order`; with `itself` the sentence is one of the references, and is left out of them."""
        logarithms = []
        for n in range(1, self.order + 1):
            counts = _ngrams(sentence, n)
            matches = sum(min(count, self._elsewhere(gram, count, itself)) for gram, count in counts.items())
            if n == 1 and not matches:
                return [0.0] * self.order
            logarithms.append(math.log((matches or EPSILON) / max(counts.total(), 1)))
        c = len(sentence)
        others = [length for length, count in self.lengths.items() if count > (itself and length == c)]
        r = min(others, key=lambda length: (abs(length - c), length))
        brevity = min(1.0, math.exp(1 - r / c))
        return [brevity * math.exp(math.fsum(logarithms[:n]) / n) for n in range(1, self.order + 1)]

    def _elsewhere(self, gram: tuple, count: int, itself: bool) -> int:
        most = self.most.get(gram, 0)
        return self.next[gram] if itself and count == most else most
