"""Names of figures, and cards: how each was made."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from gan_lightning.core import AdversarialModule, ImageGenerator
from gan_lightning.metrics import Extractor, Reference
from gan_lightning.metrics.base import FeatureMetric
from gan_lightning.runtime.errors import printable
from gan_lightning.scoring.protocol import Protocol, ScoreRequest

SUBJECT = ("model", "step", "images_seen")  # fields of a card that say what was scored; the others say how


def figure_name(name: str, extractor: Extractor) -> str:
    """A figure's name: `FID` with Inception, as publications report it, `FID-digits` with another extractor."""
    base, slash, rest = name.partition("/")
    base = extractor.distance if base == "FID" else base
    return name if extractor.name == "inception" else f"{base}-{extractor.name}{slash}{rest}"


def card(
    request: ScoreRequest,
    metric: FeatureMetric,
    extractor: Extractor,
    real: Reference | None,
    about: dict[str, Any],
) -> dict[str, Any]:
    """How a score was made, in plain values. Scores are compared only if their cards differ in SUBJECT alone."""
    compared = {}
    if real is not None:
        compared = {
            "data": real.protocol["data"],
            "data_hash": real.protocol["fingerprint"][:12],
            "split": real.protocol.get("split"),
            "n_real": real.gaussian.n,
        }
    return {
        **compared,
        "n_fake": request.protocol.n_fake,
        "extractor": extractor.name,
        "hash": extractor.hash[:12],
        "resizer": extractor.resizer,
        "precision": "float32",
        "seed": request.protocol.seed,
        **metric.settings,
        **about,
    }


def subject(module: AdversarialModule, step: int) -> dict[str, Any]:
    """The card's fields on what was scored: a model at a generator step."""
    return dict(zip(SUBJECT, (type(module).__name__, step, module.images_seen), strict=True))


def card_of(module: ImageGenerator, protocol: Protocol) -> dict[str, Any]:
    """The card's fields on how a model makes its fakes."""
    averaged = module.weights(**protocol.which_weights()) is module.ema.network
    return {
        "weights": module.exported or ("ema" if averaged else protocol.weights),
        "batch_norm": f"standing, {protocol.standing} batches" if protocol.standing else "running averages",
        **({} if protocol.truncation is None else {"truncation": protocol.truncation}),
        "generator": str(module.dtype).removeprefix("torch."),
        "image_shape": "x".join(map(str, module.image_shape)),
        **({"labels": "balanced"} if module.num_classes else {}),
    }


def table(figures: dict[str, float]) -> list[str]:
    """A line for each figure; its standard deviation or the like stands on the same line."""
    lines: dict[str, str] = {}
    for name, value in figures.items():
        base, slash, rest = name.partition("/")
        if slash and base in lines:
            lines[base] += f" ± {value:.2g}" if rest == "std" else f" ({rest} {value:.4g})"
        else:
            lines[name] = f"{name:<24}{value:.4g}"
    return list(lines.values())


def merged(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cards without a contradiction, such as those of one pass, as one."""
    found: list[dict[str, Any]] = []
    for one in cards:
        fitting = (m for m in found if all(m.get(name, value) == value for name, value in one.items()))
        into = next(fitting, None)
        if into is None:
            found.append(into := {})
        into |= one
    return found


def card_lines(cards: Sequence[dict[str, Any]]) -> list[str]:
    """Cards in words, a paragraph each; see :func:`merged`."""
    texts = [", ".join(f"{name} {printable(value)}" for name, value in card.items()) for card in merged(cards)]
    return [line for text in texts for line in textwrap.wrap(text, 110, initial_indent="  ", subsequent_indent="  ")]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The fields in which two cards differ, but for those on what was scored: each as `field: a, b`."""
    fields = [field for field in {**one, **other} if field not in (*SUBJECT, "data")]  # the data is known by its hash
    return [
        f"{field}: {one.get(field, '-')}, {other.get(field, '-')}"
        for field in fields
        if one.get(field) != other.get(field)
    ]
