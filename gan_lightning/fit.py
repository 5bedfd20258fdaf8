"""Train a GAN: `python -m gan_lightning.fit [MODEL] [--data NAME] [--config FILE] [--ckpt_path last|FILE]`.

With no argument R3GAN learns the handwritten digits that ship with scikit-learn. `--list` names the models and the
data, `MODEL --help` shows a model's arguments, `--print_config` every setting; later files and flags win over earlier
ones. What the source files can answer is answered before torch is loaded, which takes seconds.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from gan_lightning.cli import catalog
from gan_lightning.cli.arguments import TRUST_HELP, Parser, program, typed
from gan_lightning.runtime.errors import nearest, short_errors

ROOMS = {"model": "models", "data": "data"}  # flag that chooses a class -> the sub-package of these classes
HELP, HELP_ALL = {"-h", "--help"}, "--help_all"
FILES = (".yaml", ".yml", ".ckpt")  # what is no model where a model's name may stand
COLUMN = 30  # of a page of help, where the words on a flag begin
WIDEST = 120  # columns of such a page


def main(args: list[str] | None = None, own_process: bool = False) -> None:
    """Train as the command line says; exit code 2 for bad input, 1 for a run that broke, 128 + n by signal n.

    Args:
        args: the command line; None for that of the process.
        own_process: whether the process ends with this call: signals are then heard until it has ended.
    """
    with short_errors():
        args = with_flag(typed(args))
        if "--list" in args:
            return print(catalog.listing())
        if HELP_ALL in args:
            args = ["--help"]
        elif HELP & set(args):
            return print(help_on(args))
    from gan_lightning.cli import fit_cli
    from gan_lightning.runtime import signals

    if own_process:
        signals.listen_to_the_end()
    fit_cli.run(args)


def with_flag(args: list[str]) -> list[str]:
    """The arguments, with `--model=NAME` for a model's name that stands before them all.

    Raises:
        ValueError: there is no such model.
    """
    word, *others = args or [""]
    flags = {arg.split("=")[0] for arg in others}
    if not word or word.startswith("-") or "--model" in flags or Path(word).suffix in FILES:
        return args  # the parser of all flags says what is wrong
    if word in catalog.names("data"):
        return [f"--data={word}", *others] if HELP & flags else args
    _known("model", word)
    return [f"--model={word}", *others]


def help_on(args: list[str]) -> str:
    """The arguments of the model and of the data that are named, or the flags that all share.

    Raises:
        ValueError: there is no class of a name.
    """
    flags = Parser(add_help=False, allow_abbrev=False)
    for flag in ROOMS:
        flags.add_argument(f"--{flag}")
    chosen = vars(flags.parse_known_args(args)[0])
    return "\n\n".join(_help_on_class(flag, name) for flag, name in chosen.items() if name) or _help_on_flags()


def _known(flag: str, name: str) -> str | None:
    """The short name of a class of this package; None for an import path that leads elsewhere.

    Raises:
        ValueError: it is neither.
    """
    short, known = name.removeprefix(f"gan_lightning.{ROOMS[flag]}."), catalog.names(ROOMS[flag])
    if short in known:
        return short
    if "." in short:
        return None
    listed = f": `{program('fit')} --list` shows what there is"
    raise ValueError(f"{flag}: unknown name {name}{nearest(name, known) or listed}")


def _help_on_class(flag: str, name: str) -> str:
    fit = program("fit")
    if (short := _known(flag, name)) is None:
        return f"{name}: its arguments are shown by `{fit} --{flag}.help {name}`"
    arguments = catalog.arguments(ROOMS[flag], short)
    linked = [one for one in arguments if flag == "model" and one.default is None]
    before, table, nested = "", {}, {}
    for one in arguments:
        if one in linked:
            continue
        if "." in one.name:  # a field of a dataclass
            group, field = one.name.split(".")
            nested.setdefault(group, {})[f"{field} {one.default}"] = one.doc.split(";")[0].rstrip(".")
            continue
        words = "the same" if one.doc and one.doc == before else one.doc.rstrip(".")
        default = "(required)" if one.default is None else f"(default: {one.default})"
        table[f"--{flag}.{one.name} {one.metavar}"], before = f"{words} {default}".strip(), one.doc
    parts: list[str | dict[str, str]] = [*catalog.about(ROOMS[flag], short), "arguments:", table]
    for group, fields in nested.items():
        parts += [f"{group}, as in --{flag}.{group}.{next(iter(fields))}:", fields]
    if linked:
        parts += [f"taken from the data: {', '.join(one.name for one in linked)}"]
    if made := next((one for one in arguments if "(" in (one.default or "")), None):
        inner, _, value = made.default.partition("(")[2].rstrip(")").split(", ")[0].partition("=")
        which = f"--{flag}.{made.name}"
        parts += [
            f"NAME is a class: `{which} NAME` takes another, `{which}.{inner} {value}` sets an argument of it, "
            f"`{which}.help NAME` shows all that it has."
        ]
    return _page(f"{fit} {short if flag == 'model' else f'--data {short}'} [--{flag}.ARGUMENT VALUE ...]", *parts)


def _help_on_flags() -> str:
    fit = program("fit")
    return _page(
        f"{fit} [MODEL] [--data NAME] [--config FILE] [--ckpt_path last|FILE] [--FLAG VALUE ...]",
        "Train a GAN. Without arguments R3GAN learns the handwritten digits that ship with scikit-learn.",
        "to look at:",
        {
            "--list": "the models and the data, a line each",
            "MODEL --help": f"the arguments of a model, as in `{fit} WGANGP --help`",
            "--data NAME --help": f"the arguments of data, as in `{fit} --data MNIST --help`",
            HELP_ALL: "every flag, those of Lightning's Trainer, --checkpoint and --grid too",
            "--print_config": "print every setting as yaml, and do not train",
        },
        "what is trained:",
        {
            "MODEL, --model NAME": "a model of --list, or an import path: --model your_package.YourGAN",
            "--data NAME": "data of --list, or an import path",
            "--model.ARGUMENT VALUE": "an argument of the model, as in --model.n_critic 5",
            "--data.ARGUMENT VALUE": "an argument of the data, as in --data.batch_size 64",
            "--config FILE": "settings from a yaml file; later files and flags win over earlier ones",
            "--ckpt_path last|FILE": "go on with the newest run, or begin a new one from a checkpoint",
            "--init_from FILE": "begin with the weights of a checkpoint, where they fit",
            "--freeze NAME": "a module that does not move, such as discriminator.layers.0; may be given again",
            "--trust PACKAGE": TRUST_HELP,
        },
        "how:",
        {
            "--trainer.max_steps N": "generator steps",
            "--trainer.devices N": "processes, with --trainer.accelerator cpu or gpu; they share each batch",
            "--trainer.precision NAME": "bf16-mixed and the like",
            "--trainer.callbacks+=NAME": "a score such as FID; --trainer.callbacks.ARGUMENT VALUE sets it",
            "--checkpoint.every_minutes N": "how often last.ckpt is written",
            "--grid.every_n_steps N": "how often pictures are drawn",
            "--seed_everything N": "the seed of all random numbers",
        },
    )


def _page(usage: str, *parts: str | dict[str, str]) -> str:
    """Paragraphs, and tables from flags to what they mean, as wide as the terminal; no space after a title's colon."""
    width, margin = min(shutil.get_terminal_size().columns, WIDEST), " " * COLUMN
    lines = [*textwrap.wrap(f"usage: {usage}", width, subsequent_indent="       "), ""]
    for part in parts:
        if isinstance(part, str):
            lines += [*textwrap.wrap(part, width), *([] if part.endswith(":") else [""])]
            continue
        for left, right in part.items():
            first = f"  {left:<{COLUMN - 4}}  "
            beside = len(first) == COLUMN
            lines += [] if beside else [first.rstrip()]
            lines += textwrap.wrap(right, width, initial_indent=first if beside else margin, subsequent_indent=margin)
        lines += [""]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    main(own_process=True)
