"""What `convert` does: others' networks, found in a file by the names of their tensors, become a checkpoint of ours."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from gan_lightning import loading, networks
from gan_lightning.cli.arguments import program
from gan_lightning.core import AdversarialModule
from gan_lightning.core.hyperparameters import one_line, resolve
from gan_lightning.core.resume import changes
from gan_lightning.networks import r3gan, stylegan2
from gan_lightning.runtime import published
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.sizes import size_of

MARKS = {  # a tensor that no other network has -> the model, and whose it is
    "synthesis.b4.const": ("StyleGAN2", "Generator"),
    "b4.out.weight": ("StyleGAN2", "Discriminator"),
    "AggregationLayer.Layer.weight": ("R3GAN", "Generator"),
    "ExtractionLayer.Layer.weight": ("R3GAN", "Discriminator"),
}
NETWORKS = {"StyleGAN2": stylegan2, "R3GAN": r3gan}  # where their weights are given our names
SETTINGS = {  # what no shape shows -> its argument here
    "synthesis.b4.conv1.conv_clamp": "clamp",
    "b4.conv.conv_clamp": "clamp",
    "b4.mbstd.group_size": "group",
}
FIXED = {"activation": ("lrelu", "linear"), "mapping.fc0.bias_gain": (0.01,)}  # ends of settings -> what ours have
MOST = 8  # networks in a file
SHARED = ("base", "widest", "clamp", "mapping_layers", "width", "blocks", "group", "expansion", "taps")


class Network(NamedTuple):
    """One network of a file.

    Attributes:
        name: that the file has for it, such as "G_ema"; empty in a file of one network.
        model: ours that it is of.
        kind: "Generator" or "Discriminator".
        weights, settings: by the names within it.
    """

    name: str
    model: str
    kind: str
    weights: dict[str, Tensor]
    settings: dict[str, Any]

    @property
    def averaged(self) -> bool:
        return "ema" in self.name.lower()

    def arguments(self) -> dict[str, Any]:
        """The arguments of our network of the same kind, `image_shape` and `num_classes` among them.

        Raises:
            ValueError: one of its settings is not what ours has.
        """
        for name, value in self.settings.items():
            for end, known in FIXED.items():
                if name.endswith(end) and value not in known:
                    raise ValueError(f"its {name} is {value!r}: {self.model} has {' or '.join(map(repr, known))} here")
        found = NETWORKS[self.model].published_arguments(self.weights)
        return found | {ours: self.settings[name] for name, ours in SETTINGS.items() if name in self.settings}

    def load_into(self, network: nn.Module, assign: bool = False) -> None:
        network.load_state_dict(NETWORKS[self.model].from_published(self.weights), assign=assign)

    def check(self) -> None:
        """Compare names and shapes with ours before memory is taken: a few bytes can stand for any size.

        Raises:
            Exception: see :func:`model_of`.
        """
        arguments = self.arguments()
        with torch.device("meta"):
            ours = getattr(networks, f"{self.model}{self.kind}")(**arguments)
        self.load_into(ours, assign=True)


def convert(given: argparse.Namespace) -> None:
    """Write the checkpoint, and print what was read, what was left out, and what to type next.

    Raises:
        ValueError: the file cannot be read, or holds no generator of ours.
    """
    file = published.read(given.file)
    if "gan_lightning" in file.parts:
        raise ValueError(f"{printable(given.file)} is a checkpoint of gan_lightning already")
    found = list(itertools.islice(networks_of(file), MOST + 1))
    if len(found) > MOST:
        raise ValueError(f"{printable(given.file)} holds more than {MOST} networks: it is not a published checkpoint")
    if not any(network.kind == "Generator" for network in found):
        raise ValueError(
            f"{printable(given.file)} holds no network whose tensors are named as those of a generator of "
            "StyleGAN2-ADA or R3GAN"
        )
    try:
        model, taken = model_of(found)
    except Exception as error:  # shapes and names can be wrong in as many ways as there are of them
        said = printable(one_line(error)).replace("Error(s) in loading state_dict for ", "")
        raise ValueError(f"{printable(given.file)} holds a network that does not fit ours: {said}") from error
    save(model, given.out)
    print("\n".join(closing(given, file, model, taken)))


def networks_of(file: published.Published) -> Iterator[Network]:
    """The networks of a file, found by tensors that no other has."""
    for tensor in file.tensors:
        for mark, about in MARKS.items():
            if tensor == mark or tensor.endswith(f".{mark}"):
                prefix = tensor.removesuffix(mark)
                parts = (_within(part, prefix) for part in (file.tensors, file.settings))
                yield Network(prefix.removesuffix("Model.").rstrip("."), *about, *parts)


def model_of(found: list[Network]) -> tuple[AdversarialModule, dict[str, Network | None]]:
    """The model of a file's networks, and which of them are its "generator", "average" and "discriminator".

    Without an average the generator is its own; without a generator but for an average, that is the generator; a
    discriminator that the file does not have begins anew, as wide as the generator.

    Args:
        found: with a generator among them.

    Raises:
        Exception: weights are missing, or fit no network of ours.
    """
    generators = [network for network in found if network.kind == "Generator"]
    average = next((network for network in generators if network.averaged), generators[0])
    live = next((network for network in generators if not network.averaged), average)
    same = (one for one in found if (one.model, one.kind) == (live.model, "Discriminator"))
    taken = {"generator": live, "average": average, "discriminator": next(same, None)}
    for network in filter(None, taken.values()):
        network.check()
    arguments = live.arguments()
    facts = {name: arguments.pop(name) for name in ("image_shape", "num_classes")}
    if (judge := taken["discriminator"]) is None:
        others = {name: value for name, value in arguments.items() if name in SHARED}
    else:
        others = {name: value for name, value in judge.arguments().items() if name not in facts}
    model = loading.build(
        live.model,
        **facts,
        conditional=facts["num_classes"] is not None,
        generator=_described(f"{live.model}Generator", arguments),
        discriminator=_described(f"{live.model}Discriminator", others),
    )
    live.load_into(model.generator)
    for one in model.averages.values():
        average.load_into(one.network)
    if judge is not None:
        judge.load_into(model.discriminator)
    return model, taken


def save(model: AdversarialModule, path: Path) -> None:
    """Write a model as a checkpoint that no training stands in: all counters are 0, and it has no optimizers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="GPU available but not used")
        trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, plugins=[AtomicCheckpointIO()])
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)


def closing(
    given: argparse.Namespace, file: published.Published, model: AdversarialModule, taken: dict[str, Network | None]
) -> list[str]:
    """The lines that a conversion ends with."""
    kind, size = type(model), "x".join(map(str, model.image_shape))
    classes = f", {model.num_classes} classes" if model.num_classes else ""
    lines = [f"{printable(given.file)}: {kind.__name__}, images {size}{classes}"]
    for player, network in taken.items():
        ours = model.ema.network if player == "average" else getattr(model, player)
        count = sum(weight.numel() for weight in ours.parameters()) / 1e6
        source = "begins anew: the file has none" if network is None else f"from {network.name or 'the file'}"
        lines.append(f"{player:<13}  {printable(source)}, {count:.2f} M parameters")
    used = {network.name.split(".")[0] for network in taken.values() if network is not None}
    parts = dict.fromkeys(part.split(".")[0] for part in file.parts)
    if left := [printable(part) for part in parts if part not in used] if all(used) else []:
        lines.append(f"{'left out':<13}  {', '.join(left[:8])}{' ...' if len(left) > 8 else ''}")
    out, sides = shlex.quote(printable(given.out)), shlex.quote(json.dumps(size_of(model.image_shape[1:])))
    return [
        *lines,
        f"{'checkpoint':<13}  {out}",
        "next:",
        f"  {program('sample')} {out} --n 64 --out drawn --grid",
        f"  {program('evaluate')} {out} --real FOLDER --size {sides}",
        f"  {program('fit')} {kind.__name__} --data ImageFolder --data.root FOLDER --init_from {out} {_flags(model)}",
    ]


def _flags(model: AdversarialModule) -> str:
    """What `fit` must be told to build the same networks."""
    own = model.hparams
    defaults = resolve(type(model), {name: own[name] for name in ("image_shape", "num_classes")})
    networks = ("generator", "discriminator", "conditional")
    changed = changes(*({name: of[name] for name in networks} for of in (defaults, own)))
    channels, *sides = model.image_shape
    flags = {"data.size": size_of(sides)} | ({} if channels == 3 else {"data.channels": channels})
    flags |= {f"model.{name}": now for name, (_, now) in changed.items()}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in flags.items()}
    return " ".join(f"--{name} {shlex.quote(text)}" for name, text in texts.items())


def _described(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": f"{networks.__name__}.{name}", "init_args": arguments}


def _within(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """What stands below a prefix, by the rest of its names."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
