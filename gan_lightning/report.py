"""A page on runs, in one HTML file: `python -m gan_lightning.report RUN [RUN ...] --out report.html`.

Curves, scores with their cards, samples over time, settings, machine and cost of each run's folder; what the health
checks say, and what to try. Scores whose cards differ stand in columns of their own. The file opens without a server
and without the network. `fit` writes one into the run's folder when it ends.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.arguments import Parser, program
from gan_lightning.runtime.errors import make_folder, printable, short_errors


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = Parser(program("report"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, runs/NAME/DATE")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the file (default report.html)")
    given = parser.parse_args(argv)
    if given.out.suffix not in (".html", ".htm"):
        parser.error(f"--out {printable(given.out)}: a page's name ends in .html")

    from gan_lightning import reporting  # after the flags are known to be right: this takes seconds

    text = reporting.html(given.runs)
    make_folder(given.out.parent, "--out")
    given.out.write_text(text, "utf-8")
    print(printable(given.out))


if __name__ == "__main__":
    main()
