"""Shards of a folder of pictures, for large sets: `python -m gan_lightning.pack FOLDER --out SHARDS`.

Shards are tar files in the layout of webdataset: the pictures' files as they are, each with a json of its class,
attributes and captions. `index.json` says what they hold, and is written last: without it they are no set. The same
folder gives the same bytes. `fit MODEL --data StreamedImages --data.root SHARDS` trains on them, from a URL too.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.arguments import Parser, program, typed
from gan_lightning.runtime.errors import printable, short_errors
from gan_lightning.runtime.reading import add_flags


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = Parser(program("pack"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", metavar="FOLDER", help="of pictures, at any depth; its sub-folders are classes")
    parser.add_argument("--out", type=Path, required=True, metavar="SHARDS", help="the folder to write")
    parser.add_argument("--shard_images", type=int, default=1000, help="pictures in a shard (default %(default)s)")
    parser.add_argument("--size", type=int, help="make the shorter side of larger pictures so many pixels")
    parser.add_argument("--channels", type=int, default=3, help="1 grey, 3 RGB, 4 RGBA (default %(default)s)")
    parser.add_argument(
        "--val_fraction", type=float, default=0.05, help="share held out for validation (default %(default)s)"
    )
    parser.add_argument("--attributes", metavar="NAMES", help="of a list such as CelebA's: Male,Smiling; or all")
    parser.add_argument("--list_path", metavar="LIST", help="of the attributes (default: list_attr_celeba.txt or .csv)")
    parser.add_argument(
        "--captions", nargs="?", const="", metavar="FILE", help="their file or folder, or nothing to look for it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace shards that are in SHARDS")
    add_flags(parser)
    given = parser.parse_args(typed(argv))
    if given.list_path is not None and given.attributes is None:
        parser.error("--list_path is for --attributes: give that too, names or all")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {printable(given.out)} is a file, not a folder")

    from gan_lightning.cli import packing  # after the flags are known to be right: this takes seconds

    packing.pack(given)


if __name__ == "__main__":
    main()
