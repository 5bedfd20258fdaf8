"""What `evaluate` finds of a model's codes: what reconstructions keep, and what each code of InfoGAN changes."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from gan_lightning import scoring
from gan_lightning.cli.comparison import Found
from gan_lightning.cli.discriminators import card_of, parts_of
from gan_lightning.cli.score_sides import Checkpoint
from gan_lightning.core import Encoder
from gan_lightning.data.base import to_unit
from gan_lightning.metrics import breadth, matched_accuracy, rank_correlation, slant, thickness, to_uint8

SAMPLES = 1000  # that codes are correlated over
ATTRIBUTES = {"slant": slant, "thickness": thickness, "width": breadth}


def reconstruction(checkpoint: Checkpoint, data: LightningDataModule, given: argparse.Namespace) -> Found:
    """How much of the data's "val" images is left in their reconstructions.

    The share whose reconstruction a classifier reads as the image's class, that share of the images themselves, and the
    mean squared error of pixels in [-1, 1].

    Raises:
        ValueError: a model that reconstructs nothing, data without labels or images, or an extractor that is no
            classifier of the data's classes.
    """
    module = checkpoint.module
    if not isinstance(module, Encoder):
        raise ValueError(f"reconstruction needs a model with an encoder, and {type(module).__name__} has none")
    extractor = scoring.extractor_named(given.extractor or data.extractor, given.weights).to(module.device)
    if not data.num_classes or extractor.num_classes != data.num_classes:
        classes = f"{data.name} has {data.num_classes or 'none'}"
        raise ValueError(
            f"reconstruction needs a classifier of the data's classes: {extractor.name} knows "
            f"{extractor.num_classes or 'none'}, and {classes}: name one with --extractor"
        )
    kept, read, error, count = 0, 0, 0.0, 0
    for part in parts_of(data, "val", None, given.batch_size, "reconstruction"):
        image, label = to_unit(part.image).to(module.device), part.label.to(module.device)
        made = module.reconstruct(image)
        kept += int((extractor(to_uint8(made)).logits.argmax(1) == label).sum())
        read += int((extractor(to_uint8(image)).logits.argmax(1) == label).sum())
        error += float((made.double() - image.double()).square().flatten(1).mean(1).sum())
        count += len(label)
    card = {**card_of(data), "n_test": count, "extractor": extractor.name, **checkpoint.subject}
    values = {
        "reconstruction": kept / count,
        "reconstruction/images": read / count,
        "reconstruction/error": error / count,
    }
    return {name: {"value": value, "card": card} for name, value in values.items()}


@torch.no_grad()
def codes(checkpoint: Checkpoint, data: LightningDataModule, given: argparse.Namespace) -> Found:
    """What the codes of InfoGAN are: its category, and what of the image follows each continuous code.

    Over samples whose codes and noise are all drawn: Spearman's correlation, without its sign, of each continuous code
    with each of `ATTRIBUTES`. Digits differ in slant and width by themselves: the figure is the mean over the
    categories of the correlation within each; "/all" is that of all samples at once. The card names the codes that
    belong to the attributes, each to one, where these figures sum to most. With labels, `codes/category` is the share
    of the "val" images whose category is their class, under the best naming.

    Raises:
        ValueError: a model without continuous codes.
    """
    module = checkpoint.module
    if not getattr(module, "continuous", 0):
        raise ValueError(f"codes needs a model with continuous codes, and {type(module).__name__} has none")
    numbers = range(given.n or SAMPLES)
    z = module.latents(numbers, given.seed)
    rows = torch.arange(len(z)).split(given.batch_size)
    chosen = {"live": given.live, "average": given.average, "truncation": given.truncation, "seed": given.seed}
    images = torch.cat([to_uint8(module.generate(z[part], numbers=part.tolist(), **chosen)).cpu() for part in rows])
    category, continuous = (part.cpu() for part in module.codes_of(z))
    shown = torch.stack([attribute(images) for attribute in ATTRIBUTES.values()], 1)
    within, overall = correlations(continuous, shown, category.argmax(1))
    belongs = assignment(within)
    card: dict[str, Any] = {
        "n_fake": len(z),
        "seed": given.seed,
        "correlation": "Spearman's, mean over categories",
        "codes": ", ".join(f"{name} {code + 1}" for name, code in zip(ATTRIBUTES, belongs, strict=True) if code >= 0),
        **checkpoint.subject,
    }
    found = {}
    for place, name in enumerate(ATTRIBUTES):
        for code in range(module.continuous):
            found[f"codes/{code + 1}/{name}"] = float(within[code, place])
            found[f"codes/{code + 1}/{name}/all"] = float(overall[code, place])
    found = {name: {"value": value, "card": card} for name, value in found.items()}
    if data.num_classes and data.num_classes > 1:
        parts = parts_of(data, "val", None, given.batch_size, "codes")
        read = torch.cat([module.classify(to_unit(part.image).to(module.device)).cpu() for part in parts])
        label = torch.cat([part.label for part in parts])
        about = {**card_of(data), "n_test": len(label), "naming": "the Hungarian method", **checkpoint.subject}
        found["codes/category"] = {"value": matched_accuracy(read, label), "card": about}
    return found


def correlations(code: Tensor, shown: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
    """Rank correlations without sign of codes (n, k) with attributes (n, m), each (k, m): the mean over the categories
    (n,) of those within each, and those of all samples. A category of fewer than 3 samples does not count."""
    groups = [category == value for value in category.unique()]
    within = [rank_correlation(code[group], shown[group]).abs() for group in groups if group.sum() > 2]
    overall = rank_correlation(code, shown).abs()
    return (torch.stack(within).mean(0) if within else overall), overall


def assignment(strength: Tensor) -> list[int]:
    """For each column of (k, m) the row that is assigned to it, or -1: one to one, of the greatest sum."""
    from scipy.optimize import linear_sum_assignment

    belongs = [-1] * strength.shape[1]
    for code, place in zip(*linear_sum_assignment(strength.numpy(), maximize=True), strict=True):
        belongs[place] = int(code)
    return belongs
