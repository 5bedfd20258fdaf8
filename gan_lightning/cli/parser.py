"""The parser of a command whose flags depend on the model of the checkpoint that is named first."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from gan_lightning.cli import catalog
from gan_lightning.cli.arguments import Parser, program
from gan_lightning.runtime.errors import nearest
from gan_lightning.runtime.exported import is_exported

if TYPE_CHECKING:  # it loads torch, which takes seconds
    from gan_lightning.core import AdversarialModule

# Methods of models whose arguments are flags, and those of their arguments that a command gives itself.
METHODS = {"sample": ("numbers", "condition"), "recommend": ("user",), "translate": ("image",)}
HELP = ("-h", "--help")


class ModelParser(Parser):
    """Flags of a command, and after :meth:`load` and :meth:`add_method` those of a checkpoint's model.

    Args:
        command: its name.
        description: a sentence.
        methods: names of the methods, of one model or another, whose arguments are flags.
        further: other flags that depend on the model.
    """

    def __init__(self, command: str, description: str, methods: Sequence[str], further: Iterable[str] = ()) -> None:
        super().__init__(program(command), description=description, allow_abbrev=False)
        self.epilog = f"{command} CKPT --help shows the flags of this checkpoint's model too"
        self.methods, self.further = methods, further
        self.model = ""  # the name of the model that is loaded
        self._of_method: list[str] = []
        self.add_argument("checkpoint", help="a .ckpt file, or a folder of `export`")
        self.add_trust()
        self.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")

    def flags_of_models(self) -> set[str]:
        """The flags that depend on the model, of all models of this package; found without loading torch."""
        found = set(self.further)
        for name in catalog.names("models"):
            for method in self.methods:
                arguments = [argument.name for argument in catalog.arguments("models", name, method)]
                found |= {f"--{argument}" for argument in arguments if argument not in METHODS[method]}
        return found

    def early(self, args: list[str]) -> argparse.Namespace:
        """The flags that depend on no model. What is wrong with any model is refused, before torch is loaded.

        Args:
            args: what was typed; a call for help is left to the model where a file is named.
        """
        self.refuse_checkpoint_flags(args)
        if any(os.path.isfile(arg) or is_exported(arg) for arg in args):
            args = [arg for arg in args if arg not in HELP]
        else:
            known = {*self._option_string_actions, *self.flags_of_models()}
            for flag in (arg.split("=")[0] for arg in args):
                if flag.startswith("--") and flag not in known:
                    self.refuse_flag(flag)
        given, _ = self.parse_known_args(args)
        # The value of a flag that the model adds would be taken for the file.
        named = (arg for arg in args if re.fullmatch(r"[^-].*\.ckpt", arg) or is_exported(arg))
        given.checkpoint = next(named, given.checkpoint)
        return given

    def load(self, given: argparse.Namespace) -> AdversarialModule:
        """The model of the checkpoint, of what :meth:`early` found.

        Raises:
            FileNotFoundError, ValueError: see :func:`loading.load_model`.
        """
        from gan_lightning.loading import load_model
        from gan_lightning.runtime.processes import device_named

        module = load_model(given.checkpoint, device_named(given.device), given.trust)
        self.model = type(module).__name__
        return module

    def add_method(self, kind: type, method: str, names: Mapping[str, Sequence[str]] | None = None) -> None:
        """A flag for each argument of a model's method, of its type, with its default and the docstring's words.

        An argument without a default is required. One of a type that no flag can have is left out.

        Args:
            kind: of the model.
            method: one of `METHODS`.
            names: what an argument may name, by the argument.

        Raises:
            ValueError: an argument has the name of a flag of the command.
        """
        types, said = _types_and_words(kind, method)
        for name, argument in list(inspect.signature(getattr(kind, method)).parameters.items())[1:]:
            if name in METHODS[method] or (how := _taken(types.get(name), (names or {}).get(name, ()))) is None:
                continue
            if f"--{name}" in self._option_string_actions:
                raise ValueError(f"{kind.__name__}.{method} has an argument {name}, a flag of this command: rename it")
            words, default = said.get(name, ""), argument.default
            if default is inspect.Parameter.empty:
                how["required"] = True
            elif default is True:
                how = {"action": argparse.BooleanOptionalAction, "default": True}
            elif how.get("action") is None:
                how["default"] = default
                words += "" if default is None else " (default %(default)s)"
            self.add_argument(f"--{name}", help=words.strip(), **how)
            self._of_method.append(name)

    def arguments_of(self, given: argparse.Namespace) -> dict[str, Any]:
        """The arguments of the methods that were added."""
        return {name: vars(given)[name] for name in self._of_method}

    def refuse_flag(self, flag: str) -> NoReturn:
        others = self.flags_of_models()
        near = nearest(flag, {*self._option_string_actions, *(() if self.model else others)})
        if self.model and (flag in others or not near):
            self.error(f"unknown argument {flag!r}: {self.model} does not take it")
        self.error(f"unknown argument {flag!r}{near}")


def _types_and_words(kind: type, method: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The annotations of a method's arguments and its docstring's words on them, a class's before its bases'."""
    types: dict[str, Any] = {}
    words: dict[str, str] = {}
    for function in (vars(owner)[method] for owner in reversed(kind.__mro__) if method in vars(owner)):
        types |= get_type_hints(function)
        for name, said in catalog.words_on_arguments(inspect.cleandoc(function.__doc__ or "")):
            words[name] = said.rstrip(".").replace("%", "%%")
    return types, words


def _taken(kind: Any, names: Sequence[str]) -> dict[str, Any] | None:
    """How argparse takes a value of a type, `None` aside; None for a type that no flag can have."""
    if get_origin(kind) in (Union, UnionType):
        kind, *others = [one for one in get_args(kind) if one is not NoneType]
        if others:
            return None
    if kind is bool:
        return {"action": "store_true"}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), "type": type(get_args(kind)[0])}
    if kind == dict[str, bool]:
        return {"type": partial(signed, known=names), "metavar": f"+{names[0]},-{names[-1]}" if names else "+A,-B"}
    if kind in (int, float, str):
        return {"type": kind} | ({"choices": names} if names else {})
    return None


def signed(text: str, known: Sequence[str]) -> dict[str, bool]:
    """{"Blond_Hair": True, "Male": False} of "+Blond_Hair,-Male".

    Raises:
        ArgumentTypeError: a name that is not known, without a sign, or twice.
    """
    found: dict[str, bool] = {}
    for word in text.split(","):
        sign, name = word.strip()[:1], word.strip()[1:]
        if sign not in ("+", "-"):
            raise ArgumentTypeError(f"write +{word.strip()} or -{word.strip()}, not {word.strip()!r}")
        if name not in known:
            raise ArgumentTypeError(f"there is no {name!r}{nearest(name, known) or ': there are ' + ', '.join(known)}")
        if name in found:
            raise ArgumentTypeError(f"it names {name} twice")
        found[name] = sign == "+"
    return found
