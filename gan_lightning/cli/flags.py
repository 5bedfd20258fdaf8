"""The flags of `sample` for models of each kind, beside those that are arguments of the model's method."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Container
from pathlib import Path

from gan_lightning.cli.arithmetic import terms
from gan_lightning.cli.parser import ModelParser
from gan_lightning.runtime.layout import ARITHMETIC, RECONSTRUCTIONS, SHEETS
from gan_lightning.runtime.reading import add_flags

IMAGES, SENTENCES = 64, 20  # made where --n does not say how many
FOLDER = Path("samples")  # of images, where --out does not say which
GRID_MOST = 256  # images in a grid
SECONDS = 5.0  # of a walk
ALPHA, BETA = 0.1, 0.9  # of a film of one picture (arXiv:1905.01164)
# What some image generators can do: they have classes, codes that can be traversed, or a style for each layer; they
# reconstruct images, draw a picture for each level of a pyramid, make films of one picture, or draw what a text says.
ABILITIES = ("classes", "codes", "encoder", "styles", "levels", "animates", "texts")
METHODS = ("closed_form", "pca")  # that find directions


def of_images(parser: ModelParser, abilities: Container[str] = ABILITIES) -> None:
    """Add the flags of an image generator.

    Args:
        parser: takes the flags.
        abilities: which of :data:`ABILITIES` the model has.
    """
    classes, codes, encoder, styles, levels, animates, texts = (ability in abilities for ability in ABILITIES)
    rows = [flag for flag, has in (("--labels", classes), ("--prompts", texts)) if has]
    add_batches(parser, IMAGES, f"images, of each of {' or '.join(rows)}" if rows else "images")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (default %(default)s)")
    parser.add_argument("--grid", action="store_true", help=f"also {SHEETS}/grid.png, of the first {GRID_MOST} at most")
    parser.add_argument("--standing", type=int, default=0, metavar="N", help="batch statistics of N batches of samples")
    if classes:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--label", metavar="CLASS", help="name or number of the class (default: each in turn)")
        several = "cat,dog or 0,1,2: a row of the grid for each, of the same latents"
        group.add_argument("--labels", metavar="CLASSES", help=several)
        group.add_argument("--classes", action="store_true", help="print the classes and their numbers, no more")
    if texts:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--prompt", metavar="TEXT", help="what the images show (default: captions in turn)")
        several = "a prompt on each line: a row of the grid for each, of the same latents"
        group.add_argument("--prompts", type=Path, metavar="FILE", help=several)
    parser.add_argument("--latents", type=Path, metavar="FILE", help="of `project`, in place of those of numbers")
    walk = "also a film, .gif or .mp4, of a closed walk from latent to latent"
    through = "".join(f", with {flag} from one to the next" for flag in rows)
    parser.add_argument("--walk", type=Path, metavar="FILE", help=walk + through)
    parser.add_argument("--seconds", type=positive, default=SECONDS, help="of a film (default %(default)s)")
    parser.add_argument(
        "--interpolate",
        choices=["slerp", "lerp"],
        help="how it goes: along great circles (slerp; White 2016, arXiv:1609.04468) or straight (lerp); default "
        + ("lerp, in W" if styles else "slerp for normal latents, lerp for uniform ones"),
    )
    parser.add_argument("--direction", type=int, metavar="K", help="move the latents along direction K of `directions`")
    parser.add_argument("--strength", type=float, help="by how many standard deviations (default 1)")
    add_directions(parser)
    result = f"also {ARITHMETIC}.png, sums and differences of samples by their numbers, such as "
    parser.add_argument(
        "--arithmetic",
        type=terms,
        metavar="TERMS",
        help=result + "'mean(1,5,9) - mean(2,3,4) + 0.5*7', in W of a generator with styles, else in Z",
    )
    if styles:
        table = f"also {SHEETS}/mix.png, a table of styles: the coarse ones of the first numbers, a row each, the fine "
        parser.add_argument(
            "--mix", type=numbers, nargs=2, metavar=("0,1", "2,3"), help=table + "ones of the others, a column each"
        )
        first = "the first style that is the column's (default: half of them)"
        parser.add_argument("--crossover", type=int, metavar="STYLE", help=first)
        parser.add_argument(
            "--noise",
            choices=["random", "const", "none"],
            help="what the layers add: drawn for each image, the same for all, none (default random; const with "
            "--latents)",
        )
    if levels:
        rows = f"also {SHEETS}/levels.png, a row for the picture of each level, and for what it adds to the one before"
        parser.add_argument("--levels", action="store_true", help=rows)
    if animates:
        film = "also a film, .gif or .mp4, of a random walk around the picture, from --from_scale on"
        parser.add_argument("--animate", type=Path, metavar="FILE", help=film)
        parser.add_argument("--alpha", type=share, help=f"0 to 1, how near it stays to the picture (default {ALPHA})")
        parser.add_argument("--beta", type=share, help=f"0 to 1, how smoothly it moves (default {BETA})")
    if codes:
        values = f"also {SHEETS}/traverse.png, a row for each value of it"
        parser.add_argument("--traverse", type=int, metavar="CODE", help=values)
    if encoder:
        also = f"also {RECONSTRUCTIONS}.png, a folder's pictures beside what the model makes of them, and these alone"
        parser.add_argument("--reconstruct", type=Path, metavar="DIR", help=also)
        add_flags(parser)
    parser.least |= {"standing": 0}


def add_directions(parser: ModelParser) -> None:
    """Add the flag on how directions are found."""
    how = "how directions are found: eigenvectors of the first layers' weights, or of the covariance of w (default "
    parser.add_argument("--directions", choices=METHODS, default=METHODS[0], help=how + "%(default)s)")


def positive(text: str) -> float:
    """A number above 0.

    Raises:
        ArgumentTypeError: it is another word.
    """
    try:
        if 0 < (number := float(text)) < math.inf:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"it must be a number above 0, not {text!r}")


def share(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        ArgumentTypeError: it is another word.
    """
    try:
        if 0 <= (number := float(text)) <= 1:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"it must be a number from 0 to 1, not {text!r}")


def numbers(text: str) -> list[int]:
    """[0, 3] of "0,3".

    Raises:
        ArgumentTypeError: a word that is no number of a sample.
    """
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise argparse.ArgumentTypeError(f"write numbers of samples, such as 0,1,2, not {text!r}")
    return [int(word) for word in text.split(",")]


def of_sequences(parser: ModelParser) -> None:
    """Add the flags of a sequence generator."""
    add_batches(parser, SENTENCES, "sequences")
    parser.add_argument("--out", type=Path, help="folder to write sentences.txt to; they are printed in any case")


def of_rankings(parser: ModelParser) -> None:
    """Add the flags of a ranker of items."""
    parser.add_argument("--user", metavar="NAME", help="whom to list items to")
    parser.least |= {"k": 1}


def add_batches(parser: ModelParser, n: int, what: str) -> None:
    """Add the flags on how many are made, and how many at a time."""
    parser.add_argument("--n", type=int, default=n, help=f"how many {what} (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=64, help="made at a time (default %(default)s)")
    parser.least |= {"n": 1, "batch_size": 1}


def of_all_kinds() -> set[str]:
    """The names of all these flags."""
    found: set[str] = set()
    for add in (of_images, of_sequences, of_rankings):
        add(parser := ModelParser("sample", "", ()))
        found |= parser._option_string_actions.keys()
    return found
