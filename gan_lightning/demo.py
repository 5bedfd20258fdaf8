"""A page in the browser to play with checkpoints: `python -m gan_lightning.demo CKPT [CKPT ...]`.

Each checkpoint has a tab; generators of images stand side by side too, with the same latents. `--run FOLDER` shows a
run's report and its best checkpoint. The page is served on this machine alone, unless `--host` or `--share` says
otherwise. It needs Gradio: `pip install 'gan_lightning[demo]'`.
"""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from gan_lightning.cli.arguments import Parser, program
from gan_lightning.runtime.errors import leave, printable, short_errors
from gan_lightning.runtime.layout import CHECKPOINTS

INSTALL = "a page in the browser needs Gradio: pip install 'gan_lightning[demo]'"


def parser_of() -> Parser:
    """The flags, which depend on no model."""
    parser = Parser(program("demo"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CKPT", help="a .ckpt file, or several")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="in place of files: a run's report and its best one")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default %(default)s: this machine)")
    parser.add_argument("--port", type=int, help="to serve on (default: the first free one from 7860 on)")
    parser.add_argument("--share", action="store_true", help="also a public address, through Gradio's servers")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")
    parser.add_trust()
    return parser


def refuse(parser: Parser, given: argparse.Namespace) -> None:
    """Refuse what is wrong with any model, before torch is loaded; with --run find the checkpoint."""
    if bool(given.checkpoints) == (given.run is not None):
        parser.error("name checkpoints, or a run's folder by --run" + (", not both" if given.run else ""))
    if given.port is not None and not 1 <= given.port <= 65535:
        parser.error(f"--port must be from 1 to 65535, not {given.port}")
    if given.run is not None:
        if not given.run.is_dir():
            parser.error(f"--run {printable(given.run)}: there is no such folder")
        given.checkpoints = [path for name in CHECKPOINTS if (path := given.run / name).is_file()][:1]
        if not given.checkpoints:
            parser.error(
                f"--run {printable(given.run)}: it holds no {' or '.join(CHECKPOINTS)}: name the folder of one run"
            )
    for path in given.checkpoints:
        if not path.is_file():
            parser.error(f"there is no file {printable(path)}")
    if find_spec("gradio") is None:
        leave(INSTALL)


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = parser_of()
    refuse(parser, given := parser.parse_args(argv))
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    from gan_lightning.web import pages  # after the flags are known to be right: this takes seconds

    shown = pages.load(given.checkpoints, given.device, given.trust)
    pages.serve(pages.page(shown, given.run), given.host, given.port, given.share)


if __name__ == "__main__":
    main()
