"""Train, score and keep the result: a row in `results/`, a picture in `docs/images/`.

    python -m gan_lightning.benchmark configs/dcgan/digits.yaml --seeds 0,1,2
    python -m gan_lightning.benchmark configs/wgangp/digits.yaml --budget 8m --into arena-digits -- --data MNIST
    python -m gan_lightning.benchmark --suite benchmarks/arena.yaml --budget 8m --metrics fid,is,prdc
    python -m gan_lightning.benchmark --page

What stands after `--` are flags of `fit`. Each run is a process of `fit`; what came of it is scored as `evaluate` does,
and becomes one row of `results/NAME.json`. A run that fails says why in a line, the others go on, and the exit code is
then 1. A run whose row is there already, of the same commit, is left out. `--page` writes the tables of
`docs/results.md` anew from all rows.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from gan_lightning import evaluate
from gan_lightning.cli import results
from gan_lightning.cli.arguments import Parser, program
from gan_lightning.cli.results import Run
from gan_lightning.runtime.errors import complain, nearest, printable, short_errors

SECONDS = {"s": 1, "m": 60, "h": 3600}


def seeds_of(text: str) -> list[int]:
    """`0,1,2`."""
    return [int(part) for part in text.split(",")]


def seconds_of(text: str) -> int:
    """`90s`, `8m`, `1h`, in seconds."""
    if not (found := re.fullmatch(r"([1-9]\d*)([smh])", text)):
        raise ValueError(text)
    return int(found[1]) * SECONDS[found[2]]


def parser_of_flags() -> Parser:
    parser = Parser(program("benchmark"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.usage = "%(prog)s [-h] CONFIG [CONFIG ...] [FLAG ...] [-- FLAGS OF fit]"
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="a yaml file, as of `fit --config`")
    parser.add_argument("--suite", type=Path, metavar="FILE", help="yaml: lists of `CONFIG FLAG ...`, by their NAME")
    parser.add_argument("--seeds", type=seeds_of, default=[0], metavar="0,1,2", help="a run each (default 0)")
    parser.add_argument("--budget", metavar="8m", help="of training, in place of the config's steps: 90s, 8m, 1h")
    parser.add_argument(
        "--into",
        metavar="NAME",
        help="rows go to results/NAME.json (default: <model>-<config>); of a suite, its NAME alone",
    )
    parser.add_argument("--metrics", help="of `evaluate` (default: as `evaluate`)")
    parser.add_argument("--n", type=int, help="fakes that are scored (default: as `evaluate`)")
    parser.add_argument("--again", action="store_true", help="measure what has a row of this commit too")
    parser.add_argument("--page", action="store_true", help=f"write the tables of {results.PAGE}, and measure nothing")
    parser.add_trust()
    parser.least |= {"n": 1}
    return parser


def scores_flags(checkpoint: str, metrics: str | None, n: int | None, trust: list[str]) -> evaluate.Given:
    """The flags of `evaluate CKPT` that a row is scored with."""
    given = {"metrics": metrics, "n": n}
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return evaluate.scores_flags([checkpoint, *flags, *(f"--trust={package}" for package in trust)])


def suite_of(path: Path) -> dict[str, list[str]]:
    """The command lines of a suite, by the names of their files of rows.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no map of lists of command lines.
    """
    import yaml  # here: `--help` does without

    try:
        suite = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError:
        suite = None
    if not isinstance(suite, dict) or not all(
        isinstance(lines, list) and lines and all(isinstance(line, str) and line.strip() for line in lines)
        for lines in suite.values()
    ):
        raise ValueError(
            f"--suite {path}: expected `NAME:`, and below it a list of lines such as `- CONFIG --FLAG VALUE`"
        )
    return suite


def runs_of(configs: list[str], into: str | None, suite: Path | None, flags: list[str], seeds: list[int]) -> list[Run]:
    """Every run, those of a suite first: where `into` names a list of it, of that one alone.

    Raises:
        FileNotFoundError: there is no config.
        ValueError: nothing is to be run; see :func:`suite_of`.
    """
    lists = suite_of(suite) if suite else {}
    if suite and into is not None:
        if into not in lists:
            meant = nearest(into, lists) or f": it has {', '.join(lists)}"
            raise ValueError(f"--into {into}: {suite} has no such list{meant}")
        lists = {into: lists[into]}
    asked = [*((name, *shlex.split(line)) for name, lines in lists.items() for line in lines)]
    asked += [(into, config) for config in configs]
    if not asked:
        raise ValueError("name a config, such as configs/dcgan/digits.yaml, or --suite FILE")
    for _, config, *_ in asked:
        if not Path(config).is_file():
            raise FileNotFoundError(f"there is no config {printable(config)}")
    return [Run(config, [*own, *flags], seed, name) for name, config, *own in asked for seed in seeds]


def write_page() -> None:
    """Write the tables of the page anew.

    Raises:
        FileNotFoundError: there is no page here.
        ValueError: see :func:`results.page`.
    """
    text = results.PAGE.read_text("utf-8")
    results.PAGE.write_text(results.page(text), "utf-8")
    for name in results.unused(text):
        print(f"{results.ROWS / name}.json is in no table: {results.PAGE} wants <!-- results: {name} | ... -->")


@short_errors()
def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    ours, flags = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = parser_of_flags()
    given = parser.parse_intermixed_args(ours)
    if given.page:
        return write_page()
    try:
        given.seconds = None if given.budget is None else seconds_of(given.budget)
    except ValueError:
        parser.error(f"--budget {given.budget}: write 90s, 8m or 1h")
    if given.into is not None and not re.fullmatch(r"[\w.-]+", given.into):
        parser.error(f"--into {given.into}: a file's name without its ending, of letters, digits, `-` and `.`")
    scores_flags("last.ckpt", given.metrics, given.n, given.trust)  # refuses what `evaluate` would, before training
    runs = runs_of(given.configs, given.into, given.suite, flags, given.seeds)

    from gan_lightning.cli import measuring  # after the flags are known to be right: this takes seconds

    failed = False
    for run in runs:
        how = f"{' '.join([run.config, *run.flags])}, seed {run.seed}"
        try:
            said = measuring.measured(run, given, scores_flags)
            print(f"{how}: {said}", flush=True)
        except measuring.FAILURES as error:
            failed = True
            complain(f"{how}: {error}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
