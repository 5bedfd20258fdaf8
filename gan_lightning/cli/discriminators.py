"""What `evaluate` finds of a discriminator or an encoder: a linear probe of its features, what its units look for."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from gan_lightning import scoring
from gan_lightning.batches import Labeled
from gan_lightning.cli import pictures
from gan_lightning.cli.comparison import Found
from gan_lightning.cli.score_sides import Checkpoint
from gan_lightning.core import ImageGenerator, TwoPlayerGAN
from gan_lightning.core.hyperparameters import instantiate
from gan_lightning.data.base import to_unit
from gan_lightning.metrics import Strongest, guided_gradients, linear_probe, probe_features, responses, spread
from gan_lightning.runtime.errors import one_line
from gan_lightning.runtime.layout import SHEETS
from gan_lightning.runtime.processes import place

SETTLING = 10  # batches that an untrained network's batch norms take their statistics from
UNITS, IMAGES = 8, 8  # that are shown: units, and for each of them images


def probe(checkpoint: Checkpoint, data: LightningDataModule, given: argparse.Namespace) -> Found:
    """Accuracy on the data's "val" split of a linear classifier on the features that the model represents images by,
    or on its discriminator's where it has none; beside it that on an untrained network's, and on the pixels.

    Raises:
        ValueError: no labels or images in the data, no discriminator of images alone, or one without convolutions.
    """
    module = checkpoint.module
    if not data.num_classes or data.num_classes < 2:
        raise ValueError(f"linear_probe needs labels, and {data.name} has none")
    seen, _, words = reader_of(module)
    if not hasattr(module, "represent"):
        (one,) = parts_of(data, "val", 1, 1, "linear_probe")
        try:
            seen(to_unit(one.image).to(module.device))
        except (TypeError, RuntimeError) as error:
            takes = f"{type(module).__name__}'s discriminator takes more than images"
            raise ValueError(f"linear_probe: {takes} ({one_line(error, 100)})") from error
    train, test = (
        parts_of(data, split, most, given.batch_size, "linear_probe")
        for split, most in (("train", given.n or 10_000), ("val", None))
    )
    batches = [[to_unit(part.image) for part in side] for side in (train, test)]
    labels = [torch.cat([part.label for part in side]) for side in (train, test)]
    fresh = untrained(module, given.seed)
    fresh_seen, fresh_network, _ = reader_of(fresh)
    settle(fresh_network, [image.to(module.device) for image in batches[0][:SETTLING]])
    found: Found = {}
    for name, look, features in (
        ("linear_probe", seen, words),
        ("linear_probe/untrained", fresh_seen, f"untrained {words}, seed {given.seed}"),
        ("linear_probe/pixels", lambda image: image.flatten(1), "pixels, {}"),
    ):
        x, x_test = (torch.cat([look(image.to(module.device)).cpu() for image in side]) for side in batches)
        accuracy, penalty = linear_probe(x, labels[0], x_test, labels[1])
        card = {
            **card_of(data),
            "n_train": len(x),
            "n_test": len(x_test),
            "features": features.format(x.shape[1]),
            "classifier": f"linear L2-SVM, C={penalty:g}",
            **checkpoint.subject,
        }
        found[name] = {"value": accuracy, "card": card}
    return found


def reader_of(module: ImageGenerator) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Any], str]:
    """What a linear probe reads of a model: images to features, images to whatever the network gives, and in words.

    Raises:
        ValueError: see :func:`discriminator_of`.
    """
    if hasattr(module, "represent"):
        return module.represent, module.averages["encoder"].network, "encoder's average, {}"
    network = discriminator_of(module, "linear_probe")
    return partial(probe_features, network), network, "discriminator, {}, maxima of 4x4 cells"


@torch.no_grad()
def settle(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Give the batch norms of an untrained network the statistics of images, as those of a trained one have them."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
        norm.reset_running_stats()
        norm.train()
    for image in batches if norms else ():
        network(image)
    network.eval()


def units(checkpoint: Checkpoint, data: LightningDataModule, given: argparse.Namespace) -> Found:
    """Draw what units of the discriminator's last convolution look for: sheets/units.png, beside the checkpoint.

    For each of the units that respond most to validation images, a row of the images that it responds to most and a row
    of their guided gradients; at the right the same of the untrained network. The figures are the mean spread of the
    gradients of both, see :func:`metrics.spread`.

    Raises:
        ValueError: the model has no discriminator of images alone, or one without convolutions; no validation images.
    """
    module = checkpoint.module
    trained = discriminator_of(module, "units")
    takes = list(inspect.signature(trained.forward).parameters.values())[1:]
    if needed := [one.name for one in takes if one.default is one.empty and one.name != "label"]:
        raise ValueError(f"units needs a discriminator of images, and {type(module).__name__}'s takes {needed[0]} too")
    labelled = bool(module.num_classes) and "label" in {one.name for one in takes}
    if labelled and data.num_classes != module.num_classes:
        classes = f"{module.num_classes} classes, and {data.name} has {data.num_classes or 'none'}"
        raise ValueError(f"units shows the discriminator images of its {classes}")
    parts = parts_of(data, "val", given.n or 10_000, given.batch_size, "units")
    image, label = (torch.cat([part[field] for part in parts]) for field in (0, 1))

    def inputs(rows: Tensor) -> list[Tensor]:
        given_to = [to_unit(image[rows]), label[rows]] if labelled else [to_unit(image[rows])]
        return [one.to(module.device) for one in given_to]

    blocks, spreads = [], []
    for network in (trained, discriminator_of(untrained(module, given.seed), "units")):
        batches = torch.arange(len(image)).split(given.batch_size)
        response = torch.cat([responses(network, *inputs(rows)).cpu() for rows in batches])
        rows, found = [], []
        for unit, of_unit in zip(*Strongest.of(response, UNITS, IMAGES), strict=True):
            gradient = guided_gradients(network, int(unit), *inputs(of_unit))
            greatest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
            rows += [pictures.pixels(to_unit(image[of_unit])), pictures.pixels(gradient / greatest)]
            found.append(spread(gradient))
        blocks.append(rows)
        spreads.append(float(torch.cat(found).mean()))
    if place()[0] == 0:
        blank = [torch.zeros_like(blocks[0][0][0])]
        lines = [one + blank + other for one, other in zip(*blocks, strict=True)]
        sheet = pictures.tiles(sum(lines, []), len(lines[0]))
        pictures.save(sheet, Path(given.checkpoint).parent / SHEETS / "units.png")
    card = {
        **card_of(data),
        "n_test": len(image),
        "features": f"discriminator, {response.shape[1]} units of its last convolution",
        "units": f"{len(blocks[0]) // 2} of the greatest mean response, {len(blocks[0][0])} images each",
        "seed": given.seed,
        **checkpoint.subject,
    }
    return {
        name: {"value": value, "card": card}
        for name, value in zip(("units_spread", "units_spread/untrained"), spreads, strict=True)
    }


def discriminator_of(module: ImageGenerator, metric: str) -> nn.Module:
    """The model's discriminator; of several, one for each level of a pyramid, that of whole images.

    Raises:
        ValueError: it has none that sees images and all of them.
    """
    if not isinstance(module, TwoPlayerGAN):
        raise ValueError(f"{metric} reads the discriminator of images, and {type(module).__name__} has no single one")
    if module.exported is not None:
        raise ValueError(f"{metric} reads the discriminator, and an exported folder holds none: name the checkpoint")
    found = module.discriminator
    return found[-1] if isinstance(found, nn.ModuleList) else found


def untrained(module: ImageGenerator, seed: int) -> ImageGenerator:
    """The same model, on the same device, with fresh weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return instantiate(type(module), dict(module.hparams)).to(module.device)


def parts_of(data: LightningDataModule, split: str, most: int | None, size: int, metric: str) -> list[Labeled]:
    """Images of a split in batches of a size: all, or so many that are drawn.

    Raises:
        ValueError: there are none.
    """
    images = data.reference(split)
    if not len(images):
        raise ValueError(f"{metric} needs images of the split {split}, and {data.name} has none")
    rows = scoring.subset(len(images), min(most or len(images), len(images)), scoring.CHOICE)
    return [images.__getitems__(part.tolist()) for part in rows.split(size)]


def card_of(data: LightningDataModule) -> dict[str, Any]:
    """The card's fields on the images."""
    return {
        "data": data.name,
        "data_hash": data.reference("train").fingerprint[:12],
        "split": "val",
        "precision": "float32",
    }
