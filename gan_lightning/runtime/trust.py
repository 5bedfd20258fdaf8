"""What may be named where a class is asked for: by a file little, by the user all, by both what the place asks for.

Hyper-parameters and configs are plain values with import paths among them, which a parser imports and calls. What a
file brings is therefore looked at here, before any parser sees it: it names classes of the packages below and of those
that the user trusts, a network where a network is asked for and an optimizer where an optimizer is. What the user names
may be of any package; it must be a class of its place's kind too. A function makes nothing: it is only ever kept.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml

from gan_lightning.runtime.places import INERT, VALUES, Place, hints_of, makes, named_so

VARIABLE = "GAN_LIGHTNING_TRUST"  # packages, comma separated
OURS = "gan_lightning"
PACKAGES = (
    *(f"{OURS}.{p}" for p in ("models", "data", "networks", "losses", "optim", "augment", "metrics", "callbacks")),
    f"{OURS}.schedules",
    "torch.nn",
    "torch.optim",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "torchvision.models",
)
# Of these packages, what removes or replaces files that its arguments or its state name.
FILE_KEEPERS = ("ModelCheckpoint", "OnExceptionCheckpoint")
RUN_FOLDER = "$GAN_LIGHTNING_RUN"  # stands for the run's folder where a writer is told its own
WRITERS = ("lightning.pytorch.callbacks", "lightning.pytorch.loggers")  # write where they are told, by many protocols
FUNCTIONS = (f"{OURS}.networks", f"{OURS}.losses")  # initialisers, and the losses that a model is given
SPEC = {"class_path", "init_args", "dict_kwargs"}
DEEPEST = 40  # places within places: of a value that holds itself there is no end


@dataclass(frozen=True)
class Source:
    """Who names things.

    Attributes:
        name: of the file; empty for the user.
        trusted: packages that it may name beside those that are known to be harmless; None for all that there are.
    """

    name: str = ""
    trusted: tuple[str, ...] | None = None

    @classmethod
    def file(cls, path: str | Path, trust: Iterable[str] = ()) -> Source:
        """A file, with the packages that `trust` and the environment's GAN_LIGHTNING_TRUST name.

        Raises:
            ValueError: what is to be trusted is not the name of a package.
        """
        if isinstance(trust, str):
            raise ValueError(f"trust is a list of packages: trust=({trust!r},)")
        named = (*trust, *filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))))
        for name in named:
            if not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} cannot be trusted: name a package, such as my_package")
        return cls(str(path), named)

    def check_arguments(self, kind: type, arguments: Any, where: str) -> None:
        """Look at a class's arguments, however deep, before a parser does.

        Args:
            kind: the class; its annotations say what its arguments may be.
            arguments: plain values by name.
            where: what they are the arguments of, for messages.

        Raises:
            ValueError: one names what its source may not name, or what its place does not ask for.
        """
        arguments = _unwrapped(arguments)
        if not isinstance(arguments, dict):
            self.refuse(where, f"is {_short(arguments)} in place of arguments by name")
        hints = hints_of(kind)
        ours = _within(kind.__module__, (OURS, *(self.trusted or ())))
        for name, value in arguments.items():
            place = Place.of(hints.get(name, Any))
            if self.trusted is not None:
                if not ours and _within(kind.__module__, WRITERS):
                    self._check_writer(name, value, name in hints, f"{where}.{name}")
                if not str(name).isidentifier() or name in SPEC:  # parsers read `a.b` and `a+` as more than names
                    self.refuse(where, f"has an argument {_short(name)}")
                if name == "folder" and value is not None and _within(kind.__module__, (f"{OURS}.callbacks",)):
                    self.refuse(
                        f"{where}.folder", f"is {_short(value)}: where a run writes is said on the command line"
                    )
                if place.hook and not ours and not isinstance(value, VALUES) and not (place.inert and _word(value)):
                    self.refuse(f"{where}.{name}", "is a function of the caller's, which no file gives")
                if re.match("weights|pretrained", name) and self._downloads(kind, name, value):
                    self.refuse(f"{where}.{name}", f"is {_short(value)}, a download: name a file, or nothing")
            self._check(value, place, f"{where}.{name}")

    def check(self, value: Any, annotation: Any, where: str) -> None:
        """Look at one value; see :meth:`check_arguments`."""
        self._check(value, Place.of(annotation), where)

    def find(self, path: Any, place: Place | type, where: str, functions: bool = False) -> Any:
        """What an import path, or the short name of a class, stands for.

        Args:
            path: such as `my_package.MyGAN`.
            place: that it stands in, or the kind of class.
            where: that place in words.
            functions: whether a function may stand there.

        Returns:
            the class or function; None where the user names what is not there, which the parser then says.

        Raises:
            ValueError: the source may not name it, or it is not of the place's kind.
        """
        place = place if isinstance(place, Place) else Place(classes=[place])
        if not isinstance(path, str):
            self.refuse(where, f"names {_short(path)} in place of a class")
        if "." not in path:
            found = named_so(path, place.kinds)
            if not found and self.trusted is not None:
                self.refuse(where, f"names {_short(path)}: there is no such {place}")
            for kind in found:
                self._require_trust(f"{kind.__module__}.{kind.__qualname__}", path, where)
            if len(found) > 1 and self.trusted is not None:
                self.refuse(where, f"names {path}, and there are {len(found)} of that name: it takes a whole path")
            return found[0] if len(found) == 1 else None
        self._require_trust(path, path, where)  # before it is imported: that runs a module's code
        try:
            found = _imported(path)
        except (ImportError, AttributeError, ValueError) as error:
            if self.trusted is None:
                return None
            self.refuse(where, f"names {path}, which cannot be imported here: {error}")
        if isinstance(found, type):
            self._require_trust(f"{found.__module__}.{found.__qualname__}", path, where)
            if not place.takes(found):
                self.refuse(where, f"names {path}, which is no {place}")
        elif not (functions and self._may_keep(found, place)) and not (self.trusted is None and makes(found, place)):
            what = "a function" if inspect.isroutine(found) else _short(found)
            self.refuse(where, f"names {path}, which is {what} and no {place}")
        return found

    def _check(self, value: Any, place: Place, where: str) -> None:
        value = _unwrapped(value)
        if where.count(".") + where.count("[") > DEEPEST:
            self.refuse(where[:60], "holds values within values without end")
        if isinstance(value, str):
            if self.trusted is not None:
                self._check_text(value, place, where)
        elif isinstance(value, dict):
            self._check_dict(value, place, where)
        elif isinstance(value, (list, tuple, set)):
            inner = Place.of(*place.items) if place.items else Place(anything=True)
            for index, item in enumerate(value):
                self._check(item, inner, f"{where}[{index}]")
        elif self.trusted is not None and not isinstance(value, (*INERT, torch.Tensor)):
            self.refuse(where, f"is {_short(value)}, which is no plain value")

    def _check_dict(self, value: dict, place: Place, where: str) -> None:
        if "class_path" in value:
            if more := value.keys() - SPEC:
                self.refuse(where, f"has {_short(min(map(str, more)))} beside its class_path")
            if kind := self.find(value["class_path"], place, where):
                for arguments in (value.get("init_args"), value.get("dict_kwargs")):
                    if arguments is not None and isinstance(kind, type):
                        self.check_arguments(kind, arguments, where)
            return
        for kind in place.records:
            self.check_arguments(kind, value, where)
        if place.records:
            return
        if self.trusted is not None and (place.classes or place.products):
            self.refuse(where, f"is {_short(value)}, which names no class")
        inner = Place.of(*place.items) if place.items else Place(anything=True)
        for name, item in value.items():
            if self.trusted is not None and "class_path" in str(name):
                self.refuse(where, f"has {_short(name)} for a name")
            self._check(item, inner, f"{where}[{_short(name)}]")

    def _check_text(self, text: str, place: Place, where: str) -> None:
        """Of a file: a parser may take text for a name, for YAML, or for the path of another config."""
        if place.all_inert and not (place.items and "class_path" in text):
            return
        if Path(text).is_file():
            self.refuse(where, f"is {_short(text)}, a file of the caller's, in place of a {place}")
        if _word(text):
            if named := named_so(text, place.kinds):
                for kind in named:
                    self._require_trust(f"{kind.__module__}.{kind.__qualname__}", text, where)
                return
            if place.inert or place.anything:
                return
        elif re.fullmatch(r"\w+(\.\w+)+", text) and not text[0].isdigit():
            self.find(text, place, where, functions=True)
            return
        elif re.fullmatch(r"[-+.\deE]+", text) or (place.anything and (_is_prose(text) or _is_device(text))):
            return
        self.refuse(where, f"is {_short(text)} in place of a {place}")

    def _check_writer(self, name: str, value: Any, known: bool, where: str) -> None:
        """Refuse that a file sends Lightning's writers elsewhere than into the folder that the user works in."""
        way = f"; if you trust it, add --trust lightning or set {VARIABLE}=lightning"
        if not known and value not in (None, "") and type(value) not in (int, float):
            self.refuse(where, f"is an argument that is handed on unseen{way}")
        if name in ("version", "id") and value is not None:
            self.refuse(where, f"is {_short(value)}, which could write over an earlier run{way}")
        for text in _texts(value):
            variable = "$" in text and text != RUN_FOLDER  # which TensorBoard's reads in paths
            remote = "://" in text or "::" in text
            if variable or remote or os.path.isabs(text) or text.startswith("~") or ".." in Path(text).parts:
                self.refuse(where, f"is {_short(text)}, which is outside of this folder{way}")

    def _may_keep(self, thing: Any, place: Place) -> bool:
        if not (inspect.isroutine(thing) and (place.hook or place.products)):
            return False
        public = not thing.__name__.startswith("_")
        return self.trusted is None or (public and _within(thing.__module__, (*FUNCTIONS, *self.trusted)))

    def _require_trust(self, full: str, path: str, where: str) -> None:
        if self.trusted is None or _within(full, self.trusted):
            return
        if _within(full, PACKAGES) and full.split(".")[-1] not in FILE_KEEPERS:
            return
        top = full.split(".")[0]
        way = (
            f"; if you trust it, add --trust {top} or set {VARIABLE}={top}"
            if top not in sys.stdlib_module_names
            else ""
        )
        self.refuse(where, f"names {path}, which no file may name{way}")

    def _downloads(self, kind: type, name: str, value: Any) -> bool:
        if _within(kind.__module__, ("torchvision",)):
            return bool(value)
        if name in getattr(kind, "fetched_by_name", ()):
            return isinstance(value, str) and not os.path.isfile(value)
        default = inspect.signature(kind).parameters.get(name)
        return isinstance(value, str) and "://" in value and (default is None or value != default.default)

    def refuse(self, where: str, what: str) -> NoReturn:
        """Say in a line what is wrong with a place."""
        raise ValueError(" ".join(f"{self.name + ': ' if self.name else ''}{where} {what}".split()))


USER = Source()


def packages_beyond(config: str) -> list[str]:
    """The packages whose classes a config's text names, and that a file may name only where the user trusts them."""
    paths = re.findall(r"class_path: ([\w.]+)", config)
    free = (path for path in paths if _within(path, PACKAGES) and path.split(".")[-1] not in FILE_KEEPERS)
    return sorted({path.split(".")[0] for path in set(paths).difference(free)})


def _unwrapped(value: Any) -> Any:
    return vars(value) if isinstance(value, argparse.Namespace) else value


def _word(value: Any) -> bool:
    """Whether it is text without anything that a parser could read into it."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]*", value) is not None


def _is_prose(text: str) -> bool:
    """Whether it is words: nothing that a parser reads as more than text, and no path that is imported or read."""
    words = re.fullmatch(r"\w[\w ,/@+()-]*", text) is not None and text == text.strip()
    return words and not isinstance(yaml.safe_load(text), (dict, list))


def _is_device(text: str) -> bool:
    return re.fullmatch(r"[a-z]+:\d+", text) is not None


def _texts(value: Any) -> Iterator[str]:
    """All text in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (*_texts(name), *_texts(item))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _texts(item)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + " ..."


def _within(path: str, packages: Iterable[str]) -> bool:
    return any(path == package or path.startswith(f"{package}.") for package in packages)


def _imported(path: str) -> Any:
    """What an import path names: something of a module, or of a class in a module."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if not _within(module, [error.name or ""]):  # what the module itself imports is missing
            raise
        outer, _, middle = module.rpartition(".")
        if not outer:
            raise
        return getattr(getattr(importlib.import_module(outer), middle), name)
