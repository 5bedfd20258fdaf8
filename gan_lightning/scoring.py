"""How a score is made: one pass of one extractor over real and over fake images, for every score that is asked for.

Exactly so many images count, each once, on any number of processes: batches are the same ones however many processes
share them, nothing is padded, and all that processes do in common is to put together what each has seen.
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
        n_fake: generated images; more than the extractor has features, or FID is mostly bias.
        n_real: real images, drawn without replacement; None for all of them (for KID and PRDC as many as there are
            fakes, if there are).
        split: of the data that the real images are of: "train" or "val".
        weights: the generator's average, or the weights that are trained.
        seed: of the latents; of a folder of fakes, of the choice among them.
        batch_size: of images looked at at once; it moves a score by rounding errors only.
        stats: file of the real set's statistics (of `evaluate --make_stats`, or of pytorch-fid's form); None to find
            them in the cache, or make them.
        device: where the extractor runs: with the model, or on the CPU.
        standing: batches of samples whose batch statistics the generator takes; 0 for the averages that training
            gathered. See :meth:`ImageGenerator.standing_statistics`.
        truncation: of the latents, see :meth:`ImageGenerator.truncate`; None for none.
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
    """One score that is asked for."""

    kind: type[FeatureMetric]
    make: Callable[[Extractor, Reference | None], FeatureMetric]  # the metric, with the real set's side
    protocol: Protocol
    fewest: int = 2  # images of each kind that it needs
    fitting: Callable[[int], str] = lambda n: ""  # the argument that makes it do with n
    flags: str = "--trainer.callbacks."  # where that is said

    def real_count(self, reals: Source | None) -> int | None:
        """How many real images it compares with; None where these are a file of statistics."""
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


def look(
    extractor: Extractor,
    source: Source,
    shown: Sequence[tuple[FeatureMetric, Tensor]],
    real: bool,
    batch_size: int,
    device: torch.device,
    progress: bool,
) -> None:
    """Show images to metrics through one extractor; of W processes each sees every W-th batch.

    Args:
        shown: each metric with the sorted numbers of the images in `source` that are its set.
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
    """One batch: the images of these numbers, to the metrics that they belong to."""
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
    """The batches; files are read one batch ahead by a thread for each core, since decoding frees the interpreter."""
    if isinstance(source, Samples):
        yield from (source.__getitems__(index.tolist()) for index in indices)
        return
    # What a set says of its images' classes is not what a generator was asked for: it is left out.
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def begin(index: Tensor) -> list[Future]:
            return [threads.submit(source.__getitems__, part.tolist()) for part in index.split(16)]

        ahead = begin(indices[0]) if indices else []
        for following in [*indices[1:], None]:
            parts, ahead = ahead, [] if following is None else begin(following)
            yield Labeled(torch.cat([part.result().image for part in parts]), None)


def subset(held: int, n: int, seed: int) -> Tensor:
    """(n,) sorted numbers of `held` images, drawn without replacement: the first ones of a set may be of one class."""
    if n >= held or held == Samples.ENDLESS:
        return torch.arange(n)
    return torch.randperm(held, generator=torch.Generator().manual_seed(seed))[:n].sort().values


def keeper(device: torch.device) -> torch.device:
    """Where sums in float64 can be kept: Metal has none."""
    return torch.device("cpu") if device.type == "mps" else device


# The real side.


def wanted_of(requests: Sequence[ScoreRequest], reals: Source | None) -> dict[int | None, bool]:
    """Numbers of real images that scores compare with -> whether they need all features, not just the moments."""
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
    """What scores need to know of so many real images: from a file, or from one pass that leaves a file behind.

    The cache's files are found by the images' fingerprint, their number and choice, and the extractor's weights and
    resizer. The first process reads and writes them; the others are told.

    Args:
        wanted: see :func:`wanted_of`.

    Raises:
        ValueError: the file that `protocol.stats` names cannot serve.
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
    """The real side that `protocol.stats` names; for a file that does not say what it is of, the file stands for it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it was made otherwise than the score asks for.
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
    """Where statistics that are made so are kept; the data's name, which may hold a path, does not matter."""
    text = json.dumps({name: value for name, value in made.items() if name != "data"}, sort_keys=True)
    return cache_folder() / "stats" / f"{made['extractor']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def cached(made: dict[str, Any]) -> Reference | None:
    """The statistics that are made so, if the cache has them; a damaged file is as good as none."""
    path = reference_file(made)
    try:
        return load_reference(path) if path.is_file() else None
    except (ValueError, OSError) as error:
        rank_zero_warn(f"{error}: made anew")
        return None


def keep(reference: Reference) -> None:
    """Write statistics to the cache, or warn that they could not be."""
    path = reference_file(reference.protocol)
    try:
        save_reference(path, reference)
    except OSError as error:
        rank_zero_warn(f"the real set's statistics are not kept: {path} cannot be written ({error})")


# Names and cards.


def figure_name(name: str, extractor: Extractor) -> str:
    """`FID` of Inception, `FID-digits` of any other extractor: only the first is what publications report."""
    base, slash, rest = name.partition("/")
    return name if extractor.name == "inception" else f"{base}-{extractor.name}{slash}{rest}"


def card(
    request: ScoreRequest,
    metric: FeatureMetric,
    extractor: Extractor,
    real: Reference | None,
    about: dict[str, Any],
) -> dict[str, Any]:
    """How a score was made, in plain values; scores whose cards differ (but for SUBJECT) must not be compared."""
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
    """Figures a line each, a deviation or the like behind what it belongs to."""
    lines: dict[str, str] = {}
    for name, value in figures.items():
        base, slash, rest = name.partition("/")
        if slash and base in lines:
            lines[base] += f" ± {value:.2g}" if rest == "std" else f" ({rest} {value:.4g})"
        else:
            lines[name] = f"{name:<24}{value:.4g}"
    return list(lines.values())


def card_lines(cards: Sequence[dict[str, Any]]) -> list[str]:
    """Cards in words, a paragraph for all that do not contradict each other, as those of one pass seldom do."""
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
    """The fields, beside what was scored, in which two cards differ: each as `field: a, b`."""
    fields = [field for field in {**one, **other} if field not in (*SUBJECT, "data")]  # of that the hash decides
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
