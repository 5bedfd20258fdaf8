"""What the place asks for where a config may name a class: annotations, read."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import os
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

VALUES = (type(None), bool, int, float, complex, bytes)
TEXT = (*VALUES, str, timedelta)  # types that parsers read from text and make nothing else of
INERT = (*TEXT, torch.dtype, torch.device, torch.Size)


@dataclass
class Place:
    """What an annotation asks for; of a union, all of it together."""

    classes: list[type] = field(default_factory=list)  # an instance of one of them
    products: list[type] = field(default_factory=list)  # a callable that returns one, such as the class itself
    types: list[type] = field(default_factory=list)  # the class, which nobody calls here
    items: list[Any] = field(default_factory=list)  # annotations of what a container holds
    hook: bool = False  # a callable that returns no object of a class
    inert: bool = False  # text, numbers, paths
    anything: bool = False

    @classmethod
    def of(cls, *annotations: Any) -> Place:
        place = cls()
        for annotation in annotations:
            place._add(annotation)
        return place

    def _add(self, annotation: Any) -> None:
        origin, arguments = get_origin(annotation), get_args(annotation)
        kind = origin or annotation
        if annotation is Any or annotation in (object, inspect.Parameter.empty):
            self.anything = True
        elif origin in (Union, types.UnionType):
            for one in arguments:
                self._add(one)
        elif origin is Annotated:
            self._add(arguments[0])
        elif (alias := getattr(annotation, "__supertype__", getattr(annotation, "__value__", None))) is not None:
            self._add(alias)  # of a NewType, or an alias with a name
        elif origin is Literal or annotation is None:
            self.inert = True
        elif kind is collections.abc.Callable:
            made = Place.of(arguments[-1]).classes if arguments else []
            self.products += made
            self.hook |= not made
        elif kind is type:
            self.types += Place.of(*arguments).classes if arguments else [object]
        elif not isinstance(kind, type):
            self.anything = True
        elif kind in TEXT or issubclass(kind, (enum.Enum, Path)):
            self.inert = True
        elif kind in INERT or issubclass(kind, os.PathLike):
            self.anything = True  # a parser imports what text names, before it sees that it is none of these
        elif issubclass(kind, Iterable) and kind.__module__ in ("builtins", "collections", "collections.abc"):
            self.items += [one for one in arguments if one is not Ellipsis] or [str]  # `list` alone is left as it is
        else:
            self.classes.append(kind)

    @property
    def kinds(self) -> tuple[type, ...]:
        return (*self.classes, *self.products, *self.types)

    @property
    def records(self) -> list[type]:
        """Classes that a config writes by their fields alone."""
        return [kind for kind in self.classes if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")]

    @property
    def all_inert(self) -> bool:
        """Whether nothing that is put here can become code, however a parser reads it."""
        return not (self.kinds or self.hook or self.anything) and all(Place.of(item).all_inert for item in self.items)

    def takes(self, kind: type) -> bool:
        """Whether a class may stand here, or what is made of it."""
        if self.hook and any("__call__" in vars(base) for base in kind.__mro__):
            return True
        try:
            return self.anything or issubclass(kind, self.kinds)
        except TypeError:  # a protocol that cannot be asked
            return True

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(kind.__name__ for kind in self.kinds)) or "object"


def named_so(name: str, kinds: Iterable[type]) -> list[type]:
    """The classes of that name among some classes and all that derive from them, but for those within functions."""
    found, seen, left = [], set(), list(kinds)
    while left:
        kind = left.pop()
        if kind in seen or kind is object:
            continue
        seen.add(kind)
        left += type.__subclasses__(kind)
        if kind.__name__ == name and "<locals>" not in kind.__qualname__:
            found.append(kind)
    return found


def makes(function: Any, place: Place) -> bool:
    """Whether a function says that it returns what the place asks for."""
    try:
        made = get_type_hints(function).get("return")
    except (TypeError, NameError, AttributeError):
        return False
    return isinstance(made, type) and issubclass(made, tuple(place.classes))


def hint(said: Any, known: dict[str, Any]) -> Any:
    """What an annotation stands for; a function where it cannot be understood here.

    One by one, since one that cannot be resolved would hide the others.

    Args:
        said: the annotation, or its text.
        known: the names that it may use.
    """
    alone = types.SimpleNamespace(__annotations__={"one": said})
    try:
        return get_type_hints(alone, known, include_extras=True)["one"]
    except Exception:  # whatever evaluating it raises
        return collections.abc.Callable


def hints_of(kind: type) -> dict[str, Any]:
    """What the arguments of a class are, those too that it hands on to its bases; Any where nothing says it."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        made = vars(base).get("__init__")
        if not inspect.isfunction(made):
            continue
        arguments = inspect.signature(made).parameters.values()
        passed_on = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        names = [one.name for one in arguments if one.kind not in passed_on]
        found |= {name: hint(made.__annotations__.get(name, Any), made.__globals__) for name in names}
    if hasattr(kind, "_fields"):  # a NamedTuple
        known = vars(sys.modules[kind.__module__])
        found |= {name: hint(kind.__annotations__.get(name, Any), known) for name in kind._fields}
    return found
