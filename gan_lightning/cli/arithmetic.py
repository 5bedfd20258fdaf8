"""Arithmetic of samples as it is typed: `mean(1,5,9) - mean(2,3,4) + 0.5*7`. It is read here, and nothing is run."""

from __future__ import annotations

import argparse
import math
import re
from typing import NamedTuple

SAMPLE = r"[0-9]{1,9}"
FACTOR = SAMPLE + r"(\.[0-9]{1,9})?"


class Term(NamedTuple):
    """A summand: a weighted mean of samples."""

    weight: float  # with its sign
    numbers: list[int]  # of the samples


def terms(text: str) -> list[Term]:
    """The summands of sums and differences of samples.

    A term is the number of a sample, `mean(n, n, ...)`, or a number times a term.

    Raises:
        ArgumentTypeError: the text is something else; the message says what is missing, and where.
    """
    words = [(found[0], found.start()) for found in re.finditer(r"[\w.]+|\S", text)] + [("", len(text))]
    found: list[Term] = []
    place, weight = 0, 1.0

    def take(pattern: str, wanted: str) -> str:
        nonlocal place
        word, start = words[place]
        if not re.fullmatch(pattern, word):
            rest = repr(text[start : start + 20]) if word else "its end"
            raise argparse.ArgumentTypeError(f"it needs {wanted} at {rest} (character {start + 1})")
        place += 1
        return word

    while True:
        while words[place][0] and words[place + 1][0] == "*":
            weight *= float(take(FACTOR, "a number before '*'"))
            take(r"\*", "'*'")
        if not math.isfinite(weight):
            raise argparse.ArgumentTypeError("its factors are too large")
        if words[place][0] == "mean":
            take("mean", "mean")
            take(r"\(", "'('")
            numbers = [int(take(SAMPLE, "the number of a sample"))]
            while take("[,)]", "',' or ')'") == ",":
                numbers.append(int(take(SAMPLE, "the number of a sample")))
        else:
            numbers = [int(take(SAMPLE, "the number of a sample or mean(...)"))]
        found.append(Term(weight, numbers))
        if not words[place][0]:
            return found
        weight = {"+": 1.0, "-": -1.0}[take("[+-]", "'+' or '-'")]
