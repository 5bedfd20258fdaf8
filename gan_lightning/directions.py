"""What directions in latent space change: `python -m gan_lightning.directions CKPT`, a sheet with a row a direction.

`sample CKPT --direction K --strength S` moves samples along direction K of the sheet.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli import flags
from gan_lightning.cli.arguments import typed
from gan_lightning.cli.parser import ModelParser
from gan_lightning.runtime.errors import printable, short_errors


def parser_of() -> ModelParser:
    """The flags, which depend on no model."""
    parser = ModelParser("directions", "What directions in latent space change.", ())
    parser.epilog = None
    flags.add_directions(parser)
    parser.add_argument("--k", type=int, default=10, help="how many, the first ones (default %(default)s)")
    strength = "of the last column, in standard deviations; the first has the opposite (default %(default)s)"
    parser.add_argument("--strength", type=flags.positive, default=3.0, help=strength)
    parser.add_argument("--columns", type=int, default=7, help="strengths, evenly apart (default %(default)s)")
    parser.add_argument("--number", type=int, default=0, help="of the sample that is moved (default %(default)s)")
    parser.add_argument("--label", metavar="CLASS", help="name or number of its class")
    parser.add_argument("--out", type=Path, default=Path("directions.png"), help="file to write (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the latents (default %(default)s)")
    parser.add_argument("--truncation", type=float, metavar="PSI", help="of the sample, before it is moved")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    weights.add_argument("--average", metavar="NAME", help="another average, of a model that keeps several")
    parser.least |= {"k": 1, "columns": 2, "number": 0}
    return parser


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = parser_of()
    given = parser.parse_args(typed(argv))
    if given.out.suffix.lower() != ".png" or given.out.is_dir():
        parser.error(f"--out {printable(given.out)}: give a file that ends in .png")
    module = parser.load(given).double()

    from gan_lightning.cli import moving

    moving.draw_directions(module, given)


if __name__ == "__main__":
    main()
