"""What a checkpoint alone can make: `python -m gan_lightning.sample CKPT --n 64 --out DIR`.

A model of images draws them, in grids and latent walks too; one of sequences says them; one of what users choose lists
items to one of them (`--user NAME --k 10`).

Pictures are numbered, and picture i depends on the seed and on i alone: not on how many are made, nor on the batch size
or the device, because networks are evaluated in float64 here and rounded once. With `--labels` they are numbered row by
row, `--n` to each label, and the i-th of every row is of the same latent. The same holds for sequences.
"""

from __future__ import annotations

from gan_lightning.errors import Parser, printable, program, short_errors, typed


def flags_of_all() -> Parser:
    """The flags that do not depend on the model."""
    parser = Parser(program("sample"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.epilog = "sample CKPT --help also shows the flags that this checkpoint's model follows"
    parser.add_argument("checkpoint", help="a .ckpt file")
    parser.add_trust()
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")
    return parser


def first_words(argv: list[str]) -> list[str]:
    """What is needed before a model can say what its flags are: the checkpoint, --device and --trust."""
    words: list[str] = [word for word in argv if word.endswith(".ckpt") and not word.startswith("-")][:1]
    if not words and argv and not argv[0].startswith("-"):
        words = argv[:1]  # a file of another name comes first
    for flag, value in zip(argv, [*argv[1:], None], strict=True):
        if flag in ("--device", "--trust") and value is not None:
            words += [flag, value]
        elif flag.startswith(("--device=", "--trust=")):
            words.append(flag)
    return words


@short_errors()
def main(argv: list[str] | None = None) -> None:
    argv, parser = typed(argv), flags_of_all()
    known = parser.parse_args(first_words(argv) or argv)

    from gan_lightning.checkpoints import load_model
    from gan_lightning.cli import samples
    from gan_lightning.processes import device_named

    module = load_model(known.checkpoint, device_named(known.device), known.trust).double()
    add_flags, act, method = samples.of_kind(module)
    parser.whose = type(module).__name__
    add_flags(parser, module)
    given = parser.parse_args(argv)
    if (out := getattr(given, "out", None)) is not None and out.exists() and not out.is_dir():
        parser.error(f"--out {printable(out)} is a file, not a folder")
    act(module, given, parser.arguments_of(method, given))


if __name__ == "__main__":
    main()
