"""What there is to choose from, read from the source files: importing them would load torch, which takes seconds."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from docstring_parser import google

PACKAGE = Path(__file__).parents[1]
METAVARS = {"int": "INT", "float": "FLOAT", "str": "TEXT", "bool": "{true,false}", "dict": "MAP"}
LISTS = ("list", "tuple", "Sequence")


class Argument(NamedTuple):
    """An argument of a constructor, or a field of a dataclass that is the default of one.

    Attributes:
        name: as flags have it: "n_critic", "step.compile".
        metavar: what its value is, in a word; "NAME" of a class.
        default: as it would be typed; None where a value is required.
        doc: of the docstring; empty where there is none.
    """

    name: str
    metavar: str
    default: str | None
    doc: str


class Found(NamedTuple):
    """The definition of a name, and the module that it is in."""

    node: ast.ClassDef | ast.Assign
    module: str


def names(room: str) -> list[str]:
    """The names that a sub-package exports: of "models", of "data"."""
    return ast.literal_eval(_find("__all__", f"gan_lightning.{room}").node.value)


def listing() -> str:
    """The models with their papers, and the data modules."""
    models, data = names("models"), names("data")
    lines, width = ["models:"], max(map(len, (*models, *data)))
    for name in models:
        title, year, number = paper(name)
        lines.append(f"  {name:<{width}} {year}  {'arXiv:' + number:<17} {title}")
    lines += ["data:", *(f"  {name:<{width}} {_doc('data', name).splitlines()[0]}" for name in data)]
    return "\n".join(lines)


def paper(model: str) -> tuple[str, str, str]:
    """The title, the year and the arXiv number of a model's paper."""
    title, year = re.match(r"(.+), (\d{4})\.", _module_doc("models", model)).groups()
    return title, year, re.search(r"arXiv:(\d{4}\.\d{4,5})", _doc("models", model)).group(1)


def about(room: str, name: str) -> list[str]:
    """The paragraphs that introduce a class: the paper of a model, the class in brief, the file that says more."""
    path = _path(_class(room, name).module).relative_to(PACKAGE.parent)
    paper = [_module_doc(room, name)] if room == "models" else []
    return [*paper, " ".join(_doc(room, name).split("\n\n")[0].split()), f"More about it: {path}"]


def arguments(room: str, name: str, method: str = "__init__") -> list[Argument]:
    """What a method of a class takes, its constructor by default; none where it has no such method.

    A dataclass stands as its fields, such as "step.compile".
    """
    lineage = list(_lineage(_class(room, name)))
    methods = ((owner, node) for owner in lineage for node in owner.node.body if isinstance(node, ast.FunctionDef))
    owner, signature = next(((owner, _signature(node)) for owner, node in methods if node.name == method), (None, ()))
    docs, found = _documented(lineage), []
    for arg, default in signature:
        found += _fields(arg.arg, default, owner.module) or [
            _argument(arg.arg, arg.annotation, default, owner.module, docs)
        ]
    return found


def _signature(method: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """The arguments but `self`, with their defaults."""
    args, defaults = method.args.args, method.args.defaults
    yield from list(zip(args, [None] * (len(args) - len(defaults)) + defaults, strict=True))[1:]
    yield from zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)


def _fields(name: str, default: ast.expr | None, module: str) -> list[Argument]:
    """The fields of a dataclass whose instance is the default; none where it is anything else."""
    if not (isinstance(default, ast.Call) and isinstance(default.func, ast.Name)):
        return []
    if not (found := _find(default.func.id, module)) or not isinstance(found.node, ast.ClassDef):
        return []
    lineage = list(_lineage(found))
    given = {keyword.arg: keyword.value for keyword in default.keywords}
    fields = {
        one.target.id: (one, owner.module)
        for owner in reversed(lineage)
        for one in owner.node.body
        if isinstance(one, ast.AnnAssign)
    }
    docs = _documented(lineage)
    return [
        _argument(field, one.annotation, given.get(field, one.value), owner, docs)._replace(name=f"{name}.{field}")
        for field, (one, owner) in fields.items()
    ]


def _argument(
    name: str, annotation: ast.expr | None, default: ast.expr | None, module: str, docs: dict[str, str]
) -> Argument:
    return Argument(name, _metavar(annotation, module), default and _shown(default, module), docs.get(name, ""))


def _metavar(annotation: ast.expr | None, module: str) -> str:
    if isinstance(annotation, ast.BinOp):  # X | None, or X | Y
        kinds = [_metavar(kind, module) for kind in (annotation.left, annotation.right) if not _is_none(kind)]
        return "|".join(kinds)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id == "Literal":
            return f"{{{','.join(map(str, ast.literal_eval(annotation.slice)))}}}"
        annotation = annotation.value
    if not isinstance(annotation, ast.Name):
        return "NAME"
    found = _find(annotation.id, module)
    if found and isinstance(found.node, ast.Assign):  # another name of a type
        return _metavar(found.node.value, found.module)
    return "LIST" if annotation.id in LISTS else METAVARS.get(annotation.id, "NAME")


def _is_none(annotation: ast.expr) -> bool:
    return isinstance(annotation, ast.Constant) and annotation.value is None


def _shown(default: ast.expr, module: str) -> str:
    """A default as it is typed: `null`, `true`, a class with its arguments in place of the factory that calls it."""
    if isinstance(default, ast.Lambda):
        return _shown(default.body, module)
    if isinstance(default, ast.Call):
        settings = ", ".join(f"{keyword.arg}={_shown(keyword.value, module)}" for keyword in default.keywords)
        made = default.args[0] if ast.unparse(default.func) == "partial" else default.func
        return _shown(made, module) + (f"({settings})" if settings else "")
    if isinstance(default, ast.Constant):
        value = default.value
        return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    if isinstance(default, ast.Name) and (found := _find(default.id, module)) and isinstance(found.node, ast.Assign):
        return _shown(found.node.value, found.module)
    name = ast.unparse(default)
    return name if name.startswith("torch.") or not isinstance(default, ast.Attribute) else default.attr


def _documented(lineage: list[Found]) -> dict[str, str]:
    """The docstrings' words on each argument, those of a class before those of its bases."""
    found: dict[str, str] = {}
    for owner in lineage:
        for name, words in words_on_arguments(ast.get_docstring(owner.node) or ""):
            if not re.fullmatch(r"see [\w.]+", words):
                found.setdefault(name, words)
    return found


def words_on_arguments(docstring: str) -> Iterator[tuple[str, str]]:
    """Each argument that a docstring describes, and its words, without marks of references."""
    for said in google.parse(docstring).params:
        words = re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join((said.description or "").split()))
        yield from ((name, words) for name in said.arg_name.split(", "))


# Where things are.


def _class(room: str, name: str) -> Found:
    return _find(name, f"gan_lightning.{room}")


def _doc(room: str, name: str) -> str:
    return ast.get_docstring(_class(room, name).node) or ""


def _module_doc(room: str, name: str) -> str:
    return inspect.cleandoc(ast.get_docstring(_tree(_class(room, name).module)) or "")


def _lineage(found: Found) -> Iterator[Found]:
    """A class, and those of its bases that are of this package."""
    yield found
    for base in found.node.bases:
        if isinstance(base, ast.Name) and (parent := _find(base.id, found.module)):
            yield from _lineage(parent)


@cache
def _find(name: str, module: str) -> Found | None:
    """Where a name of a module is defined; None where that is outside of this package."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Found(node, module)
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return Found(node, module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan_lightning"):
            for alias in node.names:
                if name == (alias.asname or alias.name) and _path(node.module).exists():
                    return _find(alias.name, node.module)
    return None


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text("utf-8"))


def _path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
