"""What tokens mean: the two that are no words of a text, and how a sequence of tokens is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

PADDING = 0  # begins a sentence that is generated, and stands behind the last word up to the sequence's end
UNKNOWN = 1  # stands for every word that is not in the vocabulary
SPECIAL = ("<pad>", "<unk>")  # their names, the first of every vocabulary
SPACE = " "  # follows them in a vocabulary of characters; no word is one


def padded(vocabulary: Sequence[str]) -> bool:
    """Whether sentences end in padding; where an oracle speaks in numbers, token 0 is a word like any other."""
    return vocabulary[PADDING] == SPECIAL[PADDING]


def of_characters(vocabulary: Sequence[str]) -> bool:
    """Whether tokens are characters, spaces among them, and no words that are parted by spaces."""
    return SPACE in vocabulary[len(SPECIAL) : len(SPECIAL) + 1]


def spoken(token: Tensor) -> Tensor:
    """(n, T) bool, where tokens (n, T) belong to the sentence: its words, and the first padding, which ends it."""
    return (token == PADDING).long().cumsum(1) - (token == PADDING).long() == 0


def words(tokens: Iterable[int]) -> list[int]:
    """The tokens (T,) before the first padding, as plain integers: all of them where there is none."""
    found = []
    for token in map(int, tokens):
        if token == PADDING:
            break
        found.append(token)
    return found


def sentence(tokens: Iterable[int], vocabulary: Sequence[str]) -> str:
    """The words of tokens (T,), a space between them, or the characters, without; up to the first padding, if any."""
    between = "" if of_characters(vocabulary) else " "
    return between.join(vocabulary[token] for token in (words(tokens) if padded(vocabulary) else map(int, tokens)))
