"""What `evaluate` compares: a checkpoint's model or a folder of fakes, and real images."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule

from gan_lightning import data, loading
from gan_lightning.batches import LINKED_ARGUMENTS
from gan_lightning.cli import command_line
from gan_lightning.core import AdversarialModule, ImageGenerator
from gan_lightning.data.folder import Files
from gan_lightning.data.scored import images_to_score, refuse_nested, refuse_one_folder
from gan_lightning.data.sets import Examples
from gan_lightning.runtime import checkpoint_io
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.processes import place, together
from gan_lightning.runtime.reading import Reading, reading_of
from gan_lightning.runtime.sizes import Size, size_of
from gan_lightning.scoring import subject


class Checkpoint(NamedTuple):
    """A checkpoint, of which the file is read once."""

    path: str
    module: AdversarialModule
    config: dict[str, Any]  # of its run; empty where there is none
    step: int

    @classmethod
    def load(cls, path: str, device: torch.device, trust: Sequence[str]) -> Checkpoint:
        """Read the file.

        Raises:
            FileNotFoundError, ValueError: see :func:`loading.load_model` and :func:`command_line.config_of`.
        """
        content = checkpoint_io.read(path)
        module = loading.model_of(content, path, device, trust)
        return cls(path, module, command_line.config_of(path, trust, content) or {}, content["global_step"])

    @property
    def subject(self) -> dict[str, Any]:
        """The card's fields on what is scored."""
        return subject(self.module, self.step)


class Real(NamedTuple):
    """The real images."""

    images: Examples | None  # None where a file of statistics stands for them
    name: str
    data: LightningDataModule | None  # that they are of


def folder_of_images(path: Path, size: Size | None, reading: Reading) -> Examples:
    """The images of a folder that count, as RGB, in their own size or brought to one; prints what does not count.

    Raises:
        FileNotFoundError, ValueError: see :func:`data.scored.images_to_score`; or a first one that cannot be read.
    """
    paths, remarks = images_to_score(path, size)
    if place()[0] == 0:
        for remark in remarks:
            print(remark, file=sys.stderr)
    return Files(paths, torch.zeros(len(paths), dtype=torch.int64), size, 3, reading)


def data_of(given: argparse.Namespace, for_data: list[str], checkpoint: Checkpoint | None) -> LightningDataModule:
    """The data module that was named, or that the checkpoint was trained with, in the size of the model's images.

    Raises:
        ValueError: it cannot be built, or is of another kind than what the model was trained on: images of another
            shape, other words, other users.
    """
    module = None if checkpoint is None else checkpoint.module
    config = None if checkpoint is None else checkpoint.config.get("data")
    shape = getattr(module, "image_shape", None)
    if config is not None and given.data in (None, config["class_path"].rsplit(".", 1)[-1], config["class_path"]):
        args = [f"--data={json.dumps(config)}"]
    elif given.data is None:
        raise ValueError(f"{given.checkpoint} does not say what it was trained on: give --data NAME")
    else:
        args = [f"--data={given.data}"]
        kind = getattr(data, given.data) if given.data in data.__all__ else None
        if shape is not None and kind is not None and "size" in inspect.signature(kind).parameters:
            args.append(f"--data.size={size_of((shape[1], shape[2] // kind.abreast))}")
    found = command_line.data_module([*args, *for_data])
    if shape is not None and found.image_shape is not None and tuple(found.image_shape) != tuple(shape):
        made, real = ("x".join(map(str, sizes)) for sizes in (shape, found.image_shape))
        flag = "--data.size" if shape[0] == found.image_shape[0] else "--data.channels"
        raise ValueError(f"{type(module).__name__} makes {made} images, {found.name} has {real}: set {flag}")
    if found.image_shape is None and (module is None or shape is not None):
        raise ValueError(f"{found.name} has no images")
    for fact in (fact for fact in LINKED_ARGUMENTS if fact not in ("image_shape", "num_classes")):
        own, there = getattr(module, fact, None), getattr(found, fact, None)
        if own and own != there:
            has = f"another {fact} than" if there else f"no {fact}, unlike"
            raise ValueError(f"{found.name} has {has} what {given.checkpoint} was trained on")
    of_images = module is None or isinstance(module, ImageGenerator)
    if of_images and math.prod(found.image_shape[1:]) == 1:
        raise ValueError(f"{found.name} has points, not images")
    with together():
        if place()[0] == 0:
            found.prepare_data()  # a download, by one
    return found


def real_side(given: argparse.Namespace, for_data: list[str], checkpoint: Checkpoint | None) -> Real:
    """The real images that the flags name.

    Raises:
        FileNotFoundError, ValueError: there are none; see :func:`data_of` and :func:`folder_of_images`.
    """
    if given.real is None:
        found = data_of(given, for_data, checkpoint)
        reals = found.reference(given.split)
        if not len(reals):
            other = "val" if given.split == "train" else "train"
            raise ValueError(f"{found.name} has no images in its split {given.split}: use --split {other}")
        return Real(reals, found.name, found)
    if given.real.suffix == ".npz":
        return Real(None, printable(given.real), None)
    return Real(folder_of_images(given.real, given.size, reading_of(given)), printable(given.real), None)


def both_sides(
    given: argparse.Namespace, for_data: list[str], checkpoint: Checkpoint | None
) -> tuple[Examples | None, Real]:
    """The folder of fakes, None where a checkpoint's model makes them, and the real images.

    Raises:
        ValueError: a side cannot be had, both are one folder, or their images have unequal sizes, so that scores would
            tell of the sizes.
    """
    fakes = None
    if given.fake is not None:
        if given.real is not None:
            refuse_nested(given.real, given.fake)
        fakes = folder_of_images(given.fake, given.size, reading_of(given))
    real = real_side(given, for_data, checkpoint)
    if fakes is not None:
        refuse_one_folder(getattr(real.images, "paths", ()), fakes.paths)
    if real.images is not None:
        made = (given.checkpoint, checkpoint.module.image_shape) if fakes is None else (given.fake, fakes.shape)
        sides = (real.name, real.images.__getitems__([0]).image.shape[1:]), made
        if len({tuple(shape[1:]) for _, shape in sides}) > 1:
            said = [f"{printable(name)} has {shape[2]}x{shape[1]} pixels" for name, shape in sides]
            raise ValueError(f"unequal image sizes: {', '.join(said)}: bring them to one with --size or --data.size")
    return fakes, real
