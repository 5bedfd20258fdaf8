"""How a score is made: one pass of one extractor over real and over fake images, for every score that is asked for.

Exactly so many images count, each once, on any number of processes: batches are the same ones however many processes
share them, nothing is padded, and all that processes do in common is to put together what each has seen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.metrics import Extractor
from gan_lightning.runtime.processes import from_first
from gan_lightning.scoring.cards import card, figure_name
from gan_lightning.scoring.feature_pass import keeper, look
from gan_lightning.scoring.protocol import ScoreRequest, Source
from gan_lightning.scoring.references import given_reference, references, wanted_of
from gan_lightning.scoring.samples import Samples, subset


def scores_of(
    requests: Sequence[ScoreRequest],
    extractor: Extractor,
    fakes: Source,
    reals: Source | None,
    real_name: str,
    about: dict[str, Any],
    device: torch.device,
    progress: bool = False,
) -> list[tuple[dict[str, float], dict[str, Any]]]:
    """The figures and the card of every score, from one pass over the fakes; every process must call.

    Args:
        requests: with protocols that differ in n_fake and n_real at most.
        extractor: on `device`.
        fakes, reals: the images; `reals` may be None where no score compares with real ones, or `stats` is given.
        real_name: of the data, for the card.
        about: the card's fields on the fakes.
        device: where the extractor runs.
        progress: show a bar.

    Raises:
        ValueError: too few images, images or features that are not finite, a score that this extractor cannot give.
        RuntimeError: another process failed; the message says why.
    """
    for request in requests:
        check_request(request, extractor, fakes, reals, real_name)
    protocol = requests[0].protocol
    known = references(wanted_of(requests, reals), extractor, reals, real_name, protocol, device, progress)
    sides = [known[request.real_count(reals)] if request.kind.needs else None for request in requests]
    made = [request.make(extractor, side).to(keeper(device)) for request, side in zip(requests, sides, strict=True)]
    shown = [
        (metric, subset(len(fakes), request.protocol.n_fake, protocol.seed))
        for request, metric in zip(requests, made, strict=True)
    ]
    with fakes.standing() if isinstance(fakes, Samples) else nullcontext():
        look(extractor, fakes, shown, False, protocol.batch_size, device, progress)
    found = []
    for request, metric, side in zip(requests, made, sides, strict=True):
        values = metric.compute()
        values = from_first([float(v) for v in (values if isinstance(values, tuple) else (values,))])
        figures = dict(zip((figure_name(name, extractor) for name in request.kind.names), values, strict=True))
        found.append((figures, card(request, metric, extractor, side, about)))
    return found


def check_request(
    request: ScoreRequest, extractor: Extractor, fakes: Source | None, reals: Source | None, real_name: str
) -> None:
    """Refuse a score that cannot be had, before anything is computed; warn of one that means little.

    Args: as of :func:`scores_of`; `fakes` is None where only the real side is made.

    Raises:
        ValueError: saying why.
    """
    name = figure_name(request.kind.names[0], extractor)
    if request.kind.classifies and extractor.num_classes is None:
        raise ValueError(f"{name} needs a classifier, and the extractor {extractor.name} gives no logits")
    if request.protocol.n_fake < request.fewest:
        raise _too_few(request, name, "images", f"n_fake={request.protocol.n_fake}", request.protocol.n_fake)
    if fakes is not None and len(fakes) < request.protocol.n_fake:
        raise ValueError(f"{name} asks for n_fake={request.protocol.n_fake}, there are {len(fakes)} fake images")
    if request.kind.conditional and getattr(fakes, "num_classes", None) is None:
        raise ValueError(f"{name} is for conditional models: of these images no class was asked for")
    if request.kind.conditional and fakes.num_classes != extractor.num_classes:
        raise ValueError(
            f"{name}: the model has {fakes.num_classes} classes, the extractor {extractor.name} tells "
            f"{extractor.num_classes} apart"
        )
    if not request.kind.needs:
        return
    if request.protocol.stats is not None:
        held = given_reference(request.protocol, extractor, request.kind.needs == "features").gaussian.n
    elif reals is None:
        raise ValueError(f"{name} compares with real images: say which")
    else:
        held = request.real_count(reals)
        if len(reals) < held:
            raise ValueError(f"{name} asks for n_real={held}, {real_name} has {len(reals)} images")
    if held is not None and held < request.fewest:
        raise _too_few(request, name, "real images", str(held), min(held, request.protocol.n_fake))
    fewest = min(request.protocol.n_fake, held or sys.maxsize)
    if request.kind.needs == "gaussian" and fewest <= extractor.feature_dim:
        rank_zero_warn(
            f"{name} of {fewest} images: with no more images than features ({extractor.feature_dim}) the covariance "
            "lacks full rank, and the score is biased upwards by much; compare it with scores of as many images only"
        )


def _too_few(request: ScoreRequest, name: str, what: str, given: str, n: int) -> ValueError:
    """Says what a score needs, and how it is set to do with n."""
    argument = request.fitting(n) if n >= 2 else ""
    remedy = f": use {request.flags}{argument} or less" if argument else ""
    return ValueError(f"{name} as it is set needs at least {request.fewest} {what}, not {given}{remedy}")
