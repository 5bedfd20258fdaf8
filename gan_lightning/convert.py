"""A checkpoint of this package from a file of StyleGAN2-ADA or R3GAN: `python -m gan_lightning.convert FILE`.

It reads the snapshots that the authors' programs write (`.pkl`), and their weights by the same names in files of
`torch.save` (`.pt`) and `.safetensors`. A file is read as data: whatever it names is never imported or called.
"""

from __future__ import annotations

from pathlib import Path

from gan_lightning.cli.arguments import Parser, program
from gan_lightning.runtime.errors import printable, short_errors


@short_errors()
def main(argv: list[str] | None = None) -> None:
    parser = Parser(program("convert"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("file", type=Path, help="a .pkl, .pt or .safetensors file of StyleGAN2-ADA or R3GAN")
    parser.add_argument("--out", type=Path, metavar="CKPT", help="the checkpoint to write (default: FILE, as .ckpt)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace CKPT where it is there, and keep it as *.previous.ckpt"
    )
    given = parser.parse_args(argv)
    if not given.file.is_file():
        parser.error(f"there is no file {printable(given.file)}")
    given.out = given.out or given.file.with_suffix(".ckpt")
    if given.out.suffix != ".ckpt":
        parser.error(f"--out {printable(given.out)}: a checkpoint's name ends in .ckpt")
    if not given.out.parent.is_dir():
        parser.error(f"--out {printable(given.out)}: the folder {printable(given.out.parent)} does not exist")
    if given.out.exists() and given.out.samefile(given.file):
        parser.error(f"{printable(given.out)} is the file to convert: give another --out")
    if given.out.exists() and not given.overwrite:
        parser.error(f"{printable(given.out)} is there: give another --out, or --overwrite to replace it")

    from gan_lightning.cli import conversion  # after the flags are known to be right: this takes seconds

    conversion.convert(given)


if __name__ == "__main__":
    main()
