"""The latents of a picture, found by gradient descent: `python -m gan_lightning.project CKPT --image FILE`.

In W of a generator with styles, one w for all layers or one for each (`--space w+`), else in Z. The latents are written
to a file that `sample --latents` draws, beside the picture and what the generator makes of them.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.arguments import typed
from gan_lightning.cli.parser import HELP, ModelParser
from gan_lightning.runtime.errors import printable, short_errors
from gan_lightning.runtime.layout import LATENTS
from gan_lightning.runtime.reading import add_flags


def flags(needed: bool = True) -> ModelParser:
    """The flags, which depend on no model.

    Args:
        needed: whether --image is.
    """
    parser = ModelParser("project", "The latents of a picture.", ())
    parser.epilog = None
    parser.add_argument("--image", type=Path, required=needed, metavar="FILE", help="the picture")
    parser.add_argument("--out", type=Path, default=Path("projected"), help="folder to write to (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help=f"replace the {LATENTS} that is in the folder")
    parser.add_argument("--space", choices=["w", "w+", "z"], help="default w, or z of a generator without styles")
    parser.add_argument("--steps", type=int, default=1000, help="of gradient descent (default %(default)s)")
    parser.add_argument("--optimize_noise", action="store_true", help="find the noise of layers with styles too")
    parser.add_argument("--label", metavar="CLASS", help="name or number of the picture's class")
    parser.add_argument(
        "--vgg", metavar="FILE", help="weights of torchvision's VGG-19, to compare by (default: filters never trained)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the search (default %(default)s)")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    weights.add_argument("--average", metavar="NAME", help="another average, of a model that keeps several")
    add_flags(parser)
    parser.least |= {"steps": 1}
    return parser


@short_errors()
def main(argv: list[str] | None = None) -> None:
    argv = typed(argv)
    parser = flags(not set(HELP) & set(argv))
    given = parser.parse_args(argv)
    if not given.image.is_file():
        raise FileNotFoundError(f"--image {printable(given.image)}: there is no such file")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {printable(given.out)} is a file, not a folder")
    if (given.out / LATENTS).exists() and not given.overwrite:
        parser.error(f"{printable(given.out / LATENTS)} is there: give another --out, or --overwrite to replace it")
    module = parser.load(given).float()

    from gan_lightning.cli import moving

    moving.project_picture(module, given)


if __name__ == "__main__":
    main()
