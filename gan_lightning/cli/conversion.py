"""What `convert` does: others' networks, found in files by the names of their tensors, become a checkpoint of ours."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from gan_lightning.cli import assembly
from gan_lightning.cli.arguments import program
from gan_lightning.cli.assembly import Converted, Network
from gan_lightning.core import AdversarialModule, ImageGenerator
from gan_lightning.core.hyperparameters import resolve
from gan_lightning.core.resume import changes
from gan_lightning.networks import peers
from gan_lightning.runtime import published
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.runtime.errors import one_line, printable
from gan_lightning.runtime.programs import PROGRAMS
from gan_lightning.runtime.sizes import size_of

MOST = 8  # networks in a file
DATA = {  # for `fit`, where a model takes no single images: the data module, and what else it must be told
    "CycleGAN": "UnpairedImages --data.root FOLDER",
    "Pix2Pix": "PairedImages --data.root FOLDER",
    "StarGAN": "AttributeImages --data.root FOLDER",
}


def convert(given: argparse.Namespace) -> None:
    """Write the checkpoint, and print what was read, what was left out, and what to type next.

    Raises:
        ValueError: a file cannot be read, or they hold no generator of ours.
    """
    files = [published.read(path) for path in given.files]
    found = [network for path, file in zip(given.files, files, strict=True) for network in read(path, file, given)]
    said = ", ".join(printable(path) for path in given.files)
    if not any(network.kind == "Generator" for network in found):
        programs = [given.program] if given.program else PROGRAMS
        raise ValueError(
            f"{said} holds no network whose tensors are named as those of a generator of "
            f"{', '.join(programs[:-1]) + ' or ' if programs[1:] else ''}{programs[-1]}"
        )
    try:
        made = assembly.model_of(found, given.size, given.attributes)
    except Exception as error:  # shapes and names can be wrong in as many ways as there are of them
        text = printable(one_line(error)).replace("Error(s) in loading state_dict for ", "")
        raise ValueError(f"{said} holds a network that does not fit ours: {text}") from error
    save(made.model, given.out)
    parts = [part for file in files for part in file.parts]
    print("\n".join(closing(given, said, parts, made)))


def read(path: Path, file: published.Published, given: argparse.Namespace) -> list[Network]:
    """The networks of one file.

    Raises:
        ValueError: it is a checkpoint of this package, or holds too many.
    """
    if "gan_lightning" in file.parts:
        raise ValueError(f"{printable(path)} is a checkpoint of gan_lightning already")
    layouts = [layout for layout in peers.LAYOUTS if given.program in (None, layout.program)]
    found = list(itertools.islice(networks_of(file, path.stem, layouts), MOST + 1))
    if len(found) > MOST:
        raise ValueError(f"{printable(path)} holds more than {MOST} networks: it is not a published checkpoint")
    return found


def networks_of(file: published.Published, stem: str, layouts: list[peers.Layout]) -> Iterator[Network]:
    """The networks of a file, found by tensors that no other has; one without a name of its own has the file's."""
    for tensor in file.tensors:
        if (known := peers.layout_of(file.tensors, tensor, layouts)) is not None:
            layout, prefix = known
            parts = (_within(part, prefix) for part in (file.tensors, file.settings))
            yield Network(prefix.removesuffix("Model.").rstrip("."), stem, layout, *parts)


def save(model: AdversarialModule, path: Path) -> None:
    """Write a model as a checkpoint that no training stands in: all counters are 0, and it has no optimizers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="GPU available but not used")
        trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, plugins=[AtomicCheckpointIO()])
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)


def closing(given: argparse.Namespace, said: str, parts: list[str], made: Converted) -> list[str]:
    """The lines that a conversion ends with.

    Args:
        said: the files' names.
        parts: the names at the files' tops.
    """
    model, several = made.model, len(given.files) > 1
    kind, size = type(model), "x".join(map(str, model.image_shape))
    classes = f", {model.num_classes} classes" if getattr(model, "num_classes", None) else ""
    lines = [f"{said}: {kind.__name__}, images {size}{classes}"]
    for player, (ours, network) in made.players.items():
        count = sum(weight.numel() for weight in ours.parameters()) / 1e6
        source = "begins anew: the file has none" if network is None else f"from {network.called(several)}"
        lines.append(f"{player:<13}  {printable(source)}, {count:.2f} M parameters")
    used = {network.name.split(".")[0] for _, network in made.players.values() if network is not None}
    tops = dict.fromkeys(part.split(".")[0] for part in parts)
    if left := [printable(part) for part in tops if part not in used] if all(used) else []:
        lines.append(f"{'left out':<13}  {', '.join(left[:8])}{' ...' if len(left) > 8 else ''}")
    out, sides = shlex.quote(printable(given.out)), shlex.quote(json.dumps(size_of(model.image_shape[1:])))
    lines += [f"{name:<13}  {text}" for name, text in made.notes.items()]
    lines += [f"{'checkpoint':<13}  {out}", "next:"]
    if isinstance(model, ImageGenerator):
        lines += [
            f"  {program('sample')} {out} --n 64 --out drawn --grid",
            f"  {program('evaluate')} {out} --real FOLDER --size {sides}",
        ]
    else:
        wanted = f" --attributes +{model.attributes[0]}" if model.attributes else ""
        lines += [f"  {program('translate')} {out} --input PICTURE --out translated{wanted}"]
    data = DATA.get(kind.__name__, "ImageFolder --data.root FOLDER")
    return [*lines, f"  {program('fit')} {kind.__name__} --data {data} --init_from {out} {_flags(model)}"]


def _flags(model: AdversarialModule) -> str:
    """What `fit` must be told to build the same networks."""
    own = model.hparams
    given = ("image_shape", "num_classes", "attributes")
    defaults = resolve(type(model), {name: own[name] for name in given if name in own})
    networks = [name for name in ("generator", "discriminator", "conditional", "exclusive") if name in own]
    changed = changes(*({name: of[name] for name in networks} for of in (defaults, own)))
    channels, *sides = model.image_shape
    flags = {"data.size": size_of(sides)} | ({} if channels == 3 else {"data.channels": channels})
    flags |= {"data.attributes": own["attributes"]} if "attributes" in own else {}
    for name, (_, now) in changed.items():
        whole = own.get(name)  # of a class that is another one its arguments are to be said too
        flags[f"model.{name}"] = whole if isinstance(whole, dict) else now
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in flags.items()}
    return " ".join(f"--{name} {shlex.quote(text)}" for name, text in texts.items())


def _within(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """What stands below a prefix, by the rest of its names."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
