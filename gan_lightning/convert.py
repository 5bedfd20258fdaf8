"""A checkpoint of this package from another program's weights: `python -m gan_lightning.convert FILE [FILE ...]`.

Weights of StyleGAN2-ADA, R3GAN, pytorch-CycleGAN-and-pix2pix, stargan, BigGAN-PyTorch and mimicry's SNGAN are known by
the names of their tensors, in files of `torch.save` (`.pt`, `.pth`, `.ckpt`) and `.safetensors`, and in the snapshots
of the first two (`.pkl`). Several files are parts of one model. A file is read as data: whatever it names is never
imported or called.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.arguments import Parser, program
from gan_lightning.runtime.errors import nearest, printable, short_errors
from gan_lightning.runtime.programs import PROGRAMS
from gan_lightning.runtime.sizes import size_flag


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = Parser(program("convert"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="weights; several files of one model")
    parser.add_argument(
        "--from",
        dest="program",
        metavar="PROGRAM",
        help=f"whose weights they are (default: whose names their tensors have): {', '.join(PROGRAMS)}",
    )
    parser.add_argument("--size", type=size_flag, help="of a translator's images, which no tensor shows: 256 or H,W")
    parser.add_argument("--attributes", help="of StarGAN, names in their order: Black_Hair,... (default: CelebA's)")
    parser.add_argument("--out", type=Path, metavar="CKPT", help="the checkpoint to write (default: FILE, as .ckpt)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace CKPT where it is there, and keep it as *.previous.ckpt"
    )
    given = parser.parse_args(argv)
    if given.program is not None and given.program not in PROGRAMS:
        known = nearest(given.program, PROGRAMS) or f", but {', '.join(PROGRAMS)}"
        parser.error(f"--from: there is no {printable(given.program)}{known}")
    for path in given.files:
        if not path.is_file():
            parser.error(f"there is no file {printable(path)}")
    out = given.out = given.out or given.files[0].with_suffix(".ckpt")
    if out.suffix != ".ckpt":
        parser.error(f"--out {printable(out)}: a checkpoint's name ends in .ckpt")
    if not out.parent.is_dir():
        parser.error(f"--out {printable(out)}: the folder {printable(out.parent)} does not exist")
    if out.exists() and any(out.samefile(path) for path in given.files):
        parser.error(f"{printable(out)} is the file to convert: give another --out")
    if out.exists() and not given.overwrite:
        parser.error(f"{printable(out)} is there: give another --out, or --overwrite to replace it")

    from gan_lightning.cli import conversion  # after the flags are known to be right: this takes seconds

    conversion.convert(given)


if __name__ == "__main__":
    main()
