"""What a checkpoint alone can make: `python -m gan_lightning.sample CKPT --n 64 --out DIR`.

A model of images draws them, in grids and latent walks too; one of sequences says them; one of what users choose lists
items to one of them (`--user NAME --k 10`).

Pictures are numbered, and picture i depends on the seed and on i alone: not on how many are made, nor on the batch size
or the device, because networks are evaluated in float64 here and rounded once. With `--labels` they are numbered row by
row, `--n` to each label, and the i-th of every row is of the same latent. The same holds for sequences.
"""

from __future__ import annotations

from gan_lightning.cli import flags
from gan_lightning.cli.arguments import typed
from gan_lightning.cli.parser import ModelParser
from gan_lightning.runtime.errors import printable, short_errors


@short_errors()
def main(argv: list[str] | None = None) -> None:
    argv = typed(argv)
    parser = ModelParser("sample", "What a checkpoint alone can make.", ("sample", "recommend"), flags.of_all_kinds())
    module = parser.load(parser.early(argv)).double()

    from gan_lightning.cli import samples

    make = samples.of_kind(module, parser)
    given = parser.parse_args(argv)
    if (out := getattr(given, "out", None)) is not None and out.exists() and not out.is_dir():
        parser.error(f"--out {printable(out)} is a file, not a folder")
    make(module, given, parser.arguments_of(given))


if __name__ == "__main__":
    main()
