"""Any text file, a sentence on each line."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.batches import Sequences
from gan_lightning.data.base import Data, data_root, not_found
from gan_lightning.data.encodings import codec_of
from gan_lightning.data.sets import Rows, Split
from gan_lightning.noise import key, shares
from gan_lightning.runtime.errors import require_one_of
from gan_lightning.text import PADDING, UNKNOWN, Unit, spelled, token_numbers, vocabulary_of

DEFAULT = "text_coco.txt"
CHOICE = 0  # seed of the lines that are held out
MANY = 0.01  # share of lines that are too long from which on a warning says so
MOST = 0.5  # share of held-out words that are unknown above which one says so


class Sentences(Rows):
    """Sequences of tokens, and what these mean.

    Args:
        every: the sequences.
        vocabulary: the word of each token.
    """

    def __init__(self, every: Sequences, vocabulary: list[str]) -> None:
        super().__init__(every)
        self.vocabulary = vocabulary

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens and the vocabulary: the same tokens for other words are another set."""
        digest = hashlib.sha256(json.dumps(self.vocabulary).encode())
        digest.update(f"{tuple(self.every.token.shape)}".encode())
        digest.update(self.every.token.contiguous().numpy())
        return digest.hexdigest()


class TextLines(Data):
    """The lines of a text file as sequences of tokens, one for each word or character.

    Words are what white space parts, as they are written: "The" and "the" are two, and so are "end" and "end.". A line
    without words is no example. The vocabulary is that of the training lines alone: "<pad>" and "<unk>", then the words
    that occur at least `minimum` times in them, the most frequent first and equally frequent ones by alphabet. A word
    that is not in it becomes "<unk>", and so does one that is spelled "<pad>" or "<unk>" in the file. Padding follows
    the last word up to `length`, so that a generator learns to end; it is never a word of the text, which token 0, the
    one that generation starts from, is in SeqGAN's code (arXiv:1609.05473).

    Text without spaces between its words, as Chinese and Japanese, is read by `unit` "character". Characters are code
    points of the line in Unicode's normal form C, white space between them counts as one space and around them not at
    all, and what is said of words is true of characters. The space is the third of the vocabulary, whether or not the
    text has one, so that a vocabulary says how sentences are printed: see :mod:`gan_lightning.text`.

    A line of more than `length` words is left out, not cut: half a sentence has no end to learn. Whether a line
    validates depends on the number of the line on which its words stand first, so that what is held out does not
    depend on the other arguments, lines added at the end move none, and no held-out line is a training line too.
    Lines that repeat stay as many as they are.

    The file is read once, when it is first needed: `vocabulary` already does.

    Args:
        path: of a UTF-8 file; None for text_coco.txt, captions of MS COCO, in $GAN_LIGHTNING_DATA/text.
        length: tokens in a sequence.
        unit: what a token is, a "word" or a "character".
        minimum: occurrences in the training lines that a word of the vocabulary has.
        holdout: share of the lines that validate, from 0 up to but not 1.
        batch_size: over all processes.
        num_workers: loader processes.

    Raises:
        ValueError: at construction, an argument out of range; when the file is read, it is not UTF-8, has no words, no
            line that is short enough, no training line, or no word that is frequent enough.
        FileNotFoundError: when the file is read, it is not there.
    """

    def __init__(
        self,
        path: str | None = None,
        length: int = 32,
        unit: Unit = "word",
        minimum: int = 1,
        holdout: float = 0.1,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        self.given = path is not None
        self.path = data_root("text", None) / DEFAULT if path is None else Path(path).expanduser()
        super().__init__(f"TextLines({self.path})" if self.given else "TextLines", batch_size, num_workers)
        if length < 1 or minimum < 1:
            raise ValueError(f"{self.name}: length ({length}) and minimum ({minimum}) must be at least 1")
        if not 0 <= holdout < 1:
            raise ValueError(f"{self.name}: holdout must be at least 0 and less than 1, not {holdout}")
        require_one_of(f"{self.name}: unit", unit, "word", "character")
        self.unit, self.minimum, self.holdout = unit, minimum, holdout
        self.length: int = length
        self.example_bytes = 8 * length

    @cached_property
    def lines(self) -> dict[Split, list[list[str]]]:
        """The words of each line of the two splits, in the file's order."""
        read = read_lines(self._file(), self.unit, self.length)
        first: dict[tuple[str, ...], int] = {}
        numbers = np.array([first.setdefault(tuple(words), number) for number, words in read.items()])
        held = shares(key(CHOICE), numbers) < self.holdout
        found: dict[Split, list[list[str]]] = {"train": [], "val": []}
        for words, validates in zip(read.values(), held.tolist(), strict=True):
            if len(words) <= self.length:
                found["val" if validates else "train"].append(words)
        if not found["train"]:
            raise ValueError(
                f"none of the {len(read)} lines of {self.path} is left to train on: those of more than {self.length} "
                f"{self.unit}s are left out, and {self.holdout:.0%} held out; use another length or holdout"
            )
        missing = len(read) - sum(map(len, found.values()))
        if missing > MANY * len(read):
            rank_zero_warn(
                f"{missing} of the {len(read)} lines of {self.path} have more than {self.length} {self.unit}s and "
                "are left out: a greater --data.length keeps them"
            )
        return found

    @cached_property
    def vocabulary(self) -> list[str]:  # type: ignore[override]  # known when the file has been read
        """The word of each token; reads the file."""
        found = vocabulary_of(self.lines["train"], self.unit, self.minimum)
        if len(found) == len(vocabulary_of([], self.unit, self.minimum)):
            raise ValueError(f"no {self.unit} of {self.path} occurs {self.minimum} times: use a smaller --data.minimum")
        held, known = Counter(word for words in self.lines["val"] for word in words), token_numbers(found)
        unknown = 1 - sum(held[word] for word in known) / max(held.total(), 1)
        if held and unknown > MOST:
            characters = "text without spaces needs --data.unit character, " if self.unit == "word" else ""
            rank_zero_warn(
                f"{unknown:.0%} of the held-out {self.unit}s of {self.path} are not in the vocabulary and become "
                f"<unk>: {characters}other text more lines or a smaller --data.minimum (it is {self.minimum})"
            )
        return found

    @cached_property
    def _token(self) -> dict[str, int]:
        return token_numbers(self.vocabulary)

    def encode(self, line: str) -> list[int]:
        """The tokens of a line's words or characters, however many, without padding."""
        return [self._token.get(word, UNKNOWN) for word in parts_of(line, self.unit)]

    def load(self, split: Split) -> Sentences:
        lines = self.lines[split]
        token = torch.full((len(lines), self.length), PADDING)
        for row, words in zip(token, lines, strict=True):
            row[: len(words)] = torch.tensor([self._token.get(word, UNKNOWN) for word in words])
        return Sentences(Sequences(token), self.vocabulary)

    def _file(self) -> Path:
        if not self.path.is_file():
            if self.given:
                raise FileNotFoundError(f"there is no file {self.path}: give --data.path a text file")
            raise not_found("text", self.path.parent, DEFAULT, "TextLines downloads nothing")
        return self.path


def parts_of(line: str, unit: Unit, most: int = -1) -> list[str]:
    """The words of a line, or its characters; where there are more than `most`, those and one more of whatever is left.

    A line may be a hundred megabytes long, and is not cut up for nothing.
    """
    words = line.split(maxsplit=most)
    if unit == "word":
        return words
    text = spelled(words)
    return list(text if most < 0 else text[: most + 1])


def read_lines(path: Path, unit: Unit, most: int) -> dict[int, list[str]]:
    """The words or characters of every line that has any, by the line's number, from 1; see :func:`parts_of`.

    Lines end by a line feed, with or without a carriage return; a byte order mark is none of the text.

    Raises:
        ValueError: naming the line that is not UTF-8; or there are no words.
    """
    with path.open(encoding=codec_of(path, "--data.path"), newline="\n") as file:
        lines = {number: parts for number, line in enumerate(file, 1) if (parts := parts_of(line, unit, most))}
    if not lines:
        raise ValueError(f"{path} has no words: give --data.path a file of text, one example a line")
    return lines
