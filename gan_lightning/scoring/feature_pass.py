"""One pass of one extractor over images, shared by processes, for every metric that wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from tqdm import tqdm

from gan_lightning.batches import Labeled
from gan_lightning.metrics import Extractor
from gan_lightning.metrics.base import FeatureMetric
from gan_lightning.runtime.processes import place, together
from gan_lightning.scoring.protocol import Source
from gan_lightning.scoring.samples import Samples


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


def keeper(device: torch.device) -> torch.device:
    """Where sums in float64 can be kept: Metal has none."""
    return torch.device("cpu") if device.type == "mps" else device
