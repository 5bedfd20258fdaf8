"""Scores of a checkpoint, or of anyone's images.

    python -m gan_lightning.evaluate CKPT --data MNIST --metrics fid,is,kid,prdc --n 10000 --json scores.json
    python -m gan_lightning.evaluate --real FOLDER|STATS.npz --fake FOLDER
    python -m gan_lightning.evaluate stats --data MNIST
    python -m gan_lightning.evaluate compare a.json b.json

A model of another kind than an image generator, such as a generator of sequences or a translator, has figures of its
own, which no flags name: `python -m gan_lightning.evaluate CKPT`.

Every score comes with its protocol card, and scores whose cards differ are not compared. Under torchrun the processes
share the images, and find what one finds.

A score that cannot be had is answered in a line and loses no other: the exit code is then 1, or 2 where none is left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gan_lightning.cli.arguments import Parser, program
from gan_lightning.runtime.errors import leave, nearest, short_errors
from gan_lightning.runtime.reading import add_flags
from gan_lightning.runtime.sizes import size_flag

OF_THE_MODEL = {  # metrics that look at more than a model's images, and what data they take
    "linear_probe": "--data with labels",
    "units": "--data",
    "reconstruction": "--data with labels",
    "codes": "--data",
}
METRICS = ("fid", "is", "kid", "prdc", "memorisation", "modes", "label_accuracy", *OF_THE_MODEL)
COMMANDS = {
    "stats": "look at real images alone, and keep their statistics on disk",
    "compare": "put the scores of two --json files side by side",
}
MOVED = {"--make_stats": "stats --data NAME", "--compare": "compare A.json B.json"}  # flags of before

Given = tuple[argparse.Namespace, list[str]]  # the flags, and those of the data module (`--data.size 32`)


def scores_flags(argv: list[str]) -> Given:
    """The flags of `evaluate CKPT` and of `evaluate --fake FOLDER`."""
    parser = Parser(program("evaluate"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.epilog = "; ".join(f"`{program('evaluate')} {name}`: {words}" for name, words in COMMANDS.items())
    parser.add_argument("checkpoint", nargs="?", help="a .ckpt file, or a folder of `export`, whose model is scored")
    parser.add_trust()
    _add_metrics(parser, "of {} (default fid; a model of another kind than an image generator takes none)")
    _add_real(parser)
    fake = parser.add_argument_group("fake images")
    fake.add_argument("--fake", type=Path, help="in place of a checkpoint: a folder of images")
    # Its second name is for torchrun, which takes `--n` for a flag of its own.
    fake.add_argument("--n", "--n_fake", type=int, help="images (default: 10,000 of a checkpoint, all of a folder)")
    fake.add_argument("--seed", type=int, default=0, help="of the latents (default %(default)s)")
    weights = fake.add_mutually_exclusive_group()
    weights.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    weights.add_argument("--average", metavar="NAME", help="another average, of a model that keeps several")
    fake.add_argument("--standing", type=int, metavar="N", help="batch statistics of N batches of the model's samples")
    fake.add_argument("--truncation", type=float, metavar="PSI", help="of the latents")
    how = _add_how(parser)
    how.add_argument("--splits", type=int, default=10, help="of is (default %(default)s)")
    how.add_argument("--subsets", type=int, default=100, help="of kid (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores with their cards")
    parser.least |= {"splits": 1, "subsets": 1}
    given, for_data = _parsed(parser, argv)
    if (given.checkpoint is None) == (given.fake is None):
        parser.error("give a checkpoint, or --fake with a folder of images")
    for flag in ("standing", "truncation", "average"):
        if given.checkpoint is None and getattr(given, flag) is not None:
            parser.error(f"--{flag} is for the generator of a checkpoint: leave it out")
    _require_real(parser, given, given.fake is not None)
    for name, data in OF_THE_MODEL.items():
        if name in given.metrics and (given.checkpoint is None or given.real is not None):
            parser.error(f"{name} takes a checkpoint, and {data}")
    _require_file(parser, "json", given.json)
    return given, for_data


def stats_flags(argv: list[str]) -> Given:
    """The flags of `evaluate stats`."""
    parser = Parser(program("evaluate stats"), description=f"{COMMANDS['stats']}.".capitalize(), allow_abbrev=False)
    parser.add_argument("checkpoint", nargs="?", help="a .ckpt file, whose data is looked at in place of --data")
    parser.add_trust()
    _add_metrics(parser, "scores that the statistics are for, of {} (default fid)")
    _add_real(parser)
    parser.add_argument("--n", "--n_fake", type=int, help="fake images that kid and prdc are to compare with")
    _add_how(parser)
    parser.add_argument("--out", type=Path, help="write the statistics to this npz file too")
    given, for_data = _parsed(parser, argv)
    _require_real(parser, given)
    if given.real is not None and given.real.suffix == ".npz":
        parser.error(f"--real {given.real} is a file of statistics already")
    _require_file(parser, "out", given.out)
    return given, for_data


def compare_flags(argv: list[str]) -> Given:
    """The flags of `evaluate compare`."""
    parser = Parser(program("evaluate compare"), description=f"{COMMANDS['compare']}.".capitalize(), allow_abbrev=False)
    for name in ("A", "B"):
        parser.add_argument(name, type=Path, help="a file that `evaluate --json` wrote")
    parser.add_argument("--force", action="store_true", help="compare although the cards differ")
    return parser.parse_args(argv), []


def _add_metrics(parser: Parser, words: str) -> None:
    parser.add_argument("--metrics", help=words.format(",".join(METRICS)))


def _add_real(parser: Parser) -> None:
    real = parser.add_argument_group("real images")
    real.add_argument("--data", help="a data module; --data.size 32 and the like set it (default: the checkpoint's)")
    real.add_argument("--split", choices=["train", "val"], help="of --data (default train)")
    real.add_argument("--real", type=Path, help="in place of --data: a folder of images, or an npz file of statistics")
    real.add_argument("--n_real", type=int, help="real images (default: all; as many as fakes for kid and prdc)")


def _add_how(parser: Parser) -> argparse._ArgumentGroup:
    how = parser.add_argument_group("how")
    how.add_argument("--size", type=size_flag, help="bring the images of folders to this size: 64 or HEIGHT,WIDTH")
    add_flags(how)
    how.add_argument(
        "--extractor", help="of gan_lightning.metrics, or an import path (default: the data's, else Inception)"
    )
    how.add_argument("--weights", help="the extractor's weights file")
    how.add_argument("--subset_size", type=int, default=1000, help="of kid (default %(default)s)")
    how.add_argument("--k", type=int, default=5, help="neighbours of prdc (default %(default)s)")
    how.add_argument("--batch_size", type=int, default=100, help="images at a time (default %(default)s)")
    how.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")
    parser.least |= dict.fromkeys(("n", "n_real", "subset_size", "k", "batch_size"), 1)
    return how


def _parsed(parser: Parser, argv: list[str]) -> Given:
    ours: list[str] = []
    for_data: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("--data."):
            ours.append(word)
        else:
            for_data += [word] if "=" in word else [word, next(words, "")]
    given = parser.parse_args(ours)
    given.metrics = [name for name in ("fid" if given.metrics is None else given.metrics).split(",") if name]
    for name in given.metrics:
        if name not in METRICS:
            parser.error(f"--metrics: there is no {name}{nearest(name, METRICS) or ', but ' + ', '.join(METRICS)}")
    if not given.metrics:
        parser.error(f"--metrics: name one of {', '.join(METRICS)}")
    if given.real is not None and (given.data is not None or for_data or given.split is not None):
        parser.error("give --data (with its --split) or --real, not both")
    given.split = given.split or "train"
    return given, for_data


def _require_real(parser: Parser, given: argparse.Namespace, fake: bool = False) -> None:
    """Refuse flags that name no real images, or say how files are read where none are; `fake`: of a folder of fakes."""
    for flag in ("white", "max_pixels"):
        if flag in given.set and given.real is None and not fake:
            parser.error(f"--{flag} is for folders of images: with --data it is --data.{flag}")
    if given.checkpoint is None and given.data is None and given.real is None:
        parser.error("give the real images: --data NAME, or --real with a folder or an npz file")


def _require_file(parser: Parser, flag: str, path: Path | None) -> None:
    """Refuse a file that could not be written."""
    if path is not None and not path.parent.is_dir():
        parser.error(f"--{flag} {path}: the folder {path.parent} does not exist")
    if path is not None and path.is_dir():
        parser.error(f"--{flag} {path} is a folder, not a file")


@short_errors()
def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    for flag in {word.split("=")[0] for word in argv} & MOVED.keys():
        leave(f"{flag} is a command now: {program('evaluate')} {MOVED[flag]}")
    first = argv[0] if argv else ""
    if first not in COMMANDS and (near := nearest(first, COMMANDS)) and not Path(first).exists():
        leave(f"there is neither a command nor a checkpoint {first}{near}")
    flags = {"stats": stats_flags, "compare": compare_flags}.get(first, scores_flags)
    given, for_data = flags(argv[1:] if first in COMMANDS else argv)

    from gan_lightning.cli import evaluation  # after the flags are known to be right: this takes seconds

    if first == "compare":
        print(evaluation.compared([given.A, given.B], given.force))
    elif first == "stats":
        evaluation.keep_statistics(given, for_data)
    else:
        evaluation.score(given, for_data)


if __name__ == "__main__":
    main()
