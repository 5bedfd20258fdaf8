"""A model's arguments as plain values: what a checkpoint holds of them, and the way back.

Models built by the command line and models built in Python end in the same form, that of a config file: numbers, names,
import paths and `class_path` / `init_args`. Both ways go through the same parser, so the file alone rebuilds either.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import torch
from jsonargparse import ArgumentParser, Namespace, dict_to_namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import instantiate_module
from torch import Tensor

from gan_lightning.core.exported import keep_exported
from gan_lightning.runtime import torchfile
from gan_lightning.runtime.errors import nearest, one_line
from gan_lightning.runtime.trust import USER, Source

Model = TypeVar("Model", bound=LightningModule)

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"  # what Lightning calls for such hyper-parameters


def plain_hyperparameters(module: LightningModule) -> dict[str, Any]:
    """What `load_from_checkpoint` needs to rebuild the module, in plain values alone.

    Arguments that were left at their defaults are resolved to what the defaults say today, so that the checkpoint
    loads the same networks when a later version has other defaults.

    Raises:
        ValueError: an argument has no plain form: a lambda, a network that is already built.
    """
    hparams = dict(module.hparams_initial)  # `hparams` itself: Trainer.fit deletes what it cannot pickle from it
    if "_instantiator" in hparams:  # the parser made it
        return hparams
    kind = type(module)
    given = {
        name: hparams[name]
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name in hparams and hparams[name] is not parameter.default
    }
    return resolve(kind, given)


def resolve(kind: type[LightningModule], arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a model class in plain values, its defaults included.

    Args:
        kind: the class.
        arguments: those that differ from the defaults; factories may be import paths, `class_path` and `init_args`,
            module-level classes or functions, or `functools.partial` of a class with keywords.

    Raises:
        ValueError: an argument that the class does not have, of a wrong type, or without a plain form.
    """
    for name in arguments.keys() - (names := inspect.signature(kind).parameters.keys()):
        raise ValueError(f"{kind.__name__} has no argument {name!r}{nearest(name, names)}")
    types = get_type_hints(kind.__init__)
    given = {
        name: _plain(value, f"{kind.__name__}({name}=...)", _filled(types.get(name)))
        for name, value in arguments.items()
    }
    USER.check_arguments(kind, given, kind.__name__)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "model", fail_untyped=False)
    try:
        config = with_plain_factories(parser.parse_object({"model": given}), kind.__name__)
        plain = json.loads(parser.dump(config, format="json", skip_unset=False))["model"]
    except (argparse.ArgumentError, TypeError) as error:
        message = one_line(error).replace("model.", "").replace("Parser key ", "")
        raise ValueError(f"{kind.__name__}: {message}") from error
    return {**plain, "_instantiator": INSTANTIATOR}


def with_plain_factories(settings: Namespace, where: str) -> Namespace:
    """Parsed settings, with the factories in a default such as `step: Step = Step(scheduler=partial(...))` made plain.

    The parser reads those that a signature gives by a lambda, but not those within an object that a signature gives.

    Raises:
        ValueError: one has no plain form.
    """
    for name, value in vars(settings).items():
        if isinstance(value, Namespace):
            with_plain_factories(value, f"{where}.{name}")
        elif isinstance(value, partial) or (inspect.isroutine(value) and import_path(value) is None):
            settings[name] = dict_to_namespace(_plain(value, f"{where}.{name}"))
    return settings


def instantiate(kind: type[Model], hyperparameters: dict[str, Any]) -> Model:
    """The model of :func:`resolve`'s arguments; they are its `hparams`, in place of the objects made from them."""
    with parser_without_warnings():
        module = instantiate_module(kind, {k: v for k, v in hyperparameters.items() if k != "_instantiator"})
    module.hparams.clear()  # what a subclass handed on to its base: objects
    module.save_hyperparameters(hyperparameters)
    return module


def own_record(checkpoint: dict[str, Any], name: str | Path) -> dict[str, Any]:
    """What a checkpoint of this package says of its model beside weights and arguments: class, players, counters.

    Args:
        checkpoint: the file's content.
        name: of the file, for the message.

    Raises:
        ValueError: another program wrote it.
    """
    if not isinstance(record := checkpoint.get("gan_lightning"), dict):
        raise ValueError(f"{name} is not a checkpoint of gan_lightning")
    return record


def rebuilt(kind: type[Model], checkpoint: dict[str, Any], source: Source, strict: bool = True) -> Model:
    """The model of a checkpoint's content, with its weights, average and counters.

    Args:
        kind: its class.
        checkpoint: of this class, or of one with the same arguments and weights.
        source: the file; see :meth:`trust.Source.file`.
        strict: whether all weights must be there, and no others.

    Raises:
        ValueError: it names what a file may not name, or does not fit the class.
    """
    record = own_record(checkpoint, source.name)
    hyperparameters = checkpoint.get("hyper_parameters")
    if not isinstance(hyperparameters, dict) or hyperparameters.get("_instantiator", INSTANTIATOR) != INSTANTIATOR:
        raise ValueError(f"{source.name} does not say how its model is built: it holds no hyper_parameters of a fit")
    known = inspect.signature(kind).parameters  # the command line adds facts of the data that the class may not take
    arguments = {name: value for name, value in hyperparameters.items() if name in known}
    source.check_arguments(kind, arguments, kind.__name__)
    try:
        module = instantiate(kind, arguments | {"_instantiator": INSTANTIATOR})
        module.on_load_checkpoint(checkpoint)
        if "exported" in record:
            keep_exported(module, checkpoint["state_dict"], record["exported"])
        else:
            module.load_state_dict(checkpoint["state_dict"], strict=strict)
    except (argparse.ArgumentError, RuntimeError, TypeError, KeyError, AttributeError, ValueError) as error:
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise ValueError(f"{source.name} does not fit {name} as it is now: {one_line(error)}") from error
    return module


def loaded(kind: type[Model], path: str | Path, map_location: Any, source: Source, strict: bool = True) -> Model:
    """The model of a checkpoint file, where its tensors are; other arguments as of :func:`rebuilt`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read; or see :func:`rebuilt`.
    """
    try:
        checkpoint = torchfile.load_checkpoint(path, map_location)
    except torchfile.UnreadableError as error:
        raise ValueError(f"{path} {error}") from error
    module = rebuilt(kind, checkpoint, source, strict)
    tensors = (value for value in checkpoint["state_dict"].values() if isinstance(value, Tensor))
    return module.to(next(tensors, torch.empty(0)).device)


@contextmanager
def parser_without_warnings() -> Iterator[None]:
    """Silence jsonargparse's advice about a method that Lightning calls, which the user cannot follow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*(instantiate_classes|JsonargparseDeprecationWarning)")
        yield


def import_path(thing: Any) -> str | None:
    """`package.module.name` of a class or function that can be imported by it, else None."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}.{name}" if found is thing else None


def _filled(annotation: Any) -> int:
    """How many arguments the caller of a factory gives: 2 of Callable[[A, B], C]."""
    if get_origin(annotation) is Callable:
        return len(get_args(annotation)[0])
    return max(map(_filled, get_args(annotation)), default=0)


def _defaults(kind: type, filled: int) -> dict[str, Any]:
    """A class's plain defaults; unsaid, the parser would take those that the model's own default gives the class."""
    given = list(inspect.signature(kind).parameters.items())[filled:]
    plain = (bool, int, float, str, type(None))
    return {name: parameter.default for name, parameter in given if isinstance(parameter.default, plain)}


def _plain(value: Any, where: str, filled: int = 0) -> Any:
    """A value in plain form; of a factory, `filled` arguments come from its caller."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item, where) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        types = get_type_hints(type(value))
        return {
            field.name: _plain(getattr(value, field.name), f"{where}.{field.name}", _filled(types[field.name]))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        described = _plain(value.func, where, filled)
        return described | {"init_args": described["init_args"] | _plain(value.keywords, where)}
    if isinstance(value, type) and (path := import_path(value)):
        return {"class_path": path, "init_args": _defaults(value, filled)}
    if inspect.isroutine(value) and (path := import_path(value)):
        return path
    raise ValueError(
        f"{where} is {value!r}, which a checkpoint cannot hold: give a class, functools.partial(a class, width=32), or "
        "build the model with gan_lightning.build(...) and {'class_path': ..., 'init_args': ...}"
    )
