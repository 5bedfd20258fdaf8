"""One pass of one extractor over images, shared by processes, for every metric that wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from tqdm import tqdm

from gan_lightning.metrics import Extractor
from gan_lightning.metrics.base import FeatureMetric
from gan_lightning.runtime.processes import place, together
from gan_lightning.scoring.protocol import Source
from gan_lightning.scoring.samples import Drawn, Samples


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
    batch: Drawn,
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


def _fetched(source: Source, indices: list[Tensor]) -> Iterator[Drawn]:
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
            yield Drawn(torch.cat([part.result().image for part in parts]), None)


def keeper(device: torch.device) -> torch.device:
    """The device for sums in float64: the CPU beside Metal, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device
