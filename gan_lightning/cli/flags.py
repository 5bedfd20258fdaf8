"""The flags of `sample` for models of each kind, beside those that are arguments of the model's method."""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.parser import ModelParser
from gan_lightning.runtime.layout import RECONSTRUCTIONS, SHEETS
from gan_lightning.runtime.reading import add_flags

IMAGES, SENTENCES = 64, 20  # made where --n does not say how many
FOLDER = Path("samples")  # of images, where --out does not say which
GRID_MOST = 256  # images in a grid


def of_images(parser: ModelParser, classes: bool = True, codes: bool = True, encoder: bool = True) -> None:
    """Of an image generator.

    Args:
        parser: takes the flags.
        classes: whether the model has some.
        codes: whether its latents have codes that can be traversed.
        encoder: whether it reconstructs images.
    """
    add_batches(parser, IMAGES, "images, of each of --labels" if classes else "images")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (default %(default)s)")
    parser.add_argument("--grid", action="store_true", help=f"also {SHEETS}/grid.png, of the first {GRID_MOST} at most")
    parser.add_argument("--standing", type=int, default=0, metavar="N", help="batch statistics of N batches of samples")
    if classes:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--label", metavar="CLASS", help="name or number of the class (default: each in turn)")
        rows = "cat,dog or 0,1,2: a row of the grid for each, of the same latents"
        group.add_argument("--labels", metavar="CLASSES", help=rows)
        group.add_argument("--classes", action="store_true", help="print the classes and their numbers, no more")
    parser.add_argument(
        "--interpolate",
        choices=["slerp", "lerp"],
        help=f"also {SHEETS}/walk.gif, a closed walk from latent to latent: along great circles (slerp, for normal "
        "latents; White 2016, arXiv:1609.04468) or straight (lerp, for uniform ones)"
        + (", with --labels from label to label" if classes else ""),
    )
    parser.add_argument("--frames", type=int, default=60, help="of the walk (default %(default)s)")
    if codes:
        values = f"also {SHEETS}/traverse.png, a row for each value of it"
        parser.add_argument("--traverse", type=int, metavar="CODE", help=values)
    if encoder:
        also = f"also {RECONSTRUCTIONS}.png, a folder's pictures beside what the model makes of them, and these alone"
        parser.add_argument("--reconstruct", type=Path, metavar="DIR", help=also)
        add_flags(parser)
    parser.least |= {"frames": 2, "standing": 0}


def of_sequences(parser: ModelParser) -> None:
    """Of a sequence generator."""
    add_batches(parser, SENTENCES, "sequences")
    parser.add_argument("--out", type=Path, help="folder to write sentences.txt to; they are printed in any case")


def of_rankings(parser: ModelParser) -> None:
    """Of a ranker of items."""
    parser.add_argument("--user", metavar="NAME", help="whom to list items to")
    parser.least |= {"k": 1}


def add_batches(parser: ModelParser, n: int, what: str) -> None:
    """The flags on how many are made, and how many at a time."""
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
