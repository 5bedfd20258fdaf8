"""How a score is made: one pass of one extractor over real images and one over fake images, for all requested scores.

Each requested image counts once, on any number of processes. The batches do not depend on the number of processes, and
no batch is padded. The processes exchange only what the metrics have accumulated.
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
    """The figures and the card of each score, from one pass over the fake images; every process must call.

    Args:
        requests: the scores; their protocols may differ in n_fake and n_real only.
        extractor: on `device`.
        fakes, reals: the images; `reals` may be None if no score needs real images, or if the protocol has `stats`.
        real_name: the name of the data, for the card.
        about: the card's fields on the fake images.
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
    """Refuse a score that cannot be computed, before anything is; warn of one that means little.

    Args:
        request: the score.
        extractor, reals, real_name: see :func:`scores_of`.
        fakes: the fake images; None where only statistics of the real images are computed.

    Raises:
        ValueError: too few images, an extractor without logits, a model without classes, or statistics that do not fit.
    """
    name = figure_name(request.kind.names[0], extractor)
    if request.kind.classifies and extractor.num_classes is None:
        raise ValueError(f"{name} needs a classifier, and the extractor {extractor.name} gives no logits")
    if request.protocol.n_fake < request.fewest:
        raise _too_few(request, name, "images", f"n_fake={request.protocol.n_fake}", request.protocol.n_fake)
    if fakes is not None and len(fakes) < request.protocol.n_fake:
        raise ValueError(f"{name} asks for n_fake={request.protocol.n_fake}, there are {len(fakes)} fake images")
    classes = getattr(fakes, "num_classes", None)
    if request.kind.conditional and classes is None:
        raise ValueError(f"{name} is for conditional models: of these images no class was asked for")
    if request.kind.conditional and classes != extractor.num_classes:
        raise ValueError(
            f"{name}: the model has {classes} classes, the extractor {extractor.name} tells "
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
        if held is not None and len(reals) < held:
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
    """The error that says how many images a score needs, and with which argument n images suffice."""
    argument = request.fitting(n) if n >= 2 else ""
    remedy = f": use {request.flags}{argument} or less" if argument else ""
    return ValueError(f"{name} as it is set needs at least {request.fewest} {what}, not {given}{remedy}")
