"""The real side of scores: what they need to know of real images, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.metrics import FID, Extractor, Reference, load_reference, save_reference
from gan_lightning.metrics.base import RowMetric
from gan_lightning.runtime.cache import cache_folder
from gan_lightning.runtime.processes import from_first, place, together
from gan_lightning.scoring.feature_pass import keeper, look
from gan_lightning.scoring.protocol import Protocol, ScoreRequest, Source
from gan_lightning.scoring.samples import CHOICE, subset

VERSION = 1  # of how the real side is computed: another one finds no file of an earlier


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
    assert reals is not None  # only a file could do without
    seen: dict[str, Any] = {}
    with together():
        if place()[0] == 0:  # to hash all images is work for one
            seen = {"fingerprint": reals.fingerprint, "image_shape": list(reals.__getitems__([0]).image.shape[1:])}
    seen |= {"extractor": extractor.name, "hash": extractor.hash, "resizer": extractor.resizer}
    seen |= {"feature_dim": extractor.feature_dim, "version": VERSION}
    seen = from_first(seen | {"data": real_name, "split": protocol.split})
    held = len(reals)
    counts = {n: features for n, features in wanted.items() if n is not None}
    made = {n: seen | {"n_real": n, "choice_seed": CHOICE if n < held else None} for n in counts}
    found: dict[int | None, Reference] = {}
    with together():
        for n, features in counts.items() if place()[0] == 0 else ():
            reference = cached(made[n])
            if reference is not None and not (features and reference.features is None):
                found[n] = reference._replace(protocol=made[n])  # under the name that the set has here
    found = from_first(found)
    if missing := [n for n in counts if n not in found]:
        moments = {n: FID(extractor.feature_dim).to(keeper(device)) for n in missing}
        rows = {n: RowMetric(extractor.feature_dim).to(keeper(device)) for n in missing if counts[n]}
        chosen = {n: subset(held, n, CHOICE) for n in missing}
        shown = [(metric, chosen[n]) for kept in (moments, rows) for n, metric in kept.items()]
        look(extractor, reals, shown, True, protocol.batch_size, device, progress)
        for n in missing:
            kept_rows = rows[n].rows(real=True).cpu() if n in rows else None
            gaussian = moments[n].statistics(real=True)
            gaussian = gaussian._replace(mean=gaussian.mean.cpu(), covariance=gaussian.covariance.cpu())
            found[n] = Reference(gaussian, kept_rows, made[n])
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
    assert protocol.stats is not None
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
