"""How a score is made: one pass of one extractor over real images and one over fake images, for all requested scores.

Each requested image counts once, on any number of processes. The batches do not depend on the number of processes, and
no batch is padded. The processes exchange only what the metrics have accumulated.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from tqdm import tqdm

from gan_lightning import metrics
from gan_lightning.batches import Labeled
from gan_lightning.cache import cache_folder
from gan_lightning.core import AdversarialModule, ImageGenerator
from gan_lightning.errors import nearest, printable
from gan_lightning.metrics import FID, Extractor, Reference, load_reference, save_reference
from gan_lightning.metrics.base import FeatureMetric, RowMetric
from gan_lightning.metrics.extractor import full_float32
from gan_lightning.processes import from_first, place, together

VERSION = 1  # of how the real side is computed: another one finds no file of an earlier
CHOICE = 0  # seed of the choice of real images: that of the latents must not change what they are compared with
SUBJECT = ("model", "step", "images_seen")  # fields of a card that say what was scored; the others say how


@dataclass(frozen=True)
class Protocol:
    """Which images a score compares.

    Attributes:
        n_fake: number of generated images. If it is not above the number of features, FID is mostly bias.
        n_real: number of real images, drawn without replacement; None for all of them, for KID and PRDC at most
            `n_fake`.
        split: the split of the data that the real images come from, "train" or "val".
        weights: "ema" for the generator's average, "live" for the weights that are trained.
        seed: of the latents; for a folder of fakes, of the choice among its images.
        batch_size: images in a batch of the extractor; it changes a score by rounding errors only.
        stats: a file with statistics of the real images, from `evaluate stats` or in pytorch-fid's form; None for
            statistics from the cache, or from a pass over the real images.
        device: "model" if the extractor runs on the model's device, "cpu" for the CPU.
        standing: number of batches for the generator's standing statistics, see
            :meth:`ImageGenerator.standing_statistics`; 0 for the running averages of training.
        truncation: limit of the latents, see :meth:`ImageGenerator.truncate`; None for no truncation.

    Raises:
        ValueError: a number that makes no score.
    """

    n_fake: int = 10_000
    n_real: int | None = None
    split: str = "train"
    weights: Literal["ema", "live"] = "ema"
    seed: int = 0
    batch_size: int = 100
    stats: str | None = None
    device: Literal["model", "cpu"] = "model"
    standing: int = 0
    truncation: float | None = None

    def __post_init__(self) -> None:
        if self.n_fake < 2 or (self.n_real is not None and self.n_real < 2):
            raise ValueError(
                f"a score needs at least 2 images of each kind, not n_real={self.n_real} and n_fake={self.n_fake}"
            )
        if self.batch_size < 1:
            raise ValueError(f"the batch_size of a score must be positive, not {self.batch_size}")
        if self.standing < 0:
            raise ValueError(f"standing must be a number of batches, 0 for none, not {self.standing}")
        if self.truncation is not None and not 0 < self.truncation < math.inf:
            raise ValueError(f"truncation must be a number above 0, not {self.truncation}")


Source = Any  # numbered images, with __len__ and __getitems__(list of int) -> Labeled: an Examples, or Samples


class ScoreRequest(NamedTuple):
    """A score that :func:`scores_of` is to compute.

    Attributes:
        kind: the class of the metric.
        make: builds the metric from the extractor and the statistics of the real images (None where it needs none).
        protocol: which images are compared.
        fewest: the least number of real and of fake images.
        fitting: says, as a flag does, with which argument n images suffice; empty where there is none.
        flags: what stands before that argument on the command line.
    """

    kind: type[FeatureMetric]
    make: Callable[[Extractor, Reference | None], FeatureMetric]
    protocol: Protocol
    fewest: int = 2
    fitting: Callable[[int], str] = lambda n: ""
    flags: str = "--trainer.callbacks."

    def real_count(self, reals: Source | None) -> int | None:
        """The number of real images; None for all those of a file of statistics."""
        if reals is None or self.protocol.n_real is not None:
            return self.protocol.n_real
        return min(len(reals), self.protocol.n_fake) if self.kind.balanced else len(reals)


class Samples:
    """An image generator's images by number: image i depends on the seed and on i alone."""

    ENDLESS = sys.maxsize  # as many as one likes

    def __init__(self, module: ImageGenerator, protocol: Protocol) -> None:
        self.module, self.protocol, self.live = module, protocol, protocol.weights == "live"

    def __len__(self) -> int:
        return self.ENDLESS

    @property
    def num_classes(self) -> int | None:
        """Of a conditional model."""
        return self.module.num_classes

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Within it images are drawn with the protocol's batch statistics: the same ones on every process."""
        with ExitStack() as stack:
            with together(), full_float32():
                stack.enter_context(self.module.standing_statistics(self.protocol.standing, live=self.live))
            yield

    def __getitems__(self, index: list[int]) -> Labeled:
        """Images of these numbers, with the classes that they were asked to be of."""
        how = self.protocol
        condition = self.module.condition_of(index)
        with full_float32():
            image = self.module.sample(index, how.seed, self.live, how.truncation, condition)
        return Labeled(image, condition)


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
    """The error that says how many images a score needs, and with which argument n images suffice."""
    argument = request.fitting(n) if n >= 2 else ""
    remedy = f": use {request.flags}{argument} or less" if argument else ""
    return ValueError(f"{name} as it is set needs at least {request.fewest} {what}, not {given}{remedy}")


def look(
    extractor: Extractor,
    source: Source,
    shown: Sequence[tuple[FeatureMetric, Tensor]],
    real: bool,
    batch_size: int,
    device: torch.device,
    progress: bool,
) -> None:
    """Update metrics with the features of images; each of W processes computes every W-th batch.

    Args:
        extractor: computes the features, on `device`.
        source: the images.
        shown: each metric, with the sorted numbers (n,) of its images in `source`.
        real: whether they are real images.
        batch_size: images in a batch.
        device: where the extractor runs.
        progress: show a bar.

    Raises:
        PeerError: another process failed.
    """
    rows = torch.cat([chosen for _, chosen in shown]).unique()
    rank, world = place()
    mine = list(rows.split(batch_size))[rank::world]
    fetched = _fetched(source, mine)
    name = "real images" if real else "fake images"
    hidden = None if progress else True  # None: hidden where nobody looks, in a file or a pipe
    with tqdm(total=len(rows), desc=name, unit="image", disable=hidden, leave=False) as bar:
        for turn in range(-(-len(rows) // (world * batch_size))):
            with together():  # at each batch: else the others would hear of an error when they are through
                if turn < len(mine):
                    _show(extractor, mine[turn], next(fetched), shown, real, device)
            bar.update(min(world * batch_size, len(rows) - bar.n))


def _show(
    extractor: Extractor,
    index: Tensor,
    batch: Labeled,
    shown: Sequence[tuple[FeatureMetric, Tensor]],
    real: bool,
    device: torch.device,
) -> None:
    """Update each metric with those images of one batch, of the numbers `index`, that are among its images."""
    seen = extractor(batch.image.to(device))
    if batch.label is not None:
        seen = seen._replace(label=batch.label.to(device))
    for metric, chosen in shown:
        number = torch.searchsorted(chosen, index)
        member = chosen[number.clamp(max=len(chosen) - 1)] == index
        if member.all():
            metric.update(seen, real, number)
        elif member.any():
            metric.update(seen.at(member.to(device)), real, number[member])


def _fetched(source: Source, indices: list[Tensor]) -> Iterator[Labeled]:
    """The batches. Threads, one for each core, read files one batch ahead: decoding releases the interpreter's lock."""
    if isinstance(source, Samples):
        yield from (source.__getitems__(index.tolist()) for index in indices)
        return
    # A set's own classes are left out: they are not classes that a generator was asked for.
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def begin(index: Tensor) -> list[Future]:
            return [threads.submit(source.__getitems__, part.tolist()) for part in index.split(16)]

        ahead = begin(indices[0]) if indices else []
        for following in [*indices[1:], None]:
            parts, ahead = ahead, [] if following is None else begin(following)
            yield Labeled(torch.cat([part.result().image for part in parts]), None)


def subset(held: int, n: int, seed: int) -> Tensor:
    """(n,) sorted numbers of `held` images, drawn without replacement: the first images may all be of one class."""
    if n >= held or held == Samples.ENDLESS:
        return torch.arange(n)
    return torch.randperm(held, generator=torch.Generator().manual_seed(seed))[:n].sort().values


def keeper(device: torch.device) -> torch.device:
    """The device for sums in float64: the CPU beside Metal, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


# The real side.


def wanted_of(requests: Sequence[ScoreRequest], reals: Source | None) -> dict[int | None, bool]:
    """For each number of real images that a score needs: whether a score needs the features, not only the moments."""
    wanted: dict[int | None, bool] = {}
    for request in requests:
        if request.kind.needs:
            n = request.real_count(reals)
            wanted[n] = wanted.get(n, False) or request.kind.needs == "features"
    return wanted


def references(
    wanted: dict[int | None, bool],
    extractor: Extractor,
    reals: Source | None,
    real_name: str,
    protocol: Protocol,
    device: torch.device,
    progress: bool,
) -> dict[int | None, Reference]:
    """Statistics of the real images, by their number: from a file, or from one pass over the images, which is cached.

    A file of the cache is found by the fingerprint, the number and the choice of the images, and by the weights and the
    resizer of the extractor. The first process reads and writes the files, and sends the others what they hold.

    Args:
        wanted: see :func:`wanted_of`.
        extractor, reals, real_name, device, progress: see :func:`scores_of`.
        protocol: which images, in which batches.

    Raises:
        ValueError: the file `protocol.stats` does not fit.
    """
    if not wanted:
        return {}
    if protocol.stats is not None:
        return dict.fromkeys(wanted, given_reference(protocol, extractor, any(wanted.values())))
    seen = {}
    with together():
        if place()[0] == 0:  # to hash all images is work for one
            seen = {"fingerprint": reals.fingerprint, "image_shape": list(reals.__getitems__([0]).image.shape[1:])}
    seen |= {"extractor": extractor.name, "hash": extractor.hash, "resizer": extractor.resizer}
    seen |= {"feature_dim": extractor.feature_dim, "version": VERSION}
    seen = from_first(seen | {"data": real_name, "split": protocol.split})
    held = len(reals)
    made = {n: seen | {"n_real": n, "choice_seed": CHOICE if n < held else None} for n in wanted}
    found: dict[int, Reference] = {}
    with together():
        for n, features in wanted.items() if place()[0] == 0 else ():
            reference = cached(made[n])
            if reference is not None and not (features and reference.features is None):
                found[n] = reference._replace(protocol=made[n])  # under the name that the set has here
    found = from_first(found)
    if missing := [n for n in wanted if n not in found]:
        moments = {n: FID(extractor.feature_dim).to(keeper(device)) for n in missing}
        rows = {n: RowMetric(extractor.feature_dim).to(keeper(device)) for n in missing if wanted[n]}
        chosen = {n: subset(held, n, CHOICE) for n in missing}
        shown = [(metric, chosen[n]) for kept in (moments, rows) for n, metric in kept.items()]
        look(extractor, reals, shown, True, protocol.batch_size, device, progress)
        for n in missing:
            features = rows[n].rows(real=True).cpu() if n in rows else None
            gaussian = moments[n].statistics(real=True)
            gaussian = gaussian._replace(mean=gaussian.mean.cpu(), covariance=gaussian.covariance.cpu())
            found[n] = Reference(gaussian, features, made[n])
        with together():
            for n in missing if place()[0] == 0 else ():
                keep(found[n])
    return found


def given_reference(protocol: Protocol, extractor: Extractor, features: bool) -> Reference:
    """The statistics in the file `protocol.stats`. If it names no data, its own name and content stand for the data.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its extractor, its number of images or its content is not what the score needs.
    """
    path = Path(protocol.stats).expanduser()
    given = load_reference(path)
    made, dim = given.protocol, len(given.gaussian.mean)
    if dim != extractor.feature_dim:
        raise ValueError(f"{path} is of {dim} features, the extractor {extractor.name} has {extractor.feature_dim}")
    for field, own in (("hash", extractor.hash), ("resizer", extractor.resizer), ("n_real", protocol.n_real)):
        if own is not None and made.get(field, own) != own:
            raise ValueError(f"{path} was made with {field} {made[field]}, and {own} is asked for")
    if features and given.features is None:
        raise ValueError(f"{path} holds no features, which KID, PRDC and memorisation compare with: name the images")
    if "fingerprint" not in made:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        given = given._replace(protocol={"data": path.name, "fingerprint": content})
    return given


def reference_file(made: dict[str, Any]) -> Path:
    """The file of the cache for statistics of this protocol; the name of the data does not matter: it may be a path."""
    text = json.dumps({name: value for name, value in made.items() if name != "data"}, sort_keys=True)
    return cache_folder() / "stats" / f"{made['extractor']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def cached(made: dict[str, Any]) -> Reference | None:
    """The statistics of this protocol in the cache; None if there is no file, or a damaged one."""
    path = reference_file(made)
    try:
        return load_reference(path) if path.is_file() else None
    except (ValueError, OSError) as error:
        rank_zero_warn(f"{error}: made anew")
        return None


def keep(reference: Reference) -> None:
    """Write statistics to the cache; warn if that fails."""
    path = reference_file(reference.protocol)
    try:
        save_reference(path, reference)
    except OSError as error:
        rank_zero_warn(f"the real set's statistics are not kept: {path} cannot be written ({error})")


# Names and cards.


def figure_name(name: str, extractor: Extractor) -> str:
    """A figure's name: `FID` with Inception, as publications report it, `FID-digits` with another extractor."""
    base, slash, rest = name.partition("/")
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
    return {
        "weights": protocol.weights,
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


def card_lines(cards: Sequence[dict[str, Any]]) -> list[str]:
    """Cards in words; cards without a contradiction, such as those of one pass, share a paragraph."""
    merged: list[dict[str, Any]] = []
    for one in cards:
        fitting = (m for m in merged if all(m.get(name, value) == value for name, value in one.items()))
        into = next(fitting, None)
        if into is None:
            merged.append(into := {})
        into |= one
    texts = [", ".join(f"{name} {printable(value)}" for name, value in card.items()) for card in merged]
    return [line for text in texts for line in textwrap.wrap(text, 110, initial_indent="  ", subsequent_indent="  ")]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The fields in which two cards differ, but for those on what was scored: each as `field: a, b`."""
    fields = [field for field in {**one, **other} if field not in (*SUBJECT, "data")]  # the data is known by its hash
    return [
        f"{field}: {one.get(field, '-')}, {other.get(field, '-')}"
        for field in fields
        if one.get(field) != other.get(field)
    ]


def extractor_named(name: str, weights: str | None = None) -> Extractor:
    """An extractor by its class's name in `gan_lightning.metrics`, or by an import path.

    Raises:
        ValueError: there is none, or it takes no weights.
    """
    module, _, short = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module or metrics.__name__), short)
    except (ImportError, AttributeError, ValueError) as error:
        names = [n for n in metrics.__all__ if _is_extractor(getattr(metrics, n))]
        hint = nearest(name, names) or f": there are {', '.join(names)}"
        raise ValueError(f"no extractor {name}{hint if not module else f' ({error})'}") from error
    if not _is_extractor(kind):
        raise ValueError(f"{name} is not an extractor: derive it from gan_lightning.metrics.Extractor")
    if weights is not None and "weights" not in inspect.signature(kind).parameters:
        raise ValueError(f"the extractor {name} takes no weights file")
    return kind() if weights is None else kind(weights=weights)


def _is_extractor(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Extractor) and kind is not Extractor
