"""What the pages of models without images compute: sentences, each word with its probability, and lists of items."""

from __future__ import annotations

import html
from typing import NamedTuple

from torch import Tensor

from gan_lightning.core import Ranker, SequenceGenerator
from gan_lightning.runtime.errors import printable
from gan_lightning.text import SPECIAL, caption_parts, of_characters, padded, spoken, tokens_of

END = "(end)"  # of a sentence, which is a token too


class Said(NamedTuple):
    """A sentence.

    Attributes:
        words: each with its probability, given those before it.
        nll: the mean negative log-likelihood of these tokens, in nats.
    """

    words: list[tuple[str, float]]
    nll: float


def read(module: SequenceGenerator, token: Tensor) -> list[Said]:
    """What a model says of sequences (n, length): the likelihood of each token up to the first padding."""
    ends = padded(module.vocabulary)
    counted = spoken(token) if ends else token == token
    names = [END if ends and place == 0 else word for place, word in enumerate(module.vocabulary)]
    found = []
    for row, log, those in zip(token.tolist(), module.log_likelihood(token), counted.sum(1).tolist(), strict=True):
        chances = log[:those].exp().tolist()
        words = [(names[one], chance) for one, chance in zip(row[:those], chances, strict=True)]
        found.append(Said(words, -float(log[:those].mean())))
    return found


def sentences(module: SequenceGenerator, n: int, seed: int) -> list[Said]:
    """Sentences 0 to n - 1 of a seed."""
    return read(module, module.sample(n, seed))


def judged(module: SequenceGenerator, text: str) -> list[Said]:
    """What a model says of a user's sentence; words that it does not know count as `<unk>`.

    Raises:
        ValueError: there is none, or it is longer than a sequence.
    """
    unit = "character" if of_characters(module.vocabulary) else "word"
    parts = caption_parts(text, unit)
    if not 1 <= len(parts) <= module.length:
        raise ValueError(f"the sentence has {len(parts)} {unit}s: the model reads 1 to {module.length}")
    return read(module, tokens_of([text], module.vocabulary, module.length).to(module.device))


def sheet(found: list[Said]) -> str:
    """An HTML table: a row for each sentence, its words coloured by their probability, which stands below them."""
    rows = []
    for said in found:
        cells = []
        for word, chance in said.words:
            style = f"background: rgba(37, 99, 235, {0.08 + 0.6 * chance:.2f})"
            kind = "word end" if word == END or word in SPECIAL else "word"
            text = html.escape(printable(word)).replace(" ", "\N{OPEN BOX}")
            cells.append(f'<span class="{kind}" style="{style}">{text}<small>{chance:.2g}</small></span>')
        rows.append(f"<tr><td>{''.join(cells)}</td><td>{said.nll:.3f}</td></tr>")
    head = "<tr><th>sentence; below each word its probability, given those before it</th><th>NLL</th></tr>"
    return f'<table class="sentences">{head}{"".join(rows)}</table>'


def recommended(module: Ranker, user: str, k: int) -> list[list[str]]:
    """Rows of a place, an item and its score: the k best items that a user has not chosen.

    Raises:
        ValueError: there is no such user, or fewer items are left.
    """
    items, scores = module.recommend(module.user_number(user), k)
    pairs = zip(items.tolist(), scores.tolist(), strict=True)
    return [[str(place), module.items[item], f"{score:.3f}"] for place, (item, score) in enumerate(pairs, 1)]
