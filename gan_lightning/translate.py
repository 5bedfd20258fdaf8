"""Pictures made of pictures by a checkpoint alone: `python -m gan_lightning.translate CKPT --input DIR --out DIR`.

Pictures of any size and kind, each translated by itself, in float32: what comes out of a file depends on nothing else.
A picture is made longer by its own reflection where the model needs sides that are multiples of a number, and cropped
back; a model of one size gets it resized, and what it makes is resized back. An alpha channel is kept, but by a model
that fills holes, which fills what is transparent (without an alpha channel the central quarter) and keeps the rest. A
model of one picture, SinGAN, has flags of its own: see :mod:`cli.manipulation`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gan_lightning.cli import manipulation
from gan_lightning.cli.arguments import typed
from gan_lightning.cli.parser import HELP, ModelParser
from gan_lightning.runtime.errors import short_errors
from gan_lightning.runtime.reading import add_flags

OVERLAP = 64  # of tiles, where none is given


def flags(argv: Sequence[str]) -> ModelParser:
    """The flags that do not depend on the model."""
    parser = ModelParser("translate", "Pictures made of pictures.", ["translate"], manipulation.names())
    needed = not set(HELP) & set(argv)
    parser.add_argument("--input", type=Path, required=needed, help="a picture, or a folder of them at any depth")
    parser.add_argument("--out", type=Path, default=Path("translated"), help="folder to write to (default %(default)s)")
    parser.add_argument("--tile", type=int, help="cut large pictures into squares of this side (default: do not)")
    parser.add_argument("--overlap", type=int, help=f"of tiles, blended from one to the next (default {OVERLAP})")
    add_flags(parser)
    return parser


def refuse(parser: ModelParser, given: argparse.Namespace) -> None:
    """Refuse what is wrong with any model, before torch is loaded."""
    if given.overlap is not None and given.tile is None:
        parser.error("--overlap is of tiles: give --tile too")
    overlap = OVERLAP if given.overlap is None else given.overlap
    if given.tile is not None and not 0 <= overlap < given.tile:
        parser.error(f"--overlap must be at least 0 and less than --tile {given.tile}, not {overlap}")
    if given.input is not None and not given.input.exists():
        raise FileNotFoundError(f"--input {given.input}: there is no such file or folder")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {given.out} is a file, not a folder")


def joined(argv: Sequence[str]) -> list[str]:
    """The arguments, `--attributes -Male` as one word: argparse takes its value for a flag."""
    argv = list(argv)
    if "--attributes" in argv[:-1]:
        at = argv.index("--attributes")
        if not argv[at + 1].startswith("--"):
            argv[at : at + 2] = [f"--attributes={argv[at + 1]}"]
    return argv


@short_errors()
def main(argv: list[str] | None = None) -> None:
    argv = joined(typed(argv))
    parser = flags(argv)
    refuse(parser, early := parser.early(argv))
    module = parser.load(early).float()
    from gan_lightning.cli import translation  # after the flags are known to be right: this takes seconds
    from gan_lightning.core import Manipulator

    translation.require_pictures(module)
    if one_picture := isinstance(module, Manipulator):
        manipulation.add_flags(parser)
    else:
        parser.add_method(type(module), "translate", {"direction": module.directions, "attributes": module.attributes})
    given = parser.parse_args(argv)
    given.overlap = OVERLAP if given.overlap is None else given.overlap
    if one_picture:
        manipulation.refuse(module, given)
    elif given.tile is not None:
        translation.refuse_tiles(module, given.tile, given.overlap)
    files = translation.files_of(given.input, given.out, getattr(given, "mask", None))
    with translation.exact(module.device.type):
        done = translation.translate_all(module, files, given, parser.arguments_of(given))
    count = f"{done} of {len(files)}" if done < len(files) else f"{done}"
    print(f"{count} picture{'' if len(files) == 1 else 's'} translated by {type(module).__name__}: {given.out}")
    if done < len(files):
        sys.exit(1)


if __name__ == "__main__":
    main()
