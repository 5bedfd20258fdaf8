"""What tokens mean: the two that are no words of a text, how a text becomes tokens, and how tokens are read."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

PADDING = 0  # begins a sentence that is generated, and stands behind the last word up to the sequence's end
UNKNOWN = 1  # stands for every word that is not in the vocabulary
SPECIAL = ("<pad>", "<unk>")  # their names, the first of every vocabulary
SPACE = " "  # follows them in a vocabulary of characters; no word is one
INNER = "'-"  # punctuation that is part of a word where it stands within it
Unit = Literal["word", "character"]  # what a token is


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


def spelled(words: Iterable[str]) -> str:
    """Words with a space between them in Unicode's normal form C: its code points are a text's characters."""
    return unicodedata.normalize("NFC", SPACE.join(words))


def caption_parts(caption: str, unit: Unit) -> list[str]:
    """The words of a caption or a prompt, in lower case and without punctuation; or its characters, with it.

    Apostrophes and hyphens within a word belong to it. Characters are code points in lower case in Unicode's normal
    form C, with one space where there is any white space, and none at the ends.
    """
    text = spelled(caption.lower().split())
    if unit == "character":
        return list(text)
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("--", SPACE)
    letters = (c if c in INNER or unicodedata.category(c)[0] in "LMN" else SPACE for c in text)  # marks, numbers too
    return [word for part in "".join(letters).split() if (word := part.strip(INNER))]


def vocabulary_of(texts: Iterable[Sequence[str]], unit: Unit, min_count: int) -> list[str]:
    """The word, or character, of each token: `SPECIAL`, the space if these are characters, then those of the texts.

    Args:
        texts: the words or characters of each.
        unit: which of the two.
        min_count: occurrences in all texts of each that is kept; the most frequent come first, equally frequent ones
            by alphabet.
    """
    return vocabulary_from(Counter(word for text in texts for word in text), unit, min_count)


def vocabulary_from(counts: Mapping[str, int], unit: Unit, min_count: int) -> list[str]:
    """The same of texts whose words, or characters, have been counted."""
    special = [*SPECIAL, *[SPACE] * (unit == "character")]
    frequent = [word for word, count in counts.items() if count >= min_count and word not in special]
    return [*special, *sorted(frequent, key=lambda word: (-counts[word], word))]


def token_numbers(vocabulary: Sequence[str]) -> dict[str, int]:
    """The token of each word that a text can have: not of `SPECIAL`, which are none."""
    return {word: token for token, word in enumerate(vocabulary) if token >= len(SPECIAL)}


def tokens_of(captions: Iterable[str], vocabulary: Sequence[str], length: int) -> Tensor:
    """(n, length) int64: the first words or characters of captions or prompts, then padding.

    Args:
        captions: any texts, split by :func:`caption_parts`.
        vocabulary: the word or character of each token; `UNKNOWN` stands for those that it lacks.
        length: tokens of each.
    """
    number = token_numbers(vocabulary)
    unit: Unit = "character" if of_characters(vocabulary) else "word"
    rows = []
    for caption in captions:
        found = [number.get(word, UNKNOWN) for word in caption_parts(caption, unit)[:length]]
        rows.append(found + [PADDING] * (length - len(found)))
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, length)
