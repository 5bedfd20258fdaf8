"""A model to take away: `python -m gan_lightning.export CKPT --format safetensors,onnx --out DIR`.

The folder holds the networks that the model uses after training, with one set of weights, and a card, `README.md`:

- `safetensors`: for `gan_lightning.load(DIR)`, `sample DIR`, `translate DIR` and `evaluate DIR`;
- `onnx`: a graph for any runtime, and `demo.html`, which runs it in a browser;
- `torch_export`: a graph for `torch.export.load`, without this package.

A graph is compared with torch before it is kept: where they differ by 1e-4 or more the exit code is 1, and nothing is
written. `--push NAME` uploads the folder to the Hugging Face Hub.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.arguments import Parser, program, typed
from gan_lightning.runtime.errors import leave, nearest, printable, short_errors

FORMATS = ("safetensors", "onnx", "torch_export")


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = Parser(program("export"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("checkpoint", help="a .ckpt file, or a folder of an earlier export")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--format", default=FORMATS[0], help=f"of {','.join(FORMATS)} (default %(default)s)")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    weights.add_argument("--average", metavar="NAME", help="another average, of a model that keeps several")
    parser.add_argument("--license", default="unknown", help="of the weights, such as mit (default %(default)s)")
    parser.add_argument("--web", type=Path, metavar="FOLDER", help="the dist folder of the npm package onnxruntime-web")
    parser.add_argument("--push", metavar="NAME", help="upload to this repository of the Hugging Face Hub, user/name")
    parser.add_argument("--private", action="store_true", help="make the repository of --push private")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are in DIR")
    parser.add_trust()
    given = parser.parse_args(typed(argv))
    given.format = [name for name in given.format.split(",") if name]
    for name in given.format:
        if name not in FORMATS:
            parser.error(f"--format: there is no {name}{nearest(name, FORMATS) or ', but ' + ', '.join(FORMATS)}")
    if not given.format:
        parser.error(f"--format: name one of {', '.join(FORMATS)}")
    if given.web is not None and "onnx" not in given.format:
        parser.error("--web is for the page of --format onnx: give that too")
    if given.private and given.push is None:
        parser.error("--private is of --push: give that too")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {printable(given.out)} is a file, not a folder")
    if given.out.is_dir() and any(given.out.iterdir()) and not given.overwrite:
        parser.error(f"--out {printable(given.out)} is not empty: give another, or --overwrite to replace files in it")

    from gan_lightning import exporting  # after the flags are known to be right: this takes seconds

    try:
        exporting.export(given)
    except exporting.DifferentError as error:
        leave(str(error), 1)


if __name__ == "__main__":
    main()
