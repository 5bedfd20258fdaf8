"""What `evaluate` computes: the scores that the flags name, those of a model's kind, or statistics of real images."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from gan_lightning import callbacks, metrics, scoring
from gan_lightning.cli import codes, command_line, discriminators
from gan_lightning.cli.comparison import Found, compared, shown
from gan_lightning.cli.samples import require_images
from gan_lightning.cli.score_sides import Checkpoint, Real, both_sides, data_of, real_side
from gan_lightning.core import AdversarialModule, ImageGenerator, Translator
from gan_lightning.metrics import Extractor
from gan_lightning.runtime.errors import PeerError, complain, printable
from gan_lightning.runtime.processes import device_named, place, together
from gan_lightning.scoring import ScoreRequest

__all__ = ["compared", "keep_statistics", "score"]

OF_THE_MODEL = {  # metrics that look at more than a model's images
    "linear_probe": discriminators.probe,
    "units": discriminators.units,
    "reconstruction": codes.reconstruction,
    "codes": codes.codes,
}


# The commands.


def score(given: argparse.Namespace, for_data: list[str]) -> None:
    """Print and write the scores of a checkpoint or of a folder; exit code 1 if one is lost, 2 if all are."""
    with processes_of_torchrun(given.device) as device:
        found, lost = scores(given, for_data, device)
        if place()[0] == 0:
            if found:
                print(shown(found))
            if found and given.json is not None:
                given.json.write_text(json.dumps(found, indent=1) + "\n")
            for line in lost:
                complain(line)
    if lost:
        sys.exit(1 if found else 2)


def keep_statistics(given: argparse.Namespace, for_data: list[str]) -> None:
    """Look at the real images alone, and print the files that their statistics are kept in."""
    with processes_of_torchrun(given.device) as device:
        files = statistics(given, for_data, device)
        if place()[0] == 0:
            print("\n".join(map(printable, files)))


@contextmanager
def processes_of_torchrun(device: str) -> Iterator[torch.device]:
    """This process's device; under torchrun, within the group of all its processes."""
    here = device_named(device)
    cuda = here.type == "cuda"
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield here
        return
    if cuda:
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield here
        dist.barrier()  # nobody hangs up while another still listens
    finally:
        dist.destroy_process_group()


# Scores.


def scores(given: argparse.Namespace, for_data: list[str], device: torch.device) -> tuple[Found, list[str]]:
    """The scores that were asked for, and why others are lost.

    Raises:
        ValueError: bad input that leaves no score.
    """
    checkpoint = None
    if given.checkpoint is not None:
        checkpoint = Checkpoint.load(given.checkpoint, device, given.trust)
        if not isinstance(checkpoint.module, ImageGenerator) or checkpoint.module.scored_by:
            return scores_of_kind(given, for_data, checkpoint), []
        require_images(checkpoint.module)
    fakes, real = both_sides(given, for_data, checkpoint)
    protocol = protocol_of(given, real, 10_000 if fakes is None else len(fakes))
    lost: list[str] = []
    requests, extractor = requests_of(given, protocol, lost), None
    if requests:
        with alone(lost):
            extractor = extractor_of(given, real, device)
    if checkpoint is None:
        resized = f", by Pillow to {given.size}" if given.size else ""
        about = {"model": printable(given.fake), "image_shape": "x".join(map(str, fakes.shape)) + resized}
    else:
        about = scoring.card_of(checkpoint.module, protocol) | checkpoint.subject
        fakes = scoring.Samples(checkpoint.module, protocol)
    found: Found = {}
    possible = []
    for request in () if extractor is None else requests:
        with alone(lost):
            scoring.check_request(request, extractor, fakes, real.images, real.name)
            possible.append(request)
    if possible:
        sides = fakes, real.images, real.name, about
        for figures, card in scoring.scores_of(possible, extractor, *sides, device, progress=place()[0] == 0):
            found |= {name: {"value": value, "card": card} for name, value in figures.items()}
    for name, find in OF_THE_MODEL.items():
        if name in given.metrics:
            with alone(lost):
                found |= find(checkpoint, real.data, given)
    return found, lost


@contextmanager
def alone(lost: list[str]) -> Iterator[None]:
    """Within it is what one score needs alone: where that cannot be had, why is kept, and no other score is lost.

    All processes find the same, as in :func:`processes.together`.
    """
    try:
        with together():
            yield
    except (ValueError, OSError, PeerError) as error:
        broke = isinstance(error, PeerError) and not error.bad_input  # that process ends, and this one with it
        if broke or os.environ.get("GAN_LIGHTNING_TRACEBACK"):
            raise
        if str(error) not in lost:
            lost.append(str(error))


def protocol_of(given: argparse.Namespace, real: Real, n_fake: int) -> scoring.Protocol:
    """The protocol that the flags name; of `stats`, which knows no fakes, but for these."""
    fake = {
        "weights": "live" if getattr(given, "live", False) else getattr(given, "average", None) or "ema",
        "seed": getattr(given, "seed", 0),
        "standing": getattr(given, "standing", None) or 0,
        "truncation": getattr(given, "truncation", None),
    }
    return scoring.Protocol(
        n_fake=given.n or n_fake,
        n_real=given.n_real,
        split="all" if real.data is None else given.split,
        batch_size=given.batch_size,
        stats=printable(given.real) if real.images is None else None,
        **fake,
    )


def extractor_of(given: argparse.Namespace, real: Real, device: torch.device) -> Extractor:
    """The extractor that the flags name, else that of the data, else Inception."""
    name = given.extractor or ("Inception" if real.data is None else real.data.extractor)
    return scoring.extractor_named(name, given.weights).to(device)


def requests_of(given: argparse.Namespace, protocol: scoring.Protocol, lost: list[str]) -> list[ScoreRequest]:
    """What `--metrics` names, but for `OF_THE_MODEL` and what cannot be set so."""
    kinds = {
        "fid": (callbacks.FID, ()),
        "is": (callbacks.InceptionScore, ("splits",)),
        "kid": (callbacks.KID, ("subsets", "subset_size")),
        "prdc": (callbacks.PRDC, ("k",)),
        "memorisation": (callbacks.MemorisationDistance, ()),
        "modes": (callbacks.ModeCoverage, ()),
        "label_accuracy": (callbacks.LabelAccuracy, ()),
    }
    requests = []
    for kind, own in (kinds[name] for name in given.metrics if name in kinds):
        with alone(lost):
            arguments = {name: vars(given)[name] for name in own if name in vars(given)}
            requests.append(kind(protocol=protocol, **arguments).request._replace(flags="--"))
    return requests


# Models that have scores of their own.


def scores_of_kind(given: argparse.Namespace, for_data: list[str], checkpoint: Checkpoint) -> Found:
    """What a model of its kind is scored by, with the arguments of the run; every process finds all of it.

    Raises:
        ValueError: the kind has no score, or a flag is for image generators; see :func:`data_of` and the score's
            `check`.
    """
    module = checkpoint.module
    name = score_of_kind(module)
    for flag in given.set:
        if flag not in ("checkpoint", "data", "device", "json", "trust"):
            raise ValueError(f"{type(module).__name__} is scored by {name}: leave --{flag} out")
    used = command_line.listed((checkpoint.config.get("trainer") or {}).get("callbacks"))
    mine = (one for one in used if one["class_path"].rsplit(".", 1)[-1] == name)
    spec = next(mine, {"class_path": f"{callbacks.__name__}.{name}"})
    parser = command_line.Parser()
    parser.add_lightning_class_args(callbacks.ScheduledScore, "score", subclass_mode=True)
    made = parser.instantiate_classes(parser.parse_args([f"--score={json.dumps(spec)}"])).score
    figures, card = made.measure(module, data_of(given, for_data, checkpoint))
    return {name: {"value": value, "card": card | checkpoint.subject} for name, value in figures.items()}


def score_of_kind(module: AdversarialModule) -> str:
    """The callback that scores models of this one's kind, by its name.

    Raises:
        ValueError: there is none.
    """
    if name := "TranslationScores" if isinstance(module, Translator) else module.scored_by:
        return name
    raise ValueError(f"{type(module).__name__} is no kind of model that can be scored")


# Statistics.


def statistics(given: argparse.Namespace, for_data: list[str], device: torch.device) -> list[Path]:
    """Look at the real images for these scores; the files where the result is kept.

    Raises:
        ValueError: the scores compare with no real images, or need several files where `--out` names one.
    """
    checkpoint = None if given.checkpoint is None else Checkpoint.load(given.checkpoint, device, given.trust)
    real = real_side(given, for_data, checkpoint)
    protocol = protocol_of(given, real, 10_000)
    lost: list[str] = []
    requests = requests_of(given, protocol, lost)
    if lost:
        raise ValueError(lost[0])
    wanted = scoring.wanted_of(requests, real.images)
    if not wanted:
        raise ValueError(f"--metrics: {', '.join(given.metrics)} compare with no real images")
    if given.out is not None and len(wanted) > 1:
        raise ValueError(f"--out {given.out}: these metrics need {len(wanted)} files; set --n_real, or ask for one")
    with together():
        extractor = extractor_of(given, real, device)
    for request in requests:
        if not request.kind.conditional:
            scoring.check_request(request, extractor, None, real.images, real.name)
    first = place()[0] == 0
    known = scoring.references(wanted, extractor, real.images, real.name, protocol, device, progress=first)
    if given.out is not None and first:
        metrics.save_reference(given.out, next(iter(known.values())))
    paths = [scoring.reference_file(reference.protocol) for reference in known.values()]
    return [path for path in (*paths, given.out) if path is not None and path.is_file()]
